/* Who gets the processor: wake-ups beside busy tasks, nice values, policies. Ratios with wide limits: how fast a machine is does not matter. */
#include "check.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static volatile long *counters; /* of the busy children, shared */

static pid_t hog(int nr, int nice_value, int policy)
{
	pid_t pid = fork();
	if (pid)
		return pid;
	struct sched_param none = {0};
	REQUIRE(setpriority(PRIO_PROCESS, 0, nice_value) == 0 && sched_setscheduler(0, policy, &none) == 0);
	for (;;)
		counters[nr]++;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	REQUIRE(waitpid(pid, NULL, 0) == pid);
}

static void wait_started(int nr)
{
	while (!counters[nr])
		sleep_ms(1);
}

/* Round trips of a byte over pipes in half a second. */
static long ping_pong(void)
{
	int there[2], back[2];
	char c = 'x';
	REQUIRE(pipe(there) == 0 && pipe(back) == 0);
	pid_t echo = fork();
	if (!echo) {
		while (read(there[0], &c, 1) == 1)
			REQUIRE(write(back[1], &c, 1) == 1);
		_exit(0);
	}
	long rounds = 0;
	for (long until = now_ms() + 500; now_ms() < until; rounds++)
		REQUIRE(write(there[1], &c, 1) == 1 && read(back[0], &c, 1) == 1);
	end(echo);
	for (int i = 0; i < 2; i++)
		close(there[i]), close(back[i]);
	return rounds;
}

static int by_value(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;
	return x < y ? -1 : x > y;
}

/* Median of how long sleep(1 ms) takes, in us. */
static long sleep_1ms(void)
{
	static long took[100];
	for (int i = 0; i < 100; i++) {
		long start = clock_ns(CLOCK_MONOTONIC);
		sleep_ms(1);
		took[i] = (clock_ns(CLOCK_MONOTONIC) - start) / 1000;
	}
	qsort(took, 100, sizeof(long), by_value);
	return took[50];
}

static void wake_ups(void)
{
	pid_t hogs[4];
	for (int i = 0; i < 4; i++) {
		hogs[i] = hog(i, 0, SCHED_OTHER);
		wait_started(i);
		if (i == 0)
			CHECK("ping-pong beside a hog", ping_pong() > 500);
	}
	CHECK("sleep beside four hogs", sleep_1ms() < 15000);
	for (int i = 0; i < 4; i++)
		end(hogs[i]);
}

/* Two busy tasks: how often the first gets what the second gets. */
static double share(int nice0, int policy0, int nice1, int policy1)
{
	counters[0] = counters[1] = 0;
	pid_t a = hog(0, nice0, policy0), b = hog(1, nice1, policy1);
	wait_started(0);
	long first = counters[0], second = counters[1];
	sleep_ms(600);
	first = counters[0] - first;
	second = counters[1] - second;
	end(a);
	end(b);
	return (double)first / (double)(second ? second : 1);
}

static void shares(void)
{
	double even = share(0, SCHED_OTHER, 0, SCHED_OTHER), nice = share(0, SCHED_OTHER, 10, SCHED_OTHER),
	       idle = share(0, SCHED_OTHER, 0, SCHED_IDLE);
	CHECK("equal", even > 0.4 && even < 2.5);
	CHECK("nice 10", nice > 4 && nice < 30);
	CHECK("idle", idle > 15);
}

static void calls(void)
{
	struct sched_param p = {0};
	struct {
		unsigned size, policy;
		unsigned long flags;
		int nice;
		unsigned priority;
		unsigned long runtime, deadline, period;
	} a = {.size = 48, .policy = SCHED_BATCH, .nice = 3};
	CHECK_OK("setattr", syscall(SYS_sched_setattr, 0, &a, 0));
	memset(&a, 0, sizeof a);
	CHECK_OK("getattr", syscall(SYS_sched_getattr, 0, &a, sizeof a, 0));
	show("policy %u nice %d priority %u flags %lu", a.policy, a.nice, a.priority, a.flags);
	a.size = 20;
	CHECK_ERR("setattr.size", syscall(SYS_sched_setattr, 0, &a, 0), E2BIG);
	CHECK_EQ("getpriority", getpriority(PRIO_PROCESS, 0), 3);
	CHECK_OK("setpriority.group", setpriority(PRIO_PGRP, 0, 5));
	CHECK_EQ("getpriority.group", getpriority(PRIO_PGRP, 0), 5);
	CHECK_ERR("getpriority.nobody", getpriority(PRIO_USER, 54321), ESRCH);
	CHECK_ERR("priority.which", getpriority(7, 0), EINVAL);
	CHECK_OK("reset_on_fork", sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &p));
	CHECK_EQ("reset_on_fork.seen", sched_getscheduler(0), SCHED_BATCH | SCHED_RESET_ON_FORK);
	int status;
	if (!fork())
		_exit(sched_getscheduler(0) == SCHED_BATCH && getpriority(PRIO_PROCESS, 0) == 5 ? 0 : 1);
	CHECK("reset_on_fork.child", wait(&status) > 0 && status == 0);
	p.sched_priority = 100;
	CHECK_ERR("fifo.100", sched_setscheduler(0, SCHED_FIFO, &p), EINVAL);
	if (fork()) {
		REQUIRE(wait(&status) > 0);
		return;
	}
	if (geteuid() == 0)
		REQUIRE(setuid(1234) == 0);
	p.sched_priority = 1;
	CHECK_ERR("fifo.user", sched_setscheduler(0, SCHED_FIFO, &p), EPERM);
	CHECK_ERR("nice.user", setpriority(PRIO_PROCESS, 0, -5), EACCES);
	CHECK_ERR("nice.other", setpriority(PRIO_PROCESS, getppid(), 19), EPERM);
	CHECK_OK("nice.up", setpriority(PRIO_PROCESS, 0, 15));
	_exit(0);
}

int main(void)
{
	cpu_set_t one;
	CPU_ZERO(&one);
	REQUIRE(sched_getaffinity(0, sizeof one, &one) == 0);
	for (int i = 0, found = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &one) && found++)
			CPU_CLR(i, &one);
	REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
	counters = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	REQUIRE(counters != MAP_FAILED);
	wake_ups();
	shares();
	calls();
	return check_done();
}
