/* Periodic timers that nobody listens to: what their signal says when it is taken late, ignored ones that are listened to again, timers without a
 * signal, and a timerfd that is read late. Counts are checked roughly: the machine may be busy. */
#include "check.h"
#include <poll.h>
#include <signal.h>
#include <sys/timerfd.h>

#define PERIOD_MS 5
#define PERIOD_NS (PERIOD_MS * 1000000)

static volatile sig_atomic_t signals;

static void count(UNUSED int sig)
{
	signals++;
}

static timer_t start(int notify)
{
	struct sigevent e = {.sigev_notify = notify, .sigev_signo = SIGRTMIN};
	struct itimerspec spec = {{0, PERIOD_NS}, {0, PERIOD_NS}};
	timer_t t;
	REQUIRE(timer_create(CLOCK_MONOTONIC, &e, &t) == 0 && timer_settime(t, 0, &spec, NULL) == 0);
	return t;
}

static void late(void)
{
	sigset_t set;
	siginfo_t info;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	REQUIRE(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	long begin = now_ms();
	timer_t t = start(SIGEV_SIGNAL);
	sleep_ms(20 * PERIOD_MS);
	CHECK_EQ("taken late", sigwaitinfo(&set, &info), SIGRTMIN);
	long periods = (now_ms() - begin) / PERIOD_MS;
	CHECK("it counts what it missed", info.si_overrun >= 18 && info.si_overrun <= periods && timer_getoverrun(t) == info.si_overrun);
	sleep_ms(10 * PERIOD_MS);
	CHECK_EQ("the next one", sigwaitinfo(&set, &info), SIGRTMIN);
	CHECK("counts from there on", info.si_overrun >= 8 && info.si_overrun < (now_ms() - begin) / PERIOD_MS - 17);
	struct itimerspec left;
	sleep_ms(10 * PERIOD_MS);
	CHECK("what is left is less than a period", timer_gettime(t, &left) == 0 && left.it_value.tv_sec == 0 && left.it_value.tv_nsec <= PERIOD_NS);
	REQUIRE(timer_delete(t) == 0);
	while (sigtimedwait(&set, &info, &(struct timespec){0}) > 0)
		;
	REQUIRE(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
}

static volatile sig_atomic_t ticks[2];

static void tick(UNUSED int sig, siginfo_t *info, UNUSED void *context)
{
	ticks[info->si_value.sival_int & 1]++;
}

/* A classic signal is queued once, but for each timer. */
static void two_of_one_signal(void)
{
	struct sigaction sa = {.sa_sigaction = tick, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct itimerspec spec = {{0, PERIOD_NS}, {0, PERIOD_NS}};
	sigset_t set;
	timer_t t[2];
	REQUIRE(sigaction(SIGUSR1, &sa, NULL) == 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	REQUIRE(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	for (int k = 0; k < 2; k++) {
		struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = k};
		REQUIRE(timer_create(CLOCK_MONOTONIC, &e, &t[k]) == 0 && timer_settime(t[k], 0, &spec, NULL) == 0);
	}
	sleep_ms(4 * PERIOD_MS);
	REQUIRE(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
	for (long until = now_ms() + 10000; (ticks[0] < 4 || ticks[1] < 4) && now_ms() < until;)
		sleep_ms(1);
	CHECK("both timers of one signal go on", ticks[0] >= 4 && ticks[1] >= 4);
	CHECK("one that is set anew while its signal waits", !timer_delete(t[0]) && !sigprocmask(SIG_BLOCK, &set, NULL));
	sleep_ms(2 * PERIOD_MS);
	REQUIRE(timer_settime(t[1], 0, &spec, NULL) == 0);
	sleep_ms(2 * PERIOD_MS);
	ticks[1] = 0;
	REQUIRE(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
	for (long until = now_ms() + 10000; ticks[1] < 3 && now_ms() < until;)
		sleep_ms(1);
	CHECK("goes on", ticks[1] >= 3);
	REQUIRE(timer_delete(t[1]) == 0);
}

static void ignored(void)
{
	signal(SIGRTMIN, SIG_IGN);
	timer_t t = start(SIGEV_SIGNAL);
	sleep_ms(5 * PERIOD_MS);
	CHECK_EQ("none while ignored", signals, 0);
	signal(SIGRTMIN, count);
	for (long until = now_ms() + 10000; signals < 3 && now_ms() < until;)
		sleep_ms(1);
	CHECK("they come when listened to", signals >= 3);
	REQUIRE(timer_delete(t) == 0);
	t = start(SIGEV_NONE);
	signals = 0;
	sleep_ms(5 * PERIOD_MS);
	struct itimerspec left;
	CHECK("a timer without a signal runs", timer_gettime(t, &left) == 0 && left.it_value.tv_nsec > 0 && left.it_value.tv_nsec <= PERIOD_NS);
	CHECK_EQ("and sends none", signals, 0);
	struct itimerspec once = {{0, 0}, {0, 1000000}};
	REQUIRE(timer_settime(t, 0, &once, NULL) == 0);
	sleep_ms(5);
	CHECK("once, it has nothing left", timer_gettime(t, &left) == 0 && left.it_value.tv_nsec == 0);
	REQUIRE(timer_delete(t) == 0);
}

static void file(void)
{
	struct itimerspec spec = {{0, PERIOD_NS}, {0, PERIOD_NS}};
	unsigned long n = 0;
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);
	long begin = now_ms();
	REQUIRE(fd >= 0 && timerfd_settime(fd, 0, &spec, NULL) == 0);
	sleep_ms(20 * PERIOD_MS);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	CHECK_EQ("it can be read", poll(&p, 1, 0), 1);
	CHECK("it says how many", read(fd, &n, sizeof n) == sizeof n && n >= 19 && (long)n <= (now_ms() - begin) / PERIOD_MS);
	CHECK_EQ("and goes on", poll(&p, 1, 10000), 1);
	sleep_ms(10 * PERIOD_MS);
	CHECK("what is left is less than a period",
	      timerfd_gettime(fd, &spec) == 0 && spec.it_value.tv_nsec > 0 && spec.it_value.tv_nsec <= PERIOD_NS);
	CHECK("asking loses nothing", read(fd, &n, sizeof n) == sizeof n && n >= 10);
}

int main(void)
{
	late();
	two_of_one_signal();
	ignored();
	file();
	return check_done();
}
