/* System calls that ask about files: stat family, access, readlink, statfs. */
#include "fdtable.h"
#include "mount.h"
#include <linux/fcntl.h>
#include <linux/stat.h>
#include <asm/stat.h>
#include <asm/statfs.h>

/* Nanoseconds count forwards also before 1970. */
static s64 stat_seconds(s64 ns)
{
	return ns / 1000000000 - (ns % 1000000000 < 0);
}

void stat_to_user_struct(const struct qk_stat *st, void *linux_stat)
{
	struct stat *s = linux_stat;
	*s = (struct stat){
		.st_dev = st->dev,
		.st_ino = st->ino,
		.st_nlink = st->nlink,
		.st_mode = st->mode,
		.st_uid = st->uid,
		.st_gid = st->gid,
		.st_rdev = st->rdev,
		.st_size = (s64)st->size,
		.st_blksize = 4096,
		.st_blocks = (s64)st->blocks,
	};
	s->st_atime = (u64)stat_seconds(st->atime_ns);
	s->st_atime_nsec = (u64)(st->atime_ns - stat_seconds(st->atime_ns) * 1000000000);
	s->st_mtime = (u64)stat_seconds(st->mtime_ns);
	s->st_mtime_nsec = (u64)(st->mtime_ns - stat_seconds(st->mtime_ns) * 1000000000);
	s->st_ctime = (u64)stat_seconds(st->ctime_ns);
	s->st_ctime_nsec = (u64)(st->ctime_ns - stat_seconds(st->ctime_ns) * 1000000000);
}

static long stat_at(int dirfd, u64 upath, u64 at, struct qk_stat *st)
{
	struct path p;
	char first;
	/* fstat by another name: no walk. */
	if ((at & AT_EMPTY_PATH) && get_user(first, UPTR(upath)) == 0 && !first && dirfd != AT_FDCWD) {
		scoped_file f = fd_get(dirfd);
		return f ? inode_getattr(f->inode, st) : -EBADF;
	}
	long r = path_walk_user(dirfd, upath, at, &p);
	if (!r) {
		r = inode_getattr(p.inode, st);
		path_put(&p);
	}
	return r;
}

static long stat_to_user(u64 ust, const struct qk_stat *st)
{
	struct stat s;
	stat_to_user_struct(st, &s);
	return copy_to_user(UPTR(ust), &s, sizeof(s));
}

long sys_newfstatat(u64 dirfd, u64 path, u64 ust, u64 flags)
{
	struct qk_stat st;
	if (flags & ~(u64)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT))
		return -EINVAL;
	long r = stat_at((int)dirfd, path, flags, &st);
	return r ? r : stat_to_user(ust, &st);
}

long sys_stat(u64 path, u64 ust)
{
	return sys_newfstatat((u64)AT_FDCWD, path, ust, 0);
}

long sys_lstat(u64 path, u64 ust)
{
	return sys_newfstatat((u64)AT_FDCWD, path, ust, AT_SYMLINK_NOFOLLOW);
}

long sys_fstat(u64 fd, u64 ust)
{
	struct qk_stat st;
	scoped_file f = fd_get((int)fd);
	long r = f ? inode_getattr(f->inode, &st) : -EBADF;
	return r ? r : stat_to_user(ust, &st);
}

static struct statx_timestamp stat_stamp(s64 ns)
{
	return (struct statx_timestamp){.tv_sec = stat_seconds(ns), .tv_nsec = (u32)(ns - stat_seconds(ns) * 1000000000)};
}

