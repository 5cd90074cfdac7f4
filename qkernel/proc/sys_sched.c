/* Scheduling calls: policies, priorities, nice values, the one processor. */
#include "proc.h"
#include <linux/capability.h>
#include <linux/resource.h>
#include <linux/sched.h>

#define RT_PRIORITY_MAX 99

struct sched_request {
	u32 policy, priority;
	s32 nice;
	bool reset_on_fork;
};

static struct task *sched_find(u64 pid)
{
	return (s32)pid ? task_find((s32)pid) : current;
}

long sys_sched_getaffinity(u64 pid, u64 len, u64 umask)
{
	u64 one = 1;
	if (!sched_find(pid))
		return -ESRCH;
	if (len < 8 || (len & 7))
		return -EINVAL;
	return put_user(one, UPTR(umask)) ? -EFAULT : 8;
}

long sys_sched_setaffinity(u64 pid, u64 len, u64 umask)
{
	u64 mask = 0;
	if (!sched_find(pid))
		return -ESRCH;
	if (copy_from_user(&mask, UPTR(umask), MIN(len, sizeof(mask))))
		return -EFAULT;
	return mask & 1 ? 0 : -EINVAL;
}

long sys_sched_getscheduler(u64 pid)
{
	struct task *t = (s32)pid < 0 ? NULL : sched_find(pid);
	return (s32)pid < 0 ? -EINVAL : t ? (long)(t->policy | (t->reset_on_fork ? SCHED_RESET_ON_FORK : 0)) : -ESRCH;
}

static bool may_nice(void)
{
	return current->proc->cap_eff >> CAP_SYS_NICE & 1;
}

static bool sched_owns(const struct task *t)
{
	const struct process *c = current->proc, *p = t->proc;
	return c->euid == p->euid || c->euid == p->uid;
}

/* RLIMIT_NICE counts from 1 (nice 19) to 40 (nice -20): getrlimit(2). */
static bool nice_allowed(const struct task *t, s32 nice)
{
	return nice >= t->nice || may_nice() || (u64)(20 - nice) <= t->proc->rlim[RLIMIT_NICE].cur;
}

static bool sched_rt_policy(u32 policy)
{
	return policy == SCHED_FIFO || policy == SCHED_RR;
}

/* The rules of sched(7), "Privileges and resource limits". */
static long sched_change_policy(struct task *t, const struct sched_request *r)
{
	bool rt = sched_rt_policy(r->policy);
	if (r->policy == SCHED_DEADLINE)
		return may_nice() ? -EBUSY : -EPERM; /* one processor, shared: no deadline can be promised */
	if ((!rt && r->policy != SCHED_NORMAL && r->policy != SCHED_BATCH && r->policy != SCHED_IDLE) || r->priority > RT_PRIORITY_MAX ||
	    rt != (r->priority != 0))
		return -EINVAL;
	if (!may_nice()) {
		u64 limit = t->proc->rlim[RLIMIT_RTPRIO].cur;
		if (rt && ((r->policy != t->policy && !limit) || (r->priority > t->rt_priority && r->priority > limit)))
			return -EPERM;
		if (!sched_owns(t) || (t->policy == SCHED_IDLE && r->policy != SCHED_IDLE && !nice_allowed(t, t->nice - 1)) ||
		    (!rt && !nice_allowed(t, r->nice)) || (t->reset_on_fork && !r->reset_on_fork))
			return -EPERM;
	}
	t->reset_on_fork = r->reset_on_fork;
	if (!rt)
		t->nice = r->nice;
	sched_set_policy(t, r->policy, r->priority);
	return 0;
}

long sys_sched_setscheduler(u64 pid, u64 policy, u64 uparam)
{
	s32 priority;
	if ((s32)pid < 0 || !uparam || (s32)policy < 0)
		return -EINVAL;
	if (get_user(priority, UPTR(uparam)))
		return -EFAULT;
	struct task *t = sched_find(pid);
	if (!t)
		return -ESRCH;
	struct sched_request r = {(u32)policy & ~SCHED_RESET_ON_FORK, (u32)priority, t->nice, policy & SCHED_RESET_ON_FORK};
	return sched_change_policy(t, &r);
}

long sys_sched_getparam(u64 pid, u64 uparam)
{
	struct task *t = sched_find(pid);
	if ((s32)pid < 0 || !uparam)
		return -EINVAL;
	return !t ? -ESRCH : put_user(t->rt_priority, UPTR(uparam)) ? -EFAULT : 0;
}

long sys_sched_setparam(u64 pid, u64 uparam)
{
	s32 priority;
	if ((s32)pid < 0 || !uparam)
		return -EINVAL;
	if (get_user(priority, UPTR(uparam)))
		return -EFAULT;
	struct task *t = sched_find(pid);
	if (!t)
		return -ESRCH;
	struct sched_request r = {t->policy, (u32)priority, t->nice, t->reset_on_fork};
	return sched_change_policy(t, &r);
}

