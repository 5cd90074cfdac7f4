/* Mapped files as mm sees them: struct filemap_ops of mm.h. */
#include "ktime.h"
#include "pagecache.h"
#include "window.h"
#include <linux/falloc.h>
#include <linux/fcntl.h>
#include <linux/mman.h>

static int filemap_map(struct vma *v)
{
	struct file *f = v->file;
	file_get(f);
	int r = f->ops->mmap ? f->ops->mmap(f, v) : -ENODEV;
	if (!r && (v->flags & MAP_SHARED) && (v->file->flags & O_ACCMODE) != O_RDWR)
		v->flags |= VMA_NOWRITE;
	return r;
}

static void filemap_copy(struct file *f)
{
	file_get(f);
	if (f->ops->area)
		f->ops->area(f, true);
}

static void filemap_drop(struct file *f)
{
	if (f->ops->area)
		f->ops->area(f, false);
	file_put(f);
}

static void filemap_exe(struct file *f, bool more)
{
	if (more) {
		file_get(f);
		(void)inode_deny_write(f->inode); /* it is one already: no writers */
	} else {
		inode_allow_write(f->inode);
		file_put(f);
	}
}

static const struct inode *filemap_inode(const struct file *f)
{
	return f->inode;
}

static u32 filemap_traits(const struct file *f)
{
	const struct inode *i = f->inode;
	return (inode_is_lower(i) ? FILEMAP_STABLE : 0) | (i->iflags & I_DISK ? FILEMAP_TIMES : 0) | (i->iflags & I_SHMEM ? FILEMAP_SHMEM : 0);
}

static int filemap_page(struct file *f, u64 index, bool write, paddr_t *out)
{
	struct inode *i = f->inode;
	return i->ops->getpage ? i->ops->getpage(i, index, write, out) : -EIO;
}

static int filemap_shared(struct file *f, u64 index, bool write, paddr_t *out, bool *own)
{
	struct inode *i = f->inode;
	*own = i->ops->getshared;
	return *own ? i->ops->getshared(i, index, out) : filemap_page(f, index, write, out);
}

static unsigned filemap_around(struct file *f, u64 index, unsigned max, paddr_t *out)
{
	struct inode *i = f->inode;
	memset(out, 0, max * sizeof(*out));
	return i->ops->getpages_around ? i->ops->getpages_around(i, index, max, out) : 0;
}

static unsigned filemap_shared_around(struct file *f, u64 index, unsigned max, paddr_t *out)
{
	struct inode *i = f->inode;
	if (!i->ops->getshared)
		return filemap_around(f, index, max, out);
	memset(out, 0, max * sizeof(*out));
	return window_around(i, index, max, out);
}

static bool filemap_in_memory(struct file *f, u64 index)
{
	return pagecache_has(f->inode, index);
}

static void filemap_written(struct file *f)
{
	f->inode->mtime_ns = f->inode->ctime_ns = (s64)real_ns();
}

static int filemap_punch(struct file *f, u64 offset, u64 bytes)
{
	return f->ops->fallocate ? f->ops->fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes) : -EINVAL;
}

static int filemap_sync(struct file *f)
{
	return f->ops->fsync ? f->ops->fsync(f, true) : 0;
}

int generic_mmap(struct file *f, struct vma *v)
{
	return f->inode->ops->getpage ? 0 : -ENODEV;
}

void filemap_init(void)
{
	static const struct filemap_ops ops = {
		.map = filemap_map,
		.copy = filemap_copy,
		.drop = filemap_drop,
		.exe = filemap_exe,
		.inode = filemap_inode,
		.traits = filemap_traits,
		.page = filemap_page,
		.around = filemap_around,
		.shared = filemap_shared,
		.shared_around = filemap_shared_around,
		.in_memory = filemap_in_memory,
		.written = filemap_written,
		.punch = filemap_punch,
		.sync = filemap_sync,
		.count = window_count,
	};
	mm_set_filemap(&ops);
	frames_set_shrinker(pagecache_shrink);
}
