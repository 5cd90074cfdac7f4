/* poll, ppoll, select and pselect: events, hang-ups, invalid descriptors, timeouts, masks, many descriptors, write sets. */
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>

static volatile int handled;
static void on_signal(int signal)
{
	handled = signal;
}

static void *writes_late(void *arg)
{
	sleep_ms(10);
	REQUIRE(write(*(int *)arg, "x", 1) == 1);
	return NULL;
}

int main(void)
{
	int a[2], b[2];
	char text[8];
	REQUIRE(pipe(a) == 0 && pipe(b) == 0);
	struct pollfd p[4] = {{a[0], POLLIN, 0}, {b[1], POLLOUT | POLLIN, 0}, {-1, POLLIN, 55}, {99, POLLIN, 0}};

	CHECK_EQ("poll.count", poll(p, 4, 0), 2);
	CHECK("poll.events", p[0].revents == 0 && p[1].revents == POLLOUT && p[2].revents == 0 && p[3].revents == POLLNVAL);
	REQUIRE(write(a[1], "x", 1) == 1);
	CHECK("poll.readable", poll(p, 1, -1) == 1 && p[0].revents == POLLIN);
	p[0].events = 0;
	CHECK("poll.not_asked", poll(p, 1, 0) == 0);
	REQUIRE(close(a[1]) == 0);
	CHECK("poll.hup_unasked", poll(p, 1, 0) == 1 && p[0].revents == POLLHUP);
	p[0].events = POLLIN;
	CHECK("poll.hup_with_data", poll(p, 1, 0) == 1 && p[0].revents == (POLLIN | POLLHUP));
	REQUIRE(close(b[0]) == 0);
	CHECK("poll.err", poll(p + 1, 1, 0) == 1 && (p[1].revents & POLLERR));
	REQUIRE(pipe(a) == 0 && pipe(b) == 0);
	p[0] = (struct pollfd){a[0], POLLIN, 0};
	long start = now_ms();
	CHECK("poll.timeout", poll(p, 1, 20) == 0 && now_ms() - start >= 20);
	start = now_ms();
	CHECK("poll.sleep_only", poll(NULL, 0, 15) == 0 && now_ms() - start >= 15);
	pthread_t thread;
	REQUIRE(pthread_create(&thread, NULL, writes_late, &a[1]) == 0);
	CHECK("poll.woken", poll(p, 1, 10000) == 1 && p[0].revents == POLLIN);
	REQUIRE(pthread_join(thread, NULL) == 0 && read(a[0], text, 8) == 1);
	int file = open("file", O_RDWR | O_CREAT, 0600);
	struct pollfd always = {file, POLLIN | POLLOUT, 0};
	CHECK("poll.regular_file", poll(&always, 1, 0) == 1 && always.revents == (POLLIN | POLLOUT));
	static struct pollfd many[500];
	for (int i = 0; i < 500; i++)
		many[i] = (struct pollfd){i % 2 ? a[0] : b[1], i % 2 ? POLLIN : POLLOUT, 0};
	CHECK_EQ("poll.500", poll(many, 500, 0), 250);

	struct timespec ts = {0, 20000000};
	start = now_ms();
	CHECK("ppoll.timeout", ppoll(p, 1, &ts, NULL) == 0 && now_ms() - start >= 20);
	CHECK("ppoll.wrapper_keeps_timeout", ts.tv_nsec == 20000000);
	CHECK("ppoll.raw_writes_remaining", syscall(SYS_ppoll, p, 1, &ts, NULL, 8) == 0 && ts.tv_sec == 0 && ts.tv_nsec == 0);
	CHECK_ERR("ppoll.bad_time", ppoll(p, 1, &(struct timespec){0, -1}, NULL), EINVAL);
	sigset_t block, none;
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	REQUIRE(signal(SIGUSR1, on_signal) != SIG_ERR && sigprocmask(SIG_BLOCK, &block, NULL) == 0 && raise(SIGUSR1) == 0);
	CHECK_EQ("ppoll.before", handled, 0);
	CHECK_ERR("ppoll.opens_mask", ppoll(p, 1, NULL, &none), EINTR);
	CHECK_EQ("ppoll.handler_ran", handled, SIGUSR1);
	handled = 0;
	raise(SIGUSR1);
	CHECK_EQ("ppoll.mask_back", handled, 0);

	fd_set in, out, except;
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&except);
	FD_SET(a[0], &in);
	FD_SET(b[0], &in);
	FD_SET(b[1], &out);
	REQUIRE(write(a[1], "y", 1) == 1);
	int top = b[1] + 1;
	struct timeval tv = {5, 0};
	CHECK_EQ("select.count", select(top, &in, &out, &except, &tv), 2);
	CHECK("select.sets", FD_ISSET(a[0], &in) && !FD_ISSET(b[0], &in) && FD_ISSET(b[1], &out));
	CHECK("select.remaining", tv.tv_sec == 4 || (tv.tv_sec == 5 && tv.tv_usec == 0));
	FD_ZERO(&in);
	FD_SET(b[0], &in);
	tv = (struct timeval){0, 20000};
	start = now_ms();
	CHECK("select.timeout", select(top, &in, NULL, NULL, &tv) == 0 && now_ms() - start >= 20);
	CHECK("select.cleared", !FD_ISSET(b[0], &in) && tv.tv_sec == 0 && tv.tv_usec == 0);
	/* Linux clips select's first argument to the size of the descriptor table, which is 64 at least: a bad one above goes unseen. */
	FD_SET(63, &in);
	CHECK_ERR("select.badfd", select(64, &in, NULL, NULL, &tv), EBADF);
	CHECK_ERR("select.negative", select(-1, NULL, NULL, NULL, &tv), EINVAL);
	CHECK_ERR("select.bad_time", select(0, NULL, NULL, NULL, &(struct timeval){-1, 0}), EINVAL);
	CHECK_EQ("select.sleep_only", select(0, NULL, NULL, NULL, &(struct timeval){0, 1000}), 0);
	FD_ZERO(&in);
	FD_SET(b[0], &in);
	CHECK_ERR("pselect.opens_mask", pselect(top, &in, NULL, NULL, NULL, &none), EINTR);
	CHECK_EQ("pselect.handler_ran", handled, SIGUSR1);

	struct rlimit limit = {30, 30};
	REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	CHECK_ERR("poll.more_than_nofile", poll(many, 31, 0), EINVAL);
	return check_done();
}
