/* POSIX timers (timer_create(2)): of the wall clock, of those that never jump, and of CPU time. A periodic one rests from its signal on until that
 * is taken, when it counts what it has missed: one that nobody listens to costs nothing. */
#include "ktime.h"
#include "proc.h"
#include <asm/signal.h>
#include <linux/time.h>

enum { SIGEV_SIGNAL = 0, SIGEV_NONE = 1, SIGEV_THREAD_ID = 4 };

struct posix_timer {
	struct list node;
	struct ktimer timer; /* unless it counts CPU time */
	struct process *proc;
	struct signal_user *user; /* its signal is paid for in advance */
	s32 id, signo, notify, tid;
	s32 clock;    /* of timer_create */
	s32 counts;   /* the clock that `when` is on: a relative timer of the wall clock does not follow its jumps */
	s32 cpu_tid;  /* whose CPU time: a thread's, or 0, the process's */
	u64 value;    /* sigev_value */
	u64 interval; /* ns */
	u64 when;     /* 0 = off */
	u32 overrun;
};
struct user_sigevent {
	u64 value;
	s32 signo, notify, tid, pad[11];
};

static bool posix_timer_counts_cpu(const struct posix_timer *t)
{
	return t->clock < 0 || t->clock == CLOCK_PROCESS_CPUTIME_ID || t->clock == CLOCK_THREAD_CPUTIME_ID;
}

static u64 posix_now(const struct posix_timer *t, s32 clock)
{
	if (!posix_timer_counts_cpu(t))
		return clock_now(clock);
	struct task *task = t->cpu_tid ? task_find(t->cpu_tid) : NULL;
	return !t->cpu_tid ? process_cpu_ns(t->proc) : task && task->proc == t->proc ? task_cpu_ns(task) : 0;
}

/* Its signal, while it is in a queue. */
static struct siginfo *posix_waiting(const struct posix_timer *t)
{
	struct task *target = t->notify == SIGEV_THREAD_ID ? task_find(t->tid) : NULL;
	return pending_timer(target ? &target->pending : &t->proc->pending, t->signo, t->id);
}

static void posix_signal(struct posix_timer *t, u64 missed)
{
	struct task *target = t->notify == SIGEV_THREAD_ID ? task_find(t->tid) : NULL;
	/* One signal of a timer waits at a time; what expires meanwhile is counted in it. */
	struct siginfo *waiting = posix_waiting(t);
	t->overrun = (u32)MIN(missed + (waiting ? t->overrun + 1ul : 0), 0x7ffffffful);
	if (waiting) {
		waiting->f[0] = (u32)t->id | (u64)t->overrun << 32;
		return;
	}
	struct siginfo info = {.si_code = SI_TIMER, .of_timer = 1};
	info.f[0] = (u32)t->id | (u64)t->overrun << 32;
	info.f[1] = t->value;
	if (target)
		send_signal_task(target, t->signo, &info);
	else if (t->notify == SIGEV_SIGNAL)
		send_signal(t->proc, t->signo, &info);
}

/* At or after `when`. */
static void posix_expire(struct posix_timer *t, u64 now)
{
	u64 missed = 0;
	if (t->interval) {
		missed = (now - t->when) / t->interval;
		t->when += (missed + 1) * t->interval;
	} else {
		t->when = 0;
	}
	if (t->notify != SIGEV_NONE)
		posix_signal(t, missed);
}

static void posix_arm(struct posix_timer *t)
{
	if (posix_timer_counts_cpu(t))
		cpu_timers_changed(t->proc);
	else
		ktimer_arm(&t->timer, clock_to_mono(t->counts, t->when));
}

static void posix_fire(struct ktimer *k)
{
	struct posix_timer *t = container_of(k, struct posix_timer, timer);
	u64 now = posix_now(t, t->counts);
	if (now < t->when) {
		posix_arm(t);
		return;
	}
	posix_expire(t, now);
	/* Nobody will take a signal that there was no memory for. */
	if (t->when > now && !posix_waiting(t) && !signal_ignored(t->proc, t->signo))
		posix_arm(t);
}

