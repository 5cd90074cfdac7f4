/* Signals: sending, queues, default actions, delivery. */
#include "qcall.h"
#include "sched.h"
#include "proc.h"
#include <asm/signal.h>

#define KILL_STOP (SIGBIT(SIGKILL) | SIGBIT(SIGSTOP))
#define DFL_IGNORED (SIGBIT(SIGCHLD) | SIGBIT(SIGURG) | SIGBIT(SIGWINCH) | SIGBIT(SIGCONT))
#define STOPPING (SIGBIT(SIGSTOP) | SIGBIT(SIGTSTP) | SIGBIT(SIGTTIN) | SIGBIT(SIGTTOU))

struct queued {
	struct list node;
	struct signal_user *user; /* whose limit it counts against; NULL: nobody's */
	struct siginfo info;
};

void pending_init(struct sigpending *p)
{
	p->set = 0;
	list_init(&p->queue);
}

static void signal_drop(struct queued *q)
{
	list_del(&q->node);
	signal_user_put(q->user);
	kfree(q);
}

void pending_flush(struct sigpending *p)
{
	while (!list_empty(&p->queue))
		signal_drop(list_first(&p->queue, struct queued, node));
	p->set = 0;
}

void pending_remove(struct sigpending *p, int sig)
{
	struct queued *q, *next;
	list_for_each_safe (q, next, &p->queue, node)
		if (q->info.si_signo == sig)
			signal_drop(q);
	p->set &= ~SIGBIT(sig);
}

struct siginfo *pending_timer(struct sigpending *p, int sig, s32 id)
{
	struct queued *q;
	list_for_each (q, &p->queue, node)
		if (q->info.si_signo == sig && q->info.of_timer && (s32)q->info.f[0] == id)
			return &q->info;
	return NULL;
}

/* Takes the first signal of `wanted`: synchronous ones first, as Linux does. */
static int signal_take_from(struct sigpending *p, sigset wanted, struct siginfo *info)
{
	static const sigset synchronous = SIGBIT(SIGSEGV) | SIGBIT(SIGBUS) | SIGBIT(SIGILL) | SIGBIT(SIGTRAP) | SIGBIT(SIGFPE) | SIGBIT(SIGSYS);
	sigset have = p->set & wanted;
	if (!have)
		return 0;
	int sig = __builtin_ctzll(have & synchronous ? have & synchronous : have) + 1;
	struct queued *q, *found = NULL;
	bool more = false;
	list_for_each (q, &p->queue, node) {
		if (q->info.si_signo != sig)
			continue;
		more = found;
		if (found)
			break;
		found = q;
	}
	*info = (struct siginfo){.si_signo = sig};
	if (found) {
		*info = found->info;
		signal_drop(found);
	}
	if (!more)
		p->set &= ~SIGBIT(sig);
	return sig;
}

int dequeue_signal(struct task *t, sigset wanted, struct siginfo *info)
{
	int sig = signal_take_from(&t->pending, wanted, info);
	sig = sig ? sig : signal_take_from(&t->proc->pending, wanted, info);
	if (sig && info->of_timer)
		posix_timer_taken(t->proc, info);
	info->of_timer = 0;
	return sig;
}

int signal_take(sigset set, struct siginfo *info)
{
	return dequeue_signal(current, set & ~KILL_STOP, info);
}

bool signal_pending(struct task *t)
{
	return t->dying || ((t->pending.set | t->proc->pending.set) & ~t->blocked);
}

bool signal_ignored(const struct process *p, int sig)
{
	u64 h = p->sighand->action[sig - 1].handler;
	return h == 1 || (h == 0 && (SIGBIT(sig) & DFL_IGNORED));
}

/* What the kernel and kill() send of the classic signals is queued in any case, as Linux does; a timer has paid when it was made. */
static struct queued *signal_queued_new(const struct process *to, int sig, const struct siginfo *info)
{
	struct signal_user *user = NULL;
	if (sig == SIGKILL || (!info->of_timer && !(user = signal_user_get(to, sig < SIGRTMIN && info->si_code >= 0))))
		return NULL;
	struct queued *q = kmalloc(sizeof(*q));
	if (q)
		q->user = user;
	else
		signal_user_put(user);
	return q;
}

