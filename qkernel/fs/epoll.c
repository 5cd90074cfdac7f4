/* epoll: a set of files that is told of changes instead of asking. */
#include "fdtable.h"
#include "ktime.h"
#include "epoll.h"
#include "../proc/proc.h"
#include <linux/eventpoll.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#define ALWAYS (POLL_ERR | POLL_HUP)
#define OPTIONS (EPOLLET | EPOLLONESHOT | EPOLLWAKEUP | EPOLLEXCLUSIVE)

struct item_table { /* poll table of one item */
	struct poll_table pt;
	struct item *item;
	bool failed;
};

static u32 nested; /* items whose file is an epoll */

static struct list *item_bucket(struct list *table, u32 buckets, int fd)
{
	return &table[(u32)fd & (buckets - 1)];
}

/* Items are found by their descriptor: a table, of a power of two, that grows with their number. False: there is no table and no memory for one. */
static bool epoll_make_room(struct epoll *ep)
{
	if (ep->count < ep->buckets)
		return true;
	u32 n = ep->buckets ? ep->buckets * 4 : 16;
	struct list *b = kmalloc(n * sizeof(*b));
	struct item *it;
	if (!b)
		return ep->buckets;
	for (u32 k = 0; k < n; k++)
		list_init(&b[k]);
	list_for_each (it, &ep->items, all) {
		list_del(&it->same_hash);
		list_add_tail(&it->same_hash, item_bucket(b, n, it->fd));
	}
	kfree(ep->bucket);
	ep->bucket = b;
	ep->buckets = n;
	return true;
}

static bool item_wake(struct waiter *w, u32 events)
{
	struct item *it = container_of(w, struct item_wait, w)->item;
	if (events && !(events & (it->events | ALWAYS)))
		return false;
	if (!(it->events & ~OPTIONS))
		return false; /* one-shot that has fired */
	if (list_empty(&it->ready))
		list_add_tail(&it->ready, &it->ep->ready);
	waitq_wake(&it->ep->wait, POLL_IN, 1);
	return true;
}

static void epoll_add_wait(struct poll_table *pt, struct file *f, struct waitq *q)
{
	struct item_table *t = (struct item_table *)pt;
	struct item *it = t->item;
	struct item_wait *iw = kzalloc(sizeof(*iw));
	if (!iw) {
		t->failed = true;
		return;
	}
	iw->item = it;
	iw->w.wake = item_wake;
	iw->w.exclusive = it->events & EPOLLEXCLUSIVE;
	waitq_add(q, &iw->w);
	iw->next = it->waits;
	it->waits = iw;
}

static void item_free(struct item *it)
{
	while (it->waits) {
		struct item_wait *iw = it->waits;
		it->waits = iw->next;
		waitq_del(&iw->w);
		kfree(iw);
	}
	list_del(&it->all);
	list_del(&it->ready);
	list_del(&it->of_file);
	list_del(&it->same_hash);
	it->ep->count--;
	nested -= it->f->ops == &epoll_ops;
	kfree(it);
}

void epoll_forget(struct file *f)
{
	while (!list_empty(&f->epoll_links))
		item_free(list_first(&f->epoll_links, struct item, of_file));
}

static void epoll_release(struct file *f)
{
	struct epoll *ep = f->priv;
	while (!list_empty(&ep->items))
		item_free(list_first(&ep->items, struct item, all));
	kfree(ep->bucket);
	kfree(ep);
}

/* Is there something to report? Items that only seemed ready leave the list. */
static u32 epoll_poll(struct file *f, struct poll_table *pt)
{
	struct epoll *ep = f->priv;
	struct item *it, *next;
	poll_wait(f, &ep->wait, pt);
	list_for_each_safe (it, next, &ep->ready, ready) {
		if (file_poll(it->f, NULL) & (it->events | ALWAYS))
			return POLL_IN;
		list_del(&it->ready);
	}
	return 0;
}

const struct file_ops epoll_ops = {.poll = epoll_poll, .release = epoll_release};

static long epoll_create(u32 flags)
{
	struct epoll *ep = kzalloc(sizeof(*ep));
	if (!ep)
		return -ENOMEM;
	list_init(&ep->items);
	list_init(&ep->ready);
	waitq_init(&ep->wait);
	struct file *f = anon_file(&epoll_ops, 0600, O_RDWR, ep, "anon_inode:[eventpoll]");
	if (!f) {
		kfree(ep);
		return -ENOMEM;
	}
	ep->file = f;
	return fd_install(f, flags, 0);
}

long sys_epoll_create1(u64 flags)
{
	return flags & ~(u64)EPOLL_CLOEXEC ? -EINVAL : epoll_create((u32)flags);
}

long sys_epoll_create(u64 size)
{
	return (s32)size <= 0 ? -EINVAL : epoll_create(0);
}

static struct item *epoll_find(struct epoll *ep, struct file *f, int fd)
{
	struct item *it;
	if (ep->buckets)
		list_for_each (it, item_bucket(ep->bucket, ep->buckets, fd), same_hash)
			if (it->f == f && it->fd == fd)
				return it;
	return NULL;
}

static void epoll_check_now(struct item *it, struct poll_table *pt)
{
	u32 bits = file_poll(it->f, pt) & (it->events | ALWAYS);
	if (bits && (it->events & ~OPTIONS)) {
		if (list_empty(&it->ready))
			list_add_tail(&it->ready, &it->ep->ready);
		waitq_wake(&it->ep->wait, POLL_IN, 1);
	}
}

