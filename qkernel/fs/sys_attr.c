/* System calls that change attributes and sizes, and those that ask for writing back. */
#include "fdtable.h"
#include "ktime.h"
#include "mount.h"
#include "inotify.h"
#include <linux/capability.h>
#include <linux/falloc.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#define UTIME_NOW 0x3fffffff
#define UTIME_OMIT 0x3ffffffe

static long attr_set(struct inode *i, const struct mount *m, u32 mask, const struct qk_stat *st)
{
	if (m && (m->flags & QK_MOUNT_RO))
		return -EROFS;
	int r = i->ops->setattr ? i->ops->setattr(i, mask, st) : -EPERM;
	if (!r)
		notify(i, mask & QK_ATTR_SIZE ? IN_MODIFY : IN_ATTRIB);
	return r;
}

static bool attr_owner_or_root(const struct inode *i)
{
	return current->proc->fsuid == 0 || current->proc->fsuid == i->uid;
}

static long attr_set_mode(struct inode *i, const struct mount *m, u64 mode)
{
	struct qk_stat st = {.mode = (u32)mode & 07777};
	/* chmod(2): a set-group-ID bit that would lend a group that the caller is not in is left out. */
	if (!inode_in_group(i->gid) && !(current->proc->cap_eff >> CAP_FSETID & 1))
		st.mode &= ~S_ISGID;
	return !attr_owner_or_root(i) ? -EPERM : attr_set(i, m, QK_ATTR_MODE, &st);
}

static long attr_set_owner(struct inode *i, const struct mount *m, u64 uid, u64 gid)
{
	u32 u = (u32)uid == ~0u ? i->uid : (u32)uid, g = (u32)gid == ~0u ? i->gid : (u32)gid;
	bool own = current->proc->fsuid == i->uid;
	/* chown(2): an owner may give the file to a group of its own, and to nobody. */
	if (!(current->proc->cap_eff >> CAP_CHOWN & 1) && (!own || u != i->uid || (g != i->gid && !inode_in_group(g))))
		return -EPERM;
	struct qk_stat st = {.uid = u, .gid = g, .mode = i->mode & 07777};
	/* Set-id bits do not survive a change of owner; without the group's execute bit, set-group-id means something else. */
	u32 mask = QK_ATTR_OWNER, kill = S_ISUID | (i->mode & S_IXGRP ? S_ISGID : 0);
	if (S_ISREG(i->mode) && (i->mode & kill)) {
		st.mode &= ~kill;
		mask |= QK_ATTR_MODE;
	}
	return attr_set(i, m, mask, &st);
}

static long attr_truncate_to(struct inode *i, const struct mount *m, u64 size)
{
	struct qk_stat st = {.size = size};
	if ((s64)size < 0)
		return -EINVAL;
	if (S_ISDIR(i->mode))
		return -EISDIR;
	if (S_ISREG(i->mode) && i->writers < 0)
		return -ETXTBSY;
	int r = size > i->size ? file_size_allowed(size) : 0;
	if (r)
		return r;
	inode_content_changes(i);
	return S_ISREG(i->mode) ? attr_set(i, m, QK_ATTR_SIZE, &st) : -EINVAL;
}

/* Runs `what` on the inode of a path or of a descriptor. */
#define ON_PATH(dirfd, upath, at, what) \
	({ \
		struct path _p; \
		long _r = path_walk_user((dirfd), (upath), (at), &_p); \
		if (!_r) { \
			struct inode *i = _p.inode; \
			const struct mount *m = _p.mnt; \
			(void)i; \
			(void)m; \
			_r = (what); \
			path_put(&_p); \
		} \
		_r; \
	})
#define ON_FD(fd, what) \
	({ \
		scoped_file f = fd_get((int)(fd)); \
		long _r = -EBADF; \
		if (f && !(f->flags & O_PATH)) { \
			struct inode *i = f->inode; \
			const struct mount *m = f->path.mnt; \
			(void)m; \
			(void)i; \
			_r = (what); \
		} \
		_r; \
	})

