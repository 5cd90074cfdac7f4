/* Files of volumes: reads and writes go to the host, which may change them at any time. */
#include "ktime.h"
#include "pagecache.h"
#include "hostfs.h"
#include "qcall.h"
#include "window.h"
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/stat.h>

#define AHEAD_MIN 65536u /* bytes left to read of a file that is worth reading ahead */

int volume_open(struct inode *i, struct file *f)
{
	if (S_ISREG(i->mode))
		return host_hold(i, f->flags);
	return S_ISDIR(i->mode) ? 0 : S_ISFIFO(i->mode) ? fifo_open(i, f) : -ENXIO;
}

static void volfile_volume_release(struct file *f)
{
	host_unhold(f->inode);
}

/* Through the cache: what came with the open, and large files that are read in order, ahead of the reader. Only for as long as the host's word holds;
 * 0: not this time. */
static ssize_t volfile_read_cached(struct inode *i, struct uio *u, u64 *pos)
{
	struct hostnode *n = hostnode_of(i);
	bool in_order = *pos && *pos == n->read_to;
	if (window_uses(i))
		return 0; /* what is written through a mapping is to be seen at once */
	if (!n->pages_until || n->contact != host_contacts || mono_ns() >= n->pages_until) {
		n->pages_until = 0;
		if (!in_order || n->writable || i->size < *pos + AHEAD_MIN || host_refetch(i))
			return 0;
		if (i->cache)
			pagecache_truncate(i, 0); /* of another time; mappings keep what they have */
		n->pages_until = mono_ns() + VOLUME_VALID_NS;
	}
	ssize_t r = pagecache_read_inode(i, u, pos);
	n->read_to = *pos;
	return r;
}

static ssize_t volfile_volume_read(struct file *f, struct uio *u, u64 *pos)
{
	struct inode *i = f->inode;
	struct hostnode *n = hostnode_of(i);
	ssize_t done = volfile_read_cached(i, u, pos);
	if (done < 0)
		return done;
	if (done && (!u->resid || (*pos >= i->size && host_recent(n->checked, n->contact))))
		return done;
	while (u->resid) {
		ssize_t want = uio_segs(u, 1 << 20, true);
		if (want <= 0)
			return done ? done : want;
		s64 r = qcall(QC_PREAD, 0, (u64)n->handle, *pos, 0, 0, 0, 0);
		if (r < 0)
			return done ? done : r;
		host_set_tail(i);
		if (!r)
			break;
		uio_advance(u, (u64)r);
		*pos += (u64)r;
		done += r;
		if (r < want)
			break;
	}
	n->read_to = *pos;
	return done;
}

/* Pages already read by a mapping follow what was written. */
static void volfile_refresh(struct inode *i, u64 from, u64 to)
{
	for (u64 k = from >> PAGE_SHIFT; i->cache && k <= (to - 1) >> PAGE_SHIFT; k++) {
		paddr_t p;
		if (!pagecache_has(i, k) || pagecache_get(i, k, false, &p))
			continue;
		host_readpages(i, k, 1, &p);
		frame_put(p);
	}
}

/* The attributes after a write of ours: what is cached has been brought up to date. */
static void volfile_written(struct inode *i)
{
	i->size = qcall_out(0);
	i->mtime_ns = (s64)qcall_out(1);
	i->ctime_ns = (s64)qcall_out(2);
	i->blocks = qcall_out(3);
	host_checked(hostnode_of(i));
}

static ssize_t volfile_volume_write(struct file *f, struct uio *u, u64 *pos)
{
	struct inode *i = f->inode;
	struct hostnode *n = hostnode_of(i);
	ssize_t done = 0;
	n->pages_until = 0;
	while (u->resid) {
		ssize_t want = uio_segs(u, 1 << 20, false);
		if (want <= 0)
			return done ? done : want;
		s64 r = qcall(QC_PWRITE, 0, (u64)n->handle, f->flags & O_APPEND ? QK_APPEND : *pos, 0, 0, 0, 0);
		if (r <= 0)
			return done ? done : r;
		volfile_written(i);
		if (f->flags & O_APPEND)
			*pos = i->size - (u64)r;
		volfile_refresh(i, *pos, *pos + (u64)r);
		uio_advance(u, (u64)r);
		*pos += (u64)r;
		done += r;
	}
	return done;
}

static int volfile_on_handle(struct file *f, enum qk_op op, u64 a, u64 b, u64 c)
{
	seg_begin();
	return (int)qcall(op, 0, (u64)hostnode_of(f->inode)->handle, a, b, c, 0, 0);
}

static int volfile_volume_fsync(struct file *f, bool data)
{
	return volfile_on_handle(f, QC_FSYNC, data, 0, 0);
}

static int volfile_volume_fallocate(struct file *f, int mode, u64 off, u64 len)
{
	int r = volfile_on_handle(f, QC_FALLOCATE, (u64)mode, off, len);
	if (!r)
		host_refetch(f->inode);
	return r;
}

static s64 volfile_volume_lseek(struct file *f, s64 off, int whence)
{
	struct qk_stat st;
	if (whence >= 2)
		host_getattr(f->inode, &st);
	return generic_lseek(f, off, whence);
}

const struct file_ops volume_file_ops = {.read = volfile_volume_read,
					 .write = volfile_volume_write,
					 .lseek = volfile_volume_lseek,
					 .mmap = generic_mmap,
					 .fsync = volfile_volume_fsync,
					 .fallocate = volfile_volume_fallocate,
					 .release = volfile_volume_release};
