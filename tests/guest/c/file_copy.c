/* Copies inside the kernel: copy_file_range, sendfile, splice, tee, vmsplice, readahead and advice. */
#include "check.h"
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static char content[20000], back[20000];

static int reset(const char *name)
{
	return open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
}

static int same(int fd, long at, const char *want, long n)
{
	return pread(fd, back, (size_t)n, at) == n && memcmp(back, want, (size_t)n) == 0;
}

int main(void)
{
	for (unsigned i = 0; i < sizeof content; i++)
		content[i] = (char)(i * 7 + (i >> 8));
	int in = reset("in"), out = reset("out"), ends[2], ends2[2], pair[2];
	REQUIRE(write(in, content, sizeof content) == sizeof content && pipe(ends) == 0 && pipe(ends2) == 0);
	REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	off_t from = 100, to = 50;

	CHECK_EQ("copy_file_range", copy_file_range(in, &from, out, &to, 5000, 0), 5000);
	CHECK("copy_file_range.offsets", from == 5100 && to == 5050 && lseek(out, 0, SEEK_CUR) == 0);
	CHECK("copy_file_range.content", same(out, 50, content + 100, 5000));
	REQUIRE(lseek(in, 19000, SEEK_SET) == 19000);
	CHECK_EQ("copy_file_range.to_end", copy_file_range(in, NULL, out, NULL, 5000, 0), 1000);
	CHECK("copy_file_range.file_offset", lseek(in, 0, SEEK_CUR) == 20000 && lseek(out, 0, SEEK_CUR) == 1000);
	CHECK_EQ("copy_file_range.at_end", copy_file_range(in, NULL, out, NULL, 10, 0), 0);
	CHECK_ERR("copy_file_range.flags", copy_file_range(in, NULL, out, NULL, 10, 9), EINVAL);
	from = 0;
	to = 10;
	CHECK_ERR("copy_file_range.overlap", copy_file_range(in, &from, in, &to, 100, 0), EINVAL);
	CHECK_ERR("copy_file_range.pipe", copy_file_range(in, &from, ends[1], NULL, 10, 0), EINVAL);

	REQUIRE(ftruncate(out, 0) == 0 && lseek(out, 0, SEEK_SET) == 0);
	from = 1000;
	CHECK_EQ("sendfile.file", sendfile(out, in, &from, 9000), 9000);
	CHECK("sendfile.offset", from == 10000 && lseek(out, 0, SEEK_CUR) == 9000);
	CHECK("sendfile.content", same(out, 0, content + 1000, 9000));
	from = 19990;
	CHECK_EQ("sendfile.pipe", sendfile(ends[1], in, &from, 100), 10);
	CHECK("sendfile.pipe_content", read(ends[0], back, 100) == 10 && memcmp(back, content + 19990, 10) == 0);
	from = 0;
	CHECK_EQ("sendfile.socket", sendfile(pair[0], in, &from, 4000), 4000);
	CHECK("sendfile.socket_content", read(pair[1], back, 5000) == 4000 && memcmp(back, content, 4000) == 0);
	CHECK_ERR("sendfile.from_pipe", sendfile(out, ends[0], NULL, 10), EINVAL);

	from = 500;
	CHECK_EQ("splice.file_to_pipe", splice(in, &from, ends[1], NULL, 3000, 0), 3000);
	CHECK_EQ("tee", tee(ends[0], ends2[1], 1000, 0), 1000);
	REQUIRE(ftruncate(out, 0) == 0);
	to = 0;
	long moved = 0, got;
	while (moved < 3000 && (got = splice(ends[0], NULL, out, &to, 3000, 0)) > 0)
		moved += got;
	CHECK_EQ("splice.pipe_to_file", moved, 3000);
	CHECK("splice.content", same(out, 0, content + 500, 3000));
	CHECK("tee.content", read(ends2[0], back, 3000) == 1000 && memcmp(back, content + 500, 1000) == 0);
	REQUIRE(write(ends[1], content, 100) == 100);
	CHECK_EQ("splice.pipe_to_pipe", splice(ends[0], NULL, ends2[1], NULL, 60, 0), 60);
	CHECK("splice.pipe_rest", read(ends2[0], back, 100) == 60 && read(ends[0], back + 60, 100) == 40 && memcmp(back, content, 100) == 0);
	struct iovec parts[2] = {{content, 10}, {content + 50, 20}};
	CHECK_EQ("vmsplice", vmsplice(ends[1], parts, 2, 0), 30);
	CHECK("vmsplice.content", read(ends[0], back, 100) == 30 && memcmp(back + 10, content + 50, 20) == 0);
	CHECK_ERR("splice.no_pipe", splice(in, NULL, out, NULL, 10, 0), EINVAL);
	CHECK_ERR("splice.pipe_offset", splice(ends[0], &to, out, NULL, 10, 0), ESPIPE);
	CHECK_ERR("tee.same", tee(ends[0], ends[1], 10, 0), EINVAL);
	CHECK_ERR("splice.nonblock_empty", splice(ends[0], NULL, out, NULL, 10, SPLICE_F_NONBLOCK), EAGAIN);

	CHECK_EQ("posix_fadvise", posix_fadvise(in, 0, 0, POSIX_FADV_SEQUENTIAL), 0);
	CHECK_EQ("posix_fadvise.pipe", posix_fadvise(ends[0], 0, 0, POSIX_FADV_NORMAL), ESPIPE);
	CHECK_EQ("posix_fadvise.advice", posix_fadvise(in, 0, 0, 99), EINVAL);
	CHECK_OK("readahead", readahead(in, 0, 4096));
	CHECK_OK("sync_file_range", sync_file_range(in, 0, 0, SYNC_FILE_RANGE_WRITE));
	sync();
	CHECK_OK("syncfs", syncfs(in));
	return check_done();
}
