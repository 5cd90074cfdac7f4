/* Opening by path: what open(2) does after the walk, and nodes that are made on the way. */
#include "fdtable.h"
#include "fsctx.h"
#include "host.h"
#include "mount.h"
#include "inotify.h"
#include "walk.h"
#include <linux/fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>

static int open_may(const struct path *p, u32 oflags)
{
	u32 mode = p->inode->mode, acc = oflags & O_ACCMODE;
	bool writes = acc != O_RDONLY || (oflags & O_TRUNC);
	if (oflags & O_PATH)
		return 0;
	if (S_ISLNK(mode))
		return -ELOOP;
	if (S_ISDIR(mode) && (writes || (oflags & O_CREAT)))
		return -EISDIR;
	if (writes && (p->mnt->flags & QK_MOUNT_RO) && (S_ISREG(mode) || S_ISDIR(mode)))
		return -EROFS;
	return inode_permission(p->inode, (acc != O_WRONLY ? 4 : 0) | (writes ? 2 : 0));
}

static struct file *open_as_path(struct path *p, u32 oflags, int *err)
{
	struct file *f = NULL;
	*err = (oflags & O_DIRECTORY) && !S_ISDIR(p->inode->mode) ? -ENOTDIR : open_may(p, oflags);
	if (!*err)
		f = inode_open(p, oflags, err);
	if (f && (oflags & O_TRUNC) && S_ISREG(p->inode->mode) && !(oflags & O_PATH)) {
		struct qk_stat st = {.size = 0};
		*err = p->inode->ops->setattr ? p->inode->ops->setattr(p->inode, QK_ATTR_SIZE, &st) : -EINVAL;
		if (*err) {
			file_put(f);
			f = NULL;
		} else {
			notify(p->inode, IN_MODIFY);
		}
	}
	path_put(p);
	return f;
}

static struct file *open_tmpfile(int dirfd, const char *path, u32 oflags, u32 mode, int *err)
{
	struct path dir;
	struct inode *i = NULL;
	*err = path_walk(dirfd, path, WALK_FOLLOW | WALK_DIRECTORY, &dir, NULL);
	if (*err)
		return NULL;
	if ((oflags & O_ACCMODE) == O_RDONLY)
		*err = -EINVAL;
	else if (dir.mnt->flags & QK_MOUNT_RO)
		*err = -EROFS;
	else
		*err = inode_permission(dir.inode, 3);
	if (!*err)
		*err = dir.inode->ops->tmpfile ? dir.inode->ops->tmpfile(dir.inode, S_IFREG | (mode & 07777 & ~current->fs->umask), &i) : -EOPNOTSUPP;
	if (i && !(oflags & O_EXCL))
		i->iflags |= I_LINKABLE;
	struct path p = {.mnt = dir.mnt, .inode = i};
	path_put(&dir);
	if (*err)
		return NULL;
	struct file *f = inode_open(&p, oflags, err);
	path_put(&p);
	return f;
}

static int open_new_name(struct path *dir, const char *name, u32 mode, struct path *out)
{
	int r = inode_permission(dir->inode, 3);
	if (dir->mnt->flags & QK_MOUNT_RO)
		r = -EROFS;
	if (!r)
		r = dir->inode->ops->create
			    ? dir->inode->ops->create(dir->inode, name, S_IFREG | (mode & 07777 & ~current->fs->umask), 0, &out->inode)
			    : -EACCES;
	if (!r) {
		out->mnt = dir->mnt;
		out->str = path_text(dir->inode, dir->mnt, name);
		inotify_adopt(dir->inode, name, out->inode);
		notify_entry(dir->inode, IN_CREATE, name, out->inode, 0);
	}
	return r;
}

