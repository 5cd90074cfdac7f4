/* Locks that other sandboxes and the host see, too: each owner of locks has a host handle of the file of its own, since locks of the host belong to open
 * file descriptions (fcntl(2), open file description locks). */
#include "host.h"
#include "hostlock.h"
#include "hostfs.h"
#include "qcall.h"
#include <linux/fcntl.h>
#include <linux/stat.h>

struct holder {
	struct list node;
	struct inode *inode; /* not referenced: it has locks, so somebody has it open */
	const void *owner;
	bool flock;
	int handle;
};
static struct list holders = LIST_INIT(holders);

bool hostlock_shared(const struct inode *i)
{
	return (i->iflags & I_VOLATILE) && S_ISREG(i->mode);
}

static struct holder *hostlock_find(const struct inode *i, const void *owner, bool flock)
{
	struct holder *h;
	list_for_each (h, &holders, node)
		if (h->inode == i && h->owner == owner && h->flock == flock)
			return h;
	return NULL;
}

static s64 hostlock_reopen(struct inode *i)
{
	int from = host_handle(i, false);
	if (from < 0)
		return from;
	seg_begin();
	s64 r = qcall(QC_REOPEN, 0, (u64)from, O_RDWR, 0, 0, 0, 0);
	if (r != -EACCES)
		return r;
	seg_begin();
	return qcall(QC_REOPEN, 0, (u64)from, O_RDONLY, 0, 0, 0, 0);
}

static struct holder *hostlock_make(struct inode *i, const void *owner, bool flock, int *err)
{
	s64 handle = hostlock_reopen(i);
	struct holder *h = handle < 0 ? NULL : kzalloc(sizeof(*h));
	*err = handle < 0 ? (int)handle : h ? 0 : -ENOLCK;
	if (h) {
		*h = (struct holder){.inode = i, .owner = owner, .flock = flock, .handle = (int)handle};
		list_add_tail(&h->node, &holders);
	} else if (handle >= 0) {
		qcall_close_later((int)handle);
	}
	return h;
}

static s64 hostlock_request(int handle, u64 what, u64 start, u64 end)
{
	u64 len = end == UINT64_MAX ? 0 : end - start;
	seg_begin();
	return qcall(QC_LOCK, 0, (u64)handle, what, start, len, 0, 0);
}

int hostlock_set(struct inode *i, const void *owner, bool flock, int type, u64 start, u64 end)
{
	if (!hostlock_shared(i))
		return 0;
	int err = 0;
	struct holder *h = hostlock_find(i, owner, flock);
	if (!h && type == F_UNLCK)
		return 0;
	if (!h)
		h = hostlock_make(i, owner, flock, &err);
	if (err)
		return err == -EROFS ? 0 : err; /* of a read-only volume: among this guest's programs only */
	s64 r = hostlock_request(h->handle, (u64)type | (flock ? QK_LOCK_FLOCK : 0), start, end);
	if (!r && type != F_UNLCK) {
		host_contact(true); /* what others wrote before they let go is to be seen */
		hostnode_of(i)->checked = 0;
	}
	return (int)r;
}

bool hostlock_test(struct inode *i, bool exclusive, u64 start, u64 end, int *type, u64 *conflict_start, u64 *conflict_end)
{
	s64 handle = hostlock_shared(i) ? hostlock_reopen(i) : -1;
	if (handle < 0)
		return false;
	bool held = hostlock_request((int)handle, (exclusive ? F_WRLCK : F_RDLCK) | QK_LOCK_TEST, start, end) == 1;
	*type = (int)qcall_out(0);
	*conflict_start = qcall_out(1);
	*conflict_end = qcall_out(2) ? qcall_out(1) + qcall_out(2) : UINT64_MAX;
	qcall_close_later((int)handle);
	return held;
}

void hostlock_drop(struct inode *i, const void *owner, bool flock)
{
	struct holder *h = hostlock_find(i, owner, flock);
	if (!h)
		return;
	hostlock_request(h->handle, F_UNLCK | (flock ? QK_LOCK_FLOCK : 0), 0, UINT64_MAX); /* now: the close may come later */
	qcall_close_later(h->handle);
	list_del(&h->node);
	kfree(h);
}
