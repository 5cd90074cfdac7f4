/* Sessions, their terminals and foreground process groups: who may read, who is stopped, who is hung up (drivers/tty/tty_jobctrl.c of Linux). */
#include "tty.h"

static struct list ttys = LIST_INIT(ttys);
struct tty console;

void tty_add(struct tty *t)
{
	list_add_tail(&t->all, &ttys);
}

struct tty *tty_controlling(void)
{
	struct tty *t;
	list_for_each (t, &ttys, all)
		if (t->session == current->proc->sid)
			return t;
	return NULL;
}

void tty_opened(struct tty *t, u32 oflags)
{
	const struct process *p = current->proc;
	if ((oflags & O_NOCTTY) || p->sid != p->pid || t->session || tty_controlling())
		return;
	t->session = p->sid;
	t->pgrp = p->pgid;
}

void tty_signal(s32 pgrp, int sig)
{
	struct process *p;
	struct siginfo info = {.si_signo = sig, .si_code = SI_KERNEL};
	if (!pgrp)
		return;
	list_for_each (p, &all_processes, all)
		if (p->pgid == pgrp && !p->zombie)
			send_signal(p, sig, &info);
}

bool group_orphaned(s32 pgrp, const struct process *without)
{
	const struct process *p;
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a list leads from its head back to it */
	list_for_each (p, &all_processes, all) {
		if (p == without || p->pgid != pgrp || p->zombie)
			continue;
		/* The first program's parent, a shell perhaps, is outside: QVisor stops for it. */
		if (!p->parent || (p->parent->pgid != pgrp && p->parent->sid == p->sid))
			return false;
	}
	return true;
}

static bool jobs_group_stopped(s32 pgrp)
{
	const struct process *p;
	list_for_each (p, &all_processes, all)
		if (p->pgid == pgrp && p->stopped)
			return true;
	return false;
}

/* A group that nobody can continue any more must not stay stopped (POSIX 3.264, _exit). */
static void jobs_orphan(s32 pgrp, const struct process *leaving)
{
	if (!jobs_group_stopped(pgrp) || !group_orphaned(pgrp, leaving))
		return;
	tty_signal(pgrp, SIGHUP);
	tty_signal(pgrp, SIGCONT);
}

void jobs_process_ends(struct process *p)
{
	struct tty *t = tty_controlling();
	if (p->sid == p->pid && t)
		tty_hangup(t);
	if (p->parent && p->parent->pgid != p->pgid && p->parent->sid == p->sid)
		jobs_orphan(p->pgid, p);
	struct process *c;
	list_for_each (c, &p->children, sibling)
		if (c->pgid != p->pgid && c->sid == p->sid)
			jobs_orphan(c->pgid, p);
}

int tty_check_change(struct tty *t, int sig)
{
	const struct process *p = current->proc;
	if (t->session != p->sid || !t->pgrp || p->pgid == t->pgrp)
		return 0;
	if ((current->blocked & SIGBIT(sig)) || p->sighand->action[sig - 1].handler == 1)
		return sig == SIGTTIN ? -EIO : 0;
	if (group_orphaned(p->pgid, NULL))
		return -EIO;
	tty_signal(p->pgid, sig);
	return -ERESTARTSYS;
}

void tty_hangup_jobs(struct tty *t, bool all)
{
	struct process *leader = all && t->session ? process_find(t->session) : NULL;
	s32 pgrp = t->pgrp;
	t->session = t->pgrp = 0;
	if (leader && leader != current->proc) {
		send_signal(leader, SIGHUP, &(struct siginfo){.si_signo = SIGHUP, .si_code = SI_KERNEL});
		send_signal(leader, SIGCONT, &(struct siginfo){.si_signo = SIGCONT, .si_code = SI_KERNEL});
	}
	if (leader && leader->pgid == pgrp)
		return; /* it is not told twice; the rest of its group is */
	tty_signal(pgrp, SIGHUP);
	tty_signal(pgrp, SIGCONT);
}

static long jobs_set_foreground(struct tty *t, u64 arg)
{
	const struct process *p;
	s32 id;
	int r = tty_check_change(t, SIGTTOU);
	if (r)
		return r;
	if (t->session != current->proc->sid)
		return -ENOTTY;
	if (get_user(id, UPTR(arg)))
		return -EFAULT;
	if (id < 0)
		return -EINVAL;
	bool any = false;
	list_for_each (p, &all_processes, all) {
		if (p->pgid != id)
			continue;
		any = true;
		if (p->sid == t->session) {
			t->pgrp = id;
			return 0;
		}
	}
	return any ? -EPERM : -ESRCH;
}

static long jobs_take_session(struct tty *t, u64 steal)
{
	const struct process *p = current->proc;
	if (p->sid == p->pid && t->session == p->sid)
		return 0;
	if (p->sid != p->pid || tty_controlling() || (t->session && (steal != 1 || p->euid)))
		return -EPERM;
	t->session = p->sid;
	t->pgrp = p->pgid;
	return 0;
}

static long jobs_give_up(struct tty *t)
{
	const struct process *p = current->proc;
	if (t->session != p->sid)
		return -ENOTTY;
	if (p->sid == p->pid)
		tty_hangup_jobs(t, false);
	return 0;
}

bool tty_job_ioctl(struct tty *t, bool own, u32 cmd, u64 arg, long *result)
{
	bool mine = !own || t->session == current->proc->sid;
	switch (cmd) {
	case TIOCGPGRP:
		*result = mine ? put_user(t->pgrp, UPTR(arg)) : -ENOTTY;
		return true;
	case TIOCSPGRP:
		*result = jobs_set_foreground(t, arg);
		return true;
	case TIOCGSID:
		*result = mine && t->session ? put_user(t->session, UPTR(arg)) : -ENOTTY;
		return true;
	case TIOCSCTTY:
		*result = jobs_take_session(t, arg);
		return true;
	case TIOCNOTTY:
		*result = jobs_give_up(t);
		return true;
	default:
		return false;
	}
}
