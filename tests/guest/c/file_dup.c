/* dup, dup2, dup3 and fcntl: shared offsets and flags, close-on-exec, lowest numbers, close_range, errors. */
#include "check.h"
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

int main(void)
{
	char text[8];
	int fd = open("f", O_RDWR | O_CREAT | O_TRUNC, 0600);
	REQUIRE(fd == 3 && write(fd, "abcdef", 6) == 6 && lseek(fd, 0, SEEK_SET) == 0);
	int copy = dup(fd);
	CHECK_EQ("dup.lowest", copy, 4);
	REQUIRE(read(fd, text, 2) == 2);
	CHECK("dup.offset_shared", read(copy, text, 2) == 2 && memcmp(text, "cd", 2) == 0 && lseek(fd, 0, SEEK_CUR) == 4);
	int own = open("f", O_RDWR);
	CHECK("open.offset_own", lseek(own, 0, SEEK_CUR) == 0);
	REQUIRE(fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK) == 0);
	CHECK("dup.flags_shared", (fcntl(copy, F_GETFL) & (O_APPEND | O_NONBLOCK)) == (O_APPEND | O_NONBLOCK));
	CHECK("open.flags_own", (fcntl(own, F_GETFL) & (O_APPEND | O_NONBLOCK)) == 0);
	CHECK_EQ("setfl.access_mode_kept", fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
	REQUIRE(fcntl(fd, F_SETFD, FD_CLOEXEC) == 0);
	CHECK("cloexec.own", fcntl(fd, F_GETFD) == FD_CLOEXEC && fcntl(copy, F_GETFD) == 0);
	CHECK_EQ("dup.clears_cloexec", fcntl(dup(fd), F_GETFD), 0);
	REQUIRE(close(fd) == 0);
	CHECK("dup.survives_close", write(copy, "+", 1) == 1 && pread(own, text, 7, 0) == 7 && text[6] == '+');

	CHECK_EQ("dup2", dup2(copy, 50), 50);
	CHECK_EQ("dup2.same", dup2(50, 50), 50);
	CHECK_ERR("dup2.same_bad", dup2(51, 51), EBADF);
	CHECK_ERR("dup2.bad_source", dup2(51, 52), EBADF);
	CHECK_ERR("dup2.bad_target", dup2(copy, -1), EBADF);
	CHECK_ERR("dup2.huge_target", dup2(copy, 1 << 30), EBADF);
	int pipe_fd[2];
	REQUIRE(pipe(pipe_fd) == 0);
	CHECK_EQ("dup2.replaces", dup2(copy, pipe_fd[1]), pipe_fd[1]);
	CHECK_EQ("dup2.closed_the_old", read(pipe_fd[0], text, 1), 0);
	CHECK("dup3.cloexec", dup3(copy, 60, O_CLOEXEC) == 60 && fcntl(60, F_GETFD) == FD_CLOEXEC);
	CHECK_ERR("dup3.same", dup3(copy, copy, 0), EINVAL);
	CHECK_ERR("dup3.flags", dup3(copy, 61, 7), EINVAL);

	CHECK_EQ("dupfd.at_least", fcntl(copy, F_DUPFD, 50), 51);
	CHECK("dupfd.cloexec", fcntl(copy, F_DUPFD_CLOEXEC, 55) == 55 && fcntl(55, F_GETFD) == FD_CLOEXEC);
	CHECK_ERR("dupfd.negative", fcntl(copy, F_DUPFD, -1), EINVAL);
	CHECK_ERR("fcntl.badfd", fcntl(99, F_GETFL), EBADF);
	CHECK_ERR("fcntl.command", fcntl(copy, 12345), EINVAL);

	int cloexec = open("f", O_RDONLY | O_CLOEXEC);
	CHECK_EQ("open.cloexec", fcntl(cloexec, F_GETFD), FD_CLOEXEC);
	REQUIRE(pipe2(pipe_fd, O_CLOEXEC | O_NONBLOCK) == 0);
	CHECK("pipe2.flags", fcntl(pipe_fd[0], F_GETFD) == FD_CLOEXEC && (fcntl(pipe_fd[1], F_GETFL) & O_NONBLOCK));
	CHECK_ERR("pipe2.bad_flags", pipe2(pipe_fd, 7), EINVAL);
	int on = 1, queued = -1;
	REQUIRE(pipe(pipe_fd) == 0);
	CHECK_OK("fionbio", ioctl(pipe_fd[0], FIONBIO, &on));
	CHECK_ERR("fionbio.works", read(pipe_fd[0], text, 1), EAGAIN);
	REQUIRE(write(pipe_fd[1], "xyz", 3) == 3);
	CHECK("fionread", ioctl(pipe_fd[0], FIONREAD, &queued) == 0 && queued == 3);
	CHECK("fioclex", ioctl(pipe_fd[0], FIOCLEX) == 0 && fcntl(pipe_fd[0], F_GETFD) == FD_CLOEXEC);
	CHECK_ERR("ioctl.not_a_tty", ioctl(own, TCGETS, text), ENOTTY);
	CHECK_ERR("ioctl.unknown", ioctl(own, 0x1234567, text), ENOTTY);
	CHECK("isatty", !isatty(own) && errno == ENOTTY);

	CHECK_OK("close_range.cloexec", close_range(50, 60, CLOSE_RANGE_CLOEXEC));
	CHECK("close_range.cloexec_set", fcntl(50, F_GETFD) == FD_CLOEXEC && fcntl(51, F_GETFD) == FD_CLOEXEC);
	CHECK_OK("close_range", close_range(40, ~0U, 0));
	CHECK("close_range.closed", fcntl(50, F_GETFD) == -1 && fcntl(60, F_GETFD) == -1 && fcntl(copy, F_GETFD) == 0);
	CHECK_ERR("close_range.order", close_range(5, 4, 0), EINVAL);
	/* 900 descriptors at once, numbered without gaps */
	int first = dup(own), last = first;
	for (int i = 1; i < 900; i++) {
		int got = dup(own);
		if (got != last + 1)
			break;
		last = got;
	}
	CHECK_EQ("many.no_gaps", last - first, 899);
	CHECK_EQ("many.usable", pread(last, text, 1, 0), 1);
	return check_done();
}
