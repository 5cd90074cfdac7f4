/* Reading directories. */
#include "fdtable.h"
#include "inotify.h"
#include <linux/fcntl.h>
#include <linux/stat.h>

struct dents {
	u64 at;   /* next free user byte */
	u64 left; /* bytes */
	bool old; /* getdents: the type is the last byte */
	long err;
	u64 next_pos;
};

static bool getdents_emit(void *ctx, const char *name, u64 ino, u8 type, u64 next_pos)
{
	struct dents *d = ctx;
	size_t n = strlen(name), head = d->old ? 18 : 19, len = ALIGN_UP(head + n + 1 + d->old, 8ul);
	u8 buf[300];
	if (len > d->left) {
		d->err = -EINVAL;
		return false;
	}
	memset(buf, 0, len);
	memcpy(buf, &ino, 8);
	memcpy(buf + 8, &next_pos, 8);
	u16 len16 = (u16)len;
	memcpy(buf + 16, &len16, 2);
	if (d->old)
		buf[len - 1] = type;
	else
		buf[18] = type;
	memcpy(buf + head, name, n + 1);
	if (copy_to_user(UPTR(d->at), buf, len)) {
		d->err = -EFAULT;
		return false;
	}
	d->at += len;
	d->left -= len;
	d->next_pos = next_pos;
	return true;
}

static long getdents_of(u64 fd, u64 ubuf, u64 size, bool old)
{
	scoped_file f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	struct dents d = {.at = ubuf, .left = MIN((u32)size, 1u << 20), .old = old};
	u64 room = d.left;
	long r = f->flags & O_PATH ? -EBADF : !S_ISDIR(f->inode->mode) || !f->inode->ops->readdir ? -ENOTDIR : !f->inode->nlink ? -ENOENT : 0;
	if (!r)
		r = f->inode->ops->readdir(f->inode, &f->pos, getdents_emit, &d);
	if (!r && d.left == room)
		r = d.err; /* the buffer is too small for one entry, or bad */
	else if (!r)
		r = (long)(room - d.left);
	if (r >= 0)
		notify(f->inode, IN_ACCESS);
	return r;
}

long sys_getdents64(u64 fd, u64 ubuf, u64 size)
{
	return getdents_of(fd, ubuf, size, false);
}

long sys_getdents(u64 fd, u64 ubuf, u64 size)
{
	return getdents_of(fd, ubuf, size, true);
}
