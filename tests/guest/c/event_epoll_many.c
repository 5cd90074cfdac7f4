/* epoll with 800 descriptors: all are reported in turn, batches rotate fairly, removal under way loses nothing. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#define MANY 800
static int fds[MANY], times[MANY];

int main(void)
{
	struct epoll_event events[50];
	int ep = epoll_create1(0), total = 0;
	for (unsigned i = 0; i < MANY; i++) {
		fds[i] = eventfd(0, EFD_NONBLOCK);
		REQUIRE(fds[i] >= 0);
		REQUIRE(epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &(struct epoll_event){.events = EPOLLIN, .data.u32 = i}) == 0);
	}
	CHECK_EQ("quiet", epoll_wait(ep, events, 50, 0), 0);
	for (int i = 0; i < MANY; i += 8)
		REQUIRE(eventfd_write(fds[i], (eventfd_t)i + 1) == 0);
	int right = 0;
	while ((total = epoll_wait(ep, events, 50, 0)) > 0)
		for (int i = 0; i < total; i++) {
			eventfd_t value;
			REQUIRE(eventfd_read(fds[events[i].data.u32], &value) == 0);
			right += value == events[i].data.u32 + 1;
		}
	CHECK_EQ("every_eighth", right, MANY / 8);

	/* all stay ready (level): 16 calls of 50 must see each of the 800 once */
	for (int i = 0; i < MANY; i++)
		REQUIRE(eventfd_write(fds[i], 1) == 0);
	for (int call = 0; call < MANY / 50; call++) {
		REQUIRE(epoll_wait(ep, events, 50, 0) == 50);
		for (int i = 0; i < 50; i++)
			times[events[i].data.u32]++;
	}
	int once = 0;
	for (int i = 0; i < MANY; i++)
		once += times[i] == 1;
	CHECK_EQ("fair_rotation", once, MANY);

	/* remove each when reported; half of the rest are closed meanwhile */
	int removed = 0;
	for (int i = 1; i < MANY; i += 2)
		REQUIRE(close(fds[i]) == 0);
	while ((total = epoll_wait(ep, events, 7, 0)) > 0)
		for (int i = 0; i < total; i++)
			removed += epoll_ctl(ep, EPOLL_CTL_DEL, fds[events[i].data.u32], NULL) == 0;
	CHECK_EQ("removed_while_reported", removed, MANY / 2);
	CHECK_EQ("empty", epoll_wait(ep, events, 50, 1), 0);
	return check_done();
}
