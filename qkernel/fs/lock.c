/* Advisory locks: POSIX record locks, open-file-description locks, flock (fcntl(2), flock(2)). */
#include "host.h"
#include "ktime.h"
#include "lock.h"
#include "hostfs.h"
#include "hostlock.h"

enum kind { POSIX, OFD, FLOCK };
struct lock {
	struct list node;
	enum kind kind;
	void *owner; /* struct process, or struct file for OFD and FLOCK */
	s32 pid;
	bool exclusive;
	u64 start, end; /* end exclusive */
};
struct flock_state {
	struct list locks;
	struct waitq changed;
	struct inode *inode;
	struct list all;
};
static struct list states = LIST_INIT(states);
/* How long to wait before a lock that somebody outside this sandbox has is asked for again: nothing tells when it is free. */
#define RETRY_FIRST_NS 500000ul
#define RETRY_LAST_NS 50000000ul

static struct flock_state *lock_state_of(struct inode *i)
{
	if (!i->locks) {
		i->locks = kmalloc(sizeof(struct flock_state));
		if (!i->locks)
			return NULL;
		list_init(&i->locks->locks);
		waitq_init(&i->locks->changed);
		i->locks->inode = i;
		list_add_tail(&i->locks->all, &states);
	}
	return i->locks;
}

static struct lock *lock_conflict(struct flock_state *s, enum kind kind, const void *owner, bool exclusive, u64 start, u64 end)
{
	struct lock *l;
	list_for_each (l, &s->locks, node) {
		if ((l->kind == FLOCK) != (kind == FLOCK) || l->owner == owner || l->start >= end || start >= l->end)
			continue;
		if (l->exclusive || exclusive)
			return l;
	}
	return NULL;
}

/* Who sleeps for a POSIX lock. */
struct blocked {
	struct list node;
	struct flock_state *state;
	const void *owner;
	bool exclusive;
	u64 start, end;
};
static struct list blocked_owners = LIST_INIT(blocked_owners);
#define DEADLOCK_CHAIN 10 /* links that are followed, as in Linux */

static const struct blocked *lock_blocked_find(const void *owner)
{
	const struct blocked *b;
	list_for_each (b, &blocked_owners, node)
		if (b->owner == owner)
			return b;
	return NULL;
}

/* Does the holder of `l` wait, over others, for `owner`? EDEADLK of fcntl(2). */
static bool lock_deadlock(const struct lock *l, const void *owner)
{
	for (int i = 0; l && l->kind == POSIX && i < DEADLOCK_CHAIN; i++) {
		if (l->owner == owner)
			return true;
		const struct blocked *b = lock_blocked_find(l->owner);
		if (!b)
			return false;
		const void *holder = l->owner;
		l = lock_conflict(b->state, POSIX, holder, b->exclusive, b->start, b->end);
	}
	return false;
}

/* Until nothing is in the way. */
static int lock_wait(struct flock_state *s, enum kind kind, const void *owner, bool exclusive, u64 start, u64 end)
{
	struct blocked b = {.state = s, .owner = owner, .exclusive = exclusive, .start = start, .end = end};
	const struct lock *l;
	while ((l = lock_conflict(s, kind, owner, exclusive, start, end))) {
		if (kind == POSIX && lock_deadlock(l, owner))
			return -EDEADLK;
		struct waiter w = {.task = current};
		waitq_add(&s->changed, &w);
		list_init(&b.node);
		if (kind == POSIX)
			list_add_tail(&b.node, &blocked_owners);
		int r = task_sleep(UINT64_MAX);
		list_del(&b.node);
		waitq_del(&w);
		if (r)
			return -ERESTARTSYS;
	}
	return 0;
}

static struct lock *lock_add(struct flock_state *s, const struct lock *like, u64 start, u64 end)
{
	struct lock *l = kmalloc(sizeof(*l));
	if (l) {
		*l = *like;
		l->start = start;
		l->end = end;
		list_add_tail(&l->node, &s->locks);
	}
	return l;
}

