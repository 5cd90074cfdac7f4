/* Tasks (threads) and processes (thread groups). */
#ifndef TASK_H
#define TASK_H
#include "errno.h"
#include "heap.h"
#include "ksignal.h"
#include "mm.h"
#include <asm/resource.h>

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
	struct list wait_children;         /* a struct waitq (waitq.h) */
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

#define current (KSTACK_END->task)
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

#endif
