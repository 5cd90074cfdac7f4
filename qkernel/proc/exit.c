/* The end of threads and processes, and waiting for it. */
#include "fdtable.h"
#include "fsctx.h"
#include "qcall.h"
#include "../fs/behind.h"
#include "../ipc/ipc.h"
#include "proc.h"
#include <asm/signal.h>
#include <linux/wait.h>

/* Threads of the group other than the caller have to end: each notices when it next returns to user mode or sleeps. */
void kill_other_threads(void)
{
	struct task *t;
	list_for_each (t, &current->proc->tasks, group) {
		if (t == current)
			continue;
		t->dying = true;
		wake_task(t, -EINTR);
		if (t->state == TASK_STOPPED)
			sched_add(t);
	}
}

static void exit_release_task(struct task *t)
{
	robust_list_exit(t);
	if (!uptr_null(t->clear_child_tid)) {
		s32 zero = 0;
		if (put_user(zero, t->clear_child_tid) == 0)
			futex_wake_addr(t->mm, t->clear_child_tid.addr, 1);
	}
	if (t->vfork_parent) {
		t->vfork_parent->vfork_done = true;
		wake_task(t->vfork_parent, 0);
		t->vfork_parent = NULL;
	}
}

static void exit_leave_to_parent(struct process *p);

/* Who gets the children of a dead process: its nearest ancestor that asked for them (PR_SET_CHILD_SUBREAPER, prctl(2)), else the first process. */
static struct process *exit_new_parent(const struct process *p)
{
	for (struct process *a = p->parent; a; a = a->parent)
		if (a->subreaper && !a->zombie && !a->exiting)
			return a;
	return init_process;
}

static void exit_reparent(struct process *p)
{
	struct process *heir = exit_new_parent(p), *c, *next;
	list_for_each_safe (c, next, &p->children, sibling) {
		list_del(&c->sibling);
		c->parent = heir;
		c->adopted = true;
		c->exit_signal = SIGCHLD;
		list_add_tail(&c->sibling, &heir->children);
		struct task *t;
		list_for_each (t, &c->tasks, group)
			if (t->pdeathsig)
				send_signal_task(t, t->pdeathsig, NULL);
		if (c->zombie)
			exit_leave_to_parent(c);
	}
}

bool reap_adopted(void)
{
	struct process *c, *next;
	bool any = false;
	list_for_each_safe (c, next, &init_process->children, sibling) {
		if (c->zombie && c->adopted) {
			process_free(c);
			any = true;
		}
	}
	return any;
}

static noreturn void exit_end_sandbox(s32 status)
{
	u64 code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	if (comm()->boot.flags & QK_BOOT_TRACE)
		calltrace_summary();
	behind_end(!WIFSIGNALED(status));
	for (;;) {
		seg_begin();
		qcall(QC_EXIT, 0, code, 0, 0, 0, 0, 0);
	}
}

void notify_parent(struct process *p, s32 code, s32 status)
{
	struct process *parent = p->parent;
	if (!parent)
		return;
	int sig = code == CLD_STOPPED || code == CLD_CONTINUED ? SIGCHLD : p->exit_signal;
	struct siginfo info = {.si_signo = sig, .si_code = code};
	info.f[0] = (u32)p->pid | (u64)p->uid << 32;
	info.f[1] = (u32)status;
	const struct ksigaction *sa = &parent->sighand->action[SIGCHLD - 1];
	bool wanted = sig && !(code >= CLD_STOPPED && (sa->flags & SA_NOCLDSTOP));
	if (wanted)
		send_signal(parent, sig, &info);
	waitq_wake((struct waitq *)&parent->wait_children, 0, 0);
}

