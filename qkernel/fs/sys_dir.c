/* System calls on directories and names. */
#include "file.h"
#include "fsctx.h"
#include "mount.h"
#include "inotify.h"
#include "walk.h"
#include <linux/fcntl.h>
#include <linux/stat.h>

#define NAME_BUF 256

/* The directory that holds (or shall hold) the last component, checked for being writable. trailing: the path ended in a slash. */
static long dir_walk_parent(int dirfd, u64 upath, struct path *dir, char last[NAME_BUF], bool *trailing)
{
	char *path;
	long r = path_from_user(&path, upath);
	if (r)
		return r;
	size_t n = strlen(path);
	*trailing = n > 1 && path[n - 1] == '/';
	r = path_walk(dirfd, path, WALK_PARENT | WALK_NOSTR, dir, last);
	kfree(path);
	return r;
}

static bool dir_special(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

static struct inode *dir_find(struct path *dir, const char *name, int *err)
{
	struct inode *d = dir->inode, *i;
	*err = 0;
	i = d->ops->lookup_path ? d->ops->lookup_path(d, name, name, err) : d->ops->lookup ? d->ops->lookup(d, name, err) : NULL;
	if (!i && !*err)
		*err = -ENOENT;
	return i;
}

static int dir_may_change(struct path *dir)
{
	if (dir->mnt->flags & QK_MOUNT_RO)
		return -EROFS;
	return inode_permission(dir->inode, 3);
}

/* For creating `name`: it must not be there. */
static int dir_may_create(struct path *dir, const char *name)
{
	int err = 0;
	struct inode *i = dir_special(name) ? NULL : dir_find(dir, name, &err);
	if (i || dir_special(name)) {
		if (i)
			inode_put(i);
		return -EEXIST;
	}
	return err != -ENOENT ? err : dir_may_change(dir);
}

/* In a sticky directory only the owner of the file, of the directory, or root removes. */
static int dir_may_remove(struct path *dir, struct inode *i)
{
	u32 uid = current->proc->fsuid;
	int r = dir_may_change(dir);
	if (!r && (dir->inode->mode & S_ISVTX) && uid && uid != i->uid && uid != dir->inode->uid)
		r = -EPERM;
	return r;
}

long sys_mkdirat(u64 dirfd, u64 upath, u64 mode)
{
	struct path dir;
	char last[NAME_BUF];
	bool slash;
	long r = dir_walk_parent((int)dirfd, upath, &dir, last, &slash);
	if (r)
		return r;
	r = dir_may_create(&dir, last);
	if (!r)
		r = dir.inode->ops->mkdir ? dir.inode->ops->mkdir(dir.inode, last, (u32)mode & 01777 & ~current->fs->umask) : -EPERM;
	if (!r)
		notify_entry(dir.inode, IN_CREATE | IN_ISDIR, last, NULL, 0);
	path_put(&dir);
	return r;
}

long sys_mkdir(u64 upath, u64 mode)
{
	return sys_mkdirat((u64)AT_FDCWD, upath, mode);
}

long sys_unlinkat(u64 dirfd, u64 upath, u64 flags)
{
	struct path dir;
	char last[NAME_BUF];
	bool slash;
	int err = 0;
	if (flags & ~(u64)AT_REMOVEDIR)
		return -EINVAL;
	long r = dir_walk_parent((int)dirfd, upath, &dir, last, &slash);
	if (r)
		return r;
	bool rmdir = flags & AT_REMOVEDIR;
	if (dir_special(last)) {
		path_put(&dir);
		return !rmdir ? -EISDIR : !strcmp(last, ".") ? -EINVAL : -ENOTEMPTY;
	}
	struct inode *i = dir_find(&dir, last, &err);
	r = err;
	if (i) {
		const struct inode_ops *o = dir.inode->ops;
		bool is_dir = S_ISDIR(i->mode);
		if (i->iflags & I_MOUNTPOINT)
			r = -EBUSY;
		else if (rmdir && !is_dir)
			r = -ENOTDIR;
		else if (!rmdir && is_dir)
			r = -EISDIR;
		else if (!rmdir && slash)
			r = -ENOTDIR;
		else
			r = dir_may_remove(&dir, i);
		if (!r)
			r = rmdir ? (o->rmdir ? o->rmdir(dir.inode, last) : -EPERM) : (o->unlink ? o->unlink(dir.inode, last) : -EPERM);
		if (!r) {
			if (rmdir)
				i->nlink = 0;
			else
				notify_self(i, IN_ATTRIB);
			inotify_gone(i, 1);
			notify_entry(dir.inode, IN_DELETE, last, i, 0);
		}
		inode_put(i);
	}
	path_put(&dir);
	return r;
}

long sys_unlink(u64 upath)
{
	return sys_unlinkat((u64)AT_FDCWD, upath, 0);
}

long sys_rmdir(u64 upath)
{
	return sys_unlinkat((u64)AT_FDCWD, upath, AT_REMOVEDIR);
}

static bool dir_is_below(const struct inode *i, const struct inode *dir)
{
	for (; i; i = i->parent) {
		if (i == dir)
			return true;
		if (i->parent == i)
			break;
	}
	return false;
}

static void dir_notify_move(struct inode *od, const char *on, struct inode *nd, const char *nn, struct inode *i, struct inode *target, bool exchange)
{
	u32 cookie = inotify_cookie();
	inotify_adopt(nd, nn, i);
	notify_entry(od, IN_MOVED_FROM, on, i, cookie);
	notify_entry(nd, IN_MOVED_TO, nn, i, cookie);
	if (target && !exchange)
		notify_self(target, IN_ATTRIB);
	notify_self(i, IN_MOVE_SELF);
	if (!exchange)
		return;
	cookie = inotify_cookie();
	notify_entry(nd, IN_MOVED_FROM, nn, target, cookie);
	notify_entry(od, IN_MOVED_TO, on, target, cookie);
	notify_self(target, IN_MOVE_SELF);
}

/* slash: one of the names ended in one, so that both must be directories. */
static long dir_rename_in(struct path *od, const char *on, struct path *nd, const char *nn, u32 flags, bool slash)
{
	int err, err2 = 0;
	if (od->mnt != nd->mnt)
		return -EXDEV;
	if (dir_special(on) || dir_special(nn))
		return -EBUSY;
	struct inode *i = dir_find(od, on, &err);
	if (!i)
		return err;
	struct inode *target = dir_find(nd, nn, &err2);
	long r = dir_may_remove(od, i);
	if (!r)
		r = target ? dir_may_remove(nd, target) : dir_may_change(nd);
	if (!target && err2 != -ENOENT)
		r = err2;
	else if (target && (flags & 1 /* RENAME_NOREPLACE */))
		r = -EEXIST;
	else if (!target && (flags & 2 /* RENAME_EXCHANGE */))
		r = -ENOENT;
	else if (slash && !S_ISDIR(i->mode))
		r = -ENOTDIR;
	else if ((i->iflags | (target ? target->iflags : 0)) & I_MOUNTPOINT)
		r = -EBUSY;
	else if (S_ISDIR(i->mode) && dir_is_below(nd->inode, i))
		r = -EINVAL;
	else if (target && target != i && !(flags & 2) && S_ISDIR(i->mode) != S_ISDIR(target->mode))
		r = S_ISDIR(i->mode) ? -ENOTDIR : -EISDIR;
	if (!r && target != i)
		r = od->inode->ops->rename ? od->inode->ops->rename(od->inode, on, nd->inode, nn, flags) : -EPERM;
	if (!r && target != i && i->parent) {
		/* It knows its place by itself. */
		struct inode *old = i->parent;
		char *name = kstrdup(nn);
		if (name) {
			kfree(i->name);
			i->name = name;
		}
		i->parent = nd->inode;
		inode_get(nd->inode);
		inode_put(old);
	}
	if (!r && target != i)
		dir_notify_move(od->inode, on, nd->inode, nn, i, target, flags & 2);
	if (target)
		inode_put(target);
	inode_put(i);
	return r;
}

long sys_renameat2(u64 olddir, u64 uold, u64 newdir, u64 unew, u64 flags)
{
	struct path od, nd;
	char on[NAME_BUF], nn[NAME_BUF];
	bool os, ns;
	if (flags & ~3ul || flags == 3)
		return -EINVAL;
	long r = dir_walk_parent((int)olddir, uold, &od, on, &os);
	if (r)
		return r;
	r = dir_walk_parent((int)newdir, unew, &nd, nn, &ns);
	if (!r) {
		r = dir_rename_in(&od, on, &nd, nn, (u32)flags, os || ns);
		path_put(&nd);
	}
	path_put(&od);
	return r;
}

long sys_renameat(u64 olddir, u64 uold, u64 newdir, u64 unew)
{
	return sys_renameat2(olddir, uold, newdir, unew, 0);
}

long sys_rename(u64 uold, u64 unew)
{
	return sys_renameat2((u64)AT_FDCWD, uold, (u64)AT_FDCWD, unew, 0);
}

long sys_linkat(u64 olddir, u64 uold, u64 newdir, u64 unew, u64 flags)
{
	struct path from, dir;
	char last[NAME_BUF];
	bool slash;
	char *path;
	if (flags & ~(u64)(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	long r = path_from_user(&path, uold);
	if (r)
		return r;
	r = path_walk((int)olddir, path, (flags & AT_SYMLINK_FOLLOW ? WALK_FOLLOW : 0) | (flags & AT_EMPTY_PATH ? WALK_EMPTY : 0) | WALK_NOSTR, &from,
		      NULL);
	kfree(path);
	if (r)
		return r;
	r = dir_walk_parent((int)newdir, unew, &dir, last, &slash);
	if (!r) {
		r = dir_may_create(&dir, last);
		if (!r && dir.mnt != from.mnt)
			r = -EXDEV;
		if (!r && S_ISDIR(from.inode->mode))
			r = -EPERM;
		if (!r && !from.inode->nlink && !(from.inode->iflags & I_LINKABLE))
			r = -ENOENT;
		if (!r)
			r = dir.inode->ops->link ? dir.inode->ops->link(from.inode, dir.inode, last) : -EPERM;
		if (!r) {
			inotify_adopt(dir.inode, last, from.inode);
			notify_self(from.inode, IN_ATTRIB);
			notify_entry(dir.inode, IN_CREATE, last, from.inode, 0);
		}
		path_put(&dir);
	}
	path_put(&from);
	return r;
}

long sys_link(u64 uold, u64 unew)
{
	return sys_linkat((u64)AT_FDCWD, uold, (u64)AT_FDCWD, unew, 0);
}

long sys_symlinkat(u64 utarget, u64 dirfd, u64 upath)
{
	struct path dir;
	char last[NAME_BUF];
	bool slash;
	char *target;
	long r = path_from_user(&target, utarget);
	if (r)
		return r;
	r = target[0] ? dir_walk_parent((int)dirfd, upath, &dir, last, &slash) : -ENOENT;
	if (!r) {
		r = dir_may_create(&dir, last);
		if (!r)
			r = dir.inode->ops->symlink ? dir.inode->ops->symlink(dir.inode, last, target) : -EPERM;
		if (!r)
			notify_entry(dir.inode, IN_CREATE, last, NULL, 0);
		path_put(&dir);
	}
	kfree(target);
	return r;
}

long sys_symlink(u64 utarget, u64 upath)
{
	return sys_symlinkat(utarget, (u64)AT_FDCWD, upath);
}

long sys_mknodat(u64 dirfd, u64 upath, u64 mode, u64 dev)
{
	char *path;
	u32 type = (u32)mode & S_IFMT;
	if (type == S_IFDIR)
		return -EPERM;
	if (type && type != S_IFREG && type != S_IFIFO && type != S_IFSOCK && type != S_IFCHR && type != S_IFBLK)
		return -EINVAL;
	if ((type == S_IFCHR || type == S_IFBLK) && current->proc->fsuid)
		return -EPERM;
	long r = path_from_user(&path, upath);
	if (r)
		return r;
	r = vfs_mknod((int)dirfd, path, (type ? type : S_IFREG) | ((u32)mode & 07777), dev, NULL);
	kfree(path);
	return r;
}

long sys_mknod(u64 upath, u64 mode, u64 dev)
{
	return sys_mknodat((u64)AT_FDCWD, upath, mode, dev);
}
