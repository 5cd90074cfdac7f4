/* Signals and threads: per-thread masks, pthread_kill to the right one, process signals to any willing one, inheritance. */
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

#define THREADS 6
static pthread_barrier_t barrier;
static atomic_int ran_in[THREADS + 1], stop, total;
static __thread int me = -1;

static void handler(int signal)
{
	(void)signal;
	if (me >= 0)
		atomic_fetch_add(&ran_in[me], 1);
	atomic_fetch_add(&total, 1);
}

static void *body(void *arg)
{
	me = (int)(long)arg;
	pthread_barrier_wait(&barrier);
	while (!atomic_load(&stop))
		sleep_ms(1);
	return NULL;
}

static void *blocked(void *arg)
{
	sigset_t set;
	me = (int)(long)arg;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return body(arg);
}

static void *reports_mask(void *arg)
{
	sigset_t now;
	(void)arg;
	pthread_sigmask(SIG_BLOCK, NULL, &now);
	return (void *)(long)sigismember(&now, SIGUSR2);
}

static void *pending_in_thread(void *arg)
{
	sigset_t now;
	(void)arg;
	sigpending(&now);
	return (void *)(long)sigismember(&now, SIGUSR2);
}

static int reaches(atomic_int *what, int want)
{
	for (int i = 0; i < 5000 && atomic_load(what) < want; i++)
		sleep_ms(1);
	return atomic_load(what) == want;
}

int main(void)
{
	pthread_t threads[THREADS], one;
	void *result;
	sigset_t set, old;
	me = THREADS;
	REQUIRE(signal(SIGUSR1, handler) != SIG_ERR && signal(SIGUSR2, handler) != SIG_ERR);

	REQUIRE(pthread_barrier_init(&barrier, NULL, THREADS + 1) == 0);
	for (long i = 0; i < THREADS; i++)
		REQUIRE(pthread_create(&threads[i], NULL, body, (void *)i) == 0);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < THREADS; i++)
		REQUIRE(pthread_kill(threads[i], SIGUSR1) == 0);
	int right = 0;
	for (int i = 0; i < THREADS; i++)
		right += reaches(&ran_in[i], 1);
	CHECK_EQ("pthread_kill.right_thread", right, THREADS);
	CHECK("pthread_kill.not_main", atomic_load(&ran_in[THREADS]) == 0);
	atomic_store(&total, 0);
	for (int i = 1; i <= 50; i++) {
		REQUIRE(kill(getpid(), SIGUSR1) == 0);
		if (!reaches(&total, i))
			break;
	}
	CHECK_EQ("kill.one_handler_each", atomic_load(&total), 50);
	atomic_store(&stop, 1);
	for (int i = 0; i < THREADS; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);
	CHECK_EQ("pthread_kill.ended", syscall(SYS_tgkill, getpid(), 0x3fffffff, SIGUSR1) == -1 ? errno : 0, ESRCH);

	/* main blocks, one thread does not: the process signal goes there */
	memset(ran_in, 0, sizeof ran_in);
	atomic_store(&stop, 0);
	REQUIRE(pthread_barrier_init(&barrier, NULL, 3) == 0);
	REQUIRE(pthread_create(&threads[0], NULL, body, (void *)0) == 0);
	REQUIRE(pthread_create(&threads[1], NULL, blocked, (void *)1) == 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	REQUIRE(pthread_sigmask(SIG_BLOCK, &set, &old) == 0);
	pthread_barrier_wait(&barrier);
	for (int i = 1; i <= 10; i++) {
		REQUIRE(kill(getpid(), SIGUSR1) == 0);
		if (!reaches(&ran_in[0], i))
			break;
	}
	CHECK_EQ("kill.goes_to_willing", atomic_load(&ran_in[0]), 10);
	CHECK("kill.not_to_blocked", atomic_load(&ran_in[1]) == 0 && atomic_load(&ran_in[THREADS]) == 0);
	REQUIRE(pthread_kill(threads[1], SIGUSR1) == 0);
	sleep_ms(5);
	CHECK_EQ("pthread_kill.blocked_holds", atomic_load(&ran_in[1]), 0);
	atomic_store(&stop, 1);
	REQUIRE(pthread_join(threads[0], NULL) == 0 && pthread_join(threads[1], NULL) == 0);

	REQUIRE(pthread_create(&one, NULL, reports_mask, NULL) == 0 && pthread_join(one, &result) == 0);
	CHECK_EQ("mask.inherited", (long)result, 1);
	raise(SIGUSR2); /* to this thread alone */
	REQUIRE(pthread_create(&one, NULL, pending_in_thread, NULL) == 0 && pthread_join(one, &result) == 0);
	CHECK_EQ("pending.thread_private", (long)result, 0);
	kill(getpid(), SIGUSR2);
	REQUIRE(pthread_create(&one, NULL, pending_in_thread, NULL) == 0 && pthread_join(one, &result) == 0);
	CHECK_EQ("pending.process_wide", (long)result, 1);
	atomic_store(&total, 0);
	REQUIRE(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
	CHECK_EQ("pending.both_delivered", atomic_load(&total), 2);
	return check_done();
}
