/* Interval timers, timerfd, signalfd, queued signals and handlers interrupting computation and sleep, for a fixed number of ticks. */
#include "../c/check.h"
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <sys/timerfd.h>

static atomic_int ticks, values;

static void on_tick(int signal)
{
	(void)signal;
	atomic_fetch_add(&ticks, 1);
}

static void on_value(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	atomic_fetch_add(&values, info->si_value.sival_int);
}

static uint64_t compute(uint64_t x)
{
	for (int i = 0; i < 20000; i++)
		x = (x ^ x >> 27) * 0x3c79ac492ba7b653 + 1;
	return x;
}

static void *polls_timer(void *arg)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);
	struct itimerspec each = {{0, 4000000}, {0, 4000000}};
	REQUIRE(timerfd_settime(fd, 0, &each, NULL) == 0);
	uint64_t seen = 0, n;
	while (seen < 50) {
		struct pollfd p = {fd, POLLIN, 0};
		REQUIRE(poll(&p, 1, -1) == 1 && read(fd, &n, sizeof n) == sizeof n && n >= 1);
		seen += n;
	}
	close(fd);
	(void)arg;
	return NULL;
}

int main(void)
{
	struct sigaction tick = {.sa_handler = on_tick, .sa_flags = SA_RESTART},
			 value = {.sa_sigaction = on_value, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct itimerval each = {{0, 2000}, {0, 2000}}, off = {{0, 0}, {0, 0}};
	pthread_t thread;
	sigset_t set;
	REQUIRE(sigaction(SIGALRM, &tick, NULL) == 0 && sigaction(SIGRTMIN, &value, NULL) == 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	REQUIRE(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
	int signals = signalfd(-1, &set, 0);

	/* a tick every 2 ms through pure computation: how many rounds fit varies, what each gives must not */
	uint64_t right[8];
	int wrong = 0;
	for (uint64_t i = 0; i < 8; i++)
		right[i] = compute(i);
	REQUIRE(setitimer(ITIMER_REAL, &each, NULL) == 0);
	for (uint64_t i = 0; atomic_load(&ticks) < 80; i++)
		wrong += compute(i % 8) != right[i % 8];
	CHECK_EQ("compute.while_ticking", wrong, 0);
	for (int i = 0; i < 20; i++) /* sleeps are interrupted and taken up again */
		sleep_ms(3);
	CHECK("sleep.while_ticking", atomic_load(&ticks) >= 100);
	REQUIRE(setitimer(ITIMER_REAL, &off, NULL) == 0);

	REQUIRE(pthread_create(&thread, NULL, polls_timer, NULL) == 0);
	long received = 0;
	for (int i = 1; i <= 60; i++) {
		struct signalfd_siginfo info;
		REQUIRE(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i}) == 0);
		REQUIRE(sigqueue(getpid(), SIGUSR2, (union sigval){.sival_int = i * 10}) == 0);
		REQUIRE(read(signals, &info, sizeof info) == sizeof info);
		received += info.ssi_int;
		sleep_ms(1);
		if (i % 20 == 0)
			show("signals %d", i);
	}
	CHECK_EQ("signalfd.sum", received, 10 * 60 * 61 / 2);
	REQUIRE(pthread_join(thread, NULL) == 0);
	for (int i = 0; i < 5000 && atomic_load(&values) < 60 * 61 / 2; i++) /* a handler may run in the other thread, a little later */
		sleep_ms(1);
	CHECK_EQ("handlers.sum", atomic_load(&values), 60 * 61 / 2);
	return check_done();
}