long sys_sched_get_priority_max(u64 policy)
{
	return sched_rt_policy((u32)policy)                                                                          ? RT_PRIORITY_MAX
	       : policy == SCHED_NORMAL || policy == SCHED_BATCH || policy == SCHED_IDLE || policy == SCHED_DEADLINE ? 0
														     : -EINVAL;
}

long sys_sched_get_priority_min(u64 policy)
{
	return sched_rt_policy((u32)policy) ? 1 : sys_sched_get_priority_max(policy);
}

long sys_sched_rr_get_interval(u64 pid, u64 u)
{
	struct task *t = (s32)pid < 0 ? NULL : sched_find(pid);
	return (s32)pid < 0 ? -EINVAL : !t ? -ESRCH : timespec_to_user(UPTR(u), t->policy == SCHED_FIFO ? 0 : SCHED_SLICE_NS) ? -EFAULT : 0;
}

struct attr { /* struct sched_attr of sched_setattr(2), its first version; linux/sched/types.h cannot be included beside struct sched_param's */
	u32 size, policy;
	u64 flags;
	s32 nice;
	u32 priority;
	u64 runtime, deadline, period;
};
#define ATTR_SIZE_VER0 48u

long sys_sched_getattr(u64 pid, u64 u, u64 size, u64 flags)
{
	struct task *t = sched_find(pid);
	if ((s32)pid < 0 || flags || size < ATTR_SIZE_VER0 || size > PAGE_SIZE)
		return -EINVAL;
	if (!t)
		return -ESRCH;
	struct attr a = {.size = sizeof(a), .policy = t->policy, .flags = t->reset_on_fork ? SCHED_FLAG_RESET_ON_FORK : 0};
	if (sched_rt_policy(t->policy))
		a.priority = t->rt_priority;
	else
		a.nice = t->nice;
	return copy_to_user(UPTR(u), &a, sizeof(a));
}

long sys_sched_setattr(u64 pid, u64 u, u64 flags)
{
	struct attr a;
	struct task *t = sched_find(pid);
	if ((s32)pid < 0 || !u || flags)
		return -EINVAL;
	if (copy_from_user(&a, UPTR(u), sizeof(a)))
		return -EFAULT;
	u32 known = sizeof(a);
	if ((a.size && a.size < ATTR_SIZE_VER0) || a.size > PAGE_SIZE)
		return put_user(known, UPTR(u)) ? -EFAULT : -E2BIG;
	if (!t)
		return -ESRCH;
	if (a.flags & ~(u64)(SCHED_FLAG_RESET_ON_FORK | SCHED_FLAG_KEEP_POLICY | SCHED_FLAG_KEEP_PARAMS))
		return -EINVAL;
	bool keep = a.flags & SCHED_FLAG_KEEP_PARAMS;
	struct sched_request r = {
		.policy = a.flags & SCHED_FLAG_KEEP_POLICY ? t->policy : a.policy,
		.priority = keep ? t->rt_priority : a.priority,
		.nice = keep ? t->nice : MAX(-20, MIN(19, a.nice)),
		.reset_on_fork = a.flags & SCHED_FLAG_RESET_ON_FORK,
	};
	return sched_change_policy(t, &r);
}

/* ---- Nice values of a thread, a group of processes or all of a user (setpriority(2)) */
static bool sched_priority_applies(u64 which, s32 who, const struct process *p)
{
	const struct process *c = current->proc;
	return which == PRIO_PGRP ? p->pgid == (who ? who : c->pgid) : p->uid == (who ? (u32)who : c->uid);
}

static long nice_one(struct task *t, s32 nice)
{
	if (!sched_owns(t) && !may_nice())
		return -EPERM;
	if (!nice_allowed(t, nice))
		return -EACCES;
	t->nice = nice;
	return 0;
}

/* Calls f for every thread meant; what it returns last, or -ESRCH. */
static long sched_each_meant(u64 which, s32 who, long (*f)(struct task *t, s32 arg, long so_far), s32 arg)
{
	long r = -ESRCH;
	if (which == PRIO_PROCESS) {
		struct task *t = sched_find((u64)who);
		return t ? f(t, arg, r) : r;
	}
	struct process *p;
	struct task *t;
	list_for_each (p, &all_processes, all)
		if (sched_priority_applies(which, who, p))
			list_for_each (t, &p->tasks, group)
				r = f(t, arg, r);
	return r;
}

static long sched_highest(struct task *t, s32 unused, long so_far)
{
	(void)unused;
	return MAX(so_far, 20l - t->nice);
}

static long set_nice(struct task *t, s32 nice, long so_far)
{
	long r = nice_one(t, nice);
	return r ? r : so_far == -ESRCH ? 0 : so_far;
}

long sys_getpriority(u64 which, u64 who)
{
	return which > PRIO_USER ? -EINVAL : sched_each_meant(which, (s32)who, sched_highest, 0);
}

long sys_setpriority(u64 which, u64 who, u64 value)
{
	return which > PRIO_USER ? -EINVAL : sched_each_meant(which, (s32)who, set_nice, MAX(-20, MIN(19, (s32)value)));
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
