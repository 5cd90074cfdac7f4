/* nanosleep and clock_nanosleep: never too short, not absurdly long, many sleepers wake in order, absolute times, errors. */
#include "check.h"
#include <pthread.h>

/* A busy machine may be late by any amount; only an upper bound of this size is worth checking. */
#define FAR_TOO_LONG_MS 10000

static int slept(clockid_t clock, long ns)
{
	struct timespec t = {ns / 1000000000, ns % 1000000000};
	long start = clock_ns(CLOCK_MONOTONIC);
	if (clock < 0 ? nanosleep(&t, NULL) : clock_nanosleep(clock, 0, &t, NULL))
		return 0;
	long took = clock_ns(CLOCK_MONOTONIC) - start;
	return took >= ns && took < ns + FAR_TOO_LONG_MS * 1000000L;
}

static int slept_until(clockid_t clock, long ms)
{
	long at = clock_ns(clock) + ms * 1000000;
	struct timespec t = {at / 1000000000, at % 1000000000};
	return clock_nanosleep(clock, TIMER_ABSTIME, &t, NULL) == 0 && clock_ns(clock) >= at;
}

#define SLEEPERS 12
static atomic_int place;
static int order[SLEEPERS];
static long start_at;

static void *sleeper(void *arg)
{
	long me = (long)arg, at = start_at + (me * 7 % SLEEPERS) * 8000000;
	struct timespec t = {at / 1000000000, at % 1000000000};
	REQUIRE(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == 0);
	order[me] = clock_ns(CLOCK_MONOTONIC) >= at;
	atomic_fetch_add(&place, 1);
	return NULL;
}

int main(void)
{
	CHECK("nanosleep.0", slept(-1, 0));
	CHECK("nanosleep.1ns", slept(-1, 1));
	CHECK("nanosleep.50us", slept(-1, 50000));
	CHECK("nanosleep.1ms", slept(-1, 1000000));
	CHECK("nanosleep.20ms", slept(-1, 20000000));
	CHECK("clock_nanosleep.monotonic", slept(CLOCK_MONOTONIC, 5000000));
	CHECK("clock_nanosleep.realtime", slept(CLOCK_REALTIME, 5000000));
	CHECK("clock_nanosleep.boottime", slept(CLOCK_BOOTTIME, 5000000));
	CHECK("absolute.monotonic", slept_until(CLOCK_MONOTONIC, 10));
	CHECK("absolute.realtime", slept_until(CLOCK_REALTIME, 10));
	CHECK("absolute.past", slept_until(CLOCK_MONOTONIC, -100));
	long start = now_ms();
	CHECK("usleep", usleep(10000) == 0 && now_ms() - start >= 9);

	pthread_t threads[SLEEPERS];
	start_at = clock_ns(CLOCK_MONOTONIC) + 5000000;
	for (long i = 0; i < SLEEPERS; i++)
		REQUIRE(pthread_create(&threads[i], NULL, sleeper, (void *)i) == 0);
	int early = 0;
	for (int i = 0; i < SLEEPERS; i++) {
		REQUIRE(pthread_join(threads[i], NULL) == 0);
		early += !order[i];
	}
	CHECK_EQ("sleepers.none_early", early, 0);
	CHECK_EQ("sleepers.all_woke", atomic_load(&place), SLEEPERS);

	CHECK_ERR("error.nanoseconds", nanosleep(&(struct timespec){0, 1000000000}, NULL), EINVAL);
	CHECK_ERR("error.negative", nanosleep(&(struct timespec){-1, 0}, NULL), EINVAL);
	CHECK_EQ("error.clock", clock_nanosleep(999, 0, &(struct timespec){0, 1}, NULL), EINVAL);
	CHECK_EQ("error.cputime_thread", clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &(struct timespec){0, 1}, NULL), EINVAL);
	return check_done();
}
