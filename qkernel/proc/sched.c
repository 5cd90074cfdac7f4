/* Scheduler: round robin on one vCPU, sleepers by deadline, idle in arch_wait. */
#include "arch.h"
#include "fs.h"
#include "proc.h"
#include "qcall.h"

#define SLICE_NS 10000000ul

struct task *current;
static struct list runq = LIST_INIT(runq), sleepers = LIST_INIT(sleepers);
static struct task *dead; /* left its stack just now; freed by who runs next */

void sched_init(void)
{
}

void sched_add(struct task *t)
{
	t->state = TASK_RUNNABLE;
	list_add_tail(&t->run, &runq);
	if (current && current != t)
		comm()->vcpu.in_user_many = 1;
}

bool sched_others_runnable(void)
{
	return !list_empty(&runq);
}

static void sleeper_add(struct task *t)
{
	struct task *s;
	list_for_each (s, &sleepers, sleepers) {
		if (s->wake_at > t->wake_at)
			break;
	}
	list_add_tail(&t->sleepers, &s->sleepers);
}

u64 sleepers_next(void)
{
	return list_empty(&sleepers) ? UINT64_MAX : list_first(&sleepers, struct task, sleepers)->wake_at;
}

void sleepers_run(u64 now)
{
	while (!list_empty(&sleepers)) {
		struct task *t = list_first(&sleepers, struct task, sleepers);
		if (t->wake_at > now)
			return;
		wake_task(t, -ETIMEDOUT);
	}
}

void wake_task(struct task *t, int reason)
{
	if (t->state != TASK_SLEEPING)
		return;
	t->wake_reason = reason;
	list_del(&t->sleepers);
	sched_add(t);
}

/* Nothing can run: wait for the host or a timer. */
static void idle(void)
{
	while (list_empty(&runq)) {
		events_poll();
		timers_run();
		if (capture_requested)
			park_now();
		if (!list_empty(&runq))
			return;
		u64 next = timers_next(), now = mono_ns();
		if (events_pending() || capture_requested)
			continue;
		host_contact(true);
		if (next > now)
			arch_wait(next == UINT64_MAX ? UINT64_MAX : next - now);
	}
}

static void after_switch(void)
{
	if (dead) {
		task_free(dead);
		dead = NULL;
	}
}

void schedule(void)
{
	struct task *prev = current;
	u64 now = mono_ns();
	prev->utime_ns += now - prev->switched_in_ns;
	if (prev->state == TASK_RUNNABLE)
		list_add_tail(&prev->run, &runq);
	if (list_empty(&runq))
		idle();
	struct task *next = list_first(&runq, struct task, run);
	list_del(&next->run);
	next->need_resched = false;
	next->slice_start = next->switched_in_ns = mono_ns();
	comm()->vcpu.in_user_many = !list_empty(&runq);
	if (next == prev)
		return;
	comm()->stat_switches++;
	if (prev->state == TASK_DEAD)
		dead = prev;
	current = next;
	mm_activate(next->mm);
	arch_switch(&prev->arch, &next->arch);
	after_switch();
}

void sched_yield_current(void)
{
	if (!list_empty(&runq))
		schedule();
}

/* Time slice of the running task over? */
bool slice_over(u64 now)
{
	return !list_empty(&runq) && now - current->slice_start >= SLICE_NS;
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
	t->wake_at = deadline;
	list_init(&t->sleepers);
	if (deadline != UINT64_MAX) {
		sleeper_add(t);
		timers_publish();
	}
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
	after_switch();
}

/* The first task of all: nothing runs before it. */
noreturn void sched_start(struct task *t)
{
	static struct arch_task boot;
	static u8 boot_xsave[4096] __attribute__((aligned(64)));
	boot.xsave = boot_xsave;
	current = t;
	comm()->vcpu.irq_ready = 1;
	t->slice_start = t->switched_in_ns = mono_ns();
	mm_activate(t->mm);
	arch_switch(&boot, &t->arch);
	panic("the boot context came back");
}
