/* Between the files of proc/. */
#ifndef PROC_H
#define PROC_H
#include "file.h"
#include "qcall.h"
/* What the scheduler has once for each vCPU. */
struct sched_cpu {
	bool running;       /* current has the processor: false while schedule() looks for the next one */
	bool publish_due;   /* what vcpu_publish says has changed */
	struct task *dead;  /* left its stack just now; freed by who runs next */
	u64 last_look;      /* TSC: at the clock, before a return to user mode */
	u64 last_interrupt; /* CLOCK_MONOTONIC ns */
} __attribute__((aligned(64)));
extern struct sched_cpu sched_cpus[QK_VCPUS_MAX];
static inline struct sched_cpu *sched_cpu(void)
{
	return &sched_cpus[this_cpu()->index];
}
void sched_new_task_started(void);
noreturn void sched_start(struct task *t);
int task_sleep_killable(void); /* until wake_task; only a fatal signal interrupts */
/* Out of memory (oom.c): ends the largest process, or waits for one that is ending. The report goes out before the next return to user mode. */
void oom_init(void);
void oom_kill(void);
void oom_report(void);
/* sys_info.c */
void set_hostname(const char *s);
const char *get_hostname(void);
/* How long a task runs while others wait: a switch of address spaces costs 20 us and an interrupt 50 us on software KVM, a tenth of that on hardware. */
#define SCHED_SLICE_NS (arch_ring3() ? 6000000ul : 3000000ul)
void sched_inherit(struct task *t); /* a new task's share and policy are those of current */
void sched_set_policy(struct task *t, u32 policy, u32 rt_priority);
void sched_account(void); /* charges current up to now */
void sched_clock_jumped(void);
void sched_tick(u64 now);                  /* sets need_resched when the slice of current is over */
u64 sched_slice_end(void);                 /* CLOCK_MONOTONIC ns; UINT64_MAX: nobody waits for it */
u64 sched_uncharged(const struct task *t); /* ns that t has run since its times were last brought up to date */
u64 sleepers_next(void);
void sleepers_run(u64 now);
/* After a syscall that returned -ERESTART*: prepares the restart or turns it into -EINTR. handler: a handler will run; sa_flags: its flags. */
void syscall_restart(struct trapframe *tf, bool handler, u64 sa_flags);
/* task.c */
struct task *task_new(struct process *p, struct mm *mm);
void task_free(struct task *t);
struct process *process_new(struct process *like, struct process *parent);
void sighand_put(struct sighand *s);
void process_free(struct process *p);
extern u32 ntasks;
/* pid.c: a free number, or -EAGAIN (none left), -ENOMEM. It is taken by pid_attach, which t and, for a leader, t->proc have it from. */
#define PID_MAX 32768
#define TASKS_MAX ((u32)PID_MAX)
s32 pid_alloc(void);
extern u64 forks_total; /* tasks that ever were */
void pid_attach(struct task *t);
void pid_detach_task(struct task *t);
void pid_detach_process(struct process *p);
void pid_group_left(s32 nr); /* the leader of group `nr` has gone to another one */
/* fs/tty/jobs.c */
void jobs_process_ends(struct process *p); /* its terminal and the groups that it kept from being orphans */
bool group_orphaned(s32 pgrp, const struct process *without);
/* exit.c */
bool reap_adopted(void); /* drops the zombies that the first process got from others and has not waited for; false: there are none */
void notify_parent(struct process *p, s32 code, s32 status); /* CLD_*: SIGCHLD and wait */
/* sys_signal.c: as kill(2), tgkill(2) do it, permission included. info NULL: SI_USER, SI_TKILL */
/* calltrace.c, for QK_BOOT_TRACE */
u64 calltrace_enter(u64 nr); /* when it began */
void calltrace_leave(const struct trapframe *tf, u64 nr, long ret, u64 since);
void calltrace_summary(void); /* once, at the end */
long signal_process(struct process *p, int sig, const struct siginfo *info);
long signal_group(s32 pgid, int sig);
long signal_thread(s32 tid, int sig, const struct siginfo *info);
/* fs/pidfd.c */
struct file;
struct text;
struct file *pidfd_file(struct process *p, u32 flags);          /* NULL: no memory */
long pidfd_process(int fd, struct process **p, bool *nonblock); /* 0, -EBADF, -ESRCH */
void pidref_wake(struct process *p);                            /* it has ended */
void pidref_gone(struct process *p);                            /* and been waited for */
void pidfd_fdinfo(const struct file *f, struct text *t);
/* sys_info.c */
struct rusage_times {
	u64 utime_ns, stime_ns;
	u64 max_pages;
};
int rusage_to_user(uptr p, const struct rusage_times *t);

