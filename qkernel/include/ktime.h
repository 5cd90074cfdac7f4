/* Clocks and kernel timers (proc/time.c, timer.c, vdso.c). */
#ifndef KTIME_H
#define KTIME_H
#include "heap.h"

void time_init(void);            /* first QC_CLOCK */
void time_resync(bool restored); /* after PARK: new clock sample; MONOTONIC continues from the capture when restored, BOOTTIME counts the gap */
u64 mono_ns(void);               /* guest CLOCK_MONOTONIC */
u64 real_ns(void);
u64 boot_ns(void);
u64 deadline_of_ns(u64 ns);       /* mono_ns() that much later; UINT64_MAX, which is never, when it does not fit */
u64 mono_to_host(u64 guest_mono); /* for comm->vcpu.timer_ns */
/* Kernel timers: fn runs in the scheduler's or interrupt context of the kernel (must not sleep). */
struct ktimer {
	struct heap_node node; /* by `when`; queued: armed */
	u64 when;              /* mono_ns */
	void (*fn)(struct ktimer *);
};
void ktimer_arm(struct ktimer *t, u64 when);
void ktimer_cancel(struct ktimer *t);
void timers_run(void); /* run what is due */
u64 timers_next(void); /* mono ns of the next one incl. sleepers; UINT64_MAX none */

#endif
