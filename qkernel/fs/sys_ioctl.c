/* ioctl(2): what is the same for all files; the rest is the file's. */
#include "fdtable.h"
#include <asm/ioctls.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

long sys_ioctl(u64 fd, u64 cmd, u64 arg)
{
	struct file *f = fd_get((int)fd);
	s32 on;
	long r = 0;
	if (!f || (f->flags & O_PATH)) {
		if (f)
			file_put(f);
		return -EBADF;
	}
	switch ((u32)cmd) {
	case FIOCLEX:
	case FIONCLEX:
		fd_set_cloexec((int)fd, cmd == FIOCLEX);
		break;
	case FIONBIO:
		if (get_user(on, UPTR(arg)))
			r = -EFAULT;
		else
			f->flags = on ? f->flags | O_NONBLOCK : f->flags & ~(u32)O_NONBLOCK;
		break;
	case FIOASYNC:
		break;
	case FIONREAD:
		if (S_ISREG(f->inode->mode)) {
			on = (s32)(f->inode->size - MIN(f->pos, f->inode->size));
			r = put_user(on, UPTR(arg));
			break;
		}
		/* fall through */
	default:
		r = f->ops->ioctl ? f->ops->ioctl(f, (u32)cmd, arg) : -ENOTTY;
	}
	file_put(f);
	return r;
}
