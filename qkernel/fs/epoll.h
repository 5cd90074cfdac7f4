/* Between epoll.c and epoll_nest.c. */
#ifndef EPOLL_H
#define EPOLL_H
#include "poll.h"

#define NESTS_MAX 4 /* epolls above an epoll, as Linux */

struct epoll {
	struct list items, ready;
	struct waitq wait;   /* epoll_wait callers and polls of this epoll */
	struct file *file;   /* not referenced: it is what holds this */
	struct list *bucket; /* items by their descriptor's number */
	u32 buckets, count;
	u64 seen;  /* walk that was here last */
	int depth; /* what it found */
};
struct item_wait {
	struct item_wait *next;
	struct waiter w;
	struct item *item;
};
struct item {
	struct list all, ready, of_file; /* epoll.items, epoll.ready (or alone), file.epoll_links */
	struct list same_hash;
	struct epoll *ep;
	struct file *f;
	int fd;
	u32 events;
	u64 data;
	struct item_wait *waits;
};

extern const struct file_ops epoll_ops;
bool epoll_nested_too_deep(struct epoll *ep, struct file *f); /* if f, an epoll, were in ep */
bool epoll_ways_fit(struct file *f);                          /* f has just got into one more epoll: not too many ways lead from it to others */
#endif
