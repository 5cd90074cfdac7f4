/* truncate, ftruncate, fallocate: growing, shrinking, reserved space, punched holes, limits and errors. */
#include "check.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static long size_of(int fd)
{
	struct stat st;
	REQUIRE(fstat(fd, &st) == 0);
	return st.st_size;
}

static int zero_between(int fd, long from, long to)
{
	char c;
	for (long i = from; i < to; i += (to - from) / 97 + 1)
		if (pread(fd, &c, 1, i) != 1 || c != 0)
			return 0;
	return pread(fd, &c, 1, to - 1) == 1 && c == 0;
}

static volatile int xfsz;
static void on_xfsz(int signal)
{
	xfsz = signal;
}

int main(void)
{
	char text[20000];
	int fd = open("t", O_RDWR | O_CREAT | O_TRUNC, 0600);
	memset(text, 'x', sizeof text);
	REQUIRE(write(fd, text, sizeof text) == sizeof text);
	CHECK_OK("shrink", ftruncate(fd, 5000));
	CHECK_EQ("shrink.size", size_of(fd), 5000);
	CHECK_EQ("shrink.read_end", pread(fd, text, 100, 4990), 10);
	CHECK_OK("grow", ftruncate(fd, 100000));
	CHECK("grow.old_kept", pread(fd, text, 1, 4999) == 1 && text[0] == 'x');
	CHECK("grow.zero", size_of(fd) == 100000 && zero_between(fd, 5000, 100000));
	CHECK("offset.kept", lseek(fd, 0, SEEK_CUR) == 20000);
	CHECK_OK("truncate.path", truncate("t", 10));
	CHECK_EQ("truncate.path_size", size_of(fd), 10);
	CHECK_OK("sparse.terabyte", ftruncate(fd, 1L << 40));
	CHECK("sparse.end_zero", size_of(fd) == 1L << 40 && zero_between(fd, (1L << 40) - 5000, 1L << 40));
	CHECK_EQ("sparse.write_far", pwrite(fd, "far", 3, 1L << 39), 3);
	CHECK("sparse.read_far", pread(fd, text, 5, (1L << 39) - 1) == 5 && memcmp(text, "\0far\0", 5) == 0);
	REQUIRE(ftruncate(fd, 0) == 0);

	CHECK_OK("fallocate", fallocate(fd, 0, 0, 50000));
	CHECK("fallocate.size_zero", size_of(fd) == 50000 && zero_between(fd, 0, 50000));
	CHECK_OK("fallocate.keep_size", fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 90000));
	CHECK_EQ("fallocate.size_kept", size_of(fd), 50000);
	memset(text, 'y', sizeof text);
	for (int i = 0; i < 50000; i += 5000)
		REQUIRE(pwrite(fd, text, 5000, i) == 5000);
	CHECK_OK("punch", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 6000, 20000));
	CHECK("punch.hole_zero", zero_between(fd, 6000, 26000) && size_of(fd) == 50000);
	CHECK("punch.edges", pread(fd, text, 1, 5999) == 1 && text[0] == 'y' && pread(fd, text, 1, 26000) == 1 && text[0] == 'y');
	CHECK_OK("posix_fallocate", posix_fallocate(fd, 49000, 11000));
	CHECK("posix_fallocate.size", size_of(fd) == 60000 && pread(fd, text, 1, 49999) == 1 && text[0] == 'y');

	CHECK_ERR("error.negative", ftruncate(fd, -1), EINVAL);
	CHECK_ERR("error.missing", truncate("absent", 0), ENOENT);
	CHECK_ERR("error.directory", truncate(".", 0), EISDIR);
	CHECK_ERR("error.badfd", ftruncate(99, 0), EBADF);
	CHECK_ERR("error.fallocate_length", fallocate(fd, 0, 0, 0), EINVAL);
	CHECK_ERR("error.fallocate_mode", fallocate(fd, 0x4000, 0, 10), EOPNOTSUPP);
	CHECK_ERR("error.punch_alone", fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10), EOPNOTSUPP);
	int ends[2];
	REQUIRE(pipe(ends) == 0);
	CHECK_ERR("error.pipe", ftruncate(ends[1], 0), EINVAL);
	CHECK_ERR("error.fallocate_pipe", fallocate(ends[1], 0, 0, 10), ESPIPE);

	struct rlimit limit = {100000, RLIM_INFINITY};
	REQUIRE(signal(SIGXFSZ, on_xfsz) != SIG_ERR && setrlimit(RLIMIT_FSIZE, &limit) == 0);
	CHECK_ERR("fsize.ftruncate", ftruncate(fd, 200000), EFBIG);
	CHECK_EQ("fsize.signal", xfsz, SIGXFSZ);
	CHECK_EQ("fsize.write_short", pwrite(fd, text, 20000, 90000), 10000);
	CHECK_ERR("fsize.write", pwrite(fd, text, 1, 100000), EFBIG);
	return check_done();
}
