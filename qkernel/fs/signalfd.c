/* signalfd: pending signals read as records. */
#include "fdtable.h"
#include <asm/signal.h>
#include <linux/fcntl.h>
#include <linux/signalfd.h>

struct signalfd {
	sigset set;
	struct list all;
	struct waitq wait;
};
static struct list all = LIST_INIT(all);

void signalfd_notify(void)
{
	struct signalfd *s;
	list_for_each (s, &all, all)
		waitq_wake(&s->wait, POLL_IN, 0);
}

static bool signalfd_pending(const struct signalfd *s)
{
	return (current->pending.set | current->proc->pending.set) & s->set;
}

static void signalfd_fill(struct signalfd_siginfo *o, const struct siginfo *i)
{
	*o = (struct signalfd_siginfo){.ssi_signo = (u32)i->si_signo, .ssi_errno = i->si_errno, .ssi_code = i->si_code};
	o->ssi_pid = (u32)i->f[0];
	o->ssi_uid = (u32)(i->f[0] >> 32);
	o->ssi_int = (s32)i->f[1];
	o->ssi_ptr = i->f[1];
	o->ssi_status = (s32)i->f[1];
	if (i->si_code == SI_TIMER) {
		o->ssi_tid = (u32)i->f[0];
		o->ssi_overrun = (u32)(i->f[0] >> 32);
	}
}

static ssize_t signalfd_read(struct file *f, struct uio *u, u64 *pos)
{
	struct signalfd *s = f->priv;
	ssize_t done = 0;
	if (u->resid < sizeof(struct signalfd_siginfo))
		return -EINVAL;
	if (!signalfd_pending(s)) {
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event(&s->wait, signalfd_pending(s), UINT64_MAX))
			return -ERESTARTSYS;
	}
	while (u->resid >= sizeof(struct signalfd_siginfo)) {
		struct siginfo info;
		struct signalfd_siginfo out;
		if (!signal_take(s->set, &info))
			break;
		signalfd_fill(&out, &info);
		ssize_t n = uio_write(u, &out, sizeof(out));
		if (n < 0)
			return done ? done : n;
		done += n;
	}
	return done;
}

static u32 signalfd_poll(struct file *f, struct poll_table *pt)
{
	struct signalfd *s = f->priv;
	poll_wait(f, &s->wait, pt);
	return signalfd_pending(s) ? POLL_IN : 0;
}

static void signalfd_release(struct file *f)
{
	struct signalfd *s = f->priv;
	list_del(&s->all);
	kfree(s);
}

static const struct file_ops ops = {.read = signalfd_read, .poll = signalfd_poll, .release = signalfd_release};

long sys_signalfd4(u64 fd, u64 uset, u64 size, u64 flags)
{
	sigset set;
	if (size != sizeof(set) || flags & ~(u64)(SFD_CLOEXEC | SFD_NONBLOCK))
		return -EINVAL;
	if (get_user(set, UPTR(uset)))
		return -EFAULT;
	set &= ~(SIGBIT(SIGKILL) | SIGBIT(SIGSTOP));
	if ((int)fd != -1) {
		long r;
		scoped_file f = fd_get_kind((int)fd, &ops, -EINVAL, &r);
		if (f)
			((struct signalfd *)f->priv)->set = set;
		return f ? (long)(int)fd : r;
	}
	struct signalfd *s = kzalloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->set = set;
	waitq_init(&s->wait);
	list_add_tail(&s->all, &all);
	struct file *f = anon_file(&ops, 0600, O_RDWR | ((u32)flags & O_NONBLOCK), s, "anon_inode:[signalfd]");
	if (!f) {
		list_del(&s->all);
		kfree(s);
		return -ENOMEM;
	}
	return fd_install(f, (u32)flags, 0);
}

long sys_signalfd(u64 fd, u64 uset, u64 size)
{
	return sys_signalfd4(fd, uset, size, 0);
}
