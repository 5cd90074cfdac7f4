/* Names of the file system in memory. */
#include "disk.h"
#include "ktime.h"
#include "mount.h"
#include "memfs.h"
#include <asm/statfs.h>
#include <linux/capability.h>
#include <linux/stat.h>

static const struct inode_ops dir_ops, link_ops, special_ops;
static const struct file_ops dir_fops = {.lseek = dir_lseek};

struct list memfs_dirs = LIST_INIT(memfs_dirs);

struct inode *memfs_new(struct memsuper *s, u32 mode, u64 rdev)
{
	struct memnode *m = kzalloc(sizeof(*m));
	const struct inode_ops *ops = S_ISDIR(mode) ? &dir_ops : S_ISREG(mode) ? &memfs_file_ops : S_ISLNK(mode) ? &link_ops : &special_ops;
	const struct file_ops *fops = S_ISDIR(mode) ? &dir_fops : S_ISREG(mode) ? &memfs_file_fops : NULL;
	struct inode *i = m ? inode_new(ops, fops, mode, m) : NULL;
	if (!i) {
		kfree(m);
		return NULL;
	}
	m->super = s;
	m->inode = i;
	list_init(&m->dirs);
	if (S_ISDIR(mode))
		list_add(&m->dirs, &memfs_dirs);
	names_init(&m->kids);
	i->dev = s->dev;
	i->rdev = rdev;
	i->ino |= 1ull << 48; /* apart from the numbers of a lower tree */
	if (S_ISDIR(mode))
		i->nlink = 2;
	if (S_ISREG(mode))
		i->iflags |= I_DISK;
	return i;
}

struct inode *memfs_create(struct memsuper *s, u32 mode, u64 rdev, u64 extra)
{
	u64 bytes = sizeof(struct inode) + sizeof(struct memnode) + extra;
	struct inode *i = disk_has_room(bytes) ? memfs_new(s, mode, rdev) : NULL;
	if (i) {
		memnode_of(i)->charged = bytes;
		disk_charge((s64)bytes);
	}
	return i;
}

void memfs_evict(struct inode *i)
{
	struct memnode *m = memnode_of(i);
	list_del(&m->dirs);
	disk_charge(-(s64)(m->charged + m->names_charged));
	names_free(&m->kids);
	memfs_xattrs_free(i);
	if (m->counted)
		m->lower->ops->copied(m->lower, -1);
	if (m->lower)
		inode_put(m->lower);
	kfree(m->link);
	kfree(m);
}

static void memfs_touch(struct inode *dir)
{
	memnode_of(dir)->own = true;
	dir->mtime_ns = dir->ctime_ns = (s64)real_ns();
}

static u64 memfs_entry_bytes(const char *name)
{
	return sizeof(struct entry) + strlen(name) + 1;
}

static int memfs_add(struct inode *dir, const char *name, struct inode *i)
{
	if (!dir->nlink) { /* removed while a program was in it */
		inode_put(i);
		return -ENOENT;
	}
	struct memnode *d = memnode_of(dir);
	/* The walk has looked for the name: what is not among the entries, not even as hidden, is not below. */
	bool fresh = !names_find(&d->kids, name);
	struct entry *e = names_set(&d->kids, name, i);
	if (!e)
		return -ENOSPC;
	if (fresh) {
		e->only_here = true;
		d->names_charged += memfs_entry_bytes(name);
		disk_charge((s64)memfs_entry_bytes(name));
	}
	if (S_ISDIR(i->mode))
		dir->nlink++;
	dir->size += 32;
	memfs_touch(dir);
	return 0;
}

/* Takes the entry away; over a lower directory that has the name it must keep hiding it. */
static void memfs_take_away(struct inode *dir, const char *name)
{
	struct memnode *d = memnode_of(dir);
	struct entry *e = names_find(&d->kids, name);
	if (!e)
		return;
	if (e->inode && S_ISDIR(e->inode->mode) && dir->nlink > 2)
		dir->nlink--;
	dir->size -= MIN(dir->size, 32u);
	if (d->lower && !e->only_here) {
		names_set(&d->kids, name, NULL);
	} else {
		u64 bytes = e->only_here ? memfs_entry_bytes(name) : 0;
		d->names_charged -= bytes;
		disk_charge(-(s64)bytes);
		names_del(&d->kids, e);
	}
	memfs_touch(dir);
}

