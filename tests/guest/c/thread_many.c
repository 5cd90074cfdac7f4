/* Thousands of threads: half asleep with a timeout, half waiting for a condition; a signal to one of them, then all of them end. */
#include "check.h"
#include <pthread.h>
#include <signal.h>

#define THREADS 6000
#define STACK 16384

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int let_go, ran;
static atomic_int signals;

static void on_signal(int signal)
{
	(void)signal;
	atomic_fetch_add(&signals, 1);
}

static void *body(void *arg)
{
	struct timespec end;
	REQUIRE(clock_gettime(CLOCK_REALTIME, &end) == 0);
	end.tv_sec += 100;
	pthread_mutex_lock(&mutex);
	while (!let_go) {
		if ((long)arg % 2)
			pthread_cond_timedwait(&condition, &mutex, &end);
		else
			pthread_cond_wait(&condition, &mutex);
	}
	ran++;
	pthread_mutex_unlock(&mutex);
	return NULL;
}

int main(void)
{
	static pthread_t threads[THREADS];
	pthread_attr_t attr;
	int made = 0;
	REQUIRE(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, STACK) == 0);
	struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	REQUIRE(sigaction(SIGUSR1, &act, NULL) == 0);
	while (made < THREADS && pthread_create(&threads[made], &attr, body, (void *)(long)made) == 0)
		made++;
	CHECK_EQ("made", made, THREADS);
	REQUIRE(pthread_kill(threads[THREADS / 2], SIGUSR1) == 0);
	for (long until = now_ms() + 20000; !atomic_load(&signals) && now_ms() < until;)
		sleep_ms(1);
	CHECK_EQ("signal", atomic_load(&signals), 1);
	pthread_mutex_lock(&mutex);
	let_go = 1;
	pthread_cond_broadcast(&condition);
	pthread_mutex_unlock(&mutex);
	for (int i = 0; i < made; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);
	CHECK_EQ("ran", ran, THREADS);
	return check_done();
}
