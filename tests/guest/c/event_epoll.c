/* epoll: level, edge, one-shot, exclusive, data, modification, closed descriptors, nesting, timeouts, errors. */
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static int ep;
static struct epoll_event got[64];

static int add(int fd, unsigned events, unsigned long data)
{
	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = events, .data.u64 = data});
}

static int mod(int fd, unsigned events, unsigned long data)
{
	return epoll_ctl(ep, EPOLL_CTL_MOD, fd, &(struct epoll_event){.events = events, .data.u64 = data});
}

static int ready(void)
{
	return epoll_wait(ep, got, 64, 0);
}
static int one(unsigned events, unsigned long data)
{
	return ready() == 1 && got[0].events == events && got[0].data.u64 == data;
}

static void *writes_late(void *arg)
{
	sleep_ms(10);
	REQUIRE(write(*(int *)arg, "x", 1) == 1);
	return NULL;
}

static atomic_int woken;
static void *waits(void *arg)
{
	struct epoll_event event;
	if (epoll_wait(*(int *)arg, &event, 1, 5000) == 1)
		atomic_fetch_add(&woken, 1);
	return NULL;
}

int main(void)
{
	char text[100];
	int ends[2], pair[2];
	ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK("create", ep == 3 && fcntl(ep, F_GETFD) == FD_CLOEXEC);
	REQUIRE(pipe(ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);

	CHECK_OK("add", add(ends[0], EPOLLIN, 0x123456789abcdef0));
	CHECK_EQ("empty", ready(), 0);
	REQUIRE(write(ends[1], "abc", 3) == 3);
	CHECK("level.ready", one(EPOLLIN, 0x123456789abcdef0));
	CHECK("level.still_ready", read(ends[0], text, 1) == 1 && one(EPOLLIN, 0x123456789abcdef0));
	CHECK("level.drained", read(ends[0], text, 2) == 2 && ready() == 0);

	CHECK_OK("edge", mod(ends[0], EPOLLIN | EPOLLET, 2));
	REQUIRE(write(ends[1], "a", 1) == 1);
	CHECK("edge.once", one(EPOLLIN, 2) && ready() == 0);
	REQUIRE(write(ends[1], "b", 1) == 1);
	CHECK("edge.again_on_new_data", one(EPOLLIN, 2) && ready() == 0);
	CHECK("edge.rearmed_by_mod", mod(ends[0], EPOLLIN | EPOLLET, 3) == 0 && one(EPOLLIN, 3) && ready() == 0);
	CHECK("oneshot", mod(ends[0], EPOLLIN | EPOLLONESHOT, 4) == 0 && one(EPOLLIN, 4) && ready() == 0);
	REQUIRE(write(ends[1], "c", 1) == 1);
	CHECK("oneshot.stays_off", ready() == 0);
	CHECK("oneshot.rearmed", mod(ends[0], EPOLLIN | EPOLLONESHOT, 5) == 0 && one(EPOLLIN, 5));
	CHECK("oneshot.hangup_off_too", read(ends[0], text, 100) == 3 && close(ends[1]) == 0 && ready() == 0);
	CHECK("hangup", mod(ends[0], EPOLLIN, 6) == 0 && one(EPOLLHUP, 6));
	CHECK("close_removes", close(ends[0]) == 0 && ready() == 0);

	REQUIRE(add(pair[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP, 7) == 0);
	CHECK("socket.writable", one(EPOLLOUT, 7));
	REQUIRE(write(pair[1], "hi", 2) == 2);
	CHECK("socket.both", one(EPOLLIN | EPOLLOUT, 7));
	REQUIRE(read(pair[0], text, 100) == 2 && shutdown(pair[1], SHUT_WR) == 0);
	CHECK("socket.rdhup", one(EPOLLIN | EPOLLOUT | EPOLLRDHUP, 7));
	REQUIRE(close(pair[1]) == 0);
	CHECK("socket.hup", ready() == 1 && (got[0].events & EPOLLHUP));
	CHECK_OK("del", epoll_ctl(ep, EPOLL_CTL_DEL, pair[0], NULL));
	CHECK_EQ("del.gone", ready(), 0);

	/* a duplicate keeps the registration of a closed number alive */
	int event = eventfd(1, EFD_NONBLOCK), copy = dup(event);
	REQUIRE(add(event, EPOLLIN, 8) == 0);
	CHECK_ERR("add.twice", add(event, EPOLLIN, 9), EEXIST);
	CHECK_OK("add.duplicate", add(copy, EPOLLIN, 9));
	CHECK_EQ("both_ready", ready(), 2);
	REQUIRE(close(copy) == 0);
	CHECK_EQ("closed_duplicate_reports", ready(), 2);
	REQUIRE(close(event) == 0);
	CHECK_EQ("all_closed", ready(), 0);

	int inner = epoll_create1(0), deep = eventfd(0, EFD_NONBLOCK);
	REQUIRE(add(inner, EPOLLIN, 10) == 0);
	REQUIRE(epoll_ctl(inner, EPOLL_CTL_ADD, deep, &(struct epoll_event){.events = EPOLLIN}) == 0);
	CHECK_EQ("nested.quiet", ready(), 0);
	REQUIRE(eventfd_write(deep, 1) == 0);
	CHECK("nested.ready", one(EPOLLIN, 10));
	CHECK_ERR("nested.loop", epoll_ctl(inner, EPOLL_CTL_ADD, ep, got), ELOOP);
	CHECK_ERR("nested.self", add(ep, EPOLLIN, 1), EINVAL);
	eventfd_t value;
	REQUIRE(eventfd_read(deep, &value) == 0);

	long start = now_ms();
	CHECK("timeout", epoll_wait(ep, got, 1, 20) == 0 && now_ms() - start >= 20);
	pthread_t thread, threads[3];
	REQUIRE(pipe(ends) == 0 && add(ends[0], EPOLLIN, 11) == 0);
	REQUIRE(pthread_create(&thread, NULL, writes_late, &ends[1]) == 0);
	CHECK("woken", epoll_wait(ep, got, 1, -1) == 1 && got[0].data.u64 == 11);
	REQUIRE(pthread_join(thread, NULL) == 0 && read(ends[0], text, 100) == 1);
	/* the descriptor is added while the thread already waits */
	int late = epoll_create1(0);
	REQUIRE(pthread_create(&thread, NULL, waits, &late) == 0);
	sleep_ms(5);
	REQUIRE(epoll_ctl(late, EPOLL_CTL_ADD, eventfd(1, 0), &(struct epoll_event){.events = EPOLLIN}) == 0);
	REQUIRE(pthread_join(thread, NULL) == 0);
	CHECK_EQ("added_while_waiting", atomic_load(&woken), 1);
	/* edge-triggered: one event wakes one of three waiters; the others need their own */
	int edge = epoll_create1(0), source = eventfd(0, EFD_NONBLOCK);
	REQUIRE(epoll_ctl(edge, EPOLL_CTL_ADD, source, &(struct epoll_event){.events = EPOLLIN | EPOLLET}) == 0);
	atomic_store(&woken, 0);
	for (int i = 0; i < 3; i++)
		REQUIRE(pthread_create(&threads[i], NULL, waits, &edge) == 0);
	for (int i = 1; i <= 3; i++) {
		REQUIRE(eventfd_write(source, 1) == 0);
		for (int j = 0; j < 5000 && atomic_load(&woken) < i; j++)
			sleep_ms(1);
	}
	for (int i = 0; i < 3; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);
	CHECK_EQ("edge.each_woken", atomic_load(&woken), 3);

	int file = open("file", O_RDWR | O_CREAT, 0600);
	CHECK_ERR("error.regular_file", add(file, EPOLLIN, 0), EPERM);
	CHECK_ERR("error.mod_absent", mod(source, EPOLLIN, 0), ENOENT);
	CHECK_ERR("error.del_absent", epoll_ctl(ep, EPOLL_CTL_DEL, source, NULL), ENOENT);
	CHECK_ERR("error.badfd", add(99, EPOLLIN, 0), EBADF);
	CHECK_ERR("error.not_epoll", epoll_ctl(source, EPOLL_CTL_ADD, ends[0], got), EINVAL);
	CHECK_ERR("error.maxevents", epoll_wait(ep, got, 0, 0), EINVAL);
	CHECK_ERR("error.op", epoll_ctl(ep, 9, ends[0], got), EINVAL);
	return check_done();
}
