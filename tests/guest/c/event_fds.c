/* eventfd, timerfd and signalfd: counters, semaphores, blocking, expirations, absolute times, queued signals, polling. */
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static int polled(int fd)
{
	struct pollfd p = {fd, POLLIN | POLLOUT, 0};
	REQUIRE(poll(&p, 1, 0) >= 0);
	return p.revents;
}

static void *adds_late(void *arg)
{
	sleep_ms(10);
	eventfd_write(*(int *)arg, 6);
	return NULL;
}

static void *drains_late(void *arg)
{
	eventfd_t value;
	sleep_ms(10);
	eventfd_read(*(int *)arg, &value);
	return NULL;
}

static void eventfds(void)
{
	eventfd_t value = 0;
	char small[4];
	pthread_t thread;
	int fd = eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC);
	CHECK("eventfd.flags", fcntl(fd, F_GETFD) == FD_CLOEXEC && (fcntl(fd, F_GETFL) & O_NONBLOCK));
	CHECK("eventfd.initial", eventfd_read(fd, &value) == 0 && value == 3);
	CHECK_ERR("eventfd.empty", eventfd_read(fd, &value), EAGAIN);
	CHECK("eventfd.adds", eventfd_write(fd, 5) == 0 && eventfd_write(fd, 7) == 0 && eventfd_read(fd, &value) == 0 && value == 12);
	CHECK_EQ("eventfd.poll_empty", polled(fd), POLLOUT);
	CHECK_OK("eventfd.max", eventfd_write(fd, UINT64_MAX - 1));
	CHECK_EQ("eventfd.poll_full", polled(fd), POLLIN);
	CHECK_ERR("eventfd.overflow", eventfd_write(fd, 1), EAGAIN);
	CHECK_ERR("eventfd.all_ones", eventfd_write(fd, UINT64_MAX), EINVAL);
	CHECK_ERR("eventfd.short_read", read(fd, small, 4), EINVAL);
	CHECK_ERR("eventfd.short_write", write(fd, small, 4), EINVAL);
	CHECK("eventfd.read_max", eventfd_read(fd, &value) == 0 && value == UINT64_MAX - 1);
	int semaphore = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);
	CHECK("eventfd.semaphore", eventfd_read(semaphore, &value) == 0 && value == 1 && eventfd_read(semaphore, &value) == 0 && value == 1);
	CHECK_ERR("eventfd.semaphore_empty", eventfd_read(semaphore, &value), EAGAIN);
	int blocking = eventfd(0, 0);
	REQUIRE(pthread_create(&thread, NULL, adds_late, &blocking) == 0);
	CHECK("eventfd.read_blocks", eventfd_read(blocking, &value) == 0 && value == 6);
	REQUIRE(pthread_join(thread, NULL) == 0 && eventfd_write(blocking, UINT64_MAX - 2) == 0);
	REQUIRE(pthread_create(&thread, NULL, drains_late, &blocking) == 0);
	CHECK_OK("eventfd.write_blocks", eventfd_write(blocking, 5));
	REQUIRE(pthread_join(thread, NULL) == 0);
	CHECK_ERR("eventfd.bad_flags", eventfd(0, 0x5000), EINVAL);
}