static long epoll_add(struct epoll *ep, struct file *f, int fd, const struct epoll_event *e)
{
	struct item *it = epoll_make_room(ep) ? kzalloc(sizeof(*it)) : NULL;
	if (!it)
		return -ENOMEM;
	list_init(&it->ready);
	it->ep = ep;
	it->f = f;
	it->fd = fd;
	it->events = e->events;
	it->data = e->data;
	list_add_tail(&it->all, &ep->items);
	list_add_tail(&it->of_file, &f->epoll_links);
	list_add_tail(&it->same_hash, item_bucket(ep->bucket, ep->buckets, fd));
	ep->count++;
	nested += f->ops == &epoll_ops;
	if (nested && !epoll_ways_fit(f)) {
		item_free(it);
		return -EINVAL;
	}
	struct item_table t = {.pt.add = epoll_add_wait, .item = it};
	epoll_check_now(it, &t.pt);
	if (t.failed) {
		item_free(it);
		return -ENOMEM;
	}
	return 0;
}

static long epoll_control(struct file *epf, int op, int fd, struct file *f, const struct epoll_event *e)
{
	struct epoll *ep = epf->priv;
	struct item *it = epoll_find(ep, f, fd);
	if (!f->ops->poll || S_ISREG(f->inode->mode))
		return -EPERM; /* regular files and directories */
	if (f == epf)
		return -EINVAL;
	switch (op) {
	case EPOLL_CTL_ADD:
		if (it)
			return -EEXIST;
		return epoll_nested_too_deep(ep, f) ? -ELOOP : epoll_add(ep, f, fd, e);
	case EPOLL_CTL_MOD:
		if (!it)
			return -ENOENT;
		if ((it->events | e->events) & EPOLLEXCLUSIVE)
			return -EINVAL;
		it->events = e->events;
		it->data = e->data;
		epoll_check_now(it, NULL);
		return 0;
	case EPOLL_CTL_DEL:
		if (!it)
			return -ENOENT;
		item_free(it);
		return 0;
	default:
		return -EINVAL;
	}
}

long sys_epoll_ctl(u64 epfd, u64 op, u64 fd, u64 uev)
{
	struct epoll_event e = {0};
	if (op != EPOLL_CTL_DEL && copy_from_user(&e, UPTR(uev), sizeof(e)))
		return -EFAULT;
	scoped_file epf = fd_get((int)epfd);
	scoped_file f = fd_get((int)fd);
	return !epf || !f ? -EBADF : epf->ops != &epoll_ops ? -EINVAL : epoll_control(epf, (int)op, (int)fd, f, &e);
}

/* Hands out at most max events. Level-triggered items go to the end of the list and are looked at again next time. */
static long epoll_collect(struct epoll *ep, u64 uev, u64 max)
{
	struct list again = LIST_INIT(again);
	long n = 0;
	while (!list_empty(&ep->ready) && n < (long)max) {
		struct item *it = list_first(&ep->ready, struct item, ready);
		u32 bits = file_poll(it->f, NULL) & (it->events | ALWAYS);
		list_del(&it->ready);
		if (!bits || !(it->events & ~OPTIONS))
			continue;
		struct epoll_event e = {.events = bits, .data = it->data};
		if (copy_to_user(UPTR(uev + (u64)n * sizeof(e)), &e, sizeof(e))) {
			list_add(&it->ready, &ep->ready);
			n = n ? n : -EFAULT;
			break;
		}
		n++;
		if (it->events & EPOLLONESHOT)
			it->events &= OPTIONS;
		else if (!(it->events & EPOLLET))
			list_add_tail(&it->ready, &again);
	}
	while (!list_empty(&again)) {
		struct list *node = again.next;
		list_del(node);
		list_add_tail(node, &ep->ready);
	}
	return n;
}

static long epoll_wait_for(u64 epfd, u64 uev, u64 max, u64 deadline)
{
	scoped_file f = fd_get((int)epfd);
	if (!f)
		return -EBADF;
	if (f->ops != &epoll_ops || (s32)max <= 0 || max > 0x7fffffff / sizeof(struct epoll_event))
		return -EINVAL;
	struct epoll *ep = f->priv;
	long r = epoll_collect(ep, uev, max);
	while (r == 0 && deadline) {
		long w = wait_event(&ep->wait, !list_empty(&ep->ready), deadline);
		if (w == -EINTR)
			return w;
		r = epoll_collect(ep, uev, max);
		if (w)
			break;
	}
	return r;
}

long sys_epoll_wait(u64 epfd, u64 uev, u64 max, u64 timeout)
{
	return epoll_wait_for(epfd, uev, max, (s32)timeout == 0 ? 0 : deadline_of_ms((s32)timeout));
}

long sys_epoll_pwait(u64 epfd, u64 uev, u64 max, u64 timeout, u64 umask, u64 size)
{
	long r = poll_set_mask(umask, size);
	return r ? r : poll_end_mask(umask, sys_epoll_wait(epfd, uev, max, timeout));
}

long sys_epoll_pwait2(u64 epfd, u64 uev, u64 max, u64 uts, u64 umask, u64 size)
{
	u64 ns = 0;
	long r = uts ? timespec_from_user(UPTR(uts), &ns) : 0;
	if (!r)
		r = poll_set_mask(umask, size);
	if (r)
		return r;
	u64 deadline = !uts ? UINT64_MAX : ns ? deadline_of_ns(ns) : 0;
	return poll_end_mask(umask, epoll_wait_for(epfd, uev, max, deadline));
}