static int memfs_create_name(struct inode *dir, const char *name, u32 mode, u64 rdev, struct inode **out)
{
	struct inode *i = memfs_create(memnode_of(dir)->super, mode, rdev, 0);
	if (!i)
		return -ENOSPC;
	if (dir->mode & S_ISGID) {
		i->gid = dir->gid;
		/* As for chmod: nobody makes a program of a group that it is not in. */
		if ((mode & S_IXGRP) && !inode_in_group(i->gid) && !(current->proc->cap_eff >> CAP_FSETID & 1))
			i->mode &= ~S_ISGID;
	}
	inode_get(i);
	int r = memfs_add(dir, name, i);
	if (r)
		inode_put(i);
	else
		*out = i;
	return r;
}

static int memfs_mkdir(struct inode *dir, const char *name, u32 mode)
{
	struct inode *i = memfs_create(memnode_of(dir)->super, S_IFDIR | mode, 0, 0);
	if (!i)
		return -ENOSPC;
	if (dir->mode & S_ISGID) {
		i->gid = dir->gid;
		i->mode |= S_ISGID;
	}
	return memfs_add(dir, name, i);
}

static int memfs_unlink(struct inode *dir, const char *name)
{
	int err;
	struct inode *i = memfs_lookup(dir, name, &err);
	if (!i)
		return err;
	if (i->nlink)
		i->nlink--;
	i->ctime_ns = (s64)real_ns();
	memnode_of(i)->own = true;
	memfs_take_away(dir, name);
	inode_put(i);
	return 0;
}

static int memfs_empty(struct inode *dir)
{
	struct entry *e;
	int r = memfs_merge(dir);
	if (r)
		return r;
	list_for_each (e, &memnode_of(dir)->kids.order, order)
		if (e->state != ENTRY_GONE)
			return -ENOTEMPTY;
	return 0;
}

static int memfs_rmdir(struct inode *dir, const char *name)
{
	int err;
	struct inode *i = memfs_lookup(dir, name, &err);
	if (!i)
		return err;
	err = memfs_empty(i);
	if (!err) {
		i->nlink = 0;
		memfs_take_away(dir, name);
	}
	inode_put(i);
	return err;
}

static int memfs_rename(struct inode *od, const char *on, struct inode *nd, const char *nn, u32 flags)
{
	int err, err2;
	struct inode *i = memfs_lookup(od, on, &err), *target = i ? memfs_lookup(nd, nn, &err2) : NULL;
	if (!i)
		return err;
	if ((flags & 2) && !target) {
		inode_put(i);
		return -ENOENT;
	}
	int r = target && S_ISDIR(target->mode) && !(flags & 2) ? memfs_empty(target) : 0;
	if (!r && (flags & 2)) { /* RENAME_EXCHANGE */
		inode_get(i);
		inode_get(target);
		names_set(&memnode_of(nd)->kids, nn, i);
		names_set(&memnode_of(od)->kids, on, target);
		if (target->parent) {
			struct inode *old = target->parent;
			kfree(target->name);
			target->name = kstrdup(on);
			target->parent = od;
			inode_get(od);
			inode_put(old);
		}
		memfs_touch(od);
		memfs_touch(nd);
	} else if (!r) {
		if (target) {
			if (S_ISDIR(target->mode))
				target->nlink = 0;
			else if (target->nlink)
				target->nlink--;
			memnode_of(target)->own = true;
			memfs_take_away(nd, nn);
		}
		memnode_of(i)->own = true;
		inode_get(i);
		memfs_take_away(od, on);
		r = memfs_add(nd, nn, i);
		i->ctime_ns = (s64)real_ns();
	}
	if (target)
		inode_put(target);
	inode_put(i);
	return r;
}

static int memfs_link(struct inode *target, struct inode *dir, const char *name)
{
	if (memnode_of(target)->super != memnode_of(dir)->super)
		return -EXDEV;
	if (!disk_has_room(memfs_entry_bytes(name)))
		return -ENOSPC;
	inode_get(target);
	int r = memfs_add(dir, name, target);
	if (!r)
		target->nlink++;
	memnode_of(target)->own = true;
	target->ctime_ns = (s64)real_ns();
	return r;
}

static int memfs_symlink(struct inode *dir, const char *name, const char *target)
{
	struct inode *i = memfs_create(memnode_of(dir)->super, S_IFLNK | 0777, 0, strlen(target) + 1);
	if (!i)
		return -ENOSPC;
	memnode_of(i)->link = kstrdup(target);
	i->size = strlen(target);
	if (!memnode_of(i)->link) {
		inode_put(i);
		return -ENOSPC;
	}
	return memfs_add(dir, name, i);
}

