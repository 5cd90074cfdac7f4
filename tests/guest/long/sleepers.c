/* Sixteen threads that sleep, wait with timeouts and meet at barriers: time never goes back and no wait is too short. */
#include "../c/check.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>

#define THREADS 16
#define ROUNDS 20
static pthread_barrier_t barrier;
static atomic_long last, back, early;
static int word;

static void observe(void)
{
	long now = clock_ns(CLOCK_MONOTONIC), seen = atomic_load(&last);
	while (now > seen && !atomic_compare_exchange_weak(&last, &seen, now)) {}
}

static void *body(void *arg)
{
	long me = (long)arg, mine = 0;
	for (int round = 0; round < ROUNDS; round++) {
		long start = clock_ns(CLOCK_MONOTONIC), ns = 3000000 + (me * 7 + round * 3) % 16 * 1000000;
		struct timespec t = {0, ns}, at = {(start + ns) / 1000000000, (start + ns) % 1000000000};
		if (start < mine)
			atomic_fetch_add(&back, 1);
		switch (me % 4) {
		case 0:
			REQUIRE(nanosleep(&t, NULL) == 0);
			break;
		case 1:
			REQUIRE(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == 0);
			break;
		case 2:
			REQUIRE(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &t, NULL, 0) == -1 && errno == ETIMEDOUT);
			break;
		default:
			REQUIRE(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, &at, NULL, -1) == -1 && errno == ETIMEDOUT);
		}
		mine = clock_ns(CLOCK_MONOTONIC);
		if (mine - start < ns)
			atomic_fetch_add(&early, 1);
		observe();
		pthread_barrier_wait(&barrier);
		/* whoever read the clock before the barrier read no later than anybody after it */
		if (clock_ns(CLOCK_MONOTONIC) < atomic_load(&last))
			atomic_fetch_add(&back, 1);
		pthread_barrier_wait(&barrier);
		if (me == 0)
			show("round %d", round);
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];
	REQUIRE(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
	for (long i = 0; i < THREADS; i++)
		REQUIRE(pthread_create(&threads[i], NULL, body, (void *)i) == 0);
	for (int i = 0; i < THREADS; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);
	CHECK_EQ("early", atomic_load(&early), 0);
	CHECK_EQ("back", atomic_load(&back), 0);
	return check_done();
}
