/* Tables of System V IPC objects: ids, keys, permissions. */
#include "ktime.h"
#include "ipc.h"
#include <linux/capability.h>

#define INDEX_BITS 15 /* of an id; above it a sequence number, so that an old id does not name a new object */
#define INDEX_MASK ((1u << INDEX_BITS) - 1)
#define SEQ_MAX (INT32_MAX >> INDEX_BITS)

static bool ipc_capable(u32 cap)
{
	return current->proc->cap_eff >> cap & 1;
}

s64 ipc_now(void)
{
	return (s64)(real_ns() / 1000000000);
}

static bool ipc_table_grow(struct ipc_table *t)
{
	u32 cap = t->cap ? t->cap * 2 : 16;
	struct ipc_object **slot = krealloc(t->slot, cap * sizeof(*slot));
	if (!slot)
		return false;
	memset(slot + t->cap, 0, (cap - t->cap) * sizeof(*slot));
	t->slot = slot;
	t->cap = cap;
	return true;
}

long ipc_add(struct ipc_table *t, struct ipc_object *o, s32 key, u32 mode)
{
	const struct process *p = current->proc;
	u32 k = 0;
	while (k < t->cap && t->slot[k])
		k++;
	if (t->used >= t->limit || (k == t->cap && !ipc_table_grow(t))) {
		long r = t->used >= t->limit ? -ENOSPC : -ENOMEM;
		t->free(o);
		return r;
	}
	if (t->used && k <= t->last)
		t->seq = t->seq == SEQ_MAX ? 0 : (u16)(t->seq + 1);
	t->last = k;
	t->slot[k] = o;
	t->used++;
	o->refs = 1;
	o->id = (s32)((u32)t->seq << INDEX_BITS | k);
	o->perm =
		(struct ipc64_perm){.key = key, .uid = p->euid, .gid = p->egid, .cuid = p->euid, .cgid = p->egid, .mode = mode & 0777, .seq = t->seq};
	return o->id;
}

struct ipc_object *ipc_lookup_key(struct ipc_table *t, s32 key, u64 flags, long *err)
{
	*err = 0;
	if (key == IPC_PRIVATE)
		return NULL;
	for (u32 k = 0; k < t->cap; k++) {
		struct ipc_object *o = t->slot[k];
		if (!o || o->perm.key != key)
			continue;
		if ((flags & IPC_CREAT) && (flags & IPC_EXCL))
			*err = -EEXIST;
		else if (!ipc_permitted(o, (u32)flags & 0777))
			*err = -EACCES;
		return *err ? NULL : o;
	}
	*err = flags & IPC_CREAT ? 0 : -ENOENT;
	return NULL;
}

struct ipc_object *ipc_find(struct ipc_table *t, s32 id, long *err)
{
	struct ipc_object *o = id < 0 ? NULL : ipc_at(t, id & (s32)INDEX_MASK);
	*err = !o ? -EINVAL : o->id != id ? -EIDRM : 0;
	return *err ? NULL : o;
}

struct ipc_object *ipc_at(struct ipc_table *t, s64 index)
{
	return index >= 0 && index < (s64)t->cap ? t->slot[index] : NULL;
}

s32 ipc_last_index(const struct ipc_table *t)
{
	s32 last = 0;
	for (u32 k = 0; k < t->cap; k++)
		if (t->slot[k])
			last = (s32)k;
	return last;
}

static bool ipc_in_group(u32 gid)
{
	const struct process *p = current->proc;
	bool in = p->egid == gid;
	for (u32 k = 0; k < p->ngroups; k++)
		in |= p->groups[k] == gid;
	return in;
}

bool ipc_permitted(const struct ipc_object *o, u32 mode)
{
	u32 wanted = (mode >> 6 | mode >> 3 | mode) & 7, granted = o->perm.mode, euid = current->proc->euid;
	if (euid == o->perm.cuid || euid == o->perm.uid)
		granted >>= 6;
	else if (ipc_in_group(o->perm.cgid) || ipc_in_group(o->perm.gid))
		granted >>= 3;
	return !(wanted & ~granted) || ipc_capable(CAP_IPC_OWNER);
}

bool ipc_owned(const struct ipc_object *o)
{
	u32 euid = current->proc->euid;
	return euid == o->perm.cuid || euid == o->perm.uid || ipc_capable(CAP_SYS_ADMIN);
}

void ipc_set_perm(struct ipc_object *o, const struct ipc64_perm *p)
{
	o->perm.uid = p->uid;
	o->perm.gid = p->gid;
	o->perm.mode = (o->perm.mode & ~0777u) | (p->mode & 0777);
}

void ipc_get(struct ipc_object *o)
{
	o->refs++;
}

void ipc_put(struct ipc_table *t, struct ipc_object *o)
{
	if (--o->refs == 0)
		t->free(o);
}

void ipc_remove(struct ipc_table *t, struct ipc_object *o)
{
	t->slot[(u32)o->id & INDEX_MASK] = NULL;
	t->used--;
	o->removed = true;
	ipc_put(t, o);
}
