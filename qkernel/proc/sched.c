/* Scheduler of the one vCPU: real-time tasks by priority, all others by virtual run time, as CFS does it (Documentation/scheduler/sched-design-CFS.rst).
 * A task that wakes up takes the processor at once when it has had clearly less of it than the one that runs. */
#include "host.h"
#include "ktime.h"
#include "park.h"
#include "qcall.h"
#include "sched.h"
#include "uaccess.h"
#include "proc.h"
#include <linux/sched.h>
#include <linux/time.h>

#define NS_PER_MS 1000000ul
#define SLEEPER_BONUS_NS (3 * NS_PER_MS) /* who slept goes on at most this far before the others */
#define WAKE_GRANULARITY_NS (1 * NS_PER_MS)
#define YIELD_NS (1 * NS_PER_MS)
#define WEIGHT_NORMAL 1024u
#define WEIGHT_IDLE 3u
/* As Linux's sched_rt_runtime_us: real-time tasks leave the others a twentieth, so that a sandbox can always be ended. */
#define RT_PERIOD_NS (1000 * NS_PER_MS)
#define RT_RUNTIME_NS (950 * NS_PER_MS)

/* Each step of nice is 1.25 times the processor time (kernel/sched/core.c, sched_prio_to_weight). */
static const u32 nice_weight[40] = {
	88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904, 3906, 3121, 2501, 1991, 1586, 1277,
	1024,  820,   655,   526,   423,   335,   272,   215,   172,   137,   110,  87,   70,   56,   45,   36,   29,   23,   18,   15,
};

static struct heap fair, realtime, sleepers;
static u64 min_vruntime;             /* never goes back: where tasks that slept come in */
static u64 rt_period_start, rt_used; /* ns */
struct sched_cpu sched_cpus[QK_VCPUS_MAX];

static bool sched_is_rt(const struct task *t)
{
	return t->policy == SCHED_FIFO || t->policy == SCHED_RR;
}

static u32 sched_weight_of(const struct task *t)
{
	return t->policy == SCHED_IDLE ? WEIGHT_IDLE : nice_weight[t->nice + 20];
}

static struct task *sched_first_of(const struct heap *h)
{
	return heap_first(h) ? container_of(heap_first(h), struct task, run) : NULL;
}

static void sched_enqueue_run(struct task *t)
{
	if (sched_is_rt(t))
		heap_insert(&realtime, &t->run, 99u - t->rt_priority);
	else
		heap_insert(&fair, &t->run, t->vruntime);
}

static void sched_dequeue_run(struct task *t)
{
	heap_remove(sched_is_rt(t) ? &realtime : &fair, &t->run);
}

/* Charges the running task up to now. */
static void sched_charge(u64 now)
{
	struct task *t = current;
	if (!sched_cpu()->running)
		return;
	u64 ran = now - t->switched_in_ns;
	t->switched_in_ns = now;
	t->utime_ns += ran;
	if (t->state != TASK_DEAD) /* its process may be gone */
		t->proc->utime_ns += ran;
	if (sched_is_rt(t)) {
		rt_used += ran;
		return;
	}
	t->vruntime += ran * WEIGHT_NORMAL / sched_weight_of(t);
	const struct task *first = sched_first_of(&fair);
	min_vruntime = MAX(min_vruntime, first ? MIN(first->vruntime, t->vruntime) : t->vruntime);
}

void sched_account(void)
{
	sched_charge(mono_ns());
}

u64 sched_uncharged(const struct task *t)
{
	return sched_cpu()->running && t == current ? mono_ns() - t->switched_in_ns : 0;
}

static bool sched_rt_throttled(u64 now)
{
	if (now - rt_period_start >= RT_PERIOD_NS) {
		rt_period_start = now;
		rt_used = 0;
	}
	return rt_used >= RT_RUNTIME_NS && heap_first(&fair);
}

