/* Tasks and processes: allocation and release. */
#include "ktime.h"
#include "task.h"
#include "proc.h"
#include <linux/time.h>

struct list all_processes = LIST_INIT(all_processes);
struct process *init_process;
u32 ntasks;

struct task *task_new(struct process *p, struct mm *mm)
{
	if (ntasks >= TASKS_MAX)
		return NULL;
	struct task *t = kzalloc(sizeof(*t));
	unsigned order = 0;
	while ((PAGE_SIZE << order) < arch_xsave_size())
		order++;
	paddr_t stack = t ? frame_alloc_order(KSTACK_ORDER, 0) : 0;
	paddr_t fpu = stack ? frame_alloc_order(order, FRAME_ZERO) : 0;
	if (!fpu) {
		if (stack)
			frame_free_order(stack, KSTACK_ORDER);
		kfree(t);
		return NULL;
	}
	arch_task_init(&t->arch, phys_to_virt(stack), phys_to_virt(fpu), t);
	t->proc = p;
	t->mm = mm;
	t->state = TASK_SLEEPING;
	t->sleep_clock = CLOCK_MONOTONIC;
	t->altstack.flags = 2; /* SS_DISABLE */
	list_init(&t->group);
	list_init(&t->futex_node);
	pending_init(&t->pending);
	ntasks++;
	return t;
}

void task_free(struct task *t)
{
	unsigned order = 0;
	while ((PAGE_SIZE << order) < arch_xsave_size())
		order++;
	frame_free_order(virt_to_phys(t->arch.xsave), order);
	frame_free_order(virt_to_phys(arch_task_stack(&t->arch)), KSTACK_ORDER);
	pending_flush(&t->pending);
	kfree(t);
	ntasks--;
}

/* A copy of `like` (identity, limits, credentials) as child of `parent`; both NULL: the first process. */
struct process *process_new(struct process *like, struct process *parent)
{
	struct process *p = kzalloc(sizeof(*p));
	if (!p)
		return NULL;
	if (like) {
		*p = *like;
		p->cutime_ns = p->cstime_ns = p->utime_ns = p->stime_ns = 0;
		p->max_pages = p->children_max_pages = 0;
		p->zombie = p->exiting = p->stopped = false;
		p->ntasks = 0;
		p->leader = NULL;
		p->sighand = NULL;
		p->itimers = NULL;
		p->pidref = NULL;
		p->exec_task = NULL;
		p->stop_signal = 0;
		p->subreaper = p->adopted = false;
	} else {
		static const struct rlim unlimited = {~0ul, ~0ul};
		for (unsigned i = 0; i < ARRAY_SIZE(p->rlim); i++)
			p->rlim[i] = unlimited;
		p->rlim[RLIMIT_STACK].cur = 8ul << 20;
		p->rlim[RLIMIT_CORE].cur = 0;
		p->rlim[RLIMIT_NPROC] = (struct rlim){TASKS_MAX, TASKS_MAX};
		p->rlim[RLIMIT_NOFILE] = (struct rlim){1024, 1ul << 20};
		p->rlim[RLIMIT_MEMLOCK] = (struct rlim){8ul << 20, 8ul << 20};
		p->rlim[RLIMIT_SIGPENDING] = (struct rlim){TASKS_MAX, TASKS_MAX};
		p->rlim[RLIMIT_MSGQUEUE] = (struct rlim){819200, 819200};
		p->rlim[RLIMIT_NICE] = p->rlim[RLIMIT_RTPRIO] = (struct rlim){0, 0};
		p->dumpable = 1;
	}
	p->cpu_check_ns = 0; /* what the limits say is looked up when it first runs */
	p->parent = parent;
	list_init(&p->children);
	list_init(&p->sibling);
	list_init(&p->tasks);
	list_init(&p->all);
	list_init(&p->wait_children);
	list_init(&p->posix_timers);
	pending_init(&p->pending);
	p->start_ns = boot_ns();
	return p;
}

/* The last trace of a process: after its parent has waited for it. */
void process_free(struct process *p)
{
	list_del(&p->all);
	list_del(&p->sibling);
	pid_detach_process(p);
	pidref_gone(p);
	pending_flush(&p->pending);
	kfree(p);
}

void sighand_put(struct sighand *s)
{
	if (s && --s->refs == 0)
		kfree(s);
}
