/* Orphans: who becomes their parent (prctl PR_SET_CHILD_SUBREAPER), its SIGCHLD, PR_SET_PDEATHSIG; keeping capabilities; waiting for one of many. */
#include "check.h"
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static volatile sig_atomic_t last_child;

static void on_child(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	last_child = info->si_pid;
}

static void wait_for_signal_of(pid_t pid)
{
	long until = now_ms() + 20000;
	while (last_child != pid && now_ms() < until)
		usleep(1000);
	CHECK("SIGCHLD of an adopted child", last_child == pid);
}

/* A child forks `n` grandchildren that outlive it, each of which says who its parent is then, and ends with 9. */
static void orphans(int n)
{
	int pipes[2], go[2], status;
	REQUIRE(pipe(pipes) == 0 && pipe(go) == 0);
	pid_t child = fork();
	if (!child) {
		close(go[1]);
		for (int i = 0; i < n; i++)
			if (!fork()) {
				char c;
				pid_t who[2] = {getpid()};
				if (read(go[0], &c, 1) < 0)
					_exit(1);
				who[1] = getppid();
				_exit(write(pipes[1], who, sizeof(who)) == sizeof(who) ? 9 : 1);
			}
		_exit(0);
	}
	close(go[0]);
	CHECK("parent ended", waitpid(child, &status, 0) == child && status == 0);
	close(go[1]);
	for (int i = 0; i < n; i++) {
		pid_t who[2];
		REQUIRE(read(pipes[0], who, sizeof(who)) == sizeof(who));
		CHECK("parent is the reaper", who[1] == getpid());
		siginfo_t info;
		CHECK("waitid", waitid(P_PID, (id_t)who[0], &info, WEXITED | WNOWAIT) == 0 && info.si_status == 9);
		if (n == 1)
			wait_for_signal_of(who[0]);
		CHECK("waitpid", waitpid(who[0], &status, 0) == who[0] && WEXITSTATUS(status) == 9);
	}
	CHECK_ERR("nobody left", waitpid(-1, &status, 0), ECHILD);
	close(pipes[0]);
	close(pipes[1]);
}

static void keep_capabilities(int keep)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {{0}};
	int status;
	if (!fork()) {
		CHECK("keepcaps", prctl(PR_SET_KEEPCAPS, keep) == 0 && prctl(PR_GET_KEEPCAPS) == keep);
		REQUIRE(syscall(SYS_setresuid, 1000, 1000, 1000) == 0);
		REQUIRE(syscall(SYS_capget, &header, data) == 0);
		show("keep %d: permitted %d effective %d", keep, data[0].permitted != 0, data[0].effective != 0);
		_exit(0);
	}
	REQUIRE(wait(&status) > 0 && status == 0);
}

/* A grandchild that dies as a zombie of a dead child: the new parent learns of it at once, and SIGCHLD ignored drops it. */
static void zombie_inherited(void)
{
	int status;
	pid_t child = fork();
	if (!child) {
		if (!fork())
			_exit(4);
		siginfo_t info;
		_exit(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT));
	}
	CHECK("its parent", waitpid(child, &status, 0) == child);
	CHECK("inherited zombie", wait(&status) > 0 && WEXITSTATUS(status) == 4);
	signal(SIGCHLD, SIG_IGN);
	child = fork();
	if (!child) {
		if (!fork())
			_exit(4);
		siginfo_t info;
		_exit(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT));
	}
	CHECK_ERR("SIGCHLD ignored", waitpid(-1, &status, 0), ECHILD);
}

int main(void)
{
	int set = 0;
	CHECK_OK("subreaper", prctl(PR_SET_CHILD_SUBREAPER, 1));
	CHECK("is subreaper", prctl(PR_GET_CHILD_SUBREAPER, &set) == 0 && set == 1);
	struct sigaction act = {.sa_sigaction = on_child, .sa_flags = SA_SIGINFO | SA_RESTART};
	REQUIRE(sigaction(SIGCHLD, &act, NULL) == 0);
	orphans(1);
	orphans(40);
	CHECK_ERR("keepcaps 2", prctl(PR_SET_KEEPCAPS, 2), EINVAL);
	if (geteuid() == 0) {
		keep_capabilities(0);
		keep_capabilities(1);
	}
	zombie_inherited();
	return check_done();
}
