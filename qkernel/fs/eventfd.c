/* eventfd: a counter that can be waited for. */
#include "fdtable.h"
#include <linux/fcntl.h>

#define EFD_SEMAPHORE 1
#define EFD_CLOEXEC O_CLOEXEC
#define EFD_NONBLOCK O_NONBLOCK

struct eventfd {
	u64 count;
	bool semaphore;
	struct waitq wait;
};
#define COUNT_LIMIT (UINT64_MAX - 1)

static ssize_t eventfd_read(struct file *f, struct uio *u, u64 *pos)
{
	struct eventfd *e = f->priv;
	if (u->resid < 8)
		return -EINVAL;
	if (!e->count) {
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event(&e->wait, e->count != 0, UINT64_MAX))
			return -ERESTARTSYS;
	}
	u64 v = e->semaphore ? 1 : e->count;
	e->count -= v;
	waitq_wake(&e->wait, POLL_OUT, 0);
	return uio_write(u, &v, 8);
}

static ssize_t eventfd_write(struct file *f, struct uio *u, u64 *pos)
{
	struct eventfd *e = f->priv;
	u64 v;
	if (u->resid < 8)
		return -EINVAL;
	ssize_t r = uio_read(u, &v, 8);
	if (r != 8)
		return -EFAULT;
	if (v == UINT64_MAX)
		return -EINVAL;
	if (v > COUNT_LIMIT - e->count) {
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event(&e->wait, v <= COUNT_LIMIT - e->count, UINT64_MAX))
			return -ERESTARTSYS;
	}
	e->count += v;
	if (v)
		waitq_wake(&e->wait, POLL_IN, 0);
	return 8;
}

static u32 eventfd_poll(struct file *f, struct poll_table *pt)
{
	struct eventfd *e = f->priv;
	poll_wait(f, &e->wait, pt);
	return (e->count ? POLL_IN : 0) | (e->count < COUNT_LIMIT ? POLL_OUT : 0);
}

static void eventfd_release(struct file *f)
{
	kfree(f->priv);
}

static const struct file_ops ops = {.read = eventfd_read, .write = eventfd_write, .poll = eventfd_poll, .release = eventfd_release};

long sys_eventfd2(u64 init, u64 flags)
{
	if (flags & ~(u64)(EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE))
		return -EINVAL;
	struct eventfd *e = kzalloc(sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->count = (u32)init;
	e->semaphore = flags & EFD_SEMAPHORE;
	waitq_init(&e->wait);
	struct file *f = anon_file(&ops, 0600, O_RDWR | ((u32)flags & O_NONBLOCK), e, "anon_inode:[eventfd]");
	if (!f) {
		kfree(e);
		return -ENOMEM;
	}
	return fd_install(f, (u32)flags, 0);
}

long sys_eventfd(u64 init)
{
	return sys_eventfd2(init, 0);
}
