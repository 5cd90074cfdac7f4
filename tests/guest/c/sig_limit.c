/* RLIMIT_SIGPENDING (getrlimit(2)): queued signals and POSIX timers of a user. */
#include "check.h"
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define LIMIT 10

static int queued(int sig)
{
	union sigval v = {.sival_int = 7};
	int n = 0;
	while (n < 100 && sigqueue(getpid(), sig, v) == 0)
		n++;
	return n;
}

static int timers(timer_t *t, int max)
{
	struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	int n = 0;
	while (n < max && timer_create(CLOCK_MONOTONIC, &e, &t[n]) == 0)
		n++;
	return n;
}

static void sigq(const char *name)
{
	char line[256];
	FILE *f = fopen("/proc/self/status", "r");
	REQUIRE(f);
	while (fgets(line, sizeof line, f))
		if (!strncmp(line, "SigQ", 4)) {
			line[strcspn(line, "\n")] = 0;
			show("%s: %s", name, line);
		}
	fclose(f);
}

static void limited(void)
{
	struct rlimit l = {LIMIT, LIMIT};
	sigset_t set;
	siginfo_t info;
	timer_t t[100];
	/* A user that has nothing else. */
	REQUIRE(setresgid(4321, 4321, 4321) == 0 && setresuid(4321, 4321, 4321) == 0 && setrlimit(RLIMIT_SIGPENDING, &l) == 0);
	sigfillset(&set);
	REQUIRE(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	sigq("none");
	CHECK_EQ("so many are queued", queued(SIGRTMIN), LIMIT);
	CHECK_EQ("then", errno, EAGAIN);
	sigq("full");
	CHECK_ERR("another real-time signal", sigqueue(getpid(), SIGRTMIN + 1, (union sigval){0}), EAGAIN);
	siginfo_t forged = {.si_code = SI_TIMER};
	CHECK_ERR("one that looks like a timer's", syscall(SYS_rt_sigqueueinfo, getpid(), SIGRTMIN + 1, &forged), EAGAIN);
	CHECK_OK("kill is not refused", kill(getpid(), SIGRTMIN + 2));
	CHECK_OK("nor a classic signal", kill(getpid(), SIGUSR2));
	CHECK_OK("nor one with a value", sigqueue(getpid(), SIGHUP, (union sigval){0}));
	CHECK_EQ("no room for a timer", timers(t, 1), 0);
	CHECK_EQ("either", errno, EAGAIN);
	CHECK_EQ("one is taken", sigwaitinfo(&set, &info), SIGHUP);
	for (int k = 0; k < 3; k++)
		show("taken: %d", sigwaitinfo(&set, &info) - (k ? SIGRTMIN : 0));
	while (sigtimedwait(&set, &info, &(struct timespec){0}) > 0)
		;
	sigq("empty");
	CHECK_EQ("timers", timers(t, 100), LIMIT);
	sigq("all timers");
	CHECK_EQ("no room for a signal", queued(SIGRTMIN), 0);
	struct itimerspec soon = {.it_value = {.tv_nsec = 1000000}};
	for (int k = 0; k < LIMIT; k++)
		CHECK_OK("a timer's signal has its place", timer_settime(t[k], 0, &soon, NULL));
	CHECK_EQ("it comes", sigwaitinfo(&set, &info), SIGUSR1);
	CHECK_EQ("as one of a timer", info.si_code, SI_TIMER);
	for (int k = 0; k < LIMIT; k++)
		CHECK_OK("delete", timer_delete(t[k]));
	while (sigtimedwait(&set, &info, &(struct timespec){0}) > 0)
		;
	CHECK_EQ("all room again", queued(SIGRTMIN), LIMIT);
}

int main(void)
{
	int status;
	pid_t child = fork();
	if (!child) {
		limited();
		_exit(check_done());
	}
	REQUIRE(waitpid(child, &status, 0) == child);
	CHECK_EQ("the limited part", status, 0);
	return check_done();
}