static bool posix_timer_is_resting(const struct posix_timer *t)
{
	return t->when && t->notify != SIGEV_NONE && !posix_timer_counts_cpu(t) && !t->timer.node.queued;
}

/* Brings `when` of a periodic timer beyond now; how many expirations that passes over. */
static u64 posix_forward(struct posix_timer *t)
{
	u64 now = posix_now(t, t->counts), n = t->interval && t->when && now >= t->when ? (now - t->when) / t->interval + 1 : 0;
	t->when += n * t->interval;
	return n;
}

void posix_timer_taken(struct process *p, struct siginfo *info)
{
	struct posix_timer *t;
	list_for_each (t, &p->posix_timers, node) {
		if (t->id != (s32)info->f[0])
			continue;
		if (posix_timer_is_resting(t)) {
			u64 overrun = t->overrun + posix_forward(t);
			t->overrun = (u32)MIN(overrun, 0x7ffffffful);
			info->f[0] = (u32)t->id | (u64)t->overrun << 32;
			posix_arm(t);
		}
		return;
	}
}

void posix_timers_resume(struct process *p, int sig)
{
	struct posix_timer *t;
	list_for_each (t, &p->posix_timers, node)
		if (t->signo == sig && posix_timer_is_resting(t)) {
			posix_forward(t);
			posix_arm(t);
		}
}

u64 posix_cpu_timers_check(struct process *p, u64 now)
{
	struct posix_timer *t;
	u64 next = UINT64_MAX;
	list_for_each (t, &p->posix_timers, node) {
		if (!posix_timer_counts_cpu(t) || !t->when)
			continue;
		u64 clock = posix_now(t, t->clock);
		if (clock >= t->when)
			posix_expire(t, clock);
		/* A thread's time does not pass faster than its process's. */
		if (t->when)
			next = MIN(next, now + (t->when - clock));
	}
	return next;
}

void posix_timers_clock_jumped(struct process *p)
{
	struct posix_timer *t;
	list_for_each (t, &p->posix_timers, node)
		if (t->timer.node.queued && t->counts != CLOCK_MONOTONIC)
			posix_arm(t);
}

static struct posix_timer *timer_find(s32 id)
{
	struct posix_timer *t;
	list_for_each (t, &current->proc->posix_timers, node)
		if (t->id == id)
			return t;
	return NULL;
}

static void timer_free(struct posix_timer *t)
{
	ktimer_cancel(&t->timer);
	list_del(&t->node);
	signal_user_put(t->user);
	kfree(t);
}

void posix_timers_free(struct process *p)
{
	while (!list_empty(&p->posix_timers))
		timer_free(list_first(&p->posix_timers, struct posix_timer, node));
}

/* Which clocks there can be timers of. *cpu_tid: the thread whose CPU time it is, 0 for the whole process. */
static int timer_clock(s32 clock, s32 *cpu_tid)
{
	switch (clock) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_ALARM:
	case CLOCK_MONOTONIC:
	case CLOCK_BOOTTIME:
	case CLOCK_BOOTTIME_ALARM:
	case CLOCK_TAI:
	case CLOCK_PROCESS_CPUTIME_ID:
		return 0;
	case CLOCK_THREAD_CPUTIME_ID:
		*cpu_tid = current->tid;
		return 0;
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_REALTIME_COARSE:
	case CLOCK_MONOTONIC_COARSE:
		return -EOPNOTSUPP;
	default:
		break;
	}
	u64 now;
	s32 pid = ~(clock >> 3);
	if (clock >= 0 || clock_read(clock, &now))
		return -EINVAL;
	if (clock & CLOCK_OF_THREAD)
		*cpu_tid = pid ? pid : current->tid;
	else if (pid && pid != current->proc->pid)
		return -EINVAL;
	return *cpu_tid && task_find(*cpu_tid)->proc != current->proc ? -EINVAL : 0;
}

