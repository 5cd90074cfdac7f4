/* Tasks (threads), processes (thread groups), scheduling, wait queues, signals. */
#ifndef TASK_H
#define TASK_H

#include "arch.h"
#include "errno.h"
#include "heap.h"
#include "klib.h"
#include "mm.h"
#include <asm/resource.h>

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

enum task_state { TASK_RUNNABLE, TASK_SLEEPING /* interruptible */, TASK_STOPPED, TASK_DEAD };

struct files;
struct fs_ctx;

struct rlim {
	u64 cur, max;
};

struct process {
	s32 pid, pgid, sid;
	struct process *parent;
	struct list children, sibling; /* of parent->children */
	struct list tasks;             /* task.group */
	struct list all;               /* every process */
	u32 ntasks;
	struct task *leader;
	struct pidref *pidref;  /* fs/pidfd.c: NULL while no descriptor names it */
	struct task *exec_task; /* sleeps in execve until it is the only thread */
	struct sighand *sighand;
	struct sigpending pending;
	struct rlim rlim[RLIM_NLIMITS];
	u32 uid, euid, suid, fsuid, gid, egid, sgid, fsgid;
	u32 ngroups, groups[32];
	u64 cap_eff, cap_perm, cap_inh, cap_bset;
	bool exiting, zombie, no_new_privs, stopped;
	bool keep_caps; /* PR_SET_KEEPCAPS: permitted capabilities stay when the last root uid goes */
	bool subreaper; /* PR_SET_CHILD_SUBREAPER */
	bool adopted;   /* came to its parent when its own one died */
	bool execed;    /* has called execve: setpgid by its parent is over */
	s32 stop_signal;
	s32 stop_report; /* CLD_STOPPED or CLD_CONTINUED until a wait has told the parent */
	s32 exit_status; /* wait(2) encoding */
	s32 exit_signal;
	struct list wait_children;         /* wait queue: struct waitq below */
	u64 cpu_check_ns;                  /* CPU time at which something is due (proc/itimer.c); UINT64_MAX: nothing */
	u64 max_pages, children_max_pages; /* ru_maxrss (getrusage(2)): of address spaces that are gone, and of children that were waited for */
	u64 start_ns, utime_ns, stime_ns, cutime_ns, cstime_ns;
	struct itimer *itimers; /* proc/itimer.c */
	struct list posix_timers;
	s32 next_timer_id;
	char comm[16];
	u32 dumpable;
	s32 oom_score_adj;
	u64 rchar, wchar, syscr, syscw; /* /proc/PID/io */
};

struct task {
	s32 tid;
	struct process *proc;
	struct list group;    /* proc->tasks */
	struct heap_node run; /* run queue */
	struct mm *mm;
	struct files *files;
	struct fs_ctx *fs;
	struct arch_task arch;
	enum task_state state;
	bool need_resched;
	bool out_of_memory; /* in this system call a page of its program could not be had */
	bool dying;         /* another thread ended the group or called execve: exit at the next chance */
	s32 wake_reason;    /* 0 woken, -EINTR, -ETIMEDOUT */
	s32 sleep_clock;    /* the clock that the sleep ends by, and when: CLOCK_MONOTONIC unless it is one that may jump */
	u64 sleep_when;
	struct heap_node sleepers;  /* by the end of its sleep, CLOCK_MONOTONIC ns */
	sigset waiting_for;         /* of a sigtimedwait in progress */
	sigset blocked, saved_mask; /* saved_mask: to restore after sigsuspend/ppoll */
	bool restore_mask;
	struct sigpending pending;
	struct {
		u64 sp, size;
		u32 flags;
	} altstack;
	uptr clear_child_tid, robust_list;
	u64 robust_len;
	struct { /* restart_syscall */
		long (*fn)(struct task *);
		u64 arg[5];
	} restart;
	struct list futex_node; /* proc/futex.c */
	paddr_t futex_key;
	u32 futex_bitset;
	u64 utime_ns, stime_ns, slice_start;
	u64 switched_in_ns; /* of the running task: charged up to here */
	u64 vruntime;       /* ns, weighted by nice: proc/sched.c */
	char comm[16];
	s32 nice;
	u32 policy, rt_priority; /* SCHED_*; 1 to 99 for SCHED_FIFO and SCHED_RR, else 0 */
	bool reset_on_fork;
	u32 personality;
	s32 pdeathsig;
	struct task *vfork_parent; /* who sleeps in vfork until we exec or end */
	bool vfork_done;           /* our vfork child did */
	struct {
		u64 trapno, error, addr;
	} fault; /* of the last synchronous signal, for its frame */
};

