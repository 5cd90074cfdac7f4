/* System V semaphore sets (semget(2), semop(2), semctl(2)). Calls that must wait stand in a queue; who changes the set carries out, in their order,
 * those that can go on, as Linux does. */
#include "ktime.h"
#include "../fs/procfs.h"
#include "ipc.h"
#include "sem.h"
#include "../proc/proc.h"

static void sem_free_set(struct ipc_object *o);
static struct ipc_table sets = {.limit = SEMMNI, .free = sem_free_set};
static u32 undo_count; /* so that the end of a process costs nothing where nobody undoes */

struct sem_set *sem_set_of(struct ipc_object *o)
{
	return container_of(o, struct sem_set, ipc);
}

struct ipc_table *sem_sets(void)
{
	return &sets;
}

static void undo_free(struct sem_undo *u)
{
	list_del(&u->node);
	kfree(u);
	undo_count--;
}

static void sem_free_set(struct ipc_object *o)
{
	struct sem_set *s = sem_set_of(o);
	while (!list_empty(&s->undos))
		undo_free(list_first(&s->undos, struct sem_undo, node));
	kfree(s);
}

static long sem_set_new(s32 key, u64 n, u64 flags)
{
	if (!n)
		return -EINVAL;
	struct sem_set *s = kzalloc(sizeof(*s) + n * sizeof(struct sem));
	if (!s)
		return -ENOMEM;
	s->n = (u32)n;
	s->ctime = ipc_now();
	list_init(&s->waiting);
	list_init(&s->undos);
	return ipc_add(&sets, &s->ipc, key, (u32)flags);
}

long sys_semget(u64 key, u64 n, u64 flags)
{
	long err;
	if ((s32)n < 0 || (u32)n > SEMMSL)
		return -EINVAL;
	struct ipc_object *o = ipc_lookup_key(&sets, (s32)key, flags, &err);
	if (err)
		return err;
	if (!o)
		return sem_set_new((s32)key, (u32)n, flags);
	return (u32)n > sem_set_of(o)->n ? -EINVAL : o->id;
}

/* What process p has to undo in set s; NULL: nothing (make: out of memory). */
static struct sem_undo *undo_of(struct sem_set *s, const struct process *p, bool make)
{
	struct sem_undo *u;
	list_for_each (u, &s->undos, node)
		if (u->process == p)
			return u;
	u = make ? kzalloc(sizeof(*u) + s->n * sizeof(u->adjust[0])) : NULL;
	if (u) {
		u->process = p;
		list_add_tail(&u->node, &s->undos);
		undo_count++;
	}
	return u;
}

static bool sem_changes(const struct sem_wait *w)
{
	for (u32 k = 0; k < w->nops; k++)
		if (w->ops[k].op)
			return true;
	return false;
}

/* All operations or none. 0 done, 1 must wait (for ops[w->blocking]), -errno. */
static int sem_try(struct sem_set *s, struct sem_wait *w)
{
	u32 k = 0;
	int r = 0;
	for (; k < w->nops; k++) {
		const struct sem_op *op = &w->ops[k];
		struct sem *sem = &s->sem[op->num];
		s32 value = sem->value;
		if (!op->op && value)
			break;
		if (value + op->op < 0)
			break;
		if (value + op->op > SEMVMX) {
			r = -ERANGE;
			break;
		}
		if (op->flags & SEM_UNDO) {
			s32 adjust = w->undo->adjust[op->num] - op->op;
			if (adjust < -SEMAEM - 1 || adjust > SEMAEM) {
				r = -ERANGE;
				break;
			}
			w->undo->adjust[op->num] = (int16_t)adjust;
		}
		sem->value = (u16)(value + op->op);
	}
	if (k == w->nops) {
		for (k = 0; k < w->nops; k++)
			s->sem[w->ops[k].num].pid = w->pid;
		return 0;
	}
	w->blocking = k;
	if (!r)
		r = w->ops[k].flags & IPC_NOWAIT ? -EAGAIN : 1;
	while (k-- > 0) {
		s->sem[w->ops[k].num].value = (u16)(s->sem[w->ops[k].num].value - w->ops[k].op);
		if (w->ops[k].flags & SEM_UNDO)
			w->undo->adjust[w->ops[k].num] = (int16_t)(w->undo->adjust[w->ops[k].num] + w->ops[k].op);
	}
	return r;
}

static void sem_wake_with(struct sem_wait *w, int result)
{
	list_del(&w->node);
	w->result = result;
	wake_task(w->task, 0);
}

