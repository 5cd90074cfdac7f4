/* Locks of read-write volumes on the host (fs/hostlock.c), below those that the guest kernel keeps itself (fs/lock.c). */
#ifndef HOSTLOCK_H
#define HOSTLOCK_H
#include "inode.h"

/* owner: as lock.c names them, of one kind. flock: whole-file locks of flock(2). type: F_RDLCK, F_WRLCK, F_UNLCK; [start, end), UINT64_MAX: to the end.
 * 0 also where there is nothing to do: the file is not of a read-write volume. -EAGAIN: somebody outside has it. */
int hostlock_set(struct inode *i, const void *owner, bool flock, int type, u64 start, u64 end);
/* Who outside has a lock in the way? true: *type, *start, *end. */
bool hostlock_test(struct inode *i, bool exclusive, u64 start, u64 end, int *type, u64 *conflict_start, u64 *conflict_end);
void hostlock_drop(struct inode *i, const void *owner, bool flock); /* the owner has no locks any more */
bool hostlock_shared(const struct inode *i);                        /* whether others than this guest may have locks on it */
#endif
