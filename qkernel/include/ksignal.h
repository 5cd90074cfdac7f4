/* Signals: their data, sending and delivery (proc/signal.c, sigframe.c). */
#ifndef KSIGNAL_H
#define KSIGNAL_H
#include "klib.h"

#define SIGNALS 64  /* not NSIG, which <asm/signal.h> has as 32 */
typedef u64 sigset; /* bit n-1 = signal n */
#define SIGBIT(n) (1ull << ((n) - 1))

struct siginfo { /* the layout of siginfo_t: 128 bytes */
	s32 si_signo, si_errno, si_code;
	s32 of_timer; /* padding in Linux: a timer's own signal, not one that a program made up; 0 when it leaves the queue */
	u64 f[14];
};
/* si_code values (asm-generic/siginfo.h cannot be included beside struct siginfo) */
enum {
	SI_USER = 0,
	SI_KERNEL = 0x80,
	SI_TIMER = -2,
	SI_TKILL = -6,
	ILL_ILLOPN = 2,
	FPE_INTDIV = 1,
	FPE_FLTDIV = 3,
	FPE_FLTOVF = 4,
	FPE_FLTUND = 5,
	FPE_FLTRES = 6,
	FPE_FLTINV = 7,
	SEGV_MAPERR = 1,
	SEGV_ACCERR = 2,
	BUS_ADRALN = 1,
	BUS_ADRERR = 2,
	TRAP_TRACE = 2,
	CLD_EXITED = 1,
	CLD_KILLED = 2,
	CLD_STOPPED = 5,
	CLD_CONTINUED = 6,
};
struct ksigaction {
	u64 handler; /* SIG_DFL 0, SIG_IGN 1 */
	u64 flags;
	u64 restorer;
	sigset mask;
};
struct sigpending {
	sigset set;
	struct list queue; /* of queued siginfo (real-time signals queue; standard ones do not pile up) */
};
struct sighand {
	u32 refs;
	struct ksigaction action[SIGNALS];
};

struct process;
struct task;
struct trapframe;
int send_signal(struct process *p, int sig, const struct siginfo *info); /* info NULL: SI_USER from current */
int send_signal_task(struct task *t, int sig, const struct siginfo *info);
void force_signal(int sig, int si_code, vaddr_t addr, u64 trapno, u64 error); /* synchronous fault of current */
void signals_deliver(struct trapframe *tf);                                   /* from return_to_user_work */
/* Takes one pending signal of `set` off current's queue, then its process's; fills *info. The number, or 0: none. For signalfd and sigtimedwait. */
int signal_take(sigset set, struct siginfo *info);
void signalfd_notify(void); /* fs/signalfd.c: called whenever a signal becomes pending, blocked or not */
/* Is a signal pending that is not blocked (or is the process being killed)? */
bool signal_pending(struct task *t);

#endif