/* Removes the owner's locks from [start, end), keeping what sticks out on both sides. */
static int lock_unlock(struct flock_state *s, enum kind kind, const void *owner, u64 start, u64 end)
{
	struct lock *l, *next;
	list_for_each_safe (l, next, &s->locks, node) {
		if (l->kind != kind || l->owner != owner || l->start >= end || start >= l->end)
			continue;
		if (l->start < start && l->end > end && !lock_add(s, l, end, l->end))
			return -ENOLCK;
		if (l->start < start) {
			l->end = start;
		} else if (l->end > end) {
			l->start = end;
		} else {
			list_del(&l->node);
			kfree(l);
		}
	}
	waitq_wake(&s->changed, 0, 0);
	return 0;
}

static bool lock_has_any(struct flock_state *s, enum kind kind, const void *owner)
{
	struct lock *l;
	list_for_each (l, &s->locks, node)
		if (l->kind == kind && l->owner == owner)
			return true;
	return false;
}

/* Here and on the host. */
static int lock_release(struct flock_state *s, enum kind kind, const void *owner, u64 start, u64 end)
{
	if (!lock_has_any(s, kind, owner))
		return 0;
	int r = lock_unlock(s, kind, owner, start, end);
	if (!lock_has_any(s, kind, owner))
		hostlock_drop(s->inode, owner, kind == FLOCK);
	else
		(void)hostlock_set(s->inode, owner, kind == FLOCK, F_UNLCK, start, end);
	return r;
}

/* Waits until neither a program of this guest nor anybody else has the lock, and takes it on the host. */
static int lock_obtain(struct flock_state *s, enum kind kind, void *owner, int type, u64 start, u64 end, bool wait)
{
	bool exclusive = type == F_WRLCK;
	u64 pause = RETRY_FIRST_NS;
	for (;;) {
		if (lock_conflict(s, kind, owner, exclusive, start, end)) {
			if (!wait)
				return -EAGAIN;
			int e = lock_wait(s, kind, owner, exclusive, start, end);
			if (e)
				return e;
		}
		int r = hostlock_set(s->inode, owner, kind == FLOCK, type, start, end);
		if (r != -EAGAIN || !wait)
			return r;
		r = wait_event(&s->changed, false, deadline_of_ns(pause));
		if (r && r != -ETIMEDOUT)
			return -ERESTARTSYS;
		pause = MIN(pause * 2, RETRY_LAST_NS);
	}
}

static long lock_set(struct inode *i, enum kind kind, void *owner, s32 pid, int type, u64 start, u64 end, bool wait)
{
	struct flock_state *s = lock_state_of(i);
	if (!s)
		return -ENOLCK;
	if (type == F_UNLCK)
		return lock_release(s, kind, owner, start, end);
	bool exclusive = type == F_WRLCK;
	/* flock converts by letting go first, as Linux does. */
	if (kind == FLOCK)
		(void)lock_unlock(s, kind, owner, start, end);
	int r = lock_obtain(s, kind, owner, type, start, end, wait);
	if (r) {
		if (!lock_has_any(s, kind, owner))
			hostlock_drop(i, owner, kind == FLOCK);
		return r;
	}
	/* What touches it and is like it becomes one lock with it: F_GETLK shows the whole. */
	struct lock *o;
	list_for_each (o, &s->locks, node) {
		if (o->kind == kind && o->owner == owner && o->exclusive == exclusive && o->start <= end && start <= o->end) {
			start = MIN(start, o->start);
			end = MAX(end, o->end);
		}
	}
	r = lock_unlock(s, kind, owner, start, end);
	struct lock l = {.kind = kind, .owner = owner, .pid = pid, .exclusive = exclusive};
	return r ? r : lock_add(s, &l, start, end) ? 0 : -ENOLCK;
}

/* Locks of the host do not come with a snapshot: a clone asks for them again, and loses what others have by now. */
void locks_after_restore(void)
{
	struct flock_state *s;
	struct lock *l, *next;
	list_for_each (s, &states, all) {
		list_for_each_safe (l, next, &s->locks, node) {
			if (hostlock_set(s->inode, l->owner, l->kind == FLOCK, l->exclusive ? F_WRLCK : F_RDLCK, l->start, l->end) != -EAGAIN)
				continue;
			host_say(s->inode, "is locked by another since the capture: a program of this clone has lost its lock");
			list_del(&l->node);
			kfree(l);
		}
	}
}