long sys_chmod(u64 p, u64 mode)
{
	return ON_PATH(AT_FDCWD, p, 0, attr_set_mode(i, m, mode));
}
long sys_fchmod(u64 fd, u64 mode)
{
	return ON_FD(fd, attr_set_mode(i, m, mode));
}
long sys_fchmodat(u64 d, u64 p, u64 mode)
{
	return ON_PATH((int)d, p, 0, attr_set_mode(i, m, mode));
}
long sys_chown(u64 p, u64 u, u64 g)
{
	return ON_PATH(AT_FDCWD, p, 0, attr_set_owner(i, m, u, g));
}
long sys_lchown(u64 p, u64 u, u64 g)
{
	return ON_PATH(AT_FDCWD, p, AT_SYMLINK_NOFOLLOW, attr_set_owner(i, m, u, g));
}
long sys_fchown(u64 fd, u64 u, u64 g)
{
	return ON_FD(fd, attr_set_owner(i, m, u, g));
}
long sys_fchownat(u64 d, u64 p, u64 u, u64 g, u64 at)
{
	return at & ~(u64)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) ? -EINVAL : ON_PATH((int)d, p, at, attr_set_owner(i, m, u, g));
}

static long attr_truncate_checked(struct inode *i, const struct mount *m, u64 size)
{
	int r = inode_permission(i, 2);
	return r ? r : attr_truncate_to(i, m, size);
}
long sys_truncate(u64 p, u64 size)
{
	return ON_PATH(AT_FDCWD, p, 0, attr_truncate_checked(i, m, size));
}
long sys_ftruncate(u64 fd, u64 size)
{
	return ON_FD(fd, (f->flags & O_ACCMODE) == O_RDONLY || !S_ISREG(i->mode) ? -EINVAL : attr_truncate_to(i, m, size));
}

static long attr_allocate(struct file *f, u64 mode, u64 off, u64 len)
{
	if (!f->ops->fallocate)
		return -EOPNOTSUPP;
	long r = !(mode & FALLOC_FL_KEEP_SIZE) && off + len > f->inode->size ? file_size_allowed(off + len) : 0;
	if (r)
		return r;
	inode_content_changes(f->inode);
	r = f->ops->fallocate(f, (int)mode, off, len);
	if (!r)
		notify(f->inode, IN_MODIFY);
	return r;
}

long sys_fallocate(u64 fd, u64 mode, u64 off, u64 len)
{
	if ((s64)off < 0 || (s64)len <= 0)
		return -EINVAL;
	if ((s64)(off + len) < 0)
		return -EFBIG;
	return ON_FD(fd, (f->flags & O_ACCMODE) == O_RDONLY ? -EBADF
			 : S_ISFIFO(i->mode)                ? -ESPIPE
			 : !S_ISREG(i->mode)                ? -ENODEV
							    : attr_allocate(f, mode, off, len));
}

/* ---- Times */
struct times {
	u32 mask;
	bool now_only;
	s64 a, m;
};

static long attr_set_times(struct inode *i, const struct mount *m, const struct times *t)
{
	struct qk_stat st = {.atime_ns = t->a, .mtime_ns = t->m};
	if (!t->mask)
		return 0;
	if (!attr_owner_or_root(i) && !(t->now_only && inode_permission(i, 2) == 0))
		return t->now_only ? -EACCES : -EPERM;
	return attr_set(i, m, t->mask, &st);
}

