/* read, write and their p-, v- and v2-forms: offsets, holes, ends, large transfers, vectors, errors. */
#include "check.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define MB (1 << 20)
static unsigned char big[4 * MB], back[4 * MB];

int main(void)
{
	char text[64];
	int fd = open("data", O_RDWR | O_CREAT | O_TRUNC, 0600);
	REQUIRE(fd >= 0);
	CHECK_EQ("write", write(fd, "hello world", 11), 11);
	CHECK_EQ("read.at_end", read(fd, text, 10), 0);
	CHECK_EQ("lseek", lseek(fd, 6, SEEK_SET), 6);
	CHECK("read.short", read(fd, text, 64) == 5 && memcmp(text, "world", 5) == 0);
	CHECK_EQ("write.zero", write(fd, text, 0), 0);
	CHECK("pread", pread(fd, text, 5, 0) == 5 && memcmp(text, "hello", 5) == 0);
	CHECK("pread.keeps_offset", lseek(fd, 0, SEEK_CUR) == 11);
	CHECK_EQ("pread.past_end", pread(fd, text, 5, 100), 0);
	CHECK("pwrite", pwrite(fd, "J", 1, 0) == 1 && pread(fd, text, 5, 0) == 5 && memcmp(text, "Jello", 5) == 0);
	CHECK_EQ("pwrite.hole", pwrite(fd, "end", 3, 10000), 3);
	CHECK_EQ("hole.size", lseek(fd, 0, SEEK_END), 10003);
	int zero = 1;
	char chunk[4096];
	REQUIRE(pread(fd, chunk, sizeof chunk, 4096) == sizeof chunk);
	for (unsigned i = 0; i < sizeof chunk; i++)
		zero &= chunk[i] == 0;
	CHECK("hole.zero", zero);

	CHECK_EQ("lseek.cur", lseek(fd, -3, SEEK_CUR), 10000);
	CHECK_EQ("lseek.beyond", lseek(fd, 1L << 40, SEEK_SET), 1L << 40);
	CHECK_EQ("read.beyond", read(fd, text, 1), 0);
	CHECK_ERR("lseek.negative", lseek(fd, -1, SEEK_SET), EINVAL);
	CHECK_ERR("lseek.whence", lseek(fd, 0, 99), EINVAL);
	CHECK_EQ("seek_data", lseek(fd, 0, SEEK_DATA), 0);
	CHECK_EQ("seek_hole.at_end", lseek(fd, 10002, SEEK_HOLE), 10003);
	CHECK_ERR("seek_data.past_end", lseek(fd, 10003, SEEK_DATA), ENXIO);

	struct iovec out[4] = {{"one", 3}, {"", 0}, {"twotwo", 6}, {"3", 1}};
	REQUIRE(lseek(fd, 0, SEEK_SET) == 0);
	CHECK_EQ("writev", writev(fd, out, 4), 10);
	char p1[4] = "", p2[20] = "";
	struct iovec in[2] = {{p1, 2}, {p2, 8}};
	REQUIRE(lseek(fd, 0, SEEK_SET) == 0);
	CHECK("readv", readv(fd, in, 2) == 10 && strcmp(p1, "on") == 0 && strcmp(p2, "etwotwo3") == 0);
	CHECK("preadv", preadv(fd, in, 2, 3) == 10 && strncmp(p1, "tw", 2) == 0);
	CHECK_EQ("pwritev", pwritev(fd, out, 4, 20), 10);
	CHECK("pwritev2", pwritev2(fd, out, 1, 40, 0) == 3 && preadv2(fd, in, 1, 40, 0) == 2 && strncmp(p1, "on", 2) == 0);
	static struct iovec too_many[1025];
	volatile int negative = -1;
	CHECK_ERR("writev.count_negative", writev(fd, out, negative), EINVAL);
	CHECK_ERR("writev.count_1025", writev(fd, too_many, 1025), EINVAL);
	CHECK_EQ("writev.count_0", writev(fd, out, 0), 0);
	struct iovec wrong[2] = {{text, 4}, {text, (size_t)-1}};
	CHECK_ERR("readv.length_negative", readv(fd, wrong, 2), EINVAL);

	for (int i = 0; i < 4 * MB; i++)
		big[i] = (unsigned char)(i * 31 + (i >> 8) * 7 + (i >> 16));
	REQUIRE(ftruncate(fd, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0);
	CHECK_EQ("large.write", write(fd, big, 4 * MB), 4 * MB);
	CHECK_EQ("large.read", pread(fd, back, 4 * MB, 0), 4 * MB);
	CHECK("large.same", memcmp(big, back, 4 * MB) == 0);
	CHECK("large.unaligned", pread(fd, back, 3 * MB, 12345) == 3 * MB && memcmp(big + 12345, back, 3 * MB) == 0);
	long moved = 0;
	for (int i = 0; i < 2000; i++)
		moved += pwrite(fd, "0123456", 7, 1000 + i * 7L);
	CHECK("small_writes", moved == 14000 && pread(fd, text, 7, 1000 + 1999 * 7) == 7 && memcmp(text, "0123456", 7) == 0);
	CHECK("overwrite.neighbours", pread(fd, text, 1, 999) == 1 && (unsigned char)text[0] == big[999]);

	CHECK_ERR("badfd.read", read(99, text, 1), EBADF);
	CHECK_ERR("badfd.write", write(-1, text, 1), EBADF);
	CHECK_ERR("badfd.lseek", lseek(99, 0, SEEK_SET), EBADF);
	CHECK_ERR("badfd.close", close(99), EBADF);
	CHECK_ERR("pread.negative", pread(fd, text, 1, -1), EINVAL);
	int directory = open(".", O_RDONLY);
	CHECK_ERR("directory.read", read(directory, text, 1), EISDIR);
	int ends[2];
	REQUIRE(pipe(ends) == 0);
	CHECK_ERR("pipe.lseek", lseek(ends[0], 0, SEEK_SET), ESPIPE);
	CHECK_ERR("pipe.pread", pread(ends[0], text, 1, 0), ESPIPE);
	CHECK_ERR("pipe.pwrite", pwrite(ends[1], text, 1, 0), ESPIPE);
	CHECK_OK("fsync", fsync(fd));
	CHECK_OK("fdatasync", fdatasync(fd));
	CHECK_ERR("fsync.pipe", fsync(ends[0]), EINVAL);
	return check_done();
}
