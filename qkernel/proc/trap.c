/* Exceptions and interrupts from user mode, and the work due before every return to it. */
#include "host.h"
#include "ktime.h"
#include "park.h"
#include "qcall.h"
#include "sched.h"
#include "proc.h"
#include <asm/signal.h>

#define LOOK_TICKS 20000u /* of the TSC: about 10 us */

static void trap_page_fault(struct trapframe *tf)
{
	vaddr_t va = arch_fault_address();
	int r = mm_fault(current->mm, va, (u32)tf->error);
	if (r == 0)
		return;
	if (r == -ENOMEM) {
		oom_kill(); /* whoever it is: the access is made again unless it is this process */
	} else if (r == -EIO) {
		force_signal(SIGBUS, BUS_ADRERR, va, tf->vector, tf->error);
	} else {
		force_signal(SIGSEGV, r == -EACCES ? SEGV_ACCERR : SEGV_MAPERR, va, tf->vector, tf->error);
	}
}

/* Which exception it was: raised and not masked, in the x87 status and control words or in MXCSR. */
static int trap_float_code(u64 vector)
{
	arch_fpu_save(&current->arch);
	const u8 *x = current->arch.xsave;
	u16 cw, sw;
	u32 mxcsr;
	memcpy(&cw, x, 2);
	memcpy(&sw, x + 2, 2);
	memcpy(&mxcsr, x + 24, 4);
	u32 raised = vector == 16 ? (u32)(sw & ~cw) : mxcsr & ~(mxcsr >> 7);
	return raised & 1      ? FPE_FLTINV
	       : raised & 4    ? FPE_FLTDIV
	       : raised & 8    ? FPE_FLTOVF
	       : raised & 0x12 ? FPE_FLTUND
	       : raised & 0x20 ? FPE_FLTRES
			       : FPE_FLTINV;
}

void trap_dispatch(struct trapframe *tf)
{
	switch (tf->vector) {
	case 14:
		trap_page_fault(tf);
		return;
	case QK_IRQ_VECTOR:
		timers_interrupted();
		return;
	case 0:
		force_signal(SIGFPE, FPE_INTDIV, tf->rip, tf->vector, tf->error);
		return;
	case 1:
		tf->rflags &= ~0x100ul;
		force_signal(SIGTRAP, TRAP_TRACE, tf->rip, tf->vector, tf->error);
		return;
	case 3:
		force_signal(SIGTRAP, SI_KERNEL, 0, tf->vector, tf->error);
		return;
	case 4:
	case 5:
		force_signal(SIGSEGV, SI_KERNEL, 0, tf->vector, tf->error);
		return;
	case 6:
		force_signal(SIGILL, ILL_ILLOPN, tf->rip, tf->vector, tf->error);
		return;
	case 16:
	case 19:
		force_signal(SIGFPE, trap_float_code(tf->vector), tf->rip, tf->vector, tf->error);
		return;
	case 17:
		force_signal(SIGBUS, BUS_ADRALN, 0, tf->vector, tf->error);
		return;
	case 2:
	case 8:
	case 18:
		panic("exception %lu at %lx", tf->vector, tf->rip);
	default: /* #GP, #SS, #NP, #TS */
		force_signal(SIGSEGV, SI_KERNEL, 0, tf->vector, tf->error);
	}
}

void return_to_user_work(struct trapframe *tf)
{
	sched_new_task_started();
	names_shrink();
	for (;;) {
		oom_report();
		if (events_pending())
			events_poll();
		u64 tsc = rdtsc();
		/* The clock costs a little: look at it when an interrupt came or every LOOK_TICKS. */
		if (tf->vector == QK_IRQ_VECTOR || tsc - sched_cpu()->last_look > LOOK_TICKS) {
			sched_cpu()->last_look = tsc;
			timers_run();
			sched_tick(mono_ns());
			cpu_timers_check(current->proc);
		}
		if (capture_requested) {
			park_now();
			continue;
		}
		if (current->need_resched) {
			current->need_resched = false;
			sched_resched();
			continue;
		}
		if (signal_pending(current) || current->restore_mask || current->proc->stopped) {
			signals_deliver(tf);
			if (events_pending() || current->need_resched)
				continue;
		} else if (tf->vector == TF_SYSCALL) {
			syscall_restart(tf, false, 0);
		}
		if (sched_cpu()->publish_due)
			vcpu_publish();
		tf->vector = 0; /* whatever it was has been dealt with: no second restart */
		return;
	}
}
