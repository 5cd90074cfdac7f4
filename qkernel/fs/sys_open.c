/* System calls on descriptors: open, close, dup, fcntl, flock. */
#include "fdtable.h"
#include "lock.h"
#include <linux/fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>

#define OPEN_MASK ((1u << WALK_RESOLVE_SHIFT) - 1)
#define SETFL_MASK (O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | FASYNC)

static long open_user(int dirfd, u64 upath, u32 flags, u32 mode)
{
	char *path = kmalloc(PATH_MAX);
	if (!path)
		return -ENOMEM;
	int err = copy_path_from_user(path, UPTR(upath));
	struct file *f = err ? NULL : file_open(dirfd, path, flags, mode, &err);
	kfree(path);
	return f ? fd_install(f, flags & O_CLOEXEC, 0) : err;
}

long sys_openat(u64 dirfd, u64 path, u64 flags, u64 mode)
{
	return open_user((int)dirfd, path, (u32)flags & OPEN_MASK, (u32)mode);
}

long sys_open(u64 path, u64 flags, u64 mode)
{
	return open_user(AT_FDCWD, path, (u32)flags & OPEN_MASK, (u32)mode);
}

long sys_creat(u64 path, u64 mode)
{
	return open_user(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, (u32)mode);
}

long sys_openat2(u64 dirfd, u64 path, u64 uhow, u64 size)
{
	struct open_how how;
	if (size < sizeof(how))
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	if (copy_from_user(&how, UPTR(uhow), sizeof(how)))
		return -EFAULT;
	if (how.resolve & ~0x1ful || (how.resolve & 0x18) == 0x18)
		return -EINVAL;
	if (how.flags >> WALK_RESOLVE_SHIFT || how.mode & ~07777ul || (how.mode && !(how.flags & (O_CREAT | __O_TMPFILE))))
		return -EINVAL;
	return open_user((int)dirfd, path, (u32)how.flags | WALK_RESOLVE(how.resolve), (u32)how.mode);
}

long sys_close(u64 fd)
{
	return fd_close((int)fd);
}

long sys_close_range(u64 first, u64 last, u64 flags)
{
	u32 lo = (u32)first, hi = (u32)last;
	if (lo > hi || flags & ~6ul)
		return -EINVAL;
	if ((flags & 2) && current->files->refs > 1) { /* CLOSE_RANGE_UNSHARE */
		struct files *n = files_clone(current->files);
		if (!n)
			return -ENOMEM;
		files_put(current->files);
		current->files = n;
	}
	for (u64 fd = lo; fd <= hi && fd < current->files->cap; fd++) {
		if (!current->files->fd[fd])
			continue;
		if (flags & 4) /* CLOSE_RANGE_CLOEXEC */
			fd_set_cloexec((int)fd, true);
		else
			fd_close((int)fd);
	}
	return 0;
}

long sys_dup(u64 fd)
{
	struct file *f = fd_get((int)fd);
	return f ? fd_install(f, 0, 0) : -EBADF;
}

long sys_dup3(u64 from, u64 to, u64 flags)
{
	if (flags & ~(u64)O_CLOEXEC || (int)from == (int)to)
		return -EINVAL;
	struct file *f = fd_get((int)from);
	if (!f)
		return -EBADF;
	if ((int)to < 0) {
		file_put(f);
		return -EBADF;
	}
	return fd_replace((int)to, f, flags & O_CLOEXEC);
}

long sys_dup2(u64 from, u64 to)
{
	if ((int)from != (int)to)
		return sys_dup3(from, to, 0);
	scoped_file f = fd_get((int)from);
	return f ? (long)(int)to : -EBADF;
}

static long do_fcntl(int fd, struct file *f, u32 cmd, u64 arg)
{
	struct flock l;
	long r;
	switch (cmd) {
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		if (arg >= current->proc->rlim[RLIMIT_NOFILE].cur)
			return -EINVAL;
		file_get(f);
		/* Linux looks from `arg` on; 0 is the ordinary lowest free one. */
		return fd_install(f, cmd == F_DUPFD_CLOEXEC ? O_CLOEXEC : 0, (int)arg);
	case F_GETFD:
		return fd_cloexec(fd);
	case F_SETFD:
		fd_set_cloexec(fd, arg & FD_CLOEXEC);
		return 0;
	case F_GETFL:
		return f->flags | (f->flags & O_PATH ? 0 : O_LARGEFILE);
	default:
		break;
	}
	if (f->flags & O_PATH)
		return -EBADF;
	switch (cmd) {
	case F_SETFL:
		f->flags = (f->flags & ~(u32)SETFL_MASK) | ((u32)arg & SETFL_MASK);
		return 0;
	case F_GETLK:
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_GETLK:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
		if (copy_from_user(&l, UPTR(arg), sizeof(l)))
			return -EFAULT;
		r = lock_fcntl(f, cmd, &l);
		if (!r && (cmd == F_GETLK || cmd == F_OFD_GETLK) && copy_to_user(UPTR(arg), &l, sizeof(l)))
			return -EFAULT;
		return r;
	case F_SETOWN:
		f->owner = (s32)arg;
		return 0;
	case F_GETOWN:
		return f->owner;
	case F_SETSIG:
		return arg > SIGNALS ? -EINVAL : 0;
	case F_GETSIG:
		return 0;
	case F_ADD_SEALS:
		if ((f->flags & O_ACCMODE) == O_RDONLY)
			return -EPERM;
		if (!(f->inode->iflags & I_SHMEM) || arg & ~0x1ful)
			return -EINVAL;
		if (f->inode->seals & F_SEAL_SEAL)
			return -EPERM;
		if ((arg & F_SEAL_WRITE) && !(f->inode->seals & F_SEAL_WRITE) && mm_file_writable(f->inode))
			return -EBUSY;
		f->inode->seals |= (u32)arg;
		return 0;
	case F_GET_SEALS:
		return f->inode->iflags & I_SHMEM ? (long)f->inode->seals : -EINVAL;
	case F_SETPIPE_SZ:
	case F_GETPIPE_SZ:
		return pipe_fcntl(f, cmd, arg);
	case F_GET_RW_HINT:
	case F_SET_RW_HINT:
		return 0;
	default:
		return -EINVAL;
	}
}

long sys_fcntl(u64 fd, u64 cmd, u64 arg)
{
	scoped_file f = fd_get((int)fd);
	return f ? do_fcntl((int)fd, f, (u32)cmd, arg) : -EBADF;
}

long sys_flock(u64 fd, u64 op)
{
	scoped_file f = fd_get((int)fd);
	return !f || (f->flags & O_PATH) ? -EBADF : lock_flock(f, (u32)op);
}