void locks_free(struct flock_state *s)
{
	if (s)
		list_del(&s->all);
	kfree(s);
}

void locks_release_file(struct file *f)
{
	if (f->inode && f->inode->locks) {
		(void)lock_release(f->inode->locks, FLOCK, f, 0, UINT64_MAX);
		(void)lock_release(f->inode->locks, OFD, f, 0, UINT64_MAX);
	}
}

void locks_release_process(struct file *f, void *who)
{
	if (f->inode && f->inode->locks)
		(void)lock_release(f->inode->locks, POSIX, who, 0, UINT64_MAX);
}

/* The bytes that l names, as [*start, *end); up to the largest offset is up to UINT64_MAX. */
static int lock_range_of(struct file *f, const struct flock *l, u64 *start, u64 *end)
{
	s64 from = 0, last = INT64_MAX;
	if (l->l_whence == 1)
		from = (s64)f->pos;
	else if (l->l_whence == 2)
		from = file_size(f);
	else if (l->l_whence != 0)
		return -EINVAL;
	if (__builtin_add_overflow(from, l->l_start, &from))
		return -EOVERFLOW;
	if (from < 0 || (l->l_len < 0 && from + l->l_len < 0))
		return -EINVAL;
	if (l->l_len > 0 && __builtin_add_overflow(from, l->l_len - 1, &last))
		return -EOVERFLOW;
	if (l->l_len < 0) {
		last = from - 1;
		from += l->l_len;
	}
	*start = (u64)from;
	*end = last == INT64_MAX ? UINT64_MAX : (u64)last + 1;
	return 0;
}

long lock_fcntl(struct file *f, u32 cmd, struct flock *l)
{
	bool ofd = cmd == F_OFD_GETLK || cmd == F_OFD_SETLK || cmd == F_OFD_SETLKW;
	bool get = cmd == F_GETLK || cmd == F_OFD_GETLK;
	u64 start, end;
	if (get && l->l_type == F_UNLCK)
		return -EINVAL;
	int r = lock_range_of(f, l, &start, &end);
	if (r)
		return r;
	if ((l->l_type != F_RDLCK && l->l_type != F_WRLCK && l->l_type != F_UNLCK) || (ofd && l->l_pid))
		return -EINVAL;
	void *owner = ofd ? (void *)f : (void *)current->proc;
	if (get) {
		struct flock_state *s = lock_state_of(f->inode);
		struct lock *c = s ? lock_conflict(s, ofd ? OFD : POSIX, owner, l->l_type == F_WRLCK, start, end) : NULL;
		int type;
		if (!c && hostlock_test(f->inode, l->l_type == F_WRLCK, start, end, &type, &start, &end)) {
			*l = (struct flock){(short)type, 0, (s64)start, end == UINT64_MAX ? 0 : (s64)(end - start), -1};
			return 0;
		}
		if (!c) {
			l->l_type = F_UNLCK;
			return 0;
		}
		*l = (struct flock){c->exclusive ? F_WRLCK : F_RDLCK, 0, (s64)c->start, c->end == UINT64_MAX ? 0 : (s64)(c->end - c->start),
				    c->kind == POSIX ? c->pid : -1};
		return 0;
	}
	u32 mode = f->flags & O_ACCMODE;
	if ((l->l_type == F_RDLCK && mode == O_WRONLY) || (l->l_type == F_WRLCK && mode == O_RDONLY))
		return -EBADF;
	return lock_set(f->inode, ofd ? OFD : POSIX, owner, current->proc->pid, l->l_type, start, end, cmd == F_SETLKW || cmd == F_OFD_SETLKW);
}

long lock_flock(struct file *f, u32 op)
{
	int type = (op & ~4u) == 1 ? F_RDLCK : (op & ~4u) == 2 ? F_WRLCK : (op & ~4u) == 8 ? F_UNLCK : -1;
	return type < 0 ? -EINVAL : lock_set(f->inode, FLOCK, f, current->proc->pid, type, 0, UINT64_MAX, !(op & 4));
}
