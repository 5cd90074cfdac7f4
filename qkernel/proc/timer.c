/* Kernel timers, interval timers (setitimer, alarm) and POSIX timers. */
#include "arch.h"
#include "proc.h"
#include "qcall.h"
#include <asm/signal.h>
#include <linux/time.h>

#define POSIX_TIMERS_MAX 1024

static struct heap timers;
bool publish_due;

static struct ktimer *first_timer(void)
{
	return heap_first(&timers) ? container_of(heap_first(&timers), struct ktimer, node) : NULL;
}

void ktimer_arm(struct ktimer *t, u64 when)
{
	heap_remove(&timers, &t->node);
	t->when = when;
	heap_insert(&timers, &t->node, when);
	publish_due = true;
}

void ktimer_cancel(struct ktimer *t)
{
	heap_remove(&timers, &t->node);
}

u64 timers_next(void)
{
	const struct ktimer *t = first_timer();
	return MIN(t ? t->when : UINT64_MAX, sleepers_next());
}

/* An interrupt costs 50 us and more on software KVM: user code gets at least this long between two. */
#define INTERRUPT_GAP_NS (arch_ring3() ? 400000ul : 20000ul)
#define NUDGE_NS 500000ul /* later than this is worth an exit */
static u64 last_interrupt;

void timers_interrupted(void)
{
	last_interrupt = mono_ns();
}

/* The end of a slice can wait for the host's next look, a timer cannot: if the host sleeps past it, it has to be told. */
void vcpu_publish(void)
{
	struct qk_vcpu *v = &comm()->vcpu;
	u64 timer = timers_next(), wanted = MIN(timer, sched_slice_end());
	publish_due = false;
	wanted = wanted == UINT64_MAX ? wanted : mono_to_host(MAX(wanted, last_interrupt + INTERRUPT_GAP_NS));
	__atomic_store_n(&v->timer_ns, wanted, __ATOMIC_SEQ_CST);
	if (timer != UINT64_MAX && mono_to_host(timer) + NUDGE_NS < __atomic_load_n(&comm()->tick_ns, __ATOMIC_SEQ_CST))
		out32(QK_PORT_NUDGE, 0);
}

void timers_run(void)
{
	u64 next = timers_next();
	if (next == UINT64_MAX)
		return;
	u64 now = mono_ns();
	if (next > now)
		return;
	for (struct ktimer *t = first_timer(); t && t->when <= now; t = first_timer()) {
		ktimer_cancel(t);
		t->fn(t);
	}
	sleepers_run(now);
	publish_due = true;
}

/* ---- Interval timers. REAL counts CLOCK_MONOTONIC; VIRTUAL and PROF the CPU time of the process, which is looked at when it could have passed. */
struct itimer {
	struct one {
		struct ktimer timer;
		struct process *proc;
		int which;
		u64 interval, expires; /* ns; expires on the timer's own clock; 0 = off */
	} one[3];
};
static const int itimer_signal[3] = {SIGALRM, SIGVTALRM, SIGPROF};

static u64 itimer_clock(const struct one *o)
{
	return o->which == 0 ? mono_ns() : process_cpu_ns(o->proc);
}

static void itimer_fire(struct ktimer *t)
{
	struct one *o = container_of(t, struct one, timer);
	u64 now = itimer_clock(o);
	if (now >= o->expires) {
		struct siginfo info = {.si_code = SI_KERNEL};
		send_signal(o->proc, itimer_signal[o->which], &info);
		if (!o->interval) {
			o->expires = 0;
			return;
		}
		o->expires += ((now - o->expires) / o->interval + 1) * o->interval;
	}
	ktimer_arm(t, mono_ns() + (o->expires - now));
}

void itimers_free(struct process *p)
{
	for (int i = 0; p->itimers && i < 3; i++)
		ktimer_cancel(&p->itimers->one[i].timer);
	kfree(p->itimers);
	p->itimers = NULL;
	posix_timers_free(p);
}

static u64 remaining(const struct one *o)
{
	u64 now = itimer_clock(o);
	return !o->expires ? 0 : o->expires > now ? o->expires - now : 1000;
}

static int itimer_set(int which, u64 value, u64 interval, u64 old[2])
{
	struct process *p = current->proc;
	if (!p->itimers) {
		p->itimers = kzalloc(sizeof(*p->itimers));
		if (!p->itimers)
			return -ENOMEM;
		for (int i = 0; i < 3; i++)
			p->itimers->one[i] = (struct one){.timer.fn = itimer_fire, .proc = p, .which = i};
	}
	struct one *o = &p->itimers->one[which];
	old[0] = o->interval;
	old[1] = remaining(o);
	ktimer_cancel(&o->timer);
	o->interval = interval;
	o->expires = value ? itimer_clock(o) + value : 0;
	if (value)
		ktimer_arm(&o->timer, mono_ns() + value);
	return 0;
}

static int itimerval_to_user(u64 u, const u64 v[2])
{
	return timeval_to_user(UPTR(u), v[0]) || timeval_to_user(UPTR(u + 16), v[1]) ? -EFAULT : 0;
}

