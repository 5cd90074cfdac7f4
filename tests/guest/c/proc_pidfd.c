/* pidfd: opening, signals, polling, waiting, clone and clone3 with CLONE_PIDFD, descriptors of another process, what stays of a process that is gone. */
#include "check.h"
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static int pidfd_open(pid_t pid, unsigned flags)
{
	return (int)syscall(SYS_pidfd_open, pid, flags);
}

static int send_to(int fd, int signal, siginfo_t *info, unsigned flags)
{
	return (int)syscall(SYS_pidfd_send_signal, fd, signal, info, flags);
}

static int readable(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return poll(&p, 1, ms) == 1 ? p.revents : 0;
}

static pid_t sleeper(void)
{
	pid_t pid = fork();
	if (pid)
		return pid;
	for (;;)
		pause();
}

static void life(void)
{
	siginfo_t info = {0};
	pid_t pid = sleeper();
	int fd = pidfd_open(pid, 0), status;
	REQUIRE(fd >= 0);
	CHECK_EQ("cloexec", fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK_EQ("alive", readable(fd, 0), 0);
	CHECK_OK("signal 0", send_to(fd, 0, NULL, 0));
	CHECK_ERR("read", read(fd, &status, 4), EINVAL);
	info.si_signo = SIGUSR1;
	info.si_code = SI_USER;
	CHECK_ERR("info of the kernel's", send_to(fd, SIGUSR1, &info, 0), EPERM);
	info.si_code = SI_QUEUE;
	CHECK_ERR("info of another", send_to(fd, SIGUSR2, &info, 0), EINVAL);
	CHECK_ERR("flags", send_to(fd, SIGUSR2, NULL, 64), EINVAL);
	CHECK_OK("kill", send_to(fd, SIGKILL, NULL, 0));
	CHECK("ends", readable(fd, 20000) & POLLIN);
	CHECK_OK("zombie", send_to(fd, SIGTERM, NULL, 0));
	memset(&info, 0, sizeof info);
	CHECK_OK("waitid", waitid((idtype_t)P_PIDFD, (id_t)fd, &info, WEXITED));
	CHECK("waitid.info", info.si_pid == pid && info.si_code == CLD_KILLED && info.si_status == SIGKILL);
	CHECK_ERR("gone", send_to(fd, SIGTERM, NULL, 0), ESRCH);
	CHECK("gone.poll", readable(fd, 0) & POLLIN);
	CHECK_ERR("gone.wait", waitid((idtype_t)P_PIDFD, (id_t)fd, &info, WEXITED), ECHILD);
	CHECK_ERR("gone.open", pidfd_open(pid, 0), ESRCH);
	close(fd);
}

static void errors(void)
{
	siginfo_t info;
	CHECK_ERR("open.flags", pidfd_open(getpid(), 4), EINVAL);
	CHECK_ERR("open.0", pidfd_open(0, 0), EINVAL);
	CHECK_ERR("open.-1", pidfd_open(-1, 0), EINVAL);
	CHECK_ERR("open.nobody", pidfd_open(0x3fffff, 0), ESRCH);
	CHECK_ERR("send.bad", send_to(-1, 0, NULL, 0), EBADF);
	CHECK_ERR("send.other", send_to(0, 0, NULL, 0), EBADF);
	CHECK_ERR("wait.bad", waitid((idtype_t)P_PIDFD, 99, &info, WEXITED), EBADF);
	int self = pidfd_open(getpid(), 0);
	CHECK_ERR("wait.self", waitid((idtype_t)P_PIDFD, (id_t)self, &info, WEXITED), ECHILD);
	close(self);
}

static void nonblocking(void)
{
	siginfo_t info;
	pid_t pid = sleeper();
	int fd = pidfd_open(pid, O_NONBLOCK), ep = epoll_create1(0);
	struct epoll_event event = {.events = EPOLLIN};
	CHECK_ERR("nonblocking", waitid((idtype_t)P_PIDFD, (id_t)fd, &info, WEXITED), EAGAIN);
	REQUIRE(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) == 0);
	CHECK_EQ("epoll.alive", epoll_wait(ep, &event, 1, 0), 0);
	kill(pid, SIGTERM);
	CHECK_EQ("epoll.ended", epoll_wait(ep, &event, 1, 20000), 1);
	CHECK_OK("nonblocking.ended", waitid((idtype_t)P_PIDFD, (id_t)fd, &info, WEXITED));
	close(ep);
	close(fd);
}

