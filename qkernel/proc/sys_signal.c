/* System calls of signals. */
#include "ktime.h"
#include "sched.h"
#include "uaccess.h"
#include "proc.h"
#include <asm/signal.h>

#define KILL_STOP (SIGBIT(SIGKILL) | SIGBIT(SIGSTOP))

long sys_rt_sigaction(u64 usig, u64 unew, u64 uold, u64 size)
{
	int sig = (int)usig;
	struct user_action {
		u64 handler, flags, restorer;
		sigset mask;
	} n, old;
	if (size != sizeof(sigset) || sig < 1 || sig > SIGNALS)
		return -EINVAL;
	struct ksigaction *sa = &current->proc->sighand->action[sig - 1];
	old = (struct user_action){sa->handler, sa->flags, sa->restorer, sa->mask};
	if (unew) {
		if (copy_from_user(&n, UPTR(unew), sizeof(n)))
			return -EFAULT;
		if (SIGBIT(sig) & KILL_STOP)
			return -EINVAL;
		bool was_ignored = signal_ignored(current->proc, sig);
		*sa = (struct ksigaction){n.handler, n.flags, n.restorer, n.mask & ~KILL_STOP};
		if (!signal_ignored(current->proc, sig)) {
			if (was_ignored)
				posix_timers_resume(current->proc, sig);
		} else {
			struct task *t;
			pending_remove(&current->proc->pending, sig);
			list_for_each (t, &current->proc->tasks, group)
				pending_remove(&t->pending, sig);
		}
	}
	return uold && copy_to_user(UPTR(uold), &old, sizeof(old)) ? -EFAULT : 0;
}

long sys_rt_sigprocmask(u64 how, u64 unew, u64 uold, u64 size)
{
	sigset n, old = current->blocked;
	if (size != sizeof(sigset))
		return -EINVAL;
	if (unew) {
		if (get_user(n, UPTR(unew)))
			return -EFAULT;
		n &= ~KILL_STOP;
		switch ((int)how) {
		case SIG_BLOCK:
			current->blocked |= n;
			break;
		case SIG_UNBLOCK:
			current->blocked &= ~n;
			break;
		case SIG_SETMASK:
			current->blocked = n;
			break;
		default:
			return -EINVAL;
		}
	}
	return uold && put_user(old, UPTR(uold)) ? -EFAULT : 0;
}

long sys_rt_sigpending(u64 uset, u64 size)
{
	sigset s = (current->pending.set | current->proc->pending.set) & current->blocked;
	if (size > sizeof(s))
		return -EINVAL;
	return copy_to_user(UPTR(uset), &s, size);
}

long sys_rt_sigsuspend(u64 uset, u64 size)
{
	sigset s;
	if (size != sizeof(s))
		return -EINVAL;
	if (get_user(s, UPTR(uset)))
		return -EFAULT;
	current->saved_mask = current->blocked;
	current->blocked = s & ~KILL_STOP;
	while (task_sleep(UINT64_MAX) != -EINTR)
		;
	current->restore_mask = true;
	return -ERESTARTNOHAND;
}

long sys_pause(void)
{
	while (task_sleep(UINT64_MAX) != -EINTR)
		;
	return -ERESTARTNOHAND;
}

long sys_rt_sigtimedwait(u64 uset, u64 uinfo, u64 utimeout, u64 size)
{
	sigset s;
	struct siginfo info;
	u64 ns = UINT64_MAX, until = UINT64_MAX;
	if (size != sizeof(s))
		return -EINVAL;
	if (get_user(s, UPTR(uset)))
		return -EFAULT;
	if (utimeout) {
		int r = timespec_from_user(UPTR(utimeout), &ns);
		if (r)
			return r;
		until = mono_ns() + ns;
		if (until < ns)
			until = UINT64_MAX;
	}
	s &= ~KILL_STOP;
	for (;;) {
		int sig = dequeue_signal(current, s, &info);
		if (sig)
			return uinfo && copy_to_user(UPTR(uinfo), &info, sizeof(info)) ? -EFAULT : sig;
		if (ns == 0)
			return -EAGAIN;
		/* The waited-for signals wake the sleep although they are blocked. */
		current->waiting_for = s;
		int r = task_sleep(until);
		current->waiting_for = 0;
		sig = dequeue_signal(current, s, &info);
		if (sig)
			return uinfo && copy_to_user(UPTR(uinfo), &info, sizeof(info)) ? -EFAULT : sig;
		if (r == -ETIMEDOUT)
			return -EAGAIN;
		if (r == -EINTR && signal_pending(current))
			return -EINTR;
	}
}

