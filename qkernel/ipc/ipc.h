/* System V IPC (sysvipc(7)): what shared memory, semaphore sets and message queues have in common. */
#ifndef IPC_H
#define IPC_H
#include "task.h"
#include <asm/ipcbuf.h>
#include <linux/ipc.h>

struct ipc_object {
	s32 id;
	struct ipc64_perm perm;
	bool removed; /* out of the table: whoever still holds it lets it go */
	u32 refs;     /* the table, and calls that sleep with it */
};
struct ipc_table {
	struct ipc_object **slot;
	u32 cap, used, limit;
	u32 last;
	u16 seq;
	void (*free)(struct ipc_object *);
};

/* The id of a new object (it is taken over; freed when there is an error), -ENOSPC, -ENOMEM. */
long ipc_add(struct ipc_table *t, struct ipc_object *o, s32 key, u32 mode);
/* What *get calls begin with: the object of `key`, NULL with *err 0: make one; or -errno in *err. */
struct ipc_object *ipc_lookup_key(struct ipc_table *t, s32 key, u64 flags, long *err);
struct ipc_object *ipc_find(struct ipc_table *t, s32 id, long *err); /* -EINVAL, -EIDRM */
struct ipc_object *ipc_at(struct ipc_table *t, s64 index);           /* NULL: none */
s32 ipc_last_index(const struct ipc_table *t);                       /* highest index in use; 0: none */
bool ipc_permitted(const struct ipc_object *o, u32 mode);            /* mode as of open(2), any of three places: 0444, 0222 */
bool ipc_owned(const struct ipc_object *o);                          /* may change and remove it */
void ipc_set_perm(struct ipc_object *o, const struct ipc64_perm *p);
void ipc_remove(struct ipc_table *t, struct ipc_object *o);
void ipc_get(struct ipc_object *o);
void ipc_put(struct ipc_table *t, struct ipc_object *o);
s64 ipc_now(void); /* seconds of CLOCK_REALTIME */

/* sem.c: what a process has left to undo, at its end */
void sem_exit(const struct process *p);
#endif
