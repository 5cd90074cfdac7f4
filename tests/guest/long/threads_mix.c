/* A pipeline of threads with mutexes, condition variables, semaphores, barriers and bare spinning; the sums come out exactly. */
#include "../c/check.h"
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdint.h>

#define WORKERS 5
#define ITEMS 60000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER, emptied = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static sem_t tokens;
static int queue[16], head, count;
static uint64_t total, per_round[8];
static _Thread_local uint64_t mine;

static uint64_t work(uint64_t x)
{
	for (int i = 0; i < 300; i++)
		x = (x ^ x >> 15) * 0x2545f4914f6cdd1d + (uint64_t)i;
	return x;
}

static void *consumes(void *arg)
{
	for (;;) {
		pthread_mutex_lock(&lock);
		while (count == 0)
			pthread_cond_wait(&filled, &lock);
		int item = queue[head];
		head = (head + 1) % 16;
		count--;
		pthread_cond_signal(&emptied);
		pthread_mutex_unlock(&lock);
		if (item < 0)
			break;
		mine += work((uint64_t)item);
	}
	__atomic_add_fetch(&total, mine, __ATOMIC_SEQ_CST);
	return arg;
}

static void *short_life(void *arg)
{
	return (void *)work((uint64_t)arg);
}

static void put(int item)
{
	pthread_mutex_lock(&lock);
	while (count == 16)
		pthread_cond_wait(&emptied, &lock);
	queue[(head + count++) % 16] = item;
	pthread_cond_signal(&filled);
	pthread_mutex_unlock(&lock);
}

static void *rounds(void *arg)
{
	for (int round = 0; round < 8; round++) {
		for (int i = 0; i < 1500; i++) {
			sem_wait(&tokens);
			uint64_t value = work((uint64_t)(long)arg * 1000 + (uint64_t)i);
			__atomic_add_fetch(&per_round[round], value, __ATOMIC_SEQ_CST);
			sem_post(&tokens);
		}
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[WORKERS];
	for (long i = 0; i < WORKERS; i++)
		REQUIRE(pthread_create(&threads[i], NULL, consumes, NULL) == 0);
	for (int i = 0; i < ITEMS; i++) {
		put(i);
		if (i % 10000 == 9999)
			show("put %d", i + 1);
	}
	for (int i = 0; i < WORKERS; i++)
		put(-1);
	for (int i = 0; i < WORKERS; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);
	show("total %016lx", total);

	REQUIRE(sem_init(&tokens, 0, 3) == 0 && pthread_barrier_init(&barrier, NULL, WORKERS) == 0);
	for (long i = 0; i < WORKERS; i++)
		REQUIRE(pthread_create(&threads[i], NULL, rounds, (void *)i) == 0);
	for (int i = 0; i < WORKERS; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);
	for (int round = 0; round < 8; round++)
		show("round %d %016lx", round, per_round[round]);

	/* threads come and go: each is made, runs and is joined */
	uint64_t sum = 0;
	for (long i = 0; i < 1500; i++) {
		void *result;
		REQUIRE(pthread_create(&threads[0], NULL, short_life, (void *)i) == 0 && pthread_join(threads[0], &result) == 0);
		sum += (uint64_t)result;
	}
	show("short lives %016lx", sum);
	return check_done();
}