static bool may_signal(const struct process *p, int sig)
{
	const struct process *c = current->proc;
	return c->euid == 0 || c->euid == p->uid || c->euid == p->suid || c->uid == p->uid || c->uid == p->suid ||
	       (sig == SIGCONT && c->sid == p->sid);
}

long signal_process(struct process *p, int sig, const struct siginfo *info)
{
	if (!may_signal(p, sig))
		return -EPERM;
	return send_signal(p, sig, info);
}

static long kill_many(s32 pid, int sig)
{
	s32 pgid = pid == 0 ? current->proc->pgid : -pid;
	struct process *p, *next;
	long r = -ESRCH;
	list_for_each_safe (p, next, &all_processes, all) {
		if (pid == -1 ? p == init_process || p == current->proc : p->pgid != pgid)
			continue;
		long e = signal_process(p, sig, NULL);
		if (r)
			r = e;
	}
	return r;
}

long signal_group(s32 pgid, int sig)
{
	return kill_many(-pgid, sig);
}

long sys_kill(u64 upid, u64 sig)
{
	s32 pid = (s32)upid;
	if (sig > SIGNALS)
		return -EINVAL;
	if (pid == INT32_MIN)
		return -ESRCH;
	if (pid <= 0)
		return kill_many(pid, (int)sig);
	struct process *p = process_find(pid);
	return p ? signal_process(p, (int)sig, NULL) : -ESRCH;
}

static long kill_task(s32 tgid, s32 tid, u64 sig, const struct siginfo *info)
{
	struct siginfo own = {.si_code = SI_TKILL};
	if (tid <= 0 || tgid < 0 || sig > SIGNALS)
		return -EINVAL;
	own.f[0] = (u32)current->proc->pid | (u64)current->proc->uid << 32;
	struct task *t = task_find(tid);
	if (!t || (tgid && t->proc->pid != tgid))
		return -ESRCH;
	if (!may_signal(t->proc, (int)sig))
		return -EPERM;
	return send_signal_task(t, (int)sig, info ? info : &own);
}

long signal_thread(s32 tid, int sig, const struct siginfo *info)
{
	return kill_task(0, tid, (u64)sig, info);
}

long sys_tkill(u64 tid, u64 sig)
{
	return kill_task(0, (s32)tid, sig, NULL);
}

long sys_tgkill(u64 tgid, u64 tid, u64 sig)
{
	return (s32)tgid <= 0 ? -EINVAL : kill_task((s32)tgid, (s32)tid, sig, NULL);
}

/* Only a process itself may pretend to be the kernel or kill(). */
static long kill_get_info(struct siginfo *info, u64 uinfo, s32 pid)
{
	if (copy_from_user(info, UPTR(uinfo), sizeof(*info)))
		return -EFAULT;
	info->of_timer = 0;
	return (info->si_code >= 0 || info->si_code == SI_TKILL) && pid != current->proc->pid ? -EPERM : 0;
}

long sys_rt_sigqueueinfo(u64 pid, u64 sig, u64 uinfo)
{
	struct siginfo info;
	long r = kill_get_info(&info, uinfo, (s32)pid);
	if (r)
		return r;
	if (sig > SIGNALS)
		return -EINVAL;
	struct process *p = process_find((s32)pid);
	return p ? signal_process(p, (int)sig, &info) : -ESRCH;
}

long sys_rt_tgsigqueueinfo(u64 tgid, u64 tid, u64 sig, u64 uinfo)
{
	struct siginfo info;
	long r = kill_get_info(&info, uinfo, (s32)tgid);
	return r ? r : kill_task((s32)tgid, (s32)tid, sig, &info);
}