static void timerfds(void)
{
	uint64_t expirations = 0;
	struct itimerspec spec = {{0, 0}, {0, 10000000}}, now;
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	CHECK_ERR("timerfd.unset", read(fd, &expirations, 8), EAGAIN);
	CHECK_OK("timerfd.set", timerfd_settime(fd, 0, &spec, NULL));
	CHECK("timerfd.get", timerfd_gettime(fd, &now) == 0 && now.it_value.tv_nsec > 0 && now.it_value.tv_nsec <= 10000000);
	struct pollfd p = {fd, POLLIN, 0};
	long start = clock_ns(CLOCK_MONOTONIC);
	CHECK("timerfd.poll", poll(&p, 1, 10000) == 1 && p.revents == POLLIN);
	CHECK("timerfd.not_early", clock_ns(CLOCK_MONOTONIC) - start >= 9000000);
	CHECK("timerfd.once", read(fd, &expirations, 8) == 8 && expirations == 1);
	CHECK_ERR("timerfd.read_resets", read(fd, &expirations, 8), EAGAIN);
	CHECK("timerfd.disarmed", timerfd_gettime(fd, &now) == 0 && now.it_value.tv_sec == 0 && now.it_value.tv_nsec == 0);

	int blocking = timerfd_create(CLOCK_MONOTONIC, 0);
	spec = (struct itimerspec){{0, 3000000}, {0, 3000000}};
	REQUIRE(timerfd_settime(blocking, 0, &spec, NULL) == 0);
	CHECK("timerfd.interval", read(blocking, &expirations, 8) == 8 && expirations >= 1);
	sleep_ms(20);
	CHECK("timerfd.missed_counted", read(blocking, &expirations, 8) == 8 && expirations >= 5);
	long at = clock_ns(CLOCK_MONOTONIC) + 10000000;
	spec = (struct itimerspec){{0, 0}, {at / 1000000000, at % 1000000000}};
	REQUIRE(timerfd_settime(blocking, TFD_TIMER_ABSTIME, &spec, &now) == 0);
	CHECK_EQ("timerfd.old_interval", now.it_interval.tv_nsec, 3000000);
	CHECK("timerfd.absolute", read(blocking, &expirations, 8) == 8 && expirations == 1 && clock_ns(CLOCK_MONOTONIC) >= at);
	spec = (struct itimerspec){{0, 0}, {1, 0}};
	REQUIRE(timerfd_settime(blocking, TFD_TIMER_ABSTIME, &spec, NULL) == 0);
	CHECK("timerfd.past", read(blocking, &expirations, 8) == 8 && expirations == 1);
	spec = (struct itimerspec){{0, 0}, {100, 0}};
	REQUIRE(timerfd_settime(fd, 0, &spec, NULL) == 0);
	spec.it_value.tv_sec = 0;
	CHECK("timerfd.disarm", timerfd_settime(fd, 0, &spec, &now) == 0 && now.it_value.tv_sec >= 99);
	int realtime = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK), boot = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK);
	CHECK("timerfd.clocks", realtime >= 0 && boot >= 0);
	CHECK_ERR("timerfd.bad_clock", timerfd_create(99, 0), EINVAL);
	spec.it_value.tv_nsec = 1000000000;
	CHECK_ERR("timerfd.bad_time", timerfd_settime(fd, 0, &spec, NULL), EINVAL);
	CHECK_ERR("timerfd.short_read", read(fd, &expirations, 4), EINVAL);
}

static void signalfds(void)
{
	struct signalfd_siginfo info[4];
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN);
	REQUIRE(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	int fd = signalfd(-1, &set, SFD_NONBLOCK);
	CHECK_ERR("signalfd.empty", read(fd, info, sizeof info), EAGAIN);
	REQUIRE(raise(SIGUSR1) == 0);
	CHECK_EQ("signalfd.poll", polled(fd) & POLLIN, POLLIN);
	CHECK_EQ("signalfd.read", read(fd, info, sizeof info), sizeof info[0]);
	CHECK("signalfd.info", info[0].ssi_signo == SIGUSR1 && info[0].ssi_pid == (uint32_t)getpid() && info[0].ssi_code == SI_TKILL);
	for (int i = 0; i < 3; i++)
		REQUIRE(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i * 10}) == 0);
	CHECK_EQ("signalfd.several", read(fd, info, sizeof info), 3 * sizeof info[0]);
	CHECK("signalfd.values", info[0].ssi_int == 0 && info[1].ssi_int == 10 && info[2].ssi_int == 20 && info[1].ssi_code == SI_QUEUE);
	sigdelset(&set, SIGRTMIN);
	CHECK_EQ("signalfd.change", signalfd(fd, &set, 0), fd);
	REQUIRE(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 1}) == 0);
	CHECK_ERR("signalfd.changed", read(fd, info, sizeof info), EAGAIN);
	CHECK_ERR("signalfd.short", read(fd, info, 10), EINVAL);
	CHECK_ERR("signalfd.not_one", signalfd(1, &set, 0), EINVAL);
}

int main(void)
{
	eventfds();
	timerfds();
	signalfds();
	return check_done();
}