static int signal_enqueue(struct process *to, struct sigpending *p, int sig, const struct siginfo *info)
{
	if (sig < SIGRTMIN && (p->set & SIGBIT(sig)) && !info->of_timer)
		return 0;
	struct queued *q = signal_queued_new(to, sig, info);
	if (q) {
		q->info = *info;
		q->info.si_signo = sig;
		list_add_tail(&q->node, &p->queue);
	} else if (sig >= SIGRTMIN && info->si_code < 0) {
		return -EAGAIN;
	}
	p->set |= SIGBIT(sig);
	return 0;
}

static void signal_nudge(struct task *t, int sig)
{
	if (t->state == TASK_SLEEPING)
		wake_task(t, -EINTR);
	else if (t->state == TASK_STOPPED && (sig == SIGKILL || sig == SIGCONT))
		sched_add(t);
}

/* What sending does before the signal is taken: SIGCONT continues, stops and continues cancel each other. */
static void signal_side_effects(struct process *p, int sig)
{
	struct task *t;
	if (sig == SIGCONT) {
		for (int s = 1; s <= SIGNALS; s++) {
			if (!(SIGBIT(s) & STOPPING))
				continue;
			pending_remove(&p->pending, s);
			list_for_each (t, &p->tasks, group)
				pending_remove(&t->pending, s);
			posix_timers_resume(p, s);
		}
		if (p->stopped) {
			p->stopped = false;
			p->stop_report = CLD_CONTINUED;
			notify_parent(p, CLD_CONTINUED, SIGCONT);
			list_for_each (t, &p->tasks, group)
				signal_nudge(t, SIGCONT);
		}
	} else if (SIGBIT(sig) & STOPPING) {
		pending_remove(&p->pending, SIGCONT);
		list_for_each (t, &p->tasks, group)
			pending_remove(&t->pending, SIGCONT);
		posix_timers_resume(p, SIGCONT);
	} else if (sig == SIGKILL) {
		p->stopped = false;
		list_for_each (t, &p->tasks, group)
			signal_nudge(t, SIGKILL);
	}
}

static const struct siginfo *signal_info_or_user(const struct siginfo *info, struct siginfo *buf)
{
	if (info)
		return info;
	*buf = (struct siginfo){.si_code = SI_USER};
	if (current)
		buf->f[0] = (u32)current->proc->pid | (u64)current->proc->uid << 32;
	return buf;
}

int send_signal(struct process *p, int sig, const struct siginfo *info)
{
	struct siginfo buf;
	if (!sig || p->zombie || !p->sighand)
		return 0;
	signal_side_effects(p, sig);
	struct task *t, *target = NULL;
	list_for_each (t, &p->tasks, group) {
		if (!(t->blocked & SIGBIT(sig)) && !t->dying && (!target || t == p->leader))
			target = t;
	}
	/* Ignored signals leave no trace, unless somebody blocks them and may wait for them. */
	if (target && signal_ignored(p, sig))
		return 0;
	int r = signal_enqueue(p, &p->pending, sig, signal_info_or_user(info, &buf));
	if (r)
		return r;
	signalfd_notify();
	if (target)
		signal_nudge(target, sig);
	else
		/* sigtimedwait sleeps with the signal blocked. */
		list_for_each (t, &p->tasks, group)
			if (t->waiting_for & SIGBIT(sig))
				signal_nudge(t, sig);
	return 0;
}

int send_signal_task(struct task *t, int sig, const struct siginfo *info)
{
	struct siginfo buf;
	if (!sig || t->state == TASK_DEAD || !t->proc->sighand)
		return 0;
	signal_side_effects(t->proc, sig);
	bool blocked = t->blocked & SIGBIT(sig);
	if (!blocked && signal_ignored(t->proc, sig))
		return 0;
	int r = signal_enqueue(t->proc, sig == SIGKILL ? &t->proc->pending : &t->pending, sig, signal_info_or_user(info, &buf));
	if (r)
		return r;
	signalfd_notify();
	if (!blocked || (t->waiting_for & SIGBIT(sig)))
		signal_nudge(t, sig);
	return 0;
}

void force_signal(int sig, int si_code, vaddr_t addr, u64 trapno, u64 error)
{
	struct task *t = current;
	struct ksigaction *sa = &t->proc->sighand->action[sig - 1];
	if ((t->blocked & SIGBIT(sig)) || sa->handler == 1) {
		/* Going on would fault again for ever. */
		sa->handler = 0;
		t->blocked &= ~SIGBIT(sig);
	}
	t->fault.trapno = trapno;
	t->fault.error = error;
	t->fault.addr = addr;
	struct siginfo info = {.si_signo = sig, .si_code = si_code};
	info.f[0] = addr;
	pending_remove(&t->pending, sig);
	(void)signal_enqueue(t->proc, &t->pending, sig, &info);
}