/* Has t, which just became runnable, to run before the task that runs? */
static bool sched_preempts(const struct task *t, u64 now)
{
	const struct task *c = current;
	if (sched_is_rt(t))
		return !sched_rt_throttled(now) && (!sched_is_rt(c) || t->rt_priority > c->rt_priority);
	if (sched_is_rt(c) || t->policy == SCHED_IDLE)
		return false;
	if (c->policy == SCHED_IDLE)
		return true;
	return t->policy != SCHED_BATCH && t->vruntime + WAKE_GRANULARITY_NS * WEIGHT_NORMAL / sched_weight_of(t) < c->vruntime;
}

void sched_add(struct task *t)
{
	u64 now = mono_ns();
	sched_charge(now);
	t->state = TASK_RUNNABLE;
	u64 latest = min_vruntime - MIN(min_vruntime, t->policy == SCHED_IDLE ? 0 : SLEEPER_BONUS_NS);
	t->vruntime = MAX(t->vruntime, latest);
	sched_enqueue_run(t);
	sched_cpu()->publish_due = true; /* the running task's slice has an end now */
	if (sched_cpu()->running && t != current && sched_preempts(t, now))
		current->need_resched = true;
}

void sched_inherit(struct task *t)
{
	const struct task *c = current;
	sched_charge(mono_ns());
	t->vruntime = c->vruntime;
	/* SCHED_RESET_ON_FORK of sched(7): what takes privileges is not passed on. */
	bool reset = c->reset_on_fork;
	t->nice = !reset ? c->nice : sched_is_rt(c) ? 0 : MAX(c->nice, 0);
	t->policy = reset && sched_is_rt(c) ? SCHED_NORMAL : c->policy;
	t->rt_priority = reset ? 0 : c->rt_priority;
}

void sched_set_policy(struct task *t, u32 policy, u32 rt_priority)
{
	bool queued = t->run.queued;
	sched_charge(mono_ns());
	if (queued)
		sched_dequeue_run(t);
	t->policy = policy;
	t->rt_priority = rt_priority;
	t->vruntime = MAX(t->vruntime, min_vruntime);
	if (queued)
		sched_enqueue_run(t);
	current->need_resched = true;
	sched_cpu()->publish_due = true;
}

static bool sched_others_runnable(void)
{
	return heap_first(&fair) || heap_first(&realtime);
}

u64 sched_slice_end(void)
{
	return sched_others_runnable() ? current->slice_start + SCHED_SLICE_NS : UINT64_MAX;
}

void sched_tick(u64 now)
{
	if (now < sched_slice_end())
		return;
	struct task *t = current;
	sched_charge(now);
	const struct task *first = sched_first_of(&fair), *rt = sched_first_of(&realtime);
	bool yields = sched_is_rt(t) ? sched_rt_throttled(now) || (t->policy == SCHED_RR && rt && rt->rt_priority >= t->rt_priority)
				     : (rt && !sched_rt_throttled(now)) || (first && first->vruntime < t->vruntime);
	if (yields)
		t->need_resched = true;
	t->slice_start = now;
	sched_cpu()->publish_due = true;
}

/* ---- Sleeping */
u64 sleepers_next(void)
{
	return heap_first(&sleepers) ? heap_first(&sleepers)->key : UINT64_MAX;
}

void sleepers_run(u64 now)
{
	while (sleepers_next() <= now)
		wake_task(container_of(heap_first(&sleepers), struct task, sleepers), -ETIMEDOUT);
}

/* Sleeps that end by a clock that jumped end at another time now. */
void sched_clock_jumped(void)
{
	struct process *p;
	struct task *t;
	list_for_each (p, &all_processes, all)
		list_for_each (t, &p->tasks, group) {
			if (t->sleep_clock == CLOCK_MONOTONIC || !t->sleepers.queued)
				continue;
			heap_remove(&sleepers, &t->sleepers);
			heap_insert(&sleepers, &t->sleepers, clock_to_mono(t->sleep_clock, t->sleep_when));
		}
}