static void clones(void)
{
	siginfo_t info;
	int fd = -1;
	struct clone_args args = {.flags = CLONE_PIDFD, .pidfd = (unsigned long)&fd, .exit_signal = SIGCHLD};
	long pid = syscall(SYS_clone3, &args, sizeof args);
	if (!pid)
		_exit(7);
	CHECK("clone3", pid > 0 && fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
	CHECK("clone3.wait", waitid((idtype_t)P_PIDFD, (id_t)fd, &info, WEXITED) == 0 && info.si_status == 7);
	close(fd);
	pid = syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, &fd, 0, 0);
	if (!pid)
		_exit(8);
	CHECK("clone", pid > 0 && fd >= 0);
	CHECK("clone.wait", waitid((idtype_t)P_PIDFD, (id_t)fd, &info, WEXITED) == 0 && info.si_status == 8);
	close(fd);
	CHECK_ERR("clone.both", syscall(SYS_clone, CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD, 0, &fd, 0, 0), EINVAL);
	args.pidfd = 8;
	CHECK_ERR("clone3.address", syscall(SYS_clone3, &args, sizeof args), EFAULT);
	CHECK_ERR("clone3.nothing left", waitid(P_ALL, 0, &info, WEXITED), ECHILD);
}

static void descriptors(void)
{
	int told[2];
	char text[32] = "", path[64];
	REQUIRE(pipe(told) == 0);
	pid_t pid = fork();
	if (!pid) {
		int mine = open("of-the-child", O_RDWR | O_CREAT | O_TRUNC, 0600);
		REQUIRE(write(mine, "its words", 9) == 9 && write(told[1], &mine, sizeof mine) == sizeof mine);
		for (;;)
			pause();
	}
	int number, fd = pidfd_open(pid, 0);
	REQUIRE(read(told[0], &number, sizeof number) == sizeof number);
	int mine = (int)syscall(SYS_pidfd_getfd, fd, number, 0);
	CHECK("getfd", mine >= 0 && fcntl(mine, F_GETFD) == FD_CLOEXEC);
	CHECK("getfd.same file", pread(mine, text, sizeof text, 0) == 9 && lseek(mine, 0, SEEK_CUR) == 9);
	show("%s", text);
	CHECK_ERR("getfd.bad", syscall(SYS_pidfd_getfd, fd, 999, 0), EBADF);
	CHECK_ERR("getfd.flags", syscall(SYS_pidfd_getfd, fd, 0, 1), EINVAL);
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	FILE *info = fopen(path, "r");
	char line[128];
	int seen = 0;
	while (info && fgets(line, sizeof line, info))
		seen += sscanf(line, "Pid:\t%d", &number) == 1 && number == pid;
	CHECK_EQ("fdinfo", seen, 1);
	snprintf(path, sizeof path, "/proc/%d", pid);
	int dir = open(path, O_RDONLY | O_DIRECTORY);
	CHECK_OK("directory", send_to(dir, 0, NULL, 0));
	REQUIRE(send_to(fd, SIGKILL, NULL, 0) == 0 && waitpid(pid, NULL, 0) == pid);
	CHECK_ERR("getfd.gone", syscall(SYS_pidfd_getfd, fd, 0, 0), ESRCH);
}

int main(void)
{
	life();
	errors();
	nonblocking();
	clones();
	descriptors();
	return check_done();
}
