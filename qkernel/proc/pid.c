/* Numbers of threads and processes: who has which, and which is free. A table of two levels, so that the millionth fork costs what the first did. */
#include "mm.h"
#include "proc.h"

#define LEAF_SLOTS 256
#define PIDS_RESERVED 300 /* as in Linux: after the first round, small numbers stay with those who have them since the start */

struct slot {
	struct task *task;
	struct process *proc;
};
struct leaf {
	struct slot slots[LEAF_SLOTS];
};
static struct leaf *leaves[PID_MAX / LEAF_SLOTS];
static u8 was_group[PID_MAX / 8]; /* numbers of dead leaders of groups or sessions: somebody may still be in there */
static s32 last_pid;
static u32 pids_used;

static struct slot *pid_slot_of(s32 nr)
{
	if (nr <= 0 || nr >= PID_MAX || !leaves[nr / LEAF_SLOTS])
		return NULL;
	return &leaves[nr / LEAF_SLOTS]->slots[nr % LEAF_SLOTS];
}

struct process *process_find(s32 pid)
{
	const struct slot *s = pid_slot_of(pid);
	return s ? s->proc : NULL;
}

struct task *task_find(s32 tid)
{
	const struct slot *s = pid_slot_of(tid);
	return s ? s->task : NULL;
}

/* Does a process still carry the number of a dead leader as its group or session? */
static bool pid_group_lives(s32 nr)
{
	const struct process *p;
	list_for_each (p, &all_processes, all)
		if (p->pgid == nr || p->sid == nr)
			return true;
	was_group[nr / 8] &= (u8) ~(1u << nr % 8);
	return false;
}

static bool pid_taken(s32 nr)
{
	const struct slot *s = pid_slot_of(nr);
	return (s && (s->task || s->proc)) || (was_group[nr / 8] >> nr % 8 & 1 && pid_group_lives(nr));
}

s32 pid_alloc(void)
{
	if (pids_used >= PID_MAX - PIDS_RESERVED)
		return -EAGAIN;
	for (s32 tried = 0; tried < PID_MAX; tried++) {
		last_pid = last_pid >= PID_MAX - 1 ? PIDS_RESERVED : last_pid + 1;
		if (pid_taken(last_pid))
			continue;
		struct leaf **l = &leaves[last_pid / LEAF_SLOTS];
		if (!*l && !(*l = kzalloc(sizeof(**l))))
			return -ENOMEM;
		return last_pid;
	}
	return -EAGAIN;
}

static void pid_set(s32 nr, struct task *t, struct process *p)
{
	struct slot *s = pid_slot_of(nr);
	bool was = s->task || s->proc;
	s->task = t;
	s->proc = p;
	pids_used += (t || p) - was;
}

u64 forks_total;

void pid_attach(struct task *t)
{
	forks_total++;
	pid_set(t->tid, t, t->tid == t->proc->pid ? t->proc : process_find(t->tid));
}

void pid_detach_task(struct task *t)
{
	struct slot *s = pid_slot_of(t->tid);
	if (s && s->task == t)
		pid_set(t->tid, NULL, s->proc);
}

void pid_group_left(s32 nr)
{
	was_group[nr / 8] |= (u8)(1u << nr % 8);
}

void pid_detach_process(struct process *p)
{
	struct slot *s = pid_slot_of(p->pid);
	if (!s || s->proc != p)
		return;
	pid_set(p->pid, s->task, NULL);
	if (p->pgid == p->pid || p->sid == p->pid)
		pid_group_left(p->pid);
}
