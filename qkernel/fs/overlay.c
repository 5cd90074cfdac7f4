/* How a tree that never changes here shows through the file system in memory: what lies below is looked up, listed and followed when it is used. */
#include "mount.h"
#include "memfs.h"
#include <linux/stat.h>

void memfs_sync(struct inode *i)
{
	const struct memnode *m = memnode_of(i);
	const struct inode *l = m->lower;
	if (!l)
		return;
	if (inode_is_lower(i)) {
		i->size = l->size;
		i->blocks = l->blocks;
	}
	if (m->own)
		return;
	i->mode = l->mode;
	i->nlink = l->nlink;
	i->uid = l->uid;
	i->gid = l->gid;
	i->size = l->size;
	i->blocks = l->blocks;
	i->atime_ns = l->atime_ns;
	i->mtime_ns = l->mtime_ns;
	i->ctime_ns = l->ctime_ns;
}

/* The inode over a lower one; takes its reference over. */
static struct inode *overlay_wrap(struct memsuper *s, struct inode *lower)
{
	struct inode *i = memfs_new(s, lower->mode, lower->rdev);
	if (!i) {
		inode_put(lower);
		return NULL;
	}
	memnode_of(i)->lower = lower;
	i->ino = lower->ino;
	memfs_sync(i);
	return i;
}

/* Whether the entry shows what lies below at the same place, unchanged: then it follows when that is replaced or removed. */
static bool overlay_shows_lower(const struct inode *dir, const struct entry *e)
{
	const struct memnode *d = memnode_of(dir), *m = e->state == ENTRY_INODE ? memnode_of(e->inode) : NULL;
	return m && d->lower && m->lower && m->lower->parent == d->lower && m->lower->name && !strcmp(m->lower->name, e->name);
}

/* What shows through at e is now `l` (referenced; NULL: nothing). True: the entry goes. */
static bool overlay_follow_lower(struct entry *e, struct inode *l)
{
	struct inode *i = e->inode;
	struct memnode *m = memnode_of(i);
	if (l == m->lower) {
		memfs_sync(i);
		return false;
	}
	if (S_ISREG(i->mode) && !inode_is_lower(i))
		return false; /* written here: it stays, with what it has */
	if (!S_ISDIR(i->mode) || (!m->own && !(i->iflags & I_MOUNTPOINT) && !(l && S_ISDIR(l->mode))))
		return true;
	if (l && S_ISDIR(l->mode)) { /* what was changed in it lies over the new one */
		inode_get(l);
		inode_put(m->lower);
		m->lower = l;
		m->complete = false;
		memfs_sync(i);
	}
	return false;
}

struct inode *memfs_lookup_path(struct inode *dir, const char *name, const char *rest, int *err)
{
	struct memnode *d = memnode_of(dir);
	struct entry *e = names_find(&d->kids, name);
	*err = 0;
	if (e && e->state == ENTRY_INODE && !overlay_shows_lower(dir, e)) {
		inode_get(e->inode);
		return e->inode;
	}
	if ((e && e->state == ENTRY_GONE) || !d->lower) {
		*err = -ENOENT;
		return NULL;
	}
	struct inode *l = d->lower->ops->lookup_path(d->lower, name, rest, err);
	if (!l && *err != -ENOENT)
		return NULL;
	if (e && e->state == ENTRY_INODE && !overlay_follow_lower(e, l)) {
		if (l)
			inode_put(l);
		*err = 0;
		inode_get(e->inode);
		return e->inode;
	}
	if (e && !l)
		names_del(&d->kids, e);
	if (!l)
		return NULL;
	struct inode *i = overlay_wrap(d->super, l);
	if (!i || !names_set(&d->kids, name, i)) {
		*err = -ENOMEM;
		return NULL;
	}
	hosts_looked_up(dir, name, i);
	inode_get(i);
	return i;
}

struct inode *memfs_lookup(struct inode *dir, const char *name, int *err)
{
	return memfs_lookup_path(dir, name, name, err);
}

struct merge {
	struct names *names;
	u32 pass;
};

static bool overlay_merge_one(void *ctx, const char *name, u64 ino, u8 type, u64 next_pos)
{
	struct merge *m = ctx;
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return true;
	struct entry *e = names_find(m->names, name);
	if (!e || e->state == ENTRY_NAMED)
		e = names_set_named(m->names, name, ino, type);
	if (e)
		e->pass = m->pass;
	return true;
}

static bool overlay_take_none(void *ctx, const char *name, u64 ino, u8 type, u64 next_pos)
{
	return false;
}

/* Brings in all names of the lower directory, and takes away those that it has no more. */
int memfs_merge(struct inode *dir)
{
	struct memnode *d = memnode_of(dir);
	struct qk_stat st;
	u64 pos = 0;
	if (!d->lower)
		return 0;
	/* The attributes that tell whether it changed come with its entries, which will be asked for next. */
	int r = d->complete ? d->lower->ops->readdir(d->lower, &pos, overlay_take_none, NULL) : 0;
	if (!r)
		r = inode_getattr(d->lower, &st);
	if (r || (d->complete && st.mtime_ns == d->listed_mtime && st.ctime_ns == d->listed_ctime))
		return r;
	pos = 0;
	struct merge m = {&d->kids, ++d->pass};
	r = d->lower->ops->readdir(d->lower, &pos, overlay_merge_one, &m);
	if (r)
		return r;
	struct entry *e, *next;
	list_for_each_safe (e, next, &d->kids.order, order)
		if (e->pass != d->pass && (e->state == ENTRY_NAMED || (overlay_shows_lower(dir, e) && overlay_follow_lower(e, NULL))))
			names_del(&d->kids, e);
	d->complete = true;
	d->listed_mtime = d->lower->mtime_ns;
	d->listed_ctime = d->lower->ctime_ns;
	memfs_sync(dir);
	return 0;
}

struct inode *overlay_root(struct inode *lower)
{
	struct memsuper *s = kzalloc(sizeof(*s));
	if (!s)
		return NULL;
	s->dev = inode_new_dev();
	s->lower = lower;
	struct inode *i = overlay_wrap(s, lower);
	if (i)
		i->parent = i;
	return i;
}