/* Tells the parent of a zombie, and drops it at once where the parent does not want to know (SIGCHLD of sigaction(2)). */
static void exit_leave_to_parent(struct process *p)
{
	const struct ksigaction *sa = p->parent ? &p->parent->sighand->action[SIGCHLD - 1] : NULL;
	bool reap = sa && p->exit_signal == SIGCHLD && (sa->handler == 1 || (sa->flags & SA_NOCLDWAIT));
	s32 status = p->exit_status;
	pidref_wake(p);
	notify_parent(p, WIFSIGNALED(status) ? CLD_KILLED : CLD_EXITED, WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	if (reap)
		process_free(p);
}

static void exit_process_end(struct process *p, s32 status)
{
	p->exit_status = status;
	if (p == init_process)
		exit_end_sandbox(status);
	jobs_process_ends(p);
	p->zombie = true;
	sem_exit(p);
	itimers_free(p);
	exit_reparent(p);
	sighand_put(p->sighand);
	p->sighand = NULL;
	exit_leave_to_parent(p);
}

noreturn void task_exit(s32 code)
{
	struct task *t = current;
	struct process *p = t->proc;
	exit_release_task(t);
	struct files *files = t->files;
	struct fs_ctx *fs = t->fs;
	t->files = NULL;
	t->fs = NULL;
	bool last = p->ntasks == 1;
	if (files)
		files_put(files);
	if (fs)
		fs_ctx_put(fs);
	/* Closing may have slept; others may have ended meanwhile. */
	last = --p->ntasks == 0;
	list_del(&t->group);
	pid_detach_task(t);
	if (p->ntasks == 1 && p->exec_task)
		wake_task(p->exec_task, 0);
	sched_account();
	struct mm *mm = t->mm;
	p->max_pages = MAX(p->max_pages, mm_peak_pages(mm));
	t->mm = NULL;
	if (p->leader == t && !last)
		p->leader = list_first(&p->tasks, struct task, group);
	mm_put(mm);
	if (last) {
		p->leader = NULL;
		exit_process_end(p, p->exiting ? p->exit_status : (code & 0xff) << 8);
	}
	t->state = TASK_DEAD;
	schedule();
	panic("a dead task ran");
}

noreturn void process_exit(s32 status)
{
	struct process *p = current->proc;
	if (!p->exiting) {
		p->exiting = true;
		p->exit_status = status;
		kill_other_threads();
	}
	task_exit(0);
}

long sys_exit(u64 code)
{
	task_exit((s32)code);
}

long sys_exit_group(u64 code)
{
	process_exit((s32)(code & 0xff) << 8);
}

/* ---- wait */
static bool exit_wanted_child(const struct process *c, int type, s32 id, u64 options)
{
	if (type == P_PID && c->pid != id)
		return false;
	if (type == P_PGID && c->pgid != id)
		return false;
	if (!(options & (__WALL)) && (c->exit_signal != SIGCHLD) != !!(options & __WCLONE))
		return false;
	return true;
}

/* What there is to tell of child c: fills the results and reaps it unless WNOWAIT. 0: nothing. */
static s32 exit_collect_one(struct process *c, u64 options, s32 *status, struct siginfo *info, struct rusage_times *times)
{
	struct process *p = current->proc;
	s32 pid = c->pid;
	info->si_signo = SIGCHLD;
	info->f[0] = (u32)pid | (u64)c->uid << 32;
	if (c->zombie && (options & WEXITED)) {
		*status = c->exit_status;
		info->si_code = WIFSIGNALED(*status) ? CLD_KILLED : CLD_EXITED;
		info->f[1] = (u32)(WIFSIGNALED(*status) ? WTERMSIG(*status) : WEXITSTATUS(*status));
		times->utime_ns = c->utime_ns + c->cutime_ns;
		times->stime_ns = c->stime_ns + c->cstime_ns;
		times->max_pages = MAX(c->max_pages, c->children_max_pages);
		if (!(options & WNOWAIT)) {
			p->cutime_ns += times->utime_ns;
			p->cstime_ns += times->stime_ns;
			p->children_max_pages = MAX(p->children_max_pages, times->max_pages);
			process_free(c);
		}
		return pid;
	}
	if (c->stop_report == CLD_STOPPED && (options & WSTOPPED)) {
		*status = c->stop_signal << 8 | 0x7f;
		info->si_code = CLD_STOPPED;
		info->f[1] = (u32)c->stop_signal;
	} else if (c->stop_report == CLD_CONTINUED && (options & WCONTINUED)) {
		*status = 0xffff;
		info->si_code = CLD_CONTINUED;
		info->f[1] = SIGCONT;
	} else {
		return 0;
	}
	if (!(options & WNOWAIT))
		c->stop_report = 0;
	return pid;
}

/* One child whose state changed. 0: none yet; -ECHILD: no such child at all. */
static long exit_collect(int type, s32 id, u64 options, s32 *status, struct siginfo *info, struct rusage_times *times)
{
	struct process *p = current->proc, *c, *next;
	bool any = false;
	if (type == P_PID) {
		c = process_find(id);
		return c && c->parent == p && exit_wanted_child(c, type, id, options) ? exit_collect_one(c, options, status, info, times) : -ECHILD;
	}
	list_for_each_safe (c, next, &p->children, sibling) {
		if (!exit_wanted_child(c, type, id, options))
			continue;
		any = true;
		s32 pid = exit_collect_one(c, options, status, info, times);
		if (pid)
			return pid;
	}
	return any ? 0 : -ECHILD;
}

static long exit_wait_child(int type, s32 id, u64 options, s32 *status, struct siginfo *info, struct rusage_times *times)
{
	long r = 0;
	bool nonblock = false;
	if (type == P_PIDFD) {
		struct process *p;
		r = pidfd_process(id, &p, &nonblock);
		if (r)
			return r == -ESRCH ? -ECHILD : r;
		type = P_PID;
		id = p->pid;
	}
	if (nonblock && !(options & WNOHANG)) {
		r = exit_collect(type, id, options, status, info, times);
		return r ? r : -EAGAIN;
	}
	if (options & WNOHANG)
		return exit_collect(type, id, options, status, info, times);
	int e = wait_event((struct waitq *)&current->proc->wait_children, (r = exit_collect(type, id, options, status, info, times)) != 0,
			   UINT64_MAX);
	return r ? r : e ? -ERESTARTSYS : 0;
}

long sys_wait4(u64 upid, u64 ustatus, u64 options, u64 urusage)
{
	s32 pid = (s32)upid, status = 0;
	struct siginfo info = {0};
	struct rusage_times times = {0};
	if (options & ~(u64)(WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL))
		return -EINVAL;
	if (pid == INT32_MIN)
		return -ESRCH;
	int type = pid == -1 ? P_ALL : pid > 0 ? P_PID : P_PGID;
	s32 id = pid > 0 ? pid : pid == 0 ? current->proc->pgid : -pid;
	long r = exit_wait_child(type, id, (options & 0xffffffff) | WEXITED, &status, &info, &times);
	if (r <= 0)
		return r;
	if (ustatus && put_user(status, UPTR(ustatus)))
		return -EFAULT;
	return urusage && rusage_to_user(UPTR(urusage), &times) ? -EFAULT : r;
}

long sys_waitid(u64 type, u64 id, u64 uinfo, u64 options, u64 urusage)
{
	s32 status = 0;
	struct siginfo info = {0};
	struct rusage_times times = {0};
	if (options & ~(u64)(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL) ||
	    !(options & (WEXITED | WSTOPPED | WCONTINUED)) || type > P_PIDFD || (type == P_PID && (s32)id <= 0) || (type == P_PIDFD && (s32)id < 0))
		return -EINVAL;
	if (type == P_PGID && !id)
		id = (u64)current->proc->pgid;
	long r = exit_wait_child((int)type, (s32)id, options, &status, &info, &times);
	if (r < 0)
		return r;
	if (r == 0)
		info = (struct siginfo){0};
	if (r > 0 && urusage && rusage_to_user(UPTR(urusage), &times))
		return -EFAULT;
	return uinfo && copy_to_user(UPTR(uinfo), &info, sizeof(info)) ? -EFAULT : 0;
}
