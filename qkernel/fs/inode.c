/* Inodes and places in the tree: reference counts, attributes, permission. */
#include "ktime.h"
#include "pagecache.h"
#include "inotify.h"
#include <linux/capability.h>
#include <linux/stat.h>

static u64 last_dev = 1, last_ino = 1;

u64 inode_new_dev(void)
{
	return last_dev++;
}

struct inode *inode_new(const struct inode_ops *ops, const struct file_ops *fops, u32 mode, void *priv)
{
	struct inode *i = kzalloc(sizeof(*i));
	if (!i)
		return NULL;
	i->refs = 1;
	i->ops = ops;
	i->fops = fops;
	i->mode = mode;
	i->priv = priv;
	i->nlink = 1;
	i->ino = last_ino++;
	i->atime_ns = i->mtime_ns = i->ctime_ns = (s64)real_ns();
	if (current) {
		i->uid = current->proc->fsuid;
		i->gid = current->proc->fsgid;
	}
	return i;
}

void inode_get(struct inode *i)
{
	i->refs++;
}

void inode_put(struct inode *i)
{
	if (i && unlikely(i->watches) && !i->nlink && i->refs - 1 == i->nwatches) {
		i->refs--;
		inotify_gone(i, 0);
		return;
	}
	while (i && --i->refs == 0) {
		struct inode *parent = i->parent;
		if (i->ops && i->ops->evict)
			i->ops->evict(i);
		if (i->cache)
			pagecache_free(i->cache);
		kfree(i->name);
		locks_free(i->locks);
		bool own = parent == i;
		kfree(i);
		i = own ? NULL : parent;
	}
}

struct inode *anon_inode(u32 mode)
{
	static const struct inode_ops none;
	static u64 dev;
	struct inode *i = inode_new(&none, NULL, mode, NULL);
	if (!dev)
		dev = inode_new_dev();
	if (i)
		i->dev = dev;
	return i;
}

void inode_stat(const struct inode *i, struct qk_stat *st)
{
	*st = (struct qk_stat){
		.dev = i->dev,
		.ino = i->ino,
		.size = i->size,
		.blocks = i->blocks,
		.rdev = i->rdev,
		.mode = i->mode,
		.nlink = i->nlink,
		.uid = i->uid,
		.gid = i->gid,
		.atime_ns = i->atime_ns,
		.mtime_ns = i->mtime_ns,
		.ctime_ns = i->ctime_ns,
	};
}

int inode_getattr(struct inode *i, struct qk_stat *st)
{
	if (i->ops->getattr)
		return i->ops->getattr(i, st);
	inode_stat(i, st);
	return 0;
}

bool inode_in_group(u32 gid)
{
	const struct process *p = current->proc;
	if (p->fsgid == gid)
		return true;
	for (u32 i = 0; i < p->ngroups; i++)
		if (p->groups[i] == gid)
			return true;
	return false;
}

int inode_permission(struct inode *i, u32 may)
{
	const struct process *p = current->proc;
	if (p->fsuid == 0) {
		/* Root needs one execute bit to run a file, and none to enter a directory. */
		return (may & 1) && !S_ISDIR(i->mode) && !(i->mode & 0111) ? -EACCES : 0;
	}
	u32 mode = i->mode;
	if (p->fsuid == i->uid)
		mode >>= 6;
	else if (inode_in_group(i->gid))
		mode >>= 3;
	return (mode & may) == may ? 0 : -EACCES;
}

int inode_deny_write(struct inode *i)
{
	if (i->writers > 0)
		return -ETXTBSY;
	i->writers--;
	return 0;
}

void inode_allow_write(struct inode *i)
{
	i->writers++;
}

void inode_content_changes(struct inode *i)
{
	u32 kill = i->mode & S_ISUID ? S_ISUID : 0;
	if ((i->mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		kill |= S_ISGID;
	if (!kill || !S_ISREG(i->mode) || (current->proc->cap_eff >> CAP_FSETID & 1))
		return;
	struct qk_stat st = {.mode = i->mode & 07777 & ~kill};
	if (i->ops->setattr)
		(void)i->ops->setattr(i, QK_ATTR_MODE, &st);
}

void path_put(struct path *p)
{
	if (p->inode)
		inode_put(p->inode);
	kfree(p->str);
	*p = (struct path){0};
}

int path_copy(struct path *dst, const struct path *src)
{
	*dst = *src;
	if (src->str) {
		dst->str = kstrdup(src->str);
		if (!dst->str)
			return -ENOMEM;
	}
	if (dst->inode)
		inode_get(dst->inode);
	return 0;
}