long sys_statx(u64 dirfd, u64 path, u64 flags, u64 mask, u64 ux)
{
	struct qk_stat st;
	if (flags & ~(u64)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC) || mask & (1u << 31))
		return -EINVAL;
	long r = stat_at((int)dirfd, path, flags, &st);
	if (r)
		return r;
	struct statx x = {
		.stx_mask = STATX_BASIC_STATS,
		.stx_blksize = 4096,
		.stx_nlink = st.nlink,
		.stx_uid = st.uid,
		.stx_gid = st.gid,
		.stx_mode = (u16)st.mode,
		.stx_ino = st.ino,
		.stx_size = st.size,
		.stx_blocks = st.blocks,
		.stx_atime = stat_stamp(st.atime_ns),
		.stx_mtime = stat_stamp(st.mtime_ns),
		.stx_ctime = stat_stamp(st.ctime_ns),
		.stx_rdev_major = (u32)(st.rdev >> 8 & 0xfff),
		.stx_rdev_minor = (u32)((st.rdev & 0xff) | (st.rdev >> 12 & 0xfff00)),
		.stx_dev_major = (u32)(st.dev >> 8 & 0xfff),
		.stx_dev_minor = (u32)((st.dev & 0xff) | (st.dev >> 12 & 0xfff00)),
	};
	return copy_to_user(UPTR(ux), &x, sizeof(x));
}

long sys_faccessat2(u64 dirfd, u64 path, u64 mode, u64 flags)
{
	struct path p;
	struct process *proc = current->proc;
	if (mode > 7 || flags & ~(u64)(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	/* access(2) asks for the real user, not the effective one. */
	u32 fsuid = proc->fsuid, fsgid = proc->fsgid;
	if (!(flags & AT_EACCESS)) {
		proc->fsuid = proc->uid;
		proc->fsgid = proc->gid;
	}
	long r = path_walk_user((int)dirfd, path, flags, &p);
	if (!r) {
		r = mode ? inode_permission(p.inode, (u32)mode) : 0;
		if (!r && (mode & 2) && (p.mnt->flags & QK_MOUNT_RO))
			r = -EROFS;
		path_put(&p);
	}
	proc->fsuid = fsuid;
	proc->fsgid = fsgid;
	return r;
}

long sys_faccessat(u64 dirfd, u64 path, u64 mode)
{
	return sys_faccessat2(dirfd, path, mode, 0);
}

long sys_access(u64 path, u64 mode)
{
	return sys_faccessat2((u64)AT_FDCWD, path, mode, 0);
}

long sys_readlinkat(u64 dirfd, u64 path, u64 ubuf, u64 size)
{
	struct path p;
	if ((s64)size <= 0)
		return -EINVAL;
	long r = path_walk_user((int)dirfd, path, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, &p);
	if (r)
		return r;
	char *text = kmalloc(PATH_MAX);
	if (!text)
		r = -ENOMEM;
	else if (!S_ISLNK(p.inode->mode) || !p.inode->ops->readlink)
		r = -EINVAL;
	else
		r = p.inode->ops->readlink(p.inode, text, PATH_MAX);
	if (r > 0) {
		r = MIN(r, (long)size);
		if (copy_to_user(UPTR(ubuf), text, (size_t)r))
			r = -EFAULT;
	}
	kfree(text);
	path_put(&p);
	return r;
}

long sys_readlink(u64 path, u64 ubuf, u64 size)
{
	return sys_readlinkat((u64)AT_FDCWD, path, ubuf, size);
}

static long stat_statfs_inode(struct inode *i, u64 u)
{
	struct statfs s = {0};
	int r = i->ops->statfs ? i->ops->statfs(i, &s) : 0;
	if (!i->ops->statfs) {
		u32 type = i->mode & S_IFMT;
		s.f_type = type == S_IFIFO ? 0x50495045 : type == S_IFSOCK ? 0x534f434b : 0x09041934; /* pipefs, sockfs, anonymous inodes */
		s.f_bsize = s.f_frsize = 4096;
		s.f_namelen = 255;
	}
	return r ? r : copy_to_user(UPTR(u), &s, sizeof(s));
}

long sys_statfs(u64 path, u64 u)
{
	struct path p;
	long r = path_walk_user(AT_FDCWD, path, 0, &p);
	if (!r) {
		r = stat_statfs_inode(p.inode, u);
		path_put(&p);
	}
	return r;
}

long sys_fstatfs(u64 fd, u64 u)
{
	scoped_file f = fd_get((int)fd);
	return f ? stat_statfs_inode(f->inode, u) : -EBADF;
}
