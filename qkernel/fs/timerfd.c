/* timerfd: a timer that is read. */
#include "../proc/proc.h"
#include "fs.h"
#include <linux/fcntl.h>
#include <linux/time.h>
#include <linux/timerfd.h>

struct timerfd {
	struct ktimer timer;
	s32 clock;
	u64 interval, ticks;
	struct waitq wait;
};

static void fired(struct ktimer *k)
{
	struct timerfd *t = container_of(k, struct timerfd, timer);
	t->ticks++;
	if (t->interval) {
		u64 now = mono_ns(), late = now > k->when ? (now - k->when) / t->interval : 0;
		t->ticks += late;
		ktimer_arm(k, k->when + (late + 1) * t->interval);
	}
	waitq_wake(&t->wait, POLL_IN, 0);
}

static ssize_t read(struct file *f, struct uio *u, u64 *pos)
{
	struct timerfd *t = f->priv;
	if (u->resid < 8)
		return -EINVAL;
	if (!t->ticks) {
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event(&t->wait, t->ticks != 0, UINT64_MAX))
			return -ERESTARTSYS;
	}
	u64 v = t->ticks;
	t->ticks = 0;
	return uio_write(u, &v, 8);
}

static u32 poll(struct file *f, struct poll_table *pt)
{
	struct timerfd *t = f->priv;
	poll_wait(f, &t->wait, pt);
	return t->ticks ? POLL_IN : 0;
}

static void release(struct file *f)
{
	struct timerfd *t = f->priv;
	ktimer_cancel(&t->timer);
	kfree(t);
}

static const struct file_ops ops = {.read = read, .poll = poll, .release = release};

static u64 clock_now(s32 clock)
{
	return clock == CLOCK_REALTIME ? real_ns() : clock == CLOCK_BOOTTIME ? boot_ns() : mono_ns();
}

long sys_timerfd_create(u64 clock, u64 flags)
{
	if (clock == CLOCK_REALTIME_ALARM)
		clock = CLOCK_REALTIME;
	if (clock == CLOCK_BOOTTIME_ALARM)
		clock = CLOCK_BOOTTIME;
	if (flags & ~(u64)(TFD_CLOEXEC | TFD_NONBLOCK) || (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC && clock != CLOCK_BOOTTIME))
		return -EINVAL;
	struct timerfd *t = kzalloc(sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->timer.fn = fired;
	t->clock = (s32)clock;
	waitq_init(&t->wait);
	struct file *f = anon_file(&ops, 0600, O_RDWR | ((u32)flags & O_NONBLOCK), t, "anon_inode:[timerfd]");
	if (!f) {
		kfree(t);
		return -ENOMEM;
	}
	return fd_install(f, (u32)flags, 0);
}

static long report(struct timerfd *t, u64 uit)
{
	u64 now = mono_ns(), left = !t->timer.node.queued ? 0 : t->timer.when > now ? t->timer.when - now : 1;
	int r = timespec_to_user(UPTR(uit), t->interval);
	return r ? r : timespec_to_user(UPTR(uit + 16), left);
}

long sys_timerfd_settime(u64 fd, u64 flags, u64 unew, u64 uold)
{
	u64 interval, value;
	long r = timespec_from_user(UPTR(unew), &interval);
	if (!r)
		r = timespec_from_user(UPTR(unew + 16), &value);
	if (!r && flags & ~(u64)(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET))
		r = -EINVAL;
	if (r)
		return r;
	scoped_file f = fd_get_kind((int)fd, &ops, -EINVAL, &r);
	if (!f)
		return r;
	struct timerfd *t = f->priv;
	r = uold ? report(t, uold) : 0;
	if (!r) {
		ktimer_cancel(&t->timer);
		t->ticks = 0;
		t->interval = interval;
		if (value) {
			u64 now = mono_ns();
			if (flags & TFD_TIMER_ABSTIME) {
				u64 there = clock_now(t->clock);
				value = value > there ? value - there : 0;
			}
			ktimer_arm(&t->timer, value > UINT64_MAX / 2 ? UINT64_MAX / 2 : now + value);
		}
	}
	return r;
}

long sys_timerfd_gettime(u64 fd, u64 uit)
{
	long r;
	scoped_file f = fd_get_kind((int)fd, &ops, -EINVAL, &r);
	return f ? report(f->priv, uit) : r;
}
