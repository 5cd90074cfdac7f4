/* clone, fork, vfork: new threads and new processes. */
#include "fdtable.h"
#include "fsctx.h"
#include "qcall.h"
#include "proc.h"
#include <linux/capability.h>
#include <linux/fcntl.h>
#include <linux/resource.h>
#include <linux/sched.h>

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP)

static struct sighand *clone_sighand_copy(const struct sighand *s)
{
	struct sighand *n = kmalloc(sizeof(*n));
	if (n) {
		*n = *s;
		n->refs = 1;
	}
	return n;
}

/* A descriptor of the new process for its parent. */
static long clone_give_pidfd(struct process *p, u64 where)
{
	struct file *f = pidfd_file(p, 0);
	int fd = f ? fd_install(f, O_CLOEXEC, 0) : -ENOMEM;
	if (fd < 0)
		return fd;
	if (put_user(fd, UPTR(where))) {
		fd_close(fd);
		return -EFAULT;
	}
	return 0;
}

/* getrlimit(2), RLIMIT_NPROC: tasks of the caller's real user, ended ones that nobody has waited for included. */
static bool clone_too_many_of_user(const struct process *p)
{
	u64 limit = p->rlim[RLIMIT_NPROC].cur, n = 0;
	if (limit >= TASKS_MAX || p->uid == 0 || p->cap_eff & (1ul << CAP_SYS_RESOURCE | 1ul << CAP_SYS_ADMIN))
		return false;
	const struct process *o;
	list_for_each (o, &all_processes, all)
		n += o->uid == p->uid ? MAX(o->ntasks, 1u) : 0;
	return n >= limit;
}

/* Until the task runs nothing else can see it: the pieces are released one by one when a later one fails. */
static long clone_task(const struct clone_args *a)
{
	u64 flags = a->flags;
	struct process *proc = current->proc, *p = proc;
	struct trapframe tf = *arch_task_frame(&current->arch);
	long err = -ENOMEM;

	if (clone_too_many_of_user(proc))
		return -EAGAIN;
	struct mm *mm = current->mm;
	if (flags & CLONE_VM)
		mm_get(mm);
	else
		mm = mm_clone(mm);
	if (!mm)
		return -ENOMEM;
	if (!(flags & CLONE_THREAD)) {
		p = process_new(proc, flags & CLONE_PARENT && proc->parent ? proc->parent : proc);
		if (!p)
			goto no_process;
		p->sighand = flags & CLONE_SIGHAND ? proc->sighand : clone_sighand_copy(proc->sighand);
		if (!p->sighand)
			goto no_sighand;
		if (flags & CLONE_SIGHAND)
			p->sighand->refs++;
		if (flags & CLONE_CLEAR_SIGHAND)
			for (int i = 0; i < SIGNALS; i++)
				if (p->sighand->action[i].handler > 1)
					p->sighand->action[i] = (struct ksigaction){0};
		p->exit_signal = (s32)a->exit_signal;
	}
	struct task *t = task_new(p, mm);
	if (!t) {
		err = -EAGAIN;
		goto no_task;
	}
	t->tid = pid_alloc();
	if (t->tid == -EAGAIN && reap_adopted())
		t->tid = pid_alloc();
	if (t->tid < 0) {
		err = t->tid;
		goto no_files;
	}
	t->files = flags & CLONE_FILES ? current->files : files_clone(current->files);
	t->fs = flags & CLONE_FS ? current->fs : fs_ctx_clone(current->fs);
	if (!t->files || !t->fs)
		goto no_files;
	if (flags & CLONE_PIDFD) {
		err = clone_give_pidfd(p, a->pidfd);
		if (err)
			goto no_files;
	}
	if (flags & CLONE_FILES)
		t->files->refs++;
	if (flags & CLONE_FS)
		t->fs->refs++;

	if (p != proc) {
		p->pid = t->tid;
		p->leader = t;
		memcpy(p->comm, proc->comm, sizeof(p->comm));
		list_add_tail(&p->all, &all_processes);
		list_add_tail(&p->sibling, &p->parent->children);
	}
	list_add_tail(&t->group, &p->tasks);
	pid_attach(t);
	p->ntasks++;
	memcpy(t->comm, current->comm, sizeof(t->comm));
	t->blocked = current->blocked;
	sched_inherit(t);
	t->personality = current->personality;
	if (!(flags & CLONE_VM) || (flags & CLONE_VFORK))
		t->altstack = current->altstack;
	if (flags & CLONE_CHILD_CLEARTID)
		t->clear_child_tid = UPTR(a->child_tid);

	/* The child's registers: the parent's, 0 as result, its own stack and thread pointer. */
	arch_fpu_save(&current->arch);
	memcpy(t->arch.xsave, current->arch.xsave, arch_xsave_size());
	t->arch.fs_base = flags & CLONE_SETTLS ? a->tls : arch_get_fs_base();
	t->arch.gs_base = arch_get_gs_base();
	tf.rax = 0;
	tf.vector = 0;
	if (a->stack)
		tf.rsp = a->stack + a->stack_size;
	arch_task_setup(&t->arch, &tf);

	s32 tid = t->tid;
	if (flags & CLONE_PARENT_SETTID)
		(void)put_user(tid, UPTR(a->parent_tid));
	if (flags & CLONE_CHILD_SETTID) {
		/* The child's own memory: a copy of ours. */
		paddr_t pa = mm_translate(mm, a->child_tid, PF_WRITE);
		if (pa && !(a->child_tid & 3))
			*(s32 *)phys_to_virt(pa) = tid;
	}
	sched_add(t);
	if (flags & CLONE_VFORK) {
		t->vfork_parent = current;
		current->vfork_done = false;
		/* Only death interrupts it, as in Linux: other signals stay pending until the child is out of our memory. */
		while (!current->vfork_done && task_sleep_killable() != -EINTR)
			;
		if (!current->vfork_done)
			t->vfork_parent = NULL;
	}
	return tid;

no_files:
	if (t->files && !(flags & CLONE_FILES))
		files_put(t->files);
	if (t->fs && !(flags & CLONE_FS))
		fs_ctx_put(t->fs);
	task_free(t);
no_task:
	if (p != proc)
		sighand_put(p->sighand);
no_sighand:
	if (p != proc)
		process_free(p);
no_process:
	mm_put(mm);
	return err;
}