static int memfs_tmpfile(struct inode *dir, u32 mode, struct inode **out)
{
	*out = memfs_create(memnode_of(dir)->super, mode, 0, 0);
	if (*out)
		(*out)->nlink = 0;
	return *out ? 0 : -ENOSPC;
}

static int memfs_readdir(struct inode *dir, u64 *pos, bool (*emit)(void *ctx, const char *name, u64 ino, u8 type, u64 next_pos), void *ctx)
{
	struct names *t = &memnode_of(dir)->kids;
	struct entry *e;
	int r = memfs_merge(dir);
	if (r)
		return r;
	if (*pos == 0) {
		if (!emit(ctx, ".", dir->ino, 4, 1))
			return 0;
		*pos = 1;
	}
	if (*pos == 1) {
		if (!emit(ctx, "..", dir->parent ? dir->parent->ino : dir->ino, 4, 2))
			return 0;
		*pos = 2;
	}
	list_for_each (e, &t->order, order) {
		if (e->cookie < NAMES_FIRST || e->cookie <= *pos || e->state == ENTRY_GONE)
			continue;
		if (!emit(ctx, e->name, e->ino, e->type, e->cookie))
			return 0;
		*pos = e->cookie;
	}
	return 0;
}

static long memfs_readlink(struct inode *i, char *buf, size_t size)
{
	struct memnode *m = memnode_of(i);
	if (!m->link)
		return m->lower ? m->lower->ops->readlink(m->lower, buf, size) : -EINVAL;
	return (long)MIN(strlcpy(buf, m->link, size), size - 1);
}

int memfs_statfs(struct inode *i, void *out)
{
	struct statfs *s = out;
	*s = (struct statfs){
		.f_type = memnode_of(i)->super->lower ? 0x794c7630 : 0x01021994, .f_bsize = PAGE_SIZE, .f_frsize = PAGE_SIZE, .f_namelen = 255};
	s->f_blocks = disk_total();
	s->f_bfree = s->f_bavail = disk_free();
	u64 each = sizeof(struct inode) + sizeof(struct memnode) + sizeof(struct entry);
	s->f_files = disk_total() * PAGE_SIZE / each;
	s->f_ffree = disk_free() * PAGE_SIZE / each;
	return 0;
}

static int memfs_getattr(struct inode *i, struct qk_stat *st)
{
	const struct memnode *m = memnode_of(i);
	int r = m->lower && !m->own ? inode_getattr(m->lower, st) : 0;
	memfs_sync(i);
	inode_stat(i, st);
	return r;
}

static const struct inode_ops dir_ops = {
	.getattr = memfs_getattr,
	.lookup = memfs_lookup,
	.lookup_path = memfs_lookup_path,
	.create = memfs_create_name,
	.mkdir = memfs_mkdir,
	.unlink = memfs_unlink,
	.rmdir = memfs_rmdir,
	.rename = memfs_rename,
	.link = memfs_link,
	.symlink = memfs_symlink,
	.tmpfile = memfs_tmpfile,
	.readdir = memfs_readdir,
	.setattr = memfs_setattr,
	.statfs = memfs_statfs,
	MEMFS_XATTRS,
	.evict = memfs_evict,
};
void memfs_each_child(struct inode *dir, void (*fn)(struct inode *dir, const char *name, struct inode *child))
{
	struct entry *e;
	if (dir->ops != &dir_ops)
		return;
	list_for_each (e, &memnode_of(dir)->kids.order, order)
		if (e->state == ENTRY_INODE)
			fn(dir, e->name, e->inode);
}

static const struct inode_ops link_ops = {
	.readlink = memfs_readlink, .setattr = memfs_setattr, .statfs = memfs_statfs, MEMFS_XATTRS, .evict = memfs_evict};
static const struct inode_ops special_ops = {.setattr = memfs_setattr, .statfs = memfs_statfs, MEMFS_XATTRS, .evict = memfs_evict};

struct inode *tmpfs_root(u32 mode)
{
	struct memsuper *s = kzalloc(sizeof(*s));
	if (!s)
		return NULL;
	s->dev = inode_new_dev();
	struct inode *i = memfs_new(s, S_IFDIR | mode, 0);
	if (i)
		i->parent = i;
	return i;
}