static long attr_times_from_timespec(u64 u, struct times *t)
{
	s64 v[4], now = (s64)real_ns();
	*t = (struct times){QK_ATTR_ATIME | QK_ATTR_MTIME, true, now, now};
	if (!u)
		return 0;
	if (copy_from_user(v, UPTR(u), sizeof(v)))
		return -EFAULT;
	t->now_only = v[1] == UTIME_NOW && v[3] == UTIME_NOW;
	for (int k = 0; k < 2; k++) {
		s64 sec = v[2 * k], ns = v[2 * k + 1];
		if (ns == UTIME_OMIT) {
			t->mask &= ~(k ? QK_ATTR_MTIME : QK_ATTR_ATIME);
		} else if (ns != UTIME_NOW) {
			if (ns < 0 || ns > 999999999)
				return -EINVAL;
			*(k ? &t->m : &t->a) = sec * 1000000000 + ns;
		}
	}
	return 0;
}

static long attr_times_from_timeval(u64 u, struct times *t)
{
	s64 v[4], now = (s64)real_ns();
	*t = (struct times){QK_ATTR_ATIME | QK_ATTR_MTIME, !u, now, now};
	if (!u)
		return 0;
	if (copy_from_user(v, UPTR(u), sizeof(v)))
		return -EFAULT;
	if (v[1] < 0 || v[1] > 999999 || v[3] < 0 || v[3] > 999999)
		return -EINVAL;
	t->a = v[0] * 1000000000 + v[1] * 1000;
	t->m = v[2] * 1000000000 + v[3] * 1000;
	return 0;
}

long sys_utimensat(u64 dirfd, u64 upath, u64 utimes, u64 at)
{
	struct times t;
	if (at & ~(u64)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	long r = attr_times_from_timespec(utimes, &t);
	if (r)
		return r;
	if (!upath)
		return ON_FD(dirfd, attr_set_times(i, m, &t));
	return ON_PATH((int)dirfd, upath, at, attr_set_times(i, m, &t));
}

long sys_futimesat(u64 dirfd, u64 upath, u64 utimes)
{
	struct times t;
	long r = attr_times_from_timeval(utimes, &t);
	return r ? r : upath ? ON_PATH((int)dirfd, upath, 0, attr_set_times(i, m, &t)) : ON_FD(dirfd, attr_set_times(i, m, &t));
}

long sys_utimes(u64 upath, u64 utimes)
{
	return upath ? sys_futimesat((u64)AT_FDCWD, upath, utimes) : -EFAULT;
}

long sys_utime(u64 upath, u64 utimes)
{
	s64 v[2], now = (s64)real_ns();
	struct times t = {QK_ATTR_ATIME | QK_ATTR_MTIME, !utimes, now, now};
	if (utimes) {
		if (copy_from_user(v, UPTR(utimes), sizeof(v)))
			return -EFAULT;
		t.a = v[0] * 1000000000;
		t.m = v[1] * 1000000000;
	}
	return ON_PATH(AT_FDCWD, upath, 0, attr_set_times(i, m, &t));
}

/* ---- Writing back, advice */
static long attr_sync(struct file *f, bool data)
{
	return f->ops->fsync ? f->ops->fsync(f, data) : S_ISREG(f->inode->mode) || S_ISDIR(f->inode->mode) ? 0 : -EINVAL;
}
long sys_fsync(u64 fd)
{
	return ON_FD(fd, attr_sync(f, false));
}
long sys_fdatasync(u64 fd)
{
	return ON_FD(fd, attr_sync(f, true));
}
long sys_sync_file_range(u64 fd, u64 off, u64 n, u64 flags)
{
	return (s64)off < 0 || (s64)n < 0 || flags & ~7ul ? -EINVAL : ON_FD(fd, attr_sync(f, true));
}
/* Writes to host files go through at once: there is nothing kept back. */
long sys_sync(void)
{
	return 0;
}
long sys_syncfs(u64 fd)
{
	return ON_FD(fd, 0);
}
long sys_readahead(u64 fd, u64 off, u64 n)
{
	return ON_FD(fd, S_ISREG(i->mode) ? 0 : -EINVAL);
}
long sys_fadvise64(u64 fd, u64 off, u64 n, u64 advice)
{
	return ON_FD(fd, S_ISFIFO(i->mode) ? -ESPIPE : (s64)n < 0 || advice > 5 ? -EINVAL : 0);
}