static long clone_checked(const struct clone_args *a)
{
	u64 f = a->flags;
	if ((f & CLONE_SIGHAND && !(f & CLONE_VM)) || (f & CLONE_THREAD && !(f & CLONE_SIGHAND)))
		return -EINVAL;
	if ((f & CLONE_SIGHAND) && (f & CLONE_CLEAR_SIGHAND))
		return -EINVAL;
	if (f & NAMESPACES)
		return -EPERM;
	if (f & CLONE_INTO_CGROUP || a->exit_signal > SIGNALS || (f & CLONE_PIDFD && f & (CLONE_THREAD | CLONE_DETACHED)))
		return -EINVAL;
	if (f & CLONE_SETTLS && a->tls >= QK_USER_TOP)
		return -EPERM;
	return clone_task(a);
}

long sys_clone(u64 flags, u64 stack, u64 parent_tid, u64 child_tid, u64 tls)
{
	struct clone_args a = {
		.flags = flags & ~0xfful & 0xffffffff,
		.exit_signal = flags & 0xff,
		.stack = stack,
		.parent_tid = parent_tid,
		.pidfd = parent_tid,
		.child_tid = child_tid,
		.tls = tls,
	};
	if (flags & CLONE_PIDFD && flags & (CLONE_PARENT_SETTID | CLONE_DETACHED))
		return -EINVAL; /* both would go to the same place */
	a.flags &= ~(u64)CLONE_DETACHED;
	return clone_checked(&a);
}

long sys_clone3(u64 uargs, u64 size)
{
	struct clone_args a = {0};
	if (size < CLONE_ARGS_SIZE_VER0)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	if (copy_from_user(&a, UPTR(uargs), MIN(size, sizeof(a))))
		return -EFAULT;
	for (u64 at = sizeof(a); at < size; at++) {
		u8 b;
		if (get_user(b, UPTR(uargs + at)))
			return -EFAULT;
		if (b)
			return -E2BIG;
	}
	if (a.set_tid_size || a.flags & (CLONE_DETACHED | 0xff) || (!a.stack) != (!a.stack_size))
		return -EINVAL;
	return clone_checked(&a);
}

long sys_fork(void)
{
	struct clone_args a = {.exit_signal = 17};
	return clone_task(&a);
}

long sys_vfork(void)
{
	struct clone_args a = {.flags = CLONE_VM | CLONE_VFORK, .exit_signal = 17};
	return clone_task(&a);
}
