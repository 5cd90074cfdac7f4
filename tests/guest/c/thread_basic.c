/* pthread_create and join: return values, 20 threads, ids, stacks, thousands made one after another, detached ones. */
#include "check.h"
#include <pthread.h>
#include <sys/syscall.h>

#define MANY 20

static pthread_barrier_t all_up;
static long ids[MANY];

static void *square(void *arg)
{
	return (void *)((long)arg * (long)arg);
}

static void *report(void *arg)
{
	long i = (long)arg;
	ids[i] = syscall(SYS_gettid);
	pthread_barrier_wait(&all_up);
	return (void *)(long)(getpid() == (pid_t)syscall(SYS_getpid) && ids[i] != getpid());
}

static long deep(int n)
{
	volatile char frame[1024];
	frame[0] = (char)n;
	return n == 0 ? 0 : deep(n - 1) + 1 + (frame[0] != (char)n);
}

static void *use_stack(void *arg)
{
	return (void *)deep((int)(long)arg);
}

static atomic_int detached_done;
static void *detached(void *arg)
{
	(void)arg;
	atomic_fetch_add(&detached_done, 1);
	return NULL;
}

static void *exits(void *arg)
{
	pthread_exit(arg);
}

static void *sleeps(void *arg)
{
	for (;;)
		pause();
	return arg;
}

int main(void)
{
	pthread_t threads[MANY], one;
	void *result;
	long sum = 0;

	for (long i = 0; i < MANY; i++)
		REQUIRE(pthread_create(&threads[i], NULL, square, (void *)i) == 0);
	for (int i = 0; i < MANY; i++) {
		REQUIRE(pthread_join(threads[i], &result) == 0);
		sum += (long)result;
	}
	CHECK_EQ("join.values", sum, 2470);

	REQUIRE(pthread_barrier_init(&all_up, NULL, MANY + 1) == 0);
	for (long i = 0; i < MANY; i++)
		REQUIRE(pthread_create(&threads[i], NULL, report, (void *)i) == 0);
	pthread_barrier_wait(&all_up);
	sum = 0;
	for (int i = 0; i < MANY; i++) {
		REQUIRE(pthread_join(threads[i], &result) == 0);
		sum += (long)result;
	}
	CHECK_EQ("twenty_at_once", sum, MANY);
	int distinct = 1;
	for (int i = 0; i < MANY; i++)
		for (int j = 0; j < i; j++)
			distinct &= ids[i] != ids[j];
	CHECK("gettid.distinct", distinct);
	CHECK("gettid.main_is_pid", syscall(SYS_gettid) == getpid());

	REQUIRE(pthread_create(&one, NULL, use_stack, (void *)4000L) == 0 && pthread_join(one, &result) == 0);
	CHECK_EQ("stack.4mb", (long)result, 4000);
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	REQUIRE(pthread_attr_setstacksize(&attr, 32 << 20) == 0);
	REQUIRE(pthread_create(&one, &attr, use_stack, (void *)25000L) == 0 && pthread_join(one, &result) == 0);
	CHECK_EQ("stack.32mb", (long)result, 25000);

	sum = 0;
	for (long i = 0; i < 2000; i++) {
		REQUIRE(pthread_create(&one, NULL, square, (void *)i) == 0 && pthread_join(one, &result) == 0);
		sum += (long)result == i * i;
	}
	CHECK_EQ("two_thousand_in_turn", sum, 2000);

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (int i = 0; i < 100; i++)
		REQUIRE(pthread_create(&one, &attr, detached, NULL) == 0);
	for (int i = 0; i < 5000 && atomic_load(&detached_done) < 100; i++)
		sleep_ms(1);
	CHECK_EQ("detached.all_ran", atomic_load(&detached_done), 100);

	REQUIRE(pthread_create(&one, NULL, exits, (void *)77) == 0 && pthread_join(one, &result) == 0);
	CHECK_EQ("pthread_exit", (long)result, 77);
	REQUIRE(pthread_create(&one, NULL, sleeps, NULL) == 0);
	CHECK_EQ("tryjoin.busy", pthread_tryjoin_np(one, &result), EBUSY);
	CHECK_EQ("cancel", pthread_cancel(one), 0);
	REQUIRE(pthread_join(one, &result) == 0);
	CHECK("cancel.result", result == PTHREAD_CANCELED);
	CHECK_EQ("join.self", pthread_join(pthread_self(), NULL), EDEADLK);
	return check_done();
}
