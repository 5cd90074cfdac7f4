/* Reading, writing and seeking in files whose content is in the page cache. */
#include "ktime.h"
#include "pagecache.h"
#include <asm/signal.h>
#include <linux/fcntl.h>

ssize_t pagecache_read_inode(struct inode *i, struct uio *u, u64 *pos)
{
	ssize_t done = 0;
	while (u->resid && *pos < i->size) {
		u64 in = *pos & (PAGE_SIZE - 1);
		u64 left = (MIN(u->resid, i->size - *pos) + in + PAGE_SIZE - 1) >> PAGE_SHIFT;
		paddr_t p;
		int r = pagecache_get_run(i, *pos >> PAGE_SHIFT, (unsigned)MIN(left, PAGE_RUN_MAX), &p);
		if (r && r != -ENOENT)
			return done ? done : r;
		/* A host file may have turned out to be shorter by now. */
		u64 part = MIN(MIN(u->resid, PAGE_SIZE - in), *pos < i->size ? i->size - *pos : 0);
		ssize_t n = r ? uio_zero(u, part) : uio_write(u, (char *)phys_to_virt(p) + in, part);
		if (!r)
			frame_put(p);
		if (n < 0)
			return done ? done : n;
		*pos += (u64)n;
		done += n;
		if ((u64)n < part)
			break;
	}
	return done;
}

ssize_t pagecache_read(struct file *f, struct uio *u, u64 *pos)
{
	return pagecache_read_inode(f->inode, u, pos);
}

ssize_t pagecache_write(struct file *f, struct uio *u, u64 *pos)
{
	struct inode *i = f->inode;
	ssize_t done = 0;
	if (f->flags & O_APPEND)
		*pos = i->size;
	while (u->resid) {
		u64 in = *pos & (PAGE_SIZE - 1), part = MIN(u->resid, PAGE_SIZE - in);
		paddr_t p;
		int r = pagecache_page_for_write(i, *pos >> PAGE_SHIFT, in, part, &p);
		if (r)
			return done ? done : r == -ENOMEM ? -ENOSPC : r;
		ssize_t n = uio_read(u, (char *)phys_to_virt(p) + in, part);
		frame_put(p);
		if (n < 0)
			return done ? done : n;
		*pos += (u64)n;
		done += n;
		i->size = MAX(i->size, *pos);
		if ((u64)n < part)
			break;
	}
	if (done)
		i->mtime_ns = i->ctime_ns = (s64)real_ns();
	return done;
}

s64 generic_lseek(struct file *f, s64 off, int whence)
{
	struct inode *i = f->inode;
	s64 size = (s64)i->size;
	switch (whence) {
	case 0:
		break;
	case 1:
		off += (s64)f->pos;
		break;
	case 2:
		off += size;
		break;
	case 3: /* SEEK_DATA */
	case 4: /* SEEK_HOLE. What lies over a lower file or comes from the host counts as without holes */
		if (off < 0 || off >= size)
			return -ENXIO;
		if (!i->ops->readpages && !inode_is_lower(i))
			off = (s64)pagecache_seek(i, (u64)off, whence == 4);
		else if (whence == 4)
			off = size;
		if (whence == 3 && off >= size)
			return -ENXIO;
		break;
	default:
		return -EINVAL;
	}
	if (off < 0 || off > (s64)FILE_SIZE_MAX)
		return -EINVAL;
	f->pos = (u64)off;
	return off;
}

s64 dir_lseek(struct file *f, s64 off, int whence)
{
	if (whence == 1)
		off += (s64)f->pos;
	if (whence > 1 || off < 0)
		return -EINVAL;
	f->pos = (u64)off;
	return off;
}
