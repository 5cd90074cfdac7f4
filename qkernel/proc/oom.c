/* Memory has run out: the largest process ends, and QVisor is told which and why. */
#include "proc.h"
#include "qcall.h"
#include <asm/signal.h>

#define OOM_WAITS 1000u /* turns that a victim is given to end */

static char report[128];
static bool report_due;
static u32 waits;

static bool oom_is_dying(const struct process *p)
{
	return p->exiting || (p->pending.set & SIGBIT(SIGKILL));
}

/* Resident pages; a thread group has one address space. */
static u64 oom_pages_of(const struct process *p)
{
	const struct task *t;
	list_for_each (t, &p->tasks, group)
		if (t->mm)
			return t->mm->pages;
	return 0;
}

/* An access of the kernel for a program failed: its system call begins again when there is memory (proc/syscall.c). */
static void oom_in_call(void)
{
	current->out_of_memory = true;
	oom_kill();
}

void oom_init(void)
{
	mm_set_exhausted(oom_in_call);
}

void oom_kill(void)
{
	struct process *p, *victim = NULL;
	bool waiting = false;
	list_for_each (p, &all_processes, all) {
		if (p->zombie)
			continue;
		if (oom_is_dying(p))
			waiting = true;
		else if (!victim || oom_pages_of(p) > oom_pages_of(victim))
			victim = p;
	}
	/* One at a time: what it had is free soon. */
	if (waiting && ++waits < OOM_WAITS) {
		current->need_resched = true;
		return;
	}
	waits = 0;
	if (!victim)
		return;
	snprintf(report, sizeof(report), "guest memory limit of %lu MiB reached: %s (pid %d) was killed", frames_limit() >> (20 - PAGE_SHIFT),
		 victim->comm, victim->pid);
	report_due = true;
	send_signal(victim, SIGKILL, NULL);
	current->need_resched = true;
}

void oom_report(void)
{
	if (!report_due)
		return;
	report_due = false;
	klog("%s", report);
	int n = snprintf(comm_data(), sizeof(report), "%s", report);
	seg_begin();
	qcall(QC_LOG, (u32)n, QK_LOG_OOM, 0, 0, 0, 0, 0);
}