void sem_changed(struct sem_set *s)
{
	struct sem_wait *w, *next;
	bool again = true;
	while (again) {
		again = false;
		list_for_each_safe (w, next, &s->waiting, node) {
			int r = sem_try(s, w);
			if (r > 0)
				continue;
			sem_wake_with(w, r);
			if (!r)
				s->otime = ipc_now();
			if (!r && sem_changes(w)) {
				again = true; /* those before it may go on now; each round takes one away */
				break;
			}
		}
	}
}

void sem_remove(struct sem_set *s)
{
	struct sem_wait *w, *next;
	list_for_each_safe (w, next, &s->waiting, node)
		sem_wake_with(w, -EIDRM);
	ipc_remove(&sets, &s->ipc);
}

static long sem_operate(struct sem_set *s, struct sem_wait *w, u64 deadline)
{
	bool undo = false;
	for (u32 k = 0; k < w->nops; k++) {
		if (w->ops[k].num >= s->n)
			return -EFBIG;
		undo |= w->ops[k].flags & SEM_UNDO;
	}
	if (!ipc_permitted(&s->ipc, sem_changes(w) ? 0222 : 0444))
		return -EACCES;
	if (undo && !(w->undo = undo_of(s, current->proc, true)))
		return -ENOMEM;
	int r = sem_try(s, w);
	if (r <= 0) {
		if (!r)
			s->otime = ipc_now();
		if (!r && sem_changes(w))
			sem_changed(s);
		return r;
	}
	w->result = 1;
	list_add_tail(&w->node, &s->waiting);
	while (w->result > 0) { /* s may be gone after it */
		r = task_sleep(deadline);
		if (r && w->result > 0) {
			list_del(&w->node);
			return r == -ETIMEDOUT ? -EAGAIN : -EINTR;
		}
	}
	return w->result;
}

static long sem_call(u64 id, u64 uops, u64 n, u64 deadline)
{
	long r;
	if ((s32)id < 0 || (u32)n < 1)
		return -EINVAL;
	if ((u32)n > SEMOPM)
		return -E2BIG;
	struct sem_wait w = {.task = current, .pid = current->proc->pid, .nops = (u32)n};
	w.ops = kmalloc(w.nops * sizeof(*w.ops));
	if (!w.ops)
		return -ENOMEM;
	r = copy_from_user(w.ops, UPTR(uops), w.nops * sizeof(*w.ops)) ? -EFAULT : 0;
	struct ipc_object *o = r ? NULL : ipc_find(&sets, (s32)id, &r);
	if (o)
		r = sem_operate(sem_set_of(o), &w, deadline);
	kfree(w.ops);
	return r;
}

long sys_semop(u64 id, u64 uops, u64 n)
{
	return sem_call(id, uops, n, UINT64_MAX);
}

long sys_semtimedop(u64 id, u64 uops, u64 n, u64 utime)
{
	u64 ns = 0;
	int r = utime ? timespec_from_user(UPTR(utime), &ns) : 0;
	return r ? r : sem_call(id, uops, n, utime ? deadline_of_ns(ns) : UINT64_MAX);
}

void sem_exit(const struct process *p)
{
	for (u32 k = 0; undo_count && k < sets.cap; k++) {
		struct sem_set *s = sets.slot[k] ? sem_set_of(sets.slot[k]) : NULL;
		struct sem_undo *u = s ? undo_of(s, p, false) : NULL;
		if (!u)
			continue;
		for (u32 i = 0; i < s->n; i++)
			if (u->adjust[i]) {
				s->sem[i].value = (u16)MAX(0, MIN((s32)s->sem[i].value + u->adjust[i], SEMVMX));
				s->sem[i].pid = p->pid;
			}
		undo_free(u);
		s->otime = ipc_now();
		sem_changed(s);
	}
}

void proc_sysvipc_sem(struct text *t, const struct subject *subject)
{
	text_add(t, "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n");
	for (u32 k = 0; k < sets.cap; k++) {
		if (!sets.slot[k])
			continue;
		const struct sem_set *s = sem_set_of(sets.slot[k]);
		const struct ipc64_perm *p = &s->ipc.perm;
		text_add(t, "%10d %10d  %4o %10u %5u %5u %5u %5u %10lu %10lu\n", p->key, s->ipc.id, p->mode, s->n, p->uid, p->gid, p->cuid, p->cgid,
			 (u64)s->otime, (u64)s->ctime);
	}
}

void proc_limits_sem(struct text *t, const struct subject *subject)
{
	text_add(t, "%u\t%u\t%u\t%u\n", SEMMSL, SEMMNS, SEMOPM, SEMMNI);
}