/* A key stops nobody that nobody could continue. When the first program stops, QVisor does too, if it has a job control of its own to obey. */
static bool signal_may_stop(struct process *p, int sig)
{
	if (sig != SIGSTOP && group_orphaned(p->pgid, NULL))
		return false;
	seg_begin();
	return p != init_process || qcall(QC_STOPPED, 0, 0, 0, 0, 0, 0, 0) >= 0 || sig == SIGSTOP;
}

static void signal_stop_process(struct process *p, int sig)
{
	p->stopped = true;
	p->stop_signal = sig;
	p->stop_report = CLD_STOPPED;
	notify_parent(p, CLD_STOPPED, sig);
	struct task *t;
	list_for_each (t, &p->tasks, group)
		if (t != current)
			signal_nudge(t, sig);
}

/* Puts the frame for one signal's handler on the user stack. False: there is no usable stack. */
static bool signal_handle(struct trapframe *tf, int sig, const struct siginfo *info)
{
	struct task *t = current;
	struct ksigaction sa = t->proc->sighand->action[sig - 1];
	if (tf->vector == TF_SYSCALL)
		syscall_restart(tf, true, sa.flags);
	if (sa.flags & SA_RESETHAND)
		t->proc->sighand->action[sig - 1].handler = 0;
	if (sigframe_setup(tf, sig, info, &sa, t->restore_mask ? t->saved_mask : t->blocked))
		return false;
	t->restore_mask = false;
	t->blocked |= sa.mask;
	if (!(sa.flags & SA_NODEFER))
		t->blocked |= SIGBIT(sig);
	t->blocked &= ~KILL_STOP;
	return true;
}

/* Where a program died, for quark run --debug. */
static void signal_log_crash(const struct trapframe *tf, int sig)
{
	const struct task *t = current;
	const struct vma *v = vma_find(t->mm, tf->rip);
	bool in = v && v->start <= tf->rip;
	klog("%s[%d]: signal %d at rip %lx (%s+%lx), address %lx, error %lx", t->comm, t->tid, sig, tf->rip,
	     in && v->file && v->file->path.str ? v->file->path.str : "?", in ? tf->rip - v->start + (v->pgoff << PAGE_SHIFT) : 0, t->fault.addr,
	     t->fault.error);
	klog("  rax %lx rbx %lx rcx %lx rdx %lx rsi %lx rdi %lx rbp %lx rsp %lx r8 %lx r9 %lx r10 %lx r11 %lx r12 %lx r13 %lx r14 %lx r15 %lx",
	     tf->rax, tf->rbx, tf->rcx, tf->rdx, tf->rsi, tf->rdi, tf->rbp, tf->rsp, tf->r8, tf->r9, tf->r10, tf->r11, tf->r12, tf->r13, tf->r14,
	     tf->r15);
}

void signals_deliver(struct trapframe *tf)
{
	struct task *t = current;
	struct process *p = t->proc;
	for (;;) {
		struct siginfo info;
		if (t->dying)
			task_exit(0);
		if (p->stopped && !((p->pending.set | t->pending.set) & SIGBIT(SIGKILL))) {
			t->state = TASK_STOPPED;
			schedule();
			continue;
		}
		sigset killed = (p->pending.set | t->pending.set) & SIGBIT(SIGKILL);
		int sig = dequeue_signal(t, killed ? killed : ~t->blocked, &info);
		if (!sig)
			break;
		u64 handler = p->sighand->action[sig - 1].handler;
		if (handler > 1 && !(SIGBIT(sig) & KILL_STOP)) {
			if (!signal_handle(tf, sig, &info))
				process_exit(SIGSEGV);
			continue;
		}
		if (sig != SIGKILL && signal_ignored(p, sig))
			continue;
		if (SIGBIT(sig) & STOPPING) {
			if (signal_may_stop(p, sig))
				signal_stop_process(p, sig);
			continue;
		}
		if (SIGBIT(sig) & (SIGBIT(SIGSEGV) | SIGBIT(SIGBUS) | SIGBIT(SIGILL) | SIGBIT(SIGFPE)))
			signal_log_crash(tf, sig);
		process_exit(sig);
	}
	if (tf->vector == TF_SYSCALL)
		syscall_restart(tf, false, 0);
	if (t->restore_mask) {
		t->blocked = t->saved_mask;
		t->restore_mask = false;
	}
}
