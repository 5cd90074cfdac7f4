/* pidfd: a process held by a descriptor, whatever becomes of its number (pidfd_open(2)). */
#include "fdtable.h"
#include "../proc/proc.h"
#include "procfs.h"
#include <asm/signal.h>
#include <linux/capability.h>
#include <linux/fcntl.h>

#define PIDFD_NONBLOCK O_NONBLOCK
#define PIDFD_SIGNAL_THREAD 1u
#define PIDFD_SIGNAL_THREAD_GROUP 2u
#define PIDFD_SIGNAL_PROCESS_GROUP 4u

/* What the descriptors of one process share; it outlives the process. */
struct pidref {
	u32 refs; /* files; the process is told by pidref_gone */
	struct process *proc;
	struct waitq wait;
};

static void pidfd_pidref_put(struct pidref *r)
{
	if (--r->refs)
		return;
	if (r->proc)
		r->proc->pidref = NULL;
	kfree(r);
}

static u32 pidfd_poll(struct file *f, struct poll_table *pt)
{
	struct pidref *r = f->priv;
	poll_wait(f, &r->wait, pt);
	return !r->proc ? POLL_IN | POLL_HUP : r->proc->zombie ? POLL_IN : 0;
}

static void pidfd_release(struct file *f)
{
	pidfd_pidref_put(f->priv);
}

static const struct file_ops ops = {.poll = pidfd_poll, .release = pidfd_release};

void pidref_wake(struct process *p)
{
	if (p->pidref)
		waitq_wake(&p->pidref->wait, POLL_IN, 0);
}

void pidref_gone(struct process *p)
{
	struct pidref *r = p->pidref;
	if (!r)
		return;
	p->pidref = NULL;
	r->proc = NULL;
	waitq_wake(&r->wait, POLL_IN | POLL_HUP, 0);
}

struct file *pidfd_file(struct process *p, u32 flags)
{
	struct pidref *r = p->pidref;
	if (!r) {
		r = kzalloc(sizeof(*r));
		if (!r)
			return NULL;
		r->proc = p;
		waitq_init(&r->wait);
		p->pidref = r;
	}
	r->refs++;
	struct file *f = anon_file(&ops, 0600, O_RDWR | (flags & O_NONBLOCK), r, "anon_inode:[pidfd]");
	if (!f)
		pidfd_pidref_put(r);
	return f;
}

long pidfd_process(int fd, struct process **p, bool *nonblock)
{
	long r;
	scoped_file f = fd_get_kind(fd, &ops, -EBADF, &r);
	if (!f)
		return r;
	*p = ((struct pidref *)f->priv)->proc;
	*nonblock = f->flags & O_NONBLOCK;
	return *p ? 0 : -ESRCH;
}

void pidfd_fdinfo(const struct file *f, struct text *t)
{
	if (f->ops != &ops)
		return;
	const struct process *p = ((const struct pidref *)f->priv)->proc;
	s32 pid = p ? p->pid : -1;
	text_add(t, "Pid:\t%d\nNSpid:\t%d\n", pid, pid);
}

long sys_pidfd_open(u64 pid, u64 flags)
{
	if (flags & ~(u64)PIDFD_NONBLOCK || (s32)pid <= 0)
		return -EINVAL;
	struct process *p = process_find((s32)pid);
	if (!p)
		return task_find((s32)pid) ? -ENOENT : -ESRCH; /* of threads other than the first there is none */
	struct file *f = pidfd_file(p, (u32)flags);
	return f ? fd_install(f, O_CLOEXEC, 0) : -ENOMEM;
}

long sys_pidfd_send_signal(u64 fd, u64 usig, u64 uinfo, u64 flags)
{
	struct siginfo info, *given = NULL;
	struct process *p;
	bool nonblock;
	int sig = (int)usig;
	if (flags & ~(u64)(PIDFD_SIGNAL_THREAD | PIDFD_SIGNAL_THREAD_GROUP | PIDFD_SIGNAL_PROCESS_GROUP) || (flags & (flags - 1)))
		return -EINVAL;
	long r = pidfd_process((int)fd, &p, &nonblock);
	if (r == -EBADF) {
		/* A directory of /proc will do: it was what there was before pidfd_open. */
		scoped_file f = fd_get((int)fd);
		p = f ? procfs_process(f) : NULL;
		r = p ? 0 : -EBADF;
	}
	if (r)
		return r;
	if (uinfo) {
		if (copy_from_user(&info, UPTR(uinfo), sizeof(info)))
			return -EFAULT;
		if (info.si_signo != sig)
			return -EINVAL;
		if (p != current->proc && (info.si_code >= 0 || info.si_code == SI_TKILL))
			return -EPERM;
		given = &info;
	}
	if (sig < 0 || sig > SIGNALS)
		return -EINVAL;
	if (flags & PIDFD_SIGNAL_PROCESS_GROUP)
		return signal_group(p->pid, sig);
	return flags & PIDFD_SIGNAL_THREAD ? signal_thread(p->pid, sig, given) : signal_process(p, sig, given);
}

/* A copy of another process's descriptor, for who may trace it. */
long sys_pidfd_getfd(u64 pidfd, u64 fd, u64 flags)
{
	struct process *p;
	bool nonblock;
	const struct process *c = current->proc;
	if (flags)
		return -EINVAL;
	long r = pidfd_process((int)pidfd, &p, &nonblock);
	if (r)
		return r;
	bool same = c->uid == p->uid && c->uid == p->euid && c->uid == p->suid && p->dumpable;
	if (p != c && !same && !(c->cap_eff & 1ul << CAP_SYS_PTRACE))
		return -EPERM;
	const struct files *files = p->leader ? p->leader->files : NULL;
	if (!files)
		return -ESRCH;
	if (fd >= files->cap || !files->fd[fd])
		return -EBADF;
	file_get(files->fd[fd]);
	return fd_install(files->fd[fd], O_CLOEXEC, 0);
}
