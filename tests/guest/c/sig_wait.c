/* sigwait, sigwaitinfo and sigtimedwait: pending first, woken later, timeouts, a thread that takes signals for all. */
#include "check.h"
#include <pthread.h>
#include <signal.h>

static atomic_int taken[4];
static volatile int handler_ran;

static void handler(int signal)
{
	handler_ran = signal;
}

static void *signal_thread(void *arg)
{
	const sigset_t *set = arg;
	int number;
	do {
		if (sigwait(set, &number) != 0)
			return (void *)1;
		if (number == SIGUSR1)
			atomic_fetch_add(&taken[0], 1);
		if (number == SIGUSR2)
			atomic_fetch_add(&taken[1], 1);
	} while (number != SIGTERM);
	return NULL;
}

static void *sends_later(void *arg)
{
	sleep_ms(10);
	sigqueue(getpid(), (int)(long)arg, (union sigval){.sival_int = 99});
	return NULL;
}

static int reaches(atomic_int *what, int want)
{
	for (int i = 0; i < 5000 && atomic_load(what) < want; i++)
		sleep_ms(1);
	return atomic_load(what) == want;
}

int main(void)
{
	sigset_t set, usr2;
	siginfo_t info;
	int number;
	pthread_t thread;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGTERM);
	REQUIRE(signal(SIGUSR1, handler) != SIG_ERR);
	REQUIRE(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);

	raise(SIGUSR2);
	CHECK("sigwait.pending", sigwait(&set, &number) == 0 && number == SIGUSR2);
	raise(SIGUSR1);
	CHECK("sigwait.no_handler", sigwait(&set, &number) == 0 && number == SIGUSR1 && handler_ran == 0);
	REQUIRE(pthread_create(&thread, NULL, sends_later, (void *)SIGUSR1) == 0);
	CHECK_EQ("sigwaitinfo.woken", sigwaitinfo(&set, &info), SIGUSR1);
	CHECK("sigwaitinfo.value", info.si_code == SI_QUEUE && info.si_value.sival_int == 99 && info.si_pid == getpid());
	REQUIRE(pthread_join(thread, NULL) == 0);

	long start = now_ms();
	CHECK_ERR("sigtimedwait.timeout", sigtimedwait(&set, &info, &(struct timespec){0, 20000000}), EAGAIN);
	CHECK("sigtimedwait.waited", now_ms() - start >= 19);
	CHECK_ERR("sigtimedwait.invalid", sigtimedwait(&set, &info, &(struct timespec){0, -1}), EINVAL);
	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	raise(SIGUSR1); /* pending but not waited for */
	CHECK_ERR("sigtimedwait.other_pending", sigtimedwait(&usr2, &info, &(struct timespec){0, 1000000}), EAGAIN);
	CHECK_EQ("sigtimedwait.poll", sigtimedwait(&set, &info, &(struct timespec){0, 0}), SIGUSR1);

	REQUIRE(pthread_create(&thread, NULL, signal_thread, &set) == 0);
	for (int i = 1; i <= 5; i++) {
		REQUIRE(kill(getpid(), SIGUSR1) == 0);
		CHECK("thread.takes_process_signal", reaches(&taken[0], i));
	}
	REQUIRE(pthread_kill(thread, SIGUSR2) == 0);
	CHECK("thread.takes_own", reaches(&taken[1], 1));
	REQUIRE(pthread_kill(pthread_self(), SIGUSR2) == 0); /* for the main thread alone: nobody else may take it */
	sleep_ms(5);
	CHECK_EQ("thread.leaves_main's", atomic_load(&taken[1]), 1);
	CHECK_EQ("main.takes_own", sigtimedwait(&usr2, &info, &(struct timespec){0, 0}), SIGUSR2);
	REQUIRE(kill(getpid(), SIGTERM) == 0);
	void *result;
	REQUIRE(pthread_join(thread, &result) == 0);
	CHECK("thread.ended_by_term", result == NULL);

	CHECK_EQ("no_handler_ran", handler_ran, 0);
	raise(SIGUSR1);
	REQUIRE(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
	CHECK_EQ("handler_after_unblock", handler_ran, SIGUSR1);
	return check_done();
}
