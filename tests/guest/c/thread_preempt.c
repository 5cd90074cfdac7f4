/* Threads that never give up the processor still share it: spinners, a spinner and a sleeper, registers kept throughout. */
#include "check.h"
#include <pthread.h>

static atomic_int turn, stop;
static atomic_long spins[4];

static void *takes_turns(void *arg)
{ /* busy waiting for another thread: needs preemption on one processor */
	int me = (int)(long)arg;
	for (int i = 0; i < 10; i++) {
		while (atomic_load(&turn) % 4 != me) {}
		atomic_fetch_add(&turn, 1);
	}
	return NULL;
}

static void *spins_until_stopped(void *arg)
{
	atomic_long *mine = &spins[(long)arg];
	while (!atomic_load(&stop))
		atomic_fetch_add(mine, 1);
	return NULL;
}

static void *keeps_registers(void *arg)
{
	unsigned long seed = (unsigned long)arg, wrong = 0;
	for (int round = 0; round < 200; round++) {
		unsigned long a = seed * 3, b = seed * 5, c = seed * 7, d = seed * 11, e = seed * 13, f = seed * 17, n = 20000;
		__asm__ volatile("1: add $1, %0\n add $2, %1\n add $3, %2\n add $4, %3\n add $5, %4\n add $6, %5\n dec %6\n jnz 1b"
				 : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f), "+r"(n)
				 :
				 : "cc");
		wrong += a != seed * 3 + 20000 || b != seed * 5 + 40000 || c != seed * 7 + 60000;
		wrong += d != seed * 11 + 80000 || e != seed * 13 + 100000 || f != seed * 17 + 120000;
	}
	return (void *)wrong;
}

int main(void)
{
	pthread_t threads[4];
	void *result;
	long wrong = 0;
	for (long i = 0; i < 4; i++)
		REQUIRE(pthread_create(&threads[i], NULL, takes_turns, (void *)i) == 0);
	for (int i = 0; i < 4; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);
	CHECK_EQ("turns", atomic_load(&turn), 40);

	for (long i = 0; i < 4; i++)
		REQUIRE(pthread_create(&threads[i], NULL, spins_until_stopped, (void *)i) == 0);
	sleep_ms(60);                    /* wakes up although four threads spin */
	for (int i = 0; i < 2000; i++) { /* a busy machine may take long to give each of them a slice */
		int all = 1;
		for (int j = 0; j < 4; j++)
			all &= atomic_load(&spins[j]) > 0;
		if (all)
			break;
		sleep_ms(5);
	}
	atomic_store(&stop, 1);
	for (int i = 0; i < 4; i++) {
		REQUIRE(pthread_join(threads[i], NULL) == 0);
		CHECK("spinner.progressed", atomic_load(&spins[i]) > 0);
	}
	for (long i = 0; i < 4; i++)
		REQUIRE(pthread_create(&threads[i], NULL, keeps_registers, (void *)(i + 1)) == 0);
	for (int i = 0; i < 4; i++) {
		REQUIRE(pthread_join(threads[i], &result) == 0);
		wrong += (long)result;
	}
	CHECK_EQ("registers.kept", wrong, 0);
	return check_done();
}