long sys_timer_create(u64 clock, u64 uevent, u64 uid)
{
	struct user_sigevent e = {.signo = SIGALRM};
	struct process *p = current->proc;
	s32 cpu_tid = 0;
	int r = timer_clock((s32)clock, &cpu_tid);
	if (r)
		return r;
	if (uevent && copy_from_user(&e, UPTR(uevent), sizeof(e)))
		return -EFAULT;
	if (e.notify != SIGEV_NONE && (e.signo < 1 || e.signo > SIGNALS))
		return -EINVAL;
	if (e.notify != SIGEV_SIGNAL && e.notify != SIGEV_NONE && e.notify != SIGEV_THREAD_ID)
		return -EINVAL;
	if (e.notify == SIGEV_THREAD_ID) {
		struct task *t = task_find(e.tid);
		if (!t || t->proc != p)
			return -EINVAL;
	}
	struct signal_user *user = signal_user_get(p, false);
	struct posix_timer *t = user ? kzalloc(sizeof(*t)) : NULL;
	if (!t) {
		signal_user_put(user);
		return -EAGAIN;
	}
	t->user = user;
	t->timer.fn = posix_fire;
	t->proc = p;
	t->id = p->next_timer_id++;
	t->clock = t->counts = (s32)clock;
	t->cpu_tid = cpu_tid;
	t->signo = e.signo;
	t->notify = e.notify;
	t->tid = e.tid;
	t->value = uevent ? e.value : (u64)t->id;
	list_add(&t->node, &p->posix_timers); /* the newest is looked for first */
	if (put_user(t->id, UPTR(uid))) {
		timer_free(t);
		return -EFAULT;
	}
	return 0;
}

static int timer_to_user(const struct posix_timer *t, u64 u)
{
	u64 now = posix_now(t, t->counts), left = !t->when ? 0 : t->when > now ? t->when - now : t->notify != SIGEV_NONE;
	if (t->when && t->interval && t->when <= now)
		left = t->interval - (now - t->when) % t->interval;
	return timespec_to_user(UPTR(u), t->interval) || timespec_to_user(UPTR(u + 16), left) ? -EFAULT : 0;
}

long sys_timer_settime(u64 id, u64 flags, u64 unew, u64 uold)
{
	struct posix_timer *t = timer_find((s32)id);
	u64 interval, value;
	if (!t)
		return -EINVAL;
	int r = timespec_from_user(UPTR(unew), &interval);
	r = r ? r : timespec_from_user(UPTR(unew + 16), &value);
	if (r)
		return r;
	if (uold && timer_to_user(t, uold))
		return -EFAULT;
	ktimer_cancel(&t->timer);
	t->interval = interval;
	t->overrun = 0;
	t->when = 0;
	if (!value)
		return 0;
	bool absolute = flags & TIMER_ABSTIME;
	t->counts = !absolute && clock_is_wall(t->clock) ? CLOCK_MONOTONIC : t->clock;
	u64 now = absolute ? 0 : posix_now(t, t->counts);
	t->when = MIN(value, UINT64_MAX / 2) + now;
	if (t->notify != SIGEV_NONE || posix_timer_counts_cpu(t))
		posix_arm(t);
	return 0;
}

long sys_timer_gettime(u64 id, u64 u)
{
	struct posix_timer *t = timer_find((s32)id);
	return t ? timer_to_user(t, u) : -EINVAL;
}

long sys_timer_getoverrun(u64 id)
{
	struct posix_timer *t = timer_find((s32)id);
	return t ? (long)t->overrun : -EINVAL;
}

long sys_timer_delete(u64 id)
{
	struct posix_timer *t = timer_find((s32)id);
	if (!t)
		return -EINVAL;
	timer_free(t);
	return 0;
}