void kill_other_threads(void);
bool futex_wake_addr(struct mm *mm, vaddr_t va, u32 n);
void robust_list_exit(struct task *t);
/* signal.c */
int dequeue_signal(struct task *t, sigset wanted, struct siginfo *info);
struct siginfo *pending_timer(struct sigpending *p, int sig, s32 id); /* queued by POSIX timer `id`; NULL: none */
/* signal_user.c: one more signal or timer for p's user; NULL: that would be more than its limit allows (not asked if `beyond`), or there is no memory. */
struct signal_user;
struct signal_user *signal_user_get(const struct process *p, bool beyond);
void signal_user_put(struct signal_user *u); /* NULL: nothing */
u64 signal_user_count(const struct process *p);
bool signal_ignored(const struct process *p, int sig); /* by what was asked for, or by default */
void pending_init(struct sigpending *p);
void pending_flush(struct sigpending *p);
void pending_remove(struct sigpending *p, int sig);
/* sigframe.c: 0, or -EFAULT when the stack is bad */
int sigframe_setup(struct trapframe *tf, int sig, const struct siginfo *info, const struct ksigaction *sa, sigset mask);
/* itimer.c: what the CPU time of a process triggers */
void itimers_free(struct process *p);
void cpu_timers_check(struct process *p);   /* sends what is due, sets cpu_check_ns */
void cpu_timers_changed(struct process *p); /* look again */
u64 cpu_timers_due(void);                   /* CLOCK_MONOTONIC ns at which current, if it goes on, has something due; UINT64_MAX never */
/* posix_timer.c */
u64 posix_cpu_timers_check(struct process *p, u64 now); /* the CPU time of p at which the next is due */
void posix_timers_clock_jumped(struct process *p);
void posix_timer_taken(struct process *p, struct siginfo *info); /* its signal leaves the queue: fills in the overrun, and it goes on */
void posix_timers_resume(struct process *p, int sig);            /* those whose signal was dropped, or is not ignored any more, go on */
/* vdso.c */
vaddr_t vdso_map(struct mm *mm);
void vdso_update(void);
#define WIFSIGNALED(s) (((s) & 0x7f) != 0)
#define WTERMSIG(s) ((s) & 0x7f)
#define WEXITSTATUS(s) (((s) >> 8) & 0xff)
#define TIMER_ABSTIME 1
#define CLOCK_OF_THREAD 4               /* in the negative clock ids of linux/posix-timers.h: a thread's, else a process's CPU time */
extern bool clocks_jumped;              /* the wall clock or CLOCK_BOOTTIME moved against CLOCK_MONOTONIC: timers_run sees to it */
int clock_read(s32 id, u64 *ns);        /* any clock id: 0 or -EINVAL */
bool clock_is_wall(s32 clock);          /* CLOCK_REALTIME and its like */
u64 clock_now(s32 clock);               /* ns of CLOCK_REALTIME, TAI, BOOTTIME, their alarms, or else MONOTONIC */
u64 clock_to_mono(s32 clock, u64 when); /* the CLOCK_MONOTONIC deadline of a time of that clock */
void timerfds_clock_jumped(void);       /* fs/timerfd.c */
u64 task_cpu_ns(const struct task *t);
u64 process_cpu_ns(const struct process *p);
int timespec_from_user(uptr p, u64 *ns); /* 0, -EFAULT, -EINVAL */
int timespec_to_user(uptr p, u64 ns);
int timeval_to_user(uptr p, u64 ns);
void vcpu_publish(void);       /* before user code runs: when the host has to interrupt it */
void timers_interrupted(void); /* an interrupt came while user code ran */
void random_reseed(void);
void time_freeze(void);      /* brings the base of the clocks to now: a clone goes on from there */
void clock_base(u64 out[5]); /* tsc, mult, mono, real, boot at tsc: for the vDSO */
void posix_timers_free(struct process *p);
#endif
