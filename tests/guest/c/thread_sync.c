/* Mutexes, condition variables, barriers, read-write locks, semaphores, spin locks and once, under contention. */
#include "check.h"
#include <pthread.h>
#include <semaphore.h>

#define THREADS 8
#define ROUNDS 2000

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t not_empty = PTHREAD_COND_INITIALIZER, not_full = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_spinlock_t spin;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static sem_t semaphore;
static long counter, spun, pair[2], torn, once_ran, phases[50], inside, most_inside;
static int queue[4], queued, head;

static void run(void *(*body)(void *), int n)
{
	pthread_t threads[THREADS * 3];
	for (long i = 0; i < n; i++)
		REQUIRE(pthread_create(&threads[i], NULL, body, (void *)i) == 0);
	for (int i = 0; i < n; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);
}

static void *adder(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&mutex);
		long seen = counter;
		if (i % 500 == (long)arg)
			sched_yield(); /* inside the lock: invite a lost update */
		counter = seen + 1;
		pthread_mutex_unlock(&mutex);
		pthread_spin_lock(&spin);
		spun++;
		pthread_spin_unlock(&spin);
	}
	return NULL;
}

static long consumed;
static void *worker(void *arg)
{
	int consumer = (long)arg % 2;
	for (int i = 1; i <= ROUNDS / 2; i++) {
		pthread_mutex_lock(&mutex);
		while (consumer ? queued == 0 : queued == 4)
			pthread_cond_wait(consumer ? &not_empty : &not_full, &mutex);
		if (consumer) {
			consumed += queue[head];
			head = (head + 1) % 4;
			queued--;
			pthread_cond_signal(&not_full);
		} else {
			queue[(head + queued++) % 4] = i;
			pthread_cond_signal(&not_empty);
		}
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

static int go;
static long woken;
static pthread_cond_t all = PTHREAD_COND_INITIALIZER;
static void *waits_for_all(void *arg)
{
	pthread_mutex_lock(&mutex);
	if (arg == (void *)(THREADS - 1)) {
		go = 1;
		pthread_cond_broadcast(&all);
	}
	while (!go)
		pthread_cond_wait(&all, &mutex);
	woken++;
	pthread_mutex_unlock(&mutex);
	return NULL;
}

static void *phased(void *arg)
{
	long serial = 0;
	(void)arg;
	for (int phase = 0; phase < 50; phase++) {
		__atomic_add_fetch(&phases[phase], 1, __ATOMIC_SEQ_CST);
		serial += pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD;
		if (__atomic_load_n(&phases[phase], __ATOMIC_SEQ_CST) != THREADS)
			__atomic_add_fetch(&torn, 1, __ATOMIC_SEQ_CST);
	}
	__atomic_add_fetch(&counter, serial, __ATOMIC_SEQ_CST);
	return NULL;
}

static void *reader_writer(void *arg)
{
	for (int i = 0; i < 500; i++) {
		if ((long)arg % 4 == 0) {
			pthread_rwlock_wrlock(&rwlock);
			pair[0]++;
			if (i % 100 == 0)
				sched_yield();
			pair[1]++;
			pthread_rwlock_unlock(&rwlock);
		} else {
			pthread_rwlock_rdlock(&rwlock);
			if (pair[0] != pair[1])
				__atomic_add_fetch(&torn, 1, __ATOMIC_SEQ_CST);
			pthread_rwlock_unlock(&rwlock);
		}
	}
	return NULL;
}

static void *limited(void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++) {
		sem_wait(&semaphore);
		long now = __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST);
		if (now > most_inside)
			most_inside = now;
		if (i % 20 == 0)
			sched_yield();
		__atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST);
		sem_post(&semaphore);
	}
	return NULL;
}

static void run_once(void)
{
	once_ran++;
}
static void *onces(void *arg)
{
	(void)arg;
	pthread_once(&once, run_once);
	return NULL;
}

int main(void)
{
	pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE);
	run(adder, THREADS);
	CHECK_EQ("mutex.no_lost_update", counter, THREADS * ROUNDS);
	CHECK_EQ("spin.no_lost_update", spun, THREADS * ROUNDS);
	run(worker, THREADS);
	CHECK_EQ("cond.queue_sum", consumed, THREADS / 2 * (ROUNDS / 2 * (ROUNDS / 2 + 1L) / 2));
	CHECK_EQ("cond.queue_empty", queued, 0);
	run(waits_for_all, THREADS);
	CHECK_EQ("cond.broadcast", woken, THREADS);
	pthread_barrier_init(&barrier, NULL, THREADS);
	counter = 0;
	run(phased, THREADS);
	CHECK_EQ("barrier.together", torn, 0);
	CHECK_EQ("barrier.one_serial_each", counter, 50);
	run(reader_writer, THREADS);
	CHECK_EQ("rwlock.not_torn", torn, 0);
	CHECK_EQ("rwlock.writes", pair[0], THREADS / 4 * 500);
	sem_init(&semaphore, 0, 2);
	run(limited, THREADS);
	CHECK("semaphore.limit", most_inside >= 1 && most_inside <= 2);
	run(onces, THREADS * 3);
	CHECK_EQ("once", once_ran, 1);

	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 10000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&mutex);
	CHECK_EQ("cond.timedwait", pthread_cond_timedwait(&all, &mutex, &until), ETIMEDOUT);
	CHECK_EQ("mutex.trylock_busy", pthread_mutex_trylock(&mutex), EBUSY);
	CHECK_EQ("mutex.timedlock", pthread_mutex_timedlock(&mutex, &until), ETIMEDOUT);
	pthread_mutex_unlock(&mutex);
	REQUIRE(sem_wait(&semaphore) == 0 && sem_wait(&semaphore) == 0);
	CHECK_ERR("semaphore.trywait", sem_trywait(&semaphore), EAGAIN);
	CHECK_ERR("semaphore.timedwait", sem_timedwait(&semaphore, &until), ETIMEDOUT);
	return check_done();
}