static int timeval_ns(s64 sec, s64 usec, u64 *ns)
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
	if (timeval_ns(v[0], v[1], &interval) || timeval_ns(v[2], v[3], &value))
		return -EINVAL;
	int r = itimer_set((int)which, value, interval, old);
	return r ? r : uold ? itimerval_to_user(uold, old) : 0;
}

long sys_getitimer(u64 which, u64 u)
{
	if (which > 2)
		return -EINVAL;
	struct itimer *it = current->proc->itimers;
	u64 v[2] = {it ? it->one[which].interval : 0, it ? remaining(&it->one[which]) : 0};
	return itimerval_to_user(u, v);
}

long sys_alarm(u64 seconds)
{
	u64 old[2];
	int r = itimer_set(0, (u32)seconds * 1000000000ul, 0, old);
	return r ? r : (long)((old[1] + 999999999) / 1000000000ul);
}

/* ---- POSIX timers */
struct posix_timer {
	struct list node;
	struct ktimer timer;
	struct process *proc;
	s32 id, clock, signo, notify, tid;
	u64 value;    /* sigev_value */
	u64 interval; /* ns */
	u64 when;     /* CLOCK_MONOTONIC, 0 = off */
	u32 overrun;
};
struct user_sigevent {
	u64 value;
	s32 signo, notify, tid, pad[11];
};

static void posix_fire(struct ktimer *k)
{
	struct posix_timer *t = container_of(k, struct posix_timer, timer);
	u64 now = mono_ns(), missed = 0;
	struct task *target = t->notify == 4 /* SIGEV_THREAD_ID */ ? task_find(t->tid) : NULL;
	/* One signal of a timer waits at a time; what expires meanwhile is counted in it. */
	struct siginfo *waiting = pending_timer(target ? &target->pending : &t->proc->pending, t->signo, t->id);
	if (t->interval) {
		missed = (now - t->when) / t->interval;
		t->when += (missed + 1) * t->interval;
		ktimer_arm(k, t->when);
	} else {
		t->when = 0;
	}
	if (t->notify == 1 /* SIGEV_NONE */)
		return;
	t->overrun = (u32)MIN(missed + (waiting ? t->overrun + 1ul : 0), 0x7ffffffful);
	if (waiting) {
		waiting->f[0] = (u32)t->id | (u64)t->overrun << 32;
		return;
	}
	struct siginfo info = {.si_code = SI_TIMER};
	info.f[0] = (u32)t->id | (u64)t->overrun << 32;
	info.f[1] = t->value;
	if (t->notify == 4 && target)
		send_signal_task(target, t->signo, &info);
	else if (t->notify != 4)
		send_signal(t->proc, t->signo, &info);
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
	kfree(t);
}

void posix_timers_free(struct process *p)
{
	while (!list_empty(&p->posix_timers))
		timer_free(list_first(&p->posix_timers, struct posix_timer, node));
}

long sys_timer_create(u64 clock, u64 uevent, u64 uid)
{
	struct user_sigevent e = {.signo = SIGALRM};
	struct process *p = current->proc;
	if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC && clock != CLOCK_BOOTTIME)
		return -EINVAL;
	if (uevent && copy_from_user(&e, UPTR(uevent), sizeof(e)))
		return -EFAULT;
	if (e.notify != 1 && (e.signo < 1 || e.signo > SIGNALS))
		return -EINVAL;
	if (e.notify != 0 && e.notify != 1 && e.notify != 4)
		return -EINVAL;
	if (e.notify == 4) {
		struct task *t = task_find(e.tid);
		if (!t || t->proc != p)
			return -EINVAL;
	}
	u32 n = 0;
	struct posix_timer *t;
	list_for_each (t, &p->posix_timers, node)
		n++;
	t = n < POSIX_TIMERS_MAX ? kzalloc(sizeof(*t)) : NULL;
	if (!t)
		return -EAGAIN;
	t->timer.fn = posix_fire;
	t->proc = p;
	t->id = p->next_timer_id++;
	t->clock = (s32)clock;
	t->signo = e.signo;
	t->notify = e.notify;
	t->tid = e.tid;
	t->value = uevent ? e.value : (u64)t->id;
	list_add_tail(&t->node, &p->posix_timers);
	if (put_user(t->id, UPTR(uid))) {
		timer_free(t);
		return -EFAULT;
	}
	return 0;
}

static int timer_to_user(const struct posix_timer *t, u64 u)
{
	u64 now = mono_ns(), left = !t->when ? 0 : t->when > now ? t->when - now : 1;
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
	u64 now = mono_ns();
	if (!(flags & 1))
		t->when = now + value;
	else if (t->clock == CLOCK_MONOTONIC)
		t->when = value;
	else {
		u64 clock = t->clock == CLOCK_REALTIME ? real_ns() : boot_ns();
		t->when = value > clock ? now + (value - clock) : now;
	}
	ktimer_arm(&t->timer, t->when);
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
