/* Hash table of directory entries. */
#include "mm.h"
#include "names.h"

void names_init(struct names *t)
{
	*t = (struct names){.next = NAMES_FIRST};
	list_init(&t->order);
}

static u32 names_hash(const char *name)
{
	return hash_bytes(name, strlen(name));
}

struct entry *names_find(struct names *t, const char *name)
{
	if (!t->buckets)
		return NULL;
	for (struct entry *e = t->bucket[names_hash(name) & (t->buckets - 1)]; e; e = e->chain)
		if (!strcmp(e->name, name))
			return e;
	return NULL;
}

static bool names_grow(struct names *t)
{
	u32 n = t->buckets ? t->buckets * 4 : 8;
	struct entry **b = kzalloc(n * sizeof(*b)), *e;
	if (!b)
		return t->buckets != 0;
	list_for_each (e, &t->order, order) {
		struct entry **slot = &b[names_hash(e->name) & (n - 1)];
		e->chain = *slot;
		*slot = e;
	}
	kfree(t->bucket);
	t->bucket = b;
	t->buckets = n;
	return true;
}

static struct entry *names_get(struct names *t, const char *name)
{
	struct entry *e = names_find(t, name);
	size_t n = strlen(name) + 1;
	if (e)
		return e;
	if (t->count >= t->buckets && !names_grow(t))
		return NULL;
	e = kzalloc(sizeof(*e) + n);
	if (!e)
		return NULL;
	memcpy(e->name, name, n);
	struct entry **slot = &t->bucket[names_hash(name) & (t->buckets - 1)];
	e->chain = *slot;
	*slot = e;
	e->cookie = t->next++;
	e->state = ENTRY_GONE;
	list_add_tail(&e->order, &t->order);
	t->count++;
	return e;
}

struct entry *names_set(struct names *t, const char *name, struct inode *inode)
{
	struct entry *e = names_get(t, name);
	struct inode *old = e ? e->inode : inode;
	if (e) {
		e->inode = inode;
		e->state = inode ? ENTRY_INODE : ENTRY_GONE;
		e->ino = inode ? inode->ino : 0;
		e->type = inode ? mode_to_dt(inode->mode) : 0;
	}
	if (old)
		inode_put(old);
	return e;
}

struct entry *names_set_named(struct names *t, const char *name, u64 ino, u8 type)
{
	struct entry *e = names_get(t, name);
	if (e) {
		e->state = ENTRY_NAMED;
		e->ino = ino;
		e->type = type;
	}
	return e;
}

void names_del(struct names *t, struct entry *e)
{
	struct entry **at = &t->bucket[names_hash(e->name) & (t->buckets - 1)];
	while (*at != e)
		at = &(*at)->chain;
	*at = e->chain;
	list_del(&e->order);
	t->count--;
	if (e->inode)
		inode_put(e->inode);
	kfree(e);
}

void names_free(struct names *t)
{
	while (!list_empty(&t->order))
		names_del(t, list_first(&t->order, struct entry, order));
	kfree(t->bucket);
	t->bucket = NULL;
	t->buckets = 0;
}
