/* Kernel timers, and when the host has to interrupt user code. */
#include "ktime.h"
#include "arch.h"
#include "proc.h"
#include "qcall.h"

static struct heap timers;

static struct ktimer *first_timer(void)
{
	return heap_first(&timers) ? container_of(heap_first(&timers), struct ktimer, node) : NULL;
}

void ktimer_arm(struct ktimer *t, u64 when)
{
	heap_remove(&timers, &t->node);
	t->when = when;
	heap_insert(&timers, &t->node, when);
	sched_cpu()->publish_due = true;
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

void timers_interrupted(void)
{
	sched_cpu()->last_interrupt = mono_ns();
}

/* The end of a slice can wait for the host's next look, a timer cannot: if the host sleeps past it, it has to be told. */
void vcpu_publish(void)
{
	struct qk_vcpu *v = vcpu();
	u64 timer = timers_next(), wanted = MIN(timer, MIN(sched_slice_end(), cpu_timers_due()));
	sched_cpu()->publish_due = false;
	wanted = wanted == UINT64_MAX ? wanted : mono_to_host(MAX(wanted, sched_cpu()->last_interrupt + INTERRUPT_GAP_NS));
	__atomic_store_n(&v->timer_ns, wanted, __ATOMIC_SEQ_CST);
	if (timer != UINT64_MAX && mono_to_host(timer) + NUDGE_NS < __atomic_load_n(&v->tick_ns, __ATOMIC_SEQ_CST))
		out32(QK_PORT_NUDGE, 0);
}

/* Absolute times of the wall clock and of CLOCK_BOOTTIME are elsewhere on CLOCK_MONOTONIC now. */
static void timer_clock_jumped(void)
{
	struct process *p;
	clocks_jumped = false;
	list_for_each (p, &all_processes, all)
		posix_timers_clock_jumped(p);
	timerfds_clock_jumped();
	sched_clock_jumped();
	sched_cpu()->publish_due = true;
}

void timers_run(void)
{
	if (clocks_jumped)
		timer_clock_jumped();
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
	sched_cpu()->publish_due = true;
}
