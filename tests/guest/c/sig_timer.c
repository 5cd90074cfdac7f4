/* Timers that send signals: setitimer real, virtual and prof, alarm, timer_create with values, overrun and threads' ids. */
#include "check.h"
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>

static atomic_int ticks;
static volatile int code, value, overruns;

static void on_tick(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	code = info->si_code;
	value = info->si_value.sival_int;
	if (info->si_code == SI_TIMER && info->si_overrun > overruns)
		overruns = info->si_overrun;
	atomic_fetch_add(&ticks, 1);
}

static void set(int signal)
{
	struct sigaction act = {.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART};
	REQUIRE(sigaction(signal, &act, NULL) == 0);
}

static int wait_ticks(int n, int spin)
{
	long until = now_ms() + 20000;
	while (atomic_load(&ticks) < n && now_ms() < until)
		if (!spin)
			sleep_ms(1);
	return atomic_load(&ticks) >= n;
}

static long remaining_us(int which)
{
	struct itimerval now;
	REQUIRE(getitimer(which, &now) == 0);
	return now.it_value.tv_sec * 1000000 + now.it_value.tv_usec;
}

int main(void)
{
	struct itimerval each = {{0, 3000}, {0, 3000}}, once = {{0, 0}, {0, 5000}}, off = {{0, 0}, {0, 0}}, old;
	set(SIGALRM);
	set(SIGVTALRM);
	set(SIGPROF);
	set(SIGRTMIN);

	long start = now_ms();
	REQUIRE(setitimer(ITIMER_REAL, &each, NULL) == 0);
	CHECK("real.five_ticks", wait_ticks(5, 0));
	CHECK("real.not_early", now_ms() - start >= 14);
	CHECK("real.while_spinning", wait_ticks(8, 1));
	CHECK_EQ("real.code", code, SI_KERNEL);
	REQUIRE(setitimer(ITIMER_REAL, &off, &old) == 0);
	CHECK("real.old_value", old.it_interval.tv_usec == 3000 && old.it_value.tv_usec <= 3000);
	int before = atomic_load(&ticks);
	sleep_ms(10);
	CHECK_EQ("real.stopped", atomic_load(&ticks) - before, 0);

	atomic_store(&ticks, 0);
	REQUIRE(setitimer(ITIMER_REAL, &once, NULL) == 0);
	CHECK("once.remaining", remaining_us(ITIMER_REAL) <= 5000);
	CHECK("once.fires", wait_ticks(1, 0));
	sleep_ms(12);
	CHECK("once.only", atomic_load(&ticks) == 1 && remaining_us(ITIMER_REAL) == 0);

	atomic_store(&ticks, 0);
	REQUIRE(setitimer(ITIMER_VIRTUAL, &once, NULL) == 0);
	sleep_ms(15);
	CHECK_EQ("virtual.not_while_asleep", atomic_load(&ticks), 0);
	CHECK("virtual.while_running", wait_ticks(1, 1));
	atomic_store(&ticks, 0);
	REQUIRE(setitimer(ITIMER_PROF, &once, NULL) == 0);
	CHECK("prof.while_running", wait_ticks(1, 1));

	CHECK_EQ("alarm.none_before", alarm(100), 0);
	unsigned left = alarm(0);
	CHECK("alarm.left", left == 100 || left == 99);
	CHECK("alarm.is_itimer", remaining_us(ITIMER_REAL) == 0);

	timer_t timer, second;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 321};
	atomic_store(&ticks, 0);
	CHECK_OK("timer.create", timer_create(CLOCK_MONOTONIC, &event, &timer));
	struct itimerspec spec = {{0, 3000000}, {0, 3000000}}, now;
	CHECK_OK("timer.set", timer_settime(timer, 0, &spec, NULL));
	CHECK("timer.ticks", wait_ticks(3, 0));
	CHECK("timer.info", code == SI_TIMER && value == 321);
	REQUIRE(timer_gettime(timer, &now) == 0);
	CHECK("timer.get", now.it_interval.tv_nsec == 3000000 && now.it_value.tv_nsec > 0 && now.it_value.tv_nsec <= 3000000);
	sigset_t blocked;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGRTMIN);
	REQUIRE(sigprocmask(SIG_BLOCK, &blocked, NULL) == 0);
	sleep_ms(20);
	REQUIRE(sigprocmask(SIG_UNBLOCK, &blocked, NULL) == 0);
	CHECK("timer.overrun", overruns >= 1 && timer_getoverrun(timer) >= 0);
	CHECK_OK("timer.delete", timer_delete(timer));
	CHECK_ERR("timer.deleted", timer_settime(timer, 0, &spec, NULL), EINVAL);

	atomic_store(&ticks, 0);
	long at = clock_ns(CLOCK_MONOTONIC) + 8000000;
	struct itimerspec absolute = {{0, 0}, {at / 1000000000, at % 1000000000}};
	event._sigev_un._tid = (int)syscall(SYS_gettid);
	event.sigev_notify = SIGEV_THREAD_ID;
	REQUIRE(timer_create(CLOCK_MONOTONIC, &event, &second) == 0);
	CHECK_OK("timer.absolute", timer_settime(second, TIMER_ABSTIME, &absolute, NULL));
	CHECK("timer.absolute_fires", wait_ticks(1, 0) && clock_ns(CLOCK_MONOTONIC) >= at);
	REQUIRE(timer_delete(second) == 0);

	event.sigev_signo = 99;
	CHECK_ERR("error.signal", timer_create(CLOCK_MONOTONIC, &event, &timer), EINVAL);
	CHECK_ERR("error.clock", timer_create(9999, NULL, &timer), EINVAL);
	CHECK_ERR("error.itimer", setitimer(7, &off, NULL), EINVAL);
	struct itimerval bad = {{0, 0}, {0, 1000000}};
	CHECK_ERR("error.usec", setitimer(ITIMER_REAL, &bad, NULL), EINVAL);
	return check_done();
}
