/* Epolls that watch epolls: how deep, how many ways, and no circle. A wake-up follows every way. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

static int watch(int ep, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN};
	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
}

/* From the top down: each inner one is empty when it is added. */
static void chain_down(void)
{
	int top = epoll_create1(0), at = top, depth = 1;
	for (; depth < 5000; depth++) {
		int inner = epoll_create1(0);
		REQUIRE(inner >= 0);
		if (watch(at, inner)) {
			CHECK_EQ("the chain ends with ELOOP", errno, ELOOP);
			break;
		}
		at = inner;
	}
	CHECK_EQ("epolls in a chain", depth, 5);
	int fd = eventfd(0, 0);
	struct epoll_event ev;
	CHECK_OK("watch at the bottom", watch(at, fd));
	CHECK_EQ("nothing yet", epoll_wait(top, &ev, 1, 0), 0);
	REQUIRE(eventfd_write(fd, 1) == 0);
	CHECK_EQ("an event comes to the top", epoll_wait(top, &ev, 1, 0), 1);
}

static void chain_up(void)
{
	int at = epoll_create1(0), depth = 1;
	for (; depth < 50; depth++) {
		int outer = epoll_create1(0);
		REQUIRE(outer >= 0);
		if (watch(outer, at))
			break;
		at = outer;
	}
	CHECK_EQ("epolls in a chain from below", depth, 5);
}

static void circles(void)
{
	int a = epoll_create1(0), b = epoll_create1(0), c = epoll_create1(0);
	CHECK_ERR("itself", watch(a, a), EINVAL);
	CHECK_OK("a, b", watch(a, b));
	CHECK_ERR("b, a", watch(b, a), ELOOP);
	CHECK_OK("b, c", watch(b, c));
	CHECK_ERR("c, a", watch(c, a), ELOOP);
}

/* Every epoll of a layer watches every one of the layer below. */
static void ways(void)
{
	int layer[3][40], fd = eventfd(0, 0), ok = 0, bad = 0, error = 0;
	for (int l = 0; l < 3; l++)
		for (int k = 0; k < 40; k++)
			REQUIRE((layer[l][k] = epoll_create1(0)) >= 0);
	for (int k = 0; k < 40; k++)
		REQUIRE(watch(layer[0][k], fd) == 0);
	for (int l = 1; l < 3; l++)
		for (int i = 0; i < 40; i++)
			for (int k = 0; k < 40; k++) {
				if (watch(layer[l][i], layer[l - 1][k]) == 0)
					ok++;
				else {
					bad++;
					error = errno;
				}
			}
	CHECK("too many ways", bad > 0 && error == EINVAL);
	show("%d of %d", ok, ok + bad);
	REQUIRE(eventfd_write(fd, 1) == 0);
	struct epoll_event ev;
	CHECK_EQ("woken", epoll_wait(layer[0][39], &ev, 1, 0), 1);
}

int main(void)
{
	struct rlimit many = {8192, 8192};
	REQUIRE(setrlimit(RLIMIT_NOFILE, &many) == 0 || errno == EPERM);
	chain_down();
	chain_up();
	circles();
	ways();
	return check_done();
}
