/* Scheduling policy calls. There is one policy, round robin on one processor: what is asked for is checked, kept where it can be seen, and no more. */
#include "proc.h"
#include <linux/sched.h>

static struct task *find(u64 pid)
{
	return (s32)pid ? task_find((s32)pid) : current;
}

long sys_sched_yield(void)
{
	current->need_resched = true;
	return 0;
}

long sys_sched_getaffinity(u64 pid, u64 len, u64 umask)
{
	u64 one = 1;
	if (!find(pid))
		return -ESRCH;
	if (len < 8 || (len & 7))
		return -EINVAL;
	return put_user(one, UPTR(umask)) ? -EFAULT : 8;
}

long sys_sched_setaffinity(u64 pid, u64 len, u64 umask)
{
	u64 mask = 0;
	if (!find(pid))
		return -ESRCH;
	if (copy_from_user(&mask, UPTR(umask), MIN(len, sizeof(mask))))
		return -EFAULT;
	return mask & 1 ? 0 : -EINVAL;
}

long sys_sched_getscheduler(u64 pid)
{
	struct task *t = (s32)pid < 0 ? NULL : find(pid);
	return (s32)pid < 0 ? -EINVAL : t ? (long)t->policy : -ESRCH;
}

static bool valid_policy(u32 policy, s32 priority)
{
	return (policy == SCHED_NORMAL || policy == SCHED_BATCH || policy == SCHED_IDLE) && priority == 0;
}

long sys_sched_setscheduler(u64 pid, u64 policy, u64 uparam)
{
	s32 priority;
	if ((s32)pid < 0 || !uparam)
		return -EINVAL;
	if (get_user(priority, UPTR(uparam)))
		return -EFAULT;
	if (!find(pid))
		return -ESRCH;
	policy &= ~(u64)SCHED_RESET_ON_FORK;
	if (policy == SCHED_FIFO || policy == SCHED_RR)
		return priority < 1 || priority > 99 ? -EINVAL : -EPERM;
	if (!valid_policy((u32)policy, priority))
		return -EINVAL;
	find(pid)->policy = (u32)policy;
	return 0;
}

long sys_sched_getparam(u64 pid, u64 uparam)
{
	s32 zero = 0;
	if ((s32)pid < 0 || !uparam)
		return -EINVAL;
	return !find(pid) ? -ESRCH : put_user(zero, UPTR(uparam));
}

long sys_sched_setparam(u64 pid, u64 uparam)
{
	s32 priority;
	if ((s32)pid < 0 || !uparam)
		return -EINVAL;
	if (get_user(priority, UPTR(uparam)))
		return -EFAULT;
	return !find(pid) ? -ESRCH : priority ? -EINVAL : 0;
}

long sys_sched_get_priority_max(u64 policy)
{
	return policy == SCHED_FIFO || policy == SCHED_RR                                ? 99
	       : policy == SCHED_NORMAL || policy == SCHED_BATCH || policy == SCHED_IDLE ? 0
											 : -EINVAL;
}

long sys_sched_get_priority_min(u64 policy)
{
	return policy == SCHED_FIFO || policy == SCHED_RR ? 1 : sys_sched_get_priority_max(policy);
}

long sys_sched_rr_get_interval(u64 pid, u64 u)
{
	return (s32)pid < 0 ? -EINVAL : !find(pid) ? -ESRCH : timespec_to_user(UPTR(u), 10000000);
}

struct attr {
	u32 size, policy;
	u64 flags;
	s32 nice;
	u32 priority;
	u64 runtime, deadline, period;
};

long sys_sched_getattr(u64 pid, u64 u, u64 size, u64 flags)
{
	struct task *t = find(pid);
	if (flags || size < 48 || size > PAGE_SIZE)
		return -EINVAL;
	if (!t)
		return -ESRCH;
	struct attr a = {.size = sizeof(a), .nice = t->nice};
	return copy_to_user(UPTR(u), &a, sizeof(a));
}

long sys_sched_setattr(u64 pid, u64 u, u64 flags)
{
	struct attr a;
	struct task *t = find(pid);
	if (flags)
		return -EINVAL;
	if (copy_from_user(&a, UPTR(u), sizeof(a)))
		return -EFAULT;
	if (!t)
		return -ESRCH;
	if (!valid_policy(a.policy, (s32)a.priority) || a.nice < -20 || a.nice > 19)
		return -EINVAL;
	t->nice = a.nice;
	return 0;
}

long sys_getpriority(u64 which, u64 who)
{
	struct task *t = which == 0 ? find(who) : current;
	if (which > 2)
		return -EINVAL;
	return t ? 20 - t->nice : -ESRCH;
}

long sys_setpriority(u64 which, u64 who, u64 value)
{
	s32 nice = MAX(-20, MIN(19, (s32)value));
	struct task *t = which == 0 ? find(who) : current;
	if (which > 2)
		return -EINVAL;
	if (!t)
		return -ESRCH;
	if (nice < t->nice && current->proc->euid)
		return -EACCES;
	t->nice = nice;
	return 0;
}

long sys_ioprio_get(u64 which, u64 who)
{
	return which < 1 || which > 3 ? -EINVAL : 4; /* IOPRIO_CLASS_NONE, level 4 */
}

long sys_ioprio_set(u64 which, u64 who, u64 value)
{
	return which < 1 || which > 3 || value >> 13 > 3 ? -EINVAL : 0;
}

long sys_getcpu(u64 ucpu, u64 unode)
{
	u32 zero = 0;
	return (ucpu && put_user(zero, UPTR(ucpu))) || (unode && put_user(zero, UPTR(unode))) ? -EFAULT : 0;
}

/* One processor: every barrier is there already when the call returns. */
long sys_membarrier(u64 cmd, u64 flags)
{
	const u64 supported = 1 | 2 | 4 | 8 | 16 | 32 | 64;
	if (flags)
		return -EINVAL;
	return cmd == 0 ? (long)supported : (cmd & supported) && !(cmd & (cmd - 1)) ? 0 : -EINVAL;
}
