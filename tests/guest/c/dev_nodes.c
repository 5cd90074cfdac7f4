/* /dev/null, zero, full, random, urandom, fd and the standard streams: reads, writes, types, mapping, what cannot be done. */
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static int device(const char *path, unsigned major_number, unsigned minor_number)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(major_number, minor_number);
}

static int distinct_bytes(const unsigned char *p, int n)
{
	int seen[256] = {0}, count = 0;
	for (int i = 0; i < n; i++)
		count += seen[p[i]]++ == 0;
	return count;
}

int main(void)
{
	static unsigned char block[100000], other[100000];
	CHECK("numbers", device("/dev/null", 1, 3) && device("/dev/zero", 1, 5) && device("/dev/full", 1, 7) && device("/dev/random", 1, 8) &&
				 device("/dev/urandom", 1, 9));

	int null = open("/dev/null", O_RDWR);
	CHECK_EQ("null.read", read(null, block, 10), 0);
	CHECK_EQ("null.write", write(null, block, sizeof block), sizeof block);
	CHECK_EQ("null.lseek", lseek(null, 100, SEEK_SET), 0);
	CHECK_OK("null.trunc", close(open("/dev/null", O_WRONLY | O_TRUNC | O_CREAT, 0600)));
	CHECK_ERR("null.ftruncate", ftruncate(null, 0), EINVAL);
	CHECK_ERR("null.mmap", (long)mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, null, 0), ENODEV);
	struct pollfd p = {null, POLLIN | POLLOUT, 0};
	CHECK("null.poll", poll(&p, 1, 0) == 1 && p.revents == (POLLIN | POLLOUT));
	CHECK_ERR("null.directory", open("/dev/null/x", O_RDONLY), ENOTDIR);

	int zero = open("/dev/zero", O_RDWR);
	memset(block, 7, sizeof block);
	CHECK_EQ("zero.read", read(zero, block, sizeof block), sizeof block);
	CHECK_EQ("zero.content", distinct_bytes(block, sizeof block) == 1 && block[0] == 0, 1);
	CHECK_EQ("zero.write", write(zero, block, 100), 100);

	int full = open("/dev/full", O_RDWR);
	CHECK_ERR("full.write", write(full, block, 1), ENOSPC);
	memset(block, 7, 10);
	CHECK("full.read", read(full, block, 10) == 10 && block[9] == 0);

	int random = open("/dev/urandom", O_RDONLY);
	CHECK_EQ("urandom.read", read(random, block, sizeof block), sizeof block);
	CHECK("urandom.random", distinct_bytes(block, 4000) > 240);
	CHECK("urandom.differs", read(random, other, 64) == 64 && memcmp(block, other, 64) != 0);
	int second = open("/dev/random", O_RDONLY);
	CHECK("random.read", read(second, other, 64) == 64 && distinct_bytes(other, 64) > 32);

	CHECK_OK("dev_fd", access("/dev/fd/1", F_OK));
	char target[64];
	CHECK("dev_stdin", readlink("/dev/stdin", target, sizeof target) == 15 && memcmp(target, "/proc/self/fd/0", 15) == 0);
	struct stat st, by_name;
	CHECK("dev_stdout", fstat(1, &st) == 0 && stat("/dev/stdout", &by_name) == 0 && st.st_ino == by_name.st_ino);
	CHECK("dev_shm", stat("/dev/shm", &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & 07777) == 01777);
	CHECK("dev_tty", open("/dev/tty", O_RDWR) == -1 && (errno == ENXIO || errno == ENOENT)); /* no terminal here */
	CHECK("dev.directory", stat("/dev", &st) == 0 && S_ISDIR(st.st_mode));
	CHECK_ERR("dev.absent", open("/dev/absent", O_RDONLY), ENOENT);
	return check_done();
}
