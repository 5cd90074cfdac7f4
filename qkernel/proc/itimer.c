/* Interval timers (setitimer, alarm), and everything that the CPU time of a process triggers: two of them, RLIMIT_CPU, POSIX timers. */
#include "ktime.h"
#include "proc.h"
#include <asm/signal.h>
#include <linux/resource.h>
#include <linux/time.h>

#define NS_PER_SEC 1000000000ul
#define CPU_TICK_NS 1000000ul

/* REAL counts CLOCK_MONOTONIC and has a kernel timer. VIRTUAL and PROF count the CPU time of the process, which passes only while it runs: they are
 * looked at when the scheduler has charged it that much. */
struct itimer {
	struct ktimer real; /* of one[ITIMER_REAL] */
	struct process *proc;
	struct one {
		u64 interval, expires; /* ns; expires on the timer's own clock; 0 = off */
	} one[3];
};
static const int itimer_signal[3] = {SIGALRM, SIGVTALRM, SIGPROF};

static u64 itimer_clock(struct process *p, int which)
{
	return which == ITIMER_REAL ? mono_ns() : process_cpu_ns(p);
}

/* Sends the signal when it is time. */
static void itimer_expire(struct process *p, int which, u64 now)
{
	struct one *o = &p->itimers->one[which];
	if (!o->expires || now < o->expires)
		return;
	struct siginfo info = {.si_code = SI_KERNEL};
	o->expires = o->interval ? o->expires + ((now - o->expires) / o->interval + 1) * o->interval : 0;
	send_signal(p, itimer_signal[which], &info);
}

static void itimer_fire(struct ktimer *t)
{
	struct itimer *it = container_of(t, struct itimer, real);
	itimer_expire(it->proc, ITIMER_REAL, mono_ns());
	if (it->one[ITIMER_REAL].expires)
		ktimer_arm(t, it->one[ITIMER_REAL].expires);
}

/* getrlimit(2): SIGXCPU at the soft limit and each second from there on, SIGKILL at the hard one. The next time that matters. */
static u64 itimer_cpu_limit_check(struct process *p, u64 now)
{
	struct rlim *l = &p->rlim[RLIMIT_CPU];
	struct siginfo info = {.si_code = SI_KERNEL};
	if (l->cur == RLIM_INFINITY)
		return UINT64_MAX;
	if (now / NS_PER_SEC >= l->max) {
		send_signal(p, SIGKILL, &info);
		return UINT64_MAX;
	}
	if (now / NS_PER_SEC >= l->cur) {
		send_signal(p, SIGXCPU, &info);
		l->cur = now / NS_PER_SEC + 1;
	}
	return l->cur * NS_PER_SEC;
}

void cpu_timers_check(struct process *p)
{
	u64 now = process_cpu_ns(p), next;
	if (now < p->cpu_check_ns)
		return;
	next = itimer_cpu_limit_check(p, now);
	for (int which = ITIMER_VIRTUAL; p->itimers && which <= ITIMER_PROF; which++) {
		itimer_expire(p, which, now);
		if (p->itimers->one[which].expires)
			next = MIN(next, p->itimers->one[which].expires);
	}
	/* Not finer than a tick of Linux, or a timer of 1 us leaves a slow machine no time for the program. */
	p->cpu_check_ns = MAX(MIN(next, posix_cpu_timers_check(p, now)), now + CPU_TICK_NS);
	sched_cpu()->publish_due = true;
}

u64 cpu_timers_due(void)
{
	const struct process *p = current->proc;
	if (p->cpu_check_ns == UINT64_MAX)
		return UINT64_MAX;
	return current->switched_in_ns + (p->cpu_check_ns > p->utime_ns ? p->cpu_check_ns - p->utime_ns : 0);
}

void cpu_timers_changed(struct process *p)
{
	p->cpu_check_ns = 0;
	sched_cpu()->publish_due = true;
}

void itimers_free(struct process *p)
{
	if (p->itimers)
		ktimer_cancel(&p->itimers->real);
	kfree(p->itimers);
	p->itimers = NULL;
	posix_timers_free(p);
}

static u64 itimer_remaining(struct process *p, int which)
{
	u64 now = itimer_clock(p, which), expires = p->itimers ? p->itimers->one[which].expires : 0;
	return !expires ? 0 : expires > now ? expires - now : 1000;
}

static int itimer_set(int which, u64 value, u64 interval, u64 old[2])
{
	struct process *p = current->proc;
	if (!p->itimers) {
		p->itimers = kzalloc(sizeof(*p->itimers));
		if (!p->itimers)
			return -ENOMEM;
		p->itimers->real.fn = itimer_fire;
		p->itimers->proc = p;
	}
	struct one *o = &p->itimers->one[which];
	old[0] = o->interval;
	old[1] = itimer_remaining(p, which);
	o->interval = interval;
	o->expires = value ? itimer_clock(p, which) + value : 0;
	if (which != ITIMER_REAL)
		cpu_timers_changed(p);
	else if (value)
		ktimer_arm(&p->itimers->real, o->expires);
	else
		ktimer_cancel(&p->itimers->real);
	return 0;
}

static int itimer_itimerval_to_user(u64 u, const u64 v[2])
{
	return timeval_to_user(UPTR(u), v[0]) || timeval_to_user(UPTR(u + 16), v[1]) ? -EFAULT : 0;
}

static int itimer_timeval_ns(s64 sec, s64 usec, u64 *ns)
{
	if (sec < 0 || (u64)usec >= 1000000)
		return -EINVAL;
	*ns = (u64)MIN(sec, 4000000000l) * 1000000000ul + (u64)usec * 1000;
	return 0;
}

long sys_setitimer(u64 which, u64 unew, u64 uold)
{
	s64 v[4] = {0};
	u64 value, interval, old[2];
	if (which > 2)
		return -EINVAL;
	if (unew && copy_from_user(v, UPTR(unew), sizeof(v)))
		return -EFAULT;
	if (itimer_timeval_ns(v[0], v[1], &interval) || itimer_timeval_ns(v[2], v[3], &value))
		return -EINVAL;
	int r = itimer_set((int)which, value, interval, old);
	return r ? r : uold ? itimer_itimerval_to_user(uold, old) : 0;
}

long sys_getitimer(u64 which, u64 u)
{
	if (which > 2)
		return -EINVAL;
	const struct itimer *it = current->proc->itimers;
	u64 v[2] = {it ? it->one[which].interval : 0, itimer_remaining(current->proc, (int)which)};
	return itimer_itimerval_to_user(u, v);
}

long sys_alarm(u64 seconds)
{
	u64 old[2];
	int r = itimer_set(0, (u32)seconds * 1000000000ul, 0, old);
	return r ? r : (long)((old[1] + 999999999) / 1000000000ul);
}