void wake_task(struct task *t, int reason)
{
	if (t->state != TASK_SLEEPING)
		return;
	t->wake_reason = reason;
	heap_remove(&sleepers, &t->sleepers);
	sched_add(t);
}

/* Nothing can run: wait for the host or a timer. */
static void sched_idle(void)
{
	while (!sched_others_runnable()) {
		events_poll();
		timers_run();
		if (capture_requested)
			park_now();
		if (sched_others_runnable())
			return;
		u64 next = timers_next(), now = mono_ns();
		if (events_pending() || capture_requested)
			continue;
		host_contact(true);
		if (qcall_before)
			qcall_before();
		if (next > now)
			arch_wait(next == UINT64_MAX ? UINT64_MAX : next - now);
	}
}

static void sched_after_switch(void)
{
	struct sched_cpu *cpu = sched_cpu();
	if (cpu->dead) {
		task_free(cpu->dead);
		cpu->dead = NULL;
	}
}

void schedule(void)
{
	struct task *prev = current;
	sched_charge(mono_ns());
	sched_cpu()->running = false;
	if (prev->state == TASK_RUNNABLE)
		sched_enqueue_run(prev);
	if (!sched_others_runnable())
		sched_idle();
	u64 now = mono_ns();
	struct task *rt = sched_first_of(&realtime), *next = rt && !sched_rt_throttled(now) ? rt : sched_first_of(&fair);
	if (!next)
		next = rt;
	sched_dequeue_run(next);
	next->need_resched = false;
	next->slice_start = next->switched_in_ns = now;
	sched_cpu()->running = true;
	sched_cpu()->publish_due = true;
	if (next == prev)
		return;
	vcpu()->stats.switches++;
	if (prev->state == TASK_DEAD)
		sched_cpu()->dead = prev;
	mm_activate(next->mm);
	arch_switch(&prev->arch, &next->arch);
	sched_after_switch();
}

void sched_resched(void)
{
	if (sched_others_runnable())
		schedule();
}

/* Behind all others of its priority; in fair order behind the next one, and a little more, so that those who spin with it let somebody else in. */
long sys_sched_yield(void)
{
	struct task *t = current;
	const struct task *first = sched_first_of(&fair);
	sched_charge(mono_ns());
	if (!sched_is_rt(t) && first)
		t->vruntime = MAX(t->vruntime, first->vruntime) + YIELD_NS;
	t->need_resched = true;
	return 0;
}

int task_sleep(u64 deadline)
{
	struct task *t = current;
	if (signal_pending(t))
		return -EINTR;
	if (deadline != UINT64_MAX && deadline <= mono_ns())
		return -ETIMEDOUT;
	t->state = TASK_SLEEPING;
	t->wake_reason = 0;
	if (deadline != UINT64_MAX)
		heap_insert(&sleepers, &t->sleepers, deadline);
	schedule();
	return t->wake_reason;
}

int task_sleep_killable(void)
{
	struct task *t = current;
	if (t->dying || t->proc->exiting || ((t->pending.set | t->proc->pending.set) & SIGBIT(9)))
		return -EINTR;
	sigset blocked = t->blocked;
	t->blocked = ~SIGBIT(9);
	int r = task_sleep(UINT64_MAX);
	t->blocked = blocked;
	return r;
}

/* A new task's first code runs here, through arch_task_setup: it has to do what schedule() does after the switch. */
void sched_new_task_started(void)
{
	sched_after_switch();
}

/* The first task of all: nothing runs before it. */
noreturn void sched_start(struct task *t)
{
	vcpu()->irq_ready = 1;
	t->slice_start = t->switched_in_ns = mono_ns();
	sched_cpu()->running = true;
	current = NULL; /* on the stack of the boot, which is not its own */
	arch_start(&t->arch);
}