/* walk: WALK_RESOLVE flags, and how deep in links to missing files we are. */
static struct file *open_or_create(int dirfd, const char *path, u32 oflags, u32 mode, int *err, u32 walk)
{
	struct path p, dir;
	size_t len = strlen(path);
	bool excl = oflags & O_EXCL;
	u32 depth = walk & 15, resolve = walk & ~15u;
	*err = path_walk(dirfd, path, (excl || (oflags & O_NOFOLLOW) ? 0 : WALK_FOLLOW) | resolve, &p, NULL);
	if (!*err) {
		if (!excl)
			return open_as_path(&p, oflags, err);
		path_put(&p);
		*err = -EEXIST;
		return NULL;
	}
	if (*err != -ENOENT)
		return NULL;
	if (len && path[len - 1] == '/') {
		*err = -EISDIR;
		return NULL;
	}
	/* A link whose target does not exist yet: the target is made. */
	if (!excl && path_walk(dirfd, path, resolve, &p, NULL) == 0) {
		char *text = kmalloc(PATH_MAX), last[NAME_MAX + 1];
		struct file *f = NULL;
		long n = text && p.inode->ops->readlink ? p.inode->ops->readlink(p.inode, text, PATH_MAX) : -ENOENT;
		*err = n < 0 ? (int)n : depth > 8 ? -ELOOP : path_walk(dirfd, path, WALK_PARENT | resolve, &dir, last);
		if (!*err) {
			struct file *d = inode_open(&dir, O_PATH | O_DIRECTORY, err);
			int fd = d ? fd_install(d, O_CLOEXEC, 0) : -ENOMEM;
			*err = fd < 0 ? fd : 0;
			if (fd >= 0) {
				f = open_or_create(fd, text, oflags, mode, err, resolve | (depth + 1));
				fd_close(fd);
			}
			path_put(&dir);
		}
		path_put(&p);
		kfree(text);
		return f;
	}
	char last[NAME_MAX + 1];
	*err = path_walk(dirfd, path, WALK_PARENT | resolve, &dir, last);
	if (*err)
		return NULL;
	if (!strcmp(last, ".") || !strcmp(last, ".."))
		*err = -EISDIR;
	else
		*err = open_new_name(&dir, last, mode, &p);
	path_put(&dir);
	if (*err)
		return NULL;
	struct file *f = inode_open(&p, oflags & ~(u32)O_TRUNC, err);
	path_put(&p);
	return f;
}

static struct file *open_once(int dirfd, const char *path, u32 oflags, u32 mode, int *err)
{
	struct path p;
	u32 resolve = oflags & ~((1u << WALK_RESOLVE_SHIFT) - 1);
	oflags &= (1u << WALK_RESOLVE_SHIFT) - 1;
	if (oflags & O_PATH)
		oflags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	if ((oflags & __O_TMPFILE) == __O_TMPFILE)
		return open_tmpfile(dirfd, path, oflags, mode, err);
	if (oflags & O_CREAT)
		return open_or_create(dirfd, path, oflags, mode, err, resolve);
	*err = path_walk(dirfd, path, (oflags & O_NOFOLLOW ? 0 : WALK_FOLLOW) | resolve, &p, NULL);
	return *err ? NULL : open_as_path(&p, oflags, err);
}

struct file *file_open(int dirfd, const char *path, u32 oflags, u32 mode, int *err)
{
	struct file *f = open_once(dirfd, path, oflags, mode, err);
	if (f || *err != -ESTALE)
		return f;
	host_forget_all();
	return open_once(dirfd, path, oflags, mode, err);
}

int vfs_mknod(int dirfd, const char *path, u32 mode, u64 rdev, struct inode **out)
{
	struct path dir;
	struct inode *i = NULL;
	char last[NAME_MAX + 1];
	int r = path_walk(dirfd, path, WALK_PARENT, &dir, last);
	if (r)
		return r;
	struct path there = {0};
	if (!strcmp(last, ".") || !strcmp(last, "..") || path_lookup(&dir, last, last, &there) == 0)
		r = -EEXIST;
	else if (dir.mnt->flags & QK_MOUNT_RO)
		r = -EROFS;
	else
		r = inode_permission(dir.inode, 3);
	if (there.inode)
		inode_put(there.inode);
	if (!r)
		r = dir.inode->ops->create ? dir.inode->ops->create(dir.inode, last, (mode & S_IFMT) | (mode & 07777 & ~current->fs->umask), rdev, &i)
					   : -EPERM;
	if (!r) {
		inotify_adopt(dir.inode, last, i);
		notify_entry(dir.inode, IN_CREATE, last, i, 0);
	}
	path_put(&dir);
	if (r)
		return r;
	if (out)
		*out = i;
	else
		inode_put(i);
	return 0;
}
