/* semctl(2): asking for and setting semaphores, and what is known of a set. */
#include "uaccess.h"
#include "sem.h"
#include <asm/sembuf.h>

#define GETPID 11
#define GETVAL 12
#define GETALL 13
#define GETNCNT 14
#define GETZCNT 15
#define SETVAL 16
#define SETALL 17
#define SEM_STAT 18
#define SEM_INFO 19
#define SEM_STAT_ANY 20

struct seminfo_abi {
	s32 map, mni, mns, mnu, msl, opm, ume, usz, vmx, aem;
};

static long sem_information(u64 cmd, u64 ubuf)
{
	const struct ipc_table *t = sem_sets();
	struct seminfo_abi i = {.map = (s32)SEMMNS,
				.mni = SEMMNI,
				.mns = (s32)SEMMNS,
				.mnu = (s32)SEMMNS,
				.msl = SEMMSL,
				.opm = SEMOPM,
				.ume = SEMOPM,
				.usz = SEMUSZ,
				.vmx = SEMVMX,
				.aem = SEMAEM};
	if (cmd == SEM_INFO) {
		i.usz = (s32)t->used;
		i.aem = 0;
		for (u32 k = 0; k < t->cap; k++)
			if (t->slot[k])
				i.aem += (s32)sem_set_of(t->slot[k])->n;
	}
	return copy_to_user(UPTR(ubuf), &i, sizeof(i)) ? -EFAULT : ipc_last_index(t);
}

/* Calls that wait for semaphore `num` to grow (GETNCNT), or to become zero (GETZCNT). */
static long semctl_count_waiting(const struct sem_set *s, u32 num, bool zero)
{
	const struct sem_wait *w;
	long n = 0;
	list_for_each (w, &s->waiting, node) {
		const struct sem_op *op = &w->ops[w->blocking];
		n += op->num == num && !op->op == zero;
	}
	return n;
}

static void semctl_forget_undo(struct sem_set *s, u32 num)
{
	struct sem_undo *u;
	list_for_each (u, &s->undos, node)
		u->adjust[num] = 0;
}

static long semctl_get_all(const struct sem_set *s, u64 uarray)
{
	for (u32 k = 0; k < s->n; k++)
		if (put_user(s->sem[k].value, UPTR(uarray + k * sizeof(u16))))
			return -EFAULT;
	return 0;
}

static long semctl_set_all(struct sem_set *s, u64 uarray)
{
	u16 *v = kmalloc(s->n * sizeof(*v));
	long r = !v ? -ENOMEM : copy_from_user(v, UPTR(uarray), s->n * sizeof(*v)) ? -EFAULT : 0;
	for (u32 k = 0; !r && k < s->n; k++)
		if (v[k] > SEMVMX)
			r = -ERANGE;
	for (u32 k = 0; !r && k < s->n; k++) {
		s->sem[k] = (struct sem){v[k], current->proc->pid};
		semctl_forget_undo(s, k);
	}
	kfree(v);
	if (!r) {
		s->ctime = ipc_now();
		sem_changed(s);
	}
	return r;
}

static long semctl_set_one(struct sem_set *s, u32 num, s32 v)
{
	if (v < 0 || v > SEMVMX)
		return -ERANGE;
	s->sem[num] = (struct sem){(u16)v, current->proc->pid};
	semctl_forget_undo(s, num);
	s->ctime = ipc_now();
	sem_changed(s);
	return 0;
}

static long semctl_one_or_all(struct sem_set *s, u64 num, u64 cmd, u64 arg)
{
	bool sets = cmd == SETVAL || cmd == SETALL, all = cmd == GETALL || cmd == SETALL;
	if (!all && (s32)num >= (s32)s->n)
		return -EINVAL;
	if (!all && (s32)num < 0)
		return -EINVAL;
	if (!ipc_permitted(&s->ipc, sets ? 0222 : 0444))
		return -EACCES;
	switch (cmd) {
	case GETALL:
		return semctl_get_all(s, arg);
	case SETALL:
		return semctl_set_all(s, arg);
	case SETVAL:
		return semctl_set_one(s, (u32)num, (s32)arg);
	case GETVAL:
		return s->sem[num].value;
	case GETPID:
		return s->sem[num].pid;
	default:
		return semctl_count_waiting(s, (u32)num, cmd == GETZCNT);
	}
}

static struct semid64_ds sem_stat(const struct sem_set *s)
{
	return (struct semid64_ds){.sem_perm = s->ipc.perm, .sem_otime = s->otime, .sem_ctime = s->ctime, .sem_nsems = s->n};
}

long sys_semctl(u64 id, u64 num, u64 cmd, u64 arg)
{
	long r;
	struct semid64_ds ds;
	if ((s32)id < 0)
		return -EINVAL;
	if (cmd == IPC_INFO || cmd == SEM_INFO)
		return sem_information(cmd, arg);
	bool by_index = cmd == SEM_STAT || cmd == SEM_STAT_ANY;
	struct ipc_object *o = by_index ? ipc_at(sem_sets(), (s32)id) : ipc_find(sem_sets(), (s32)id, &r);
	if (!o)
		return by_index ? -EINVAL : r;
	struct sem_set *s = sem_set_of(o);
	switch (cmd) {
	case IPC_STAT:
	case SEM_STAT:
	case SEM_STAT_ANY:
		if (cmd != SEM_STAT_ANY && !ipc_permitted(o, 0444))
			return -EACCES;
		ds = sem_stat(s);
		return copy_to_user(UPTR(arg), &ds, sizeof(ds)) ? -EFAULT : by_index ? o->id : 0;
	case IPC_SET:
		if (copy_from_user(&ds, UPTR(arg), sizeof(ds)))
			return -EFAULT;
		if (!ipc_owned(o))
			return -EPERM;
		ipc_set_perm(o, &ds.sem_perm);
		s->ctime = ipc_now();
		return 0;
	case IPC_RMID:
		if (!ipc_owned(o))
			return -EPERM;
		sem_remove(s);
		return 0;
	case GETPID:
	case GETVAL:
	case GETALL:
	case GETNCNT:
	case GETZCNT:
	case SETVAL:
	case SETALL:
		return semctl_one_or_all(s, num, cmd, arg);
	default:
		return -EINVAL;
	}
}