/* ---- scheduler (proc/sched.c): one vCPU, shared fairly */
#define current (KSTACK_END->task)
void sched_add(struct task *t); /* make runnable */
void schedule(void);            /* give the processor away; returns when this task runs again. Idles in arch_wait when nothing can run */
void sched_resched(void);       /* schedule() if another one can run */
/* Sleep until wake_task(), a signal (interruptible) or deadline (CLOCK_MONOTONIC ns, UINT64_MAX = none).
 * 0 woken, -EINTR an unblocked signal is pending (returned at once if one is already), -ETIMEDOUT. */
int task_sleep(u64 deadline_ns);
void wake_task(struct task *t, int reason);
/* Is a signal pending that is not blocked (or is the process being killed)? */
bool signal_pending(struct task *t);

/* ---- wait queues (proc/waitq.c) */
struct waitq {
	struct list head; /* of struct waiter */
};
struct waiter {
	struct list node;
	struct task *task;
	/* Called at a wake-up with the poll bits that became true. NULL: wake_task(task, 0). Return true to count as one of `max`. */
	bool (*wake)(struct waiter *w, u32 events);
	bool exclusive;
};
static inline void waitq_init(struct waitq *q) { list_init(&q->head); }
void waitq_add(struct waitq *q, struct waiter *w);
void waitq_del(struct waiter *w);
void waitq_wake(struct waitq *q, u32 events, int max); /* max exclusive waiters; 0 = all */
/* Sleep until cond; evaluates to 0, -EINTR, -ETIMEDOUT. */
#define wait_event(q, cond, deadline) \
	({ \
		int _r = 0; \
		struct waiter _w = {.task = current}; \
		waitq_add((q), &_w); \
		while (!(cond)) { \
			_r = task_sleep(deadline); \
			if (_r) \
				break; \
		} \
		waitq_del(&_w); \
		if (_r && (cond)) \
			_r = 0; \
		_r; \
	})

/* ---- tasks and processes (proc/task.c, clone.c, exit.c, exec.c) */
struct process *process_find(s32 pid);
struct task *task_find(s32 tid);
extern struct process *init_process;
extern struct list all_processes;            /* process.all */
noreturn void task_exit(s32 code);           /* this thread */
noreturn void process_exit(s32 wait_status); /* the whole group; wait(2) encoding */
/* First process from comm->boot; never returns to the caller's stack. */
noreturn void start_init(void);
/* Loads the program into a fresh mm: ELF with PT_INTERP, static PIE, scripts (#!). Fills *tf (rip, rsp, ...). 0 or -errno. */
int exec_load(const char *path, char *const argv[], char *const envp[], struct mm *mm, struct trapframe *tf, char comm[16]);

/* ---- signals (proc/signal.c, sigframe.c) */
int send_signal(struct process *p, int sig, const struct siginfo *info); /* info NULL: SI_USER from current */
int send_signal_task(struct task *t, int sig, const struct siginfo *info);
void force_signal(int sig, int si_code, vaddr_t addr, u64 trapno, u64 error); /* synchronous fault of current */
void signals_deliver(struct trapframe *tf);                                   /* from return_to_user_work */
/* Takes one pending signal of `set` off current's queue, then its process's; fills *info. The number, or 0: none. For signalfd and sigtimedwait. */
int signal_take(sigset set, struct siginfo *info);
void signalfd_notify(void); /* fs/signalfd.c: called whenever a signal becomes pending, blocked or not */

/* ---- time (proc/time.c, timer.c, vdso) */
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

/* ---- random (proc/random.c): ChaCha20, seeded from comm->entropy, reseeded when comm->generation changes */
void random_init(void);
void random_bytes(void *dst, size_t n);

/* After PARK returns: notices a new generation: reseeds, resyncs clocks, wipes WIPEONFORK, re-arms host polls (fs hoststream). */
void after_park(void);
/* Quiesce and PARK now (called from return_to_user_work or idle when QK_EV_CAPTURE came, and by /dev/quark). */
void park_now(void);

#endif
