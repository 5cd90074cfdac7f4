/* What CPU time triggers: RLIMIT_CPU, ITIMER_VIRTUAL and PROF, POSIX timers of a process's and a thread's clock; none of it while everybody sleeps. */
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

static atomic_int got[65];

static void count(int signal)
{
	atomic_fetch_add(&got[signal], 1);
}

static void spin_until(atomic_int *what, int n)
{
	for (long until = now_ms() + 30000; atomic_load(what) < n && now_ms() < until;) {}
}

static void burn_ms(long ms)
{
	for (long until = clock_ns(CLOCK_PROCESS_CPUTIME_ID) + ms * 1000000; clock_ns(CLOCK_PROCESS_CPUTIME_ID) < until;) {}
}

/* SIGXCPU at the soft limit, SIGKILL at the hard one. */
static void cpu_limit(void)
{
	int told[2], status;
	struct rlimit limit = {1, 2}, now;
	REQUIRE(pipe(told) == 0);
	pid_t pid = fork();
	if (!pid) {
		signal(SIGXCPU, count);
		REQUIRE(setrlimit(RLIMIT_CPU, &limit) == 0);
		spin_until(&got[SIGXCPU], 1);
		REQUIRE(getrlimit(RLIMIT_CPU, &now) == 0);
		int facts[2] = {got[SIGXCPU], (int)now.rlim_cur};
		REQUIRE(write(told[1], facts, sizeof facts) == sizeof facts);
		for (;;) {}
	}
	int facts[2] = {0};
	close(told[1]);
	REQUIRE(read(told[0], facts, sizeof facts) == sizeof facts && waitpid(pid, &status, 0) == pid);
	show("SIGXCPU %d, soft limit then %d, killed by %d", facts[0], facts[1], WTERMSIG(status));
	pid = fork();
	if (!pid) {
		limit = (struct rlimit){1, 1};
		REQUIRE(setrlimit(RLIMIT_CPU, &limit) == 0);
		for (;;) {}
	}
	REQUIRE(waitpid(pid, &status, 0) == pid);
	CHECK("killed at once", WIFSIGNALED(status));
}

static void interval(int which, int signal)
{
	struct itimerval off = {{0, 0}, {0, 0}}, t = {{0, 20000}, {0, 20000}}, left;
	struct sigaction act = {.sa_handler = count};
	REQUIRE(sigaction(signal, &act, NULL) == 0);
	got[signal] = 0;
	REQUIRE(setitimer(which, &t, NULL) == 0);
	sleep_ms(100);
	CHECK_EQ("itimer.asleep", got[signal], 0);
	spin_until(&got[signal], 3);
	CHECK("itimer.running", got[signal] >= 3);
	CHECK("itimer.left", getitimer(which, &left) == 0 && left.it_interval.tv_usec == 20000 && left.it_value.tv_usec <= 20000);
	REQUIRE(setitimer(which, &off, NULL) == 0);
	t.it_interval.tv_usec = t.it_value.tv_usec = 1;
	REQUIRE(setitimer(which, &t, NULL) == 0);
	sleep_ms(50);
	REQUIRE(setitimer(which, &off, NULL) == 0);
}

static timer_t timer_of(clockid_t clock, int signal, long ms)
{
	timer_t timer;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = signal};
	struct itimerspec spec = {{0, 0}, {0, ms * 1000000}};
	struct sigaction act = {.sa_handler = count};
	REQUIRE(sigaction(signal, &act, NULL) == 0);
	CHECK_OK("timer_create", timer_create(clock, &event, &timer));
	REQUIRE(timer_settime(timer, 0, &spec, NULL) == 0);
	return timer;
}

static void *other(void *arg)
{
	timer_t timer = timer_of(CLOCK_THREAD_CPUTIME_ID, SIGRTMIN + 1, 60);
	pthread_barrier_wait(arg);
	pthread_barrier_wait(arg); /* asleep while the other thread burns */
	int before = got[SIGRTMIN + 1];
	spin_until(&got[SIGRTMIN + 1], 1);
	REQUIRE(timer_delete(timer) == 0);
	return (void *)(long)before;
}

static void posix_timers(void)
{
	pthread_barrier_t both;
	pthread_t thread;
	void *before;
	clockid_t mine;
	timer_t timer = timer_of(CLOCK_PROCESS_CPUTIME_ID, SIGRTMIN, 50);
	sleep_ms(120);
	CHECK_EQ("process.asleep", got[SIGRTMIN], 0);
	spin_until(&got[SIGRTMIN], 1);
	CHECK_EQ("process.running", got[SIGRTMIN], 1);
	REQUIRE(timer_delete(timer) == 0);
	pthread_barrier_init(&both, NULL, 2);
	REQUIRE(pthread_create(&thread, NULL, other, &both) == 0);
	pthread_barrier_wait(&both);
	burn_ms(100);
	pthread_barrier_wait(&both);
	REQUIRE(pthread_join(thread, &before) == 0);
	CHECK_EQ("thread.other_burns", (long)before, 0);
	CHECK_EQ("thread.running", got[SIGRTMIN + 1], 1);
	REQUIRE(pthread_getcpuclockid(pthread_self(), &mine) == 0);
	timer = timer_of(mine, SIGRTMIN + 2, 20);
	spin_until(&got[SIGRTMIN + 2], 1);
	CHECK_EQ("thread.by_clock_id", got[SIGRTMIN + 2], 1);
	REQUIRE(timer_delete(timer) == 0);
	CHECK_ERR("clock.raw", timer_create(CLOCK_MONOTONIC_RAW, NULL, &timer), ENOTSUP);
	CHECK_ERR("clock.unknown", timer_create(77, NULL, &timer), EINVAL);
	CHECK_OK("clock.tai", timer_create(CLOCK_TAI, NULL, &timer));
}

int main(void)
{
	cpu_limit();
	interval(ITIMER_PROF, SIGPROF);
	interval(ITIMER_VIRTUAL, SIGVTALRM);
	posix_timers();
	return check_done();
}
