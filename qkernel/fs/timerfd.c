/* timerfd: a timer that is read. */
#include "fdtable.h"
#include "ktime.h"
#include "../proc/proc.h"
#include <linux/fcntl.h>
#include <linux/time.h>
#include <linux/timerfd.h>

struct timerfd {
	struct ktimer timer;
	struct list all;
	s32 clock;  /* of timerfd_create */
	s32 counts; /* the clock that `when` is on: a relative timer of the wall clock does not follow its jumps */
	u64 when;   /* of the next expiration */
	u64 interval, ticks;
	bool idle;          /* has expired and goes on when somebody asks: nobody waits for more than that it can be read */
	bool cancel_on_set; /* TFD_TIMER_CANCEL_ON_SET with an absolute time of the wall clock */
	bool canceled;
	struct waitq wait;
};
static struct list timerfds = LIST_INIT(timerfds);

static void timerfd_arm(struct timerfd *t)
{
	ktimer_arm(&t->timer, clock_to_mono(t->counts, t->when));
}

static void timerfd_fired(struct ktimer *k)
{
	struct timerfd *t = container_of(k, struct timerfd, timer);
	u64 now = clock_now(t->counts);
	if (now < t->when) {
		timerfd_arm(t);
		return;
	}
	t->ticks++;
	t->idle = t->interval != 0;
	waitq_wake(&t->wait, POLL_IN, 0);
}

/* Counts what has passed since it expired, and goes on. */
static void timerfd_go_on(struct timerfd *t)
{
	if (!t->idle)
		return;
	u64 now = clock_now(t->counts), late = now > t->when ? (now - t->when) / t->interval : 0;
	t->idle = false;
	t->ticks += late;
	t->when += (late + 1) * t->interval;
	timerfd_arm(t);
}

void timerfds_clock_jumped(void)
{
	struct timerfd *t;
	list_for_each (t, &timerfds, all) {
		if (t->timer.node.queued && t->counts != CLOCK_MONOTONIC)
			timerfd_arm(t);
		if (t->cancel_on_set) {
			t->canceled = true;
			waitq_wake(&t->wait, POLL_IN, 0);
		}
	}
}

static ssize_t timerfd_read(struct file *f, struct uio *u, u64 *pos)
{
	struct timerfd *t = f->priv;
	if (u->resid < 8)
		return -EINVAL;
	if (!t->ticks && !t->canceled) {
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event(&t->wait, t->ticks || t->canceled, UINT64_MAX))
			return -ERESTARTSYS;
	}
	timerfd_go_on(t);
	u64 v = t->ticks;
	t->ticks = 0;
	if (t->canceled) {
		t->canceled = false;
		return -ECANCELED;
	}
	return uio_write(u, &v, 8);
}

static u32 timerfd_poll(struct file *f, struct poll_table *pt)
{
	struct timerfd *t = f->priv;
	poll_wait(f, &t->wait, pt);
	return t->ticks || t->canceled ? POLL_IN : 0;
}

static void timerfd_release(struct file *f)
{
	struct timerfd *t = f->priv;
	ktimer_cancel(&t->timer);
	list_del(&t->all);
	kfree(t);
}

static const struct file_ops ops = {.read = timerfd_read, .poll = timerfd_poll, .release = timerfd_release};

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
	t->timer.fn = timerfd_fired;
	t->clock = t->counts = (s32)clock;
	waitq_init(&t->wait);
	list_add_tail(&t->all, &timerfds);
	struct file *f = anon_file(&ops, 0600, O_RDWR | ((u32)flags & O_NONBLOCK), t, "anon_inode:[timerfd]");
	if (!f) {
		list_del(&t->all);
		kfree(t);
		return -ENOMEM;
	}
	return fd_install(f, (u32)flags, 0);
}

static long timerfd_report(struct timerfd *t, u64 uit)
{
	timerfd_go_on(t);
	u64 now = clock_now(t->counts), left = !t->timer.node.queued ? 0 : t->when > now ? t->when - now : 1;
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
	r = uold ? timerfd_report(t, uold) : 0;
	if (!r) {
		bool absolute = flags & TFD_TIMER_ABSTIME;
		ktimer_cancel(&t->timer);
		t->idle = false;
		t->ticks = 0;
		t->canceled = false;
		t->cancel_on_set = value && absolute && flags & TFD_TIMER_CANCEL_ON_SET && t->clock == CLOCK_REALTIME;
		t->interval = interval;
		t->counts = !absolute && clock_is_wall(t->clock) ? CLOCK_MONOTONIC : t->clock;
		t->when = MIN(value, UINT64_MAX / 2) + (absolute ? 0 : clock_now(t->counts));
		if (value)
			timerfd_arm(t);
	}
	return r;
}

long sys_timerfd_gettime(u64 fd, u64 uit)
{
	long r;
	scoped_file f = fd_get_kind((int)fd, &ops, -EINVAL, &r);
	return f ? timerfd_report(f->priv, uit) : r;
}
