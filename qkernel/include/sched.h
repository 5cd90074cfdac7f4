/* The scheduler (proc/sched.c): one vCPU, shared fairly. */
#ifndef SCHED_H
#define SCHED_H
#include "task.h"

void sched_add(struct task *t); /* make runnable */
void schedule(void);            /* give the processor away; returns when this task runs again. Idles in arch_wait when nothing can run */
void sched_resched(void);       /* schedule() if another one can run */
/* Sleep until wake_task(), a signal (interruptible) or deadline (CLOCK_MONOTONIC ns, UINT64_MAX = none).
 * 0 woken, -EINTR an unblocked signal is pending (returned at once if one is already), -ETIMEDOUT. */
int task_sleep(u64 deadline_ns);
void wake_task(struct task *t, int reason);

#endif
