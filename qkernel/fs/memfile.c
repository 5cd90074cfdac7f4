/* Files in memory: content in the page cache; over a lower file, what is not yet changed is read from there. memfd and shared anonymous memory. */
#include "disk.h"
#include "fdtable.h"
#include "ktime.h"
#include "pagecache.h"
#include "memfs.h"
#include <asm/statfs.h>
#include <linux/falloc.h>
#include <linux/fcntl.h>
#include <linux/memfd.h>
#include <linux/mman.h>
#include <linux/stat.h>

bool inode_is_lower(const struct inode *i)
{
	return i->ops == &memfs_file_ops && memnode_of(i)->lower;
}

/* Copying up costs nothing by itself: pages are read from the lower file when they are needed. */
int memfs_copy_up(struct inode *i, u64 valid)
{
	if (!inode_is_lower(i))
		return 0;
	struct memnode *m = memnode_of(i);
	m->lower_valid = valid;
	m->own = true;
	i->ops = &memfs_copied_ops;
	if (valid && m->lower->ops->copied) {
		m->lower->ops->copied(m->lower, 1);
		m->counted = true;
	}
	return 0;
}

static int memfile_readpages(struct inode *i, u64 index, unsigned n, const paddr_t *frames)
{
	struct memnode *m = memnode_of(i);
	u64 from = index << PAGE_SHIFT, valid = m->lower_valid;
	unsigned from_lower = from >= valid ? 0 : (unsigned)MIN((u64)n, (valid - from + PAGE_SIZE - 1) >> PAGE_SHIFT);
	int r = from_lower ? m->lower->ops->readpages(m->lower, index, from_lower, frames) : 0;
	for (unsigned k = 0; !r && k < n; k++) {
		u64 at = from + ((u64)k << PAGE_SHIFT);
		u64 keep = at >= valid ? 0 : MIN(valid - at, PAGE_SIZE);
		if (keep < PAGE_SIZE)
			memset((char *)phys_to_virt(frames[k]) + keep, 0, PAGE_SIZE - keep);
	}
	return r;
}

static ssize_t memfile_read(struct file *f, struct uio *u, u64 *pos)
{
	struct inode *i = f->inode;
	return pagecache_read_inode(inode_is_lower(i) ? memnode_of(i)->lower : i, u, pos);
}

static ssize_t memfile_write(struct file *f, struct uio *u, u64 *pos)
{
	struct inode *i = f->inode;
	if (i->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return -EPERM;
	if ((i->seals & F_SEAL_GROW) && *pos + u->resid > i->size)
		return -EPERM;
	if (*pos + u->resid > FILE_SIZE_MAX)
		return -EFBIG;
	memfs_copy_up(i, i->size);
	return pagecache_write(f, u, pos);
}

static int memfile_getpage(struct inode *i, u64 index, bool write, paddr_t *out)
{
	if (index << PAGE_SHIFT >= i->size)
		return -EIO;
	if (inode_is_lower(i)) {
		struct inode *l = memnode_of(i)->lower;
		if (!write)
			return l->ops->getpage ? l->ops->getpage(l, index, false, out) : pagecache_get(l, index, false, out);
		memfs_copy_up(i, i->size);
	}
	int r = pagecache_get(i, index, true, out);
	return r == -ENOSPC ? -EIO : r; /* SIGBUS, as on a full file system */
}

static unsigned memfile_getpages_around(struct inode *i, u64 index, unsigned max, paddr_t *out)
{
	return pagecache_around(inode_is_lower(i) ? memnode_of(i)->lower : i, index, max, out);
}

static int memfile_truncate(struct inode *i, u64 size)
{
	struct memnode *m = memnode_of(i);
	if (size > FILE_SIZE_MAX)
		return -EFBIG;
	if (((i->seals & F_SEAL_GROW) && size > i->size) || ((i->seals & F_SEAL_SHRINK) && size < i->size))
		return -EPERM;
	memfs_copy_up(i, i->size);
	if (size < i->size) {
		mm_unmap_file(i, PAGE_ALIGN(size) >> PAGE_SHIFT);
		pagecache_truncate(i, size);
		m->lower_valid = MIN(m->lower_valid, size);
	}
	i->size = size;
	i->mtime_ns = i->ctime_ns = (s64)real_ns();
	return 0;
}

int memfs_setattr(struct inode *i, u32 mask, const struct qk_stat *st)
{
	memnode_of(i)->own = true;
	if (mask & QK_ATTR_SIZE) {
		int r = memfile_truncate(i, st->size);
		if (r)
			return r;
	}
	if (mask & QK_ATTR_MODE)
		i->mode = (i->mode & S_IFMT) | (st->mode & 07777);
	if (mask & QK_ATTR_OWNER) {
		i->uid = st->uid;
		i->gid = st->gid;
	}
	if (mask & QK_ATTR_ATIME)
		i->atime_ns = st->atime_ns;
	if (mask & QK_ATTR_MTIME)
		i->mtime_ns = st->mtime_ns;
	i->ctime_ns = (s64)real_ns();
	return 0;
}

/* What is missing in memory is read from the lower file below lower_valid: a hole that reaches up to there cuts it off. One in the middle stays in memory. */
static void memfile_punch(struct inode *i, u64 off, u64 len)
{
	struct memnode *m = memnode_of(i);
	if (off < m->lower_valid && off + len >= m->lower_valid)
		m->lower_valid = off;
	pagecache_zero(i, off, len, m->lower_valid);
}

static int memfile_fallocate(struct file *f, int mode, u64 off, u64 len)
{
	struct inode *i = f->inode;
	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	if ((mode & FALLOC_FL_PUNCH_HOLE) && !(mode & FALLOC_FL_KEEP_SIZE))
		return -EOPNOTSUPP;
	if (off + len > FILE_SIZE_MAX)
		return -EFBIG;
	if ((i->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) && (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)))
		return -EPERM;
	if ((i->seals & F_SEAL_GROW) && off + len > i->size && !(mode & FALLOC_FL_KEEP_SIZE))
		return -EPERM;
	/* Nothing is reserved, but what could never be written is refused. */
	if (!(mode & FALLOC_FL_PUNCH_HOLE) && (i->iflags & I_DISK) && len >> PAGE_SHIFT > disk_free() + pagecache_pages(i))
		return -ENOSPC;
	memfs_copy_up(i, i->size);
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		memfile_punch(i, off, len);
	if (!(mode & FALLOC_FL_KEEP_SIZE))
		i->size = MAX(i->size, off + len);
	return 0;
}

static int memfile_mmap(struct file *f, struct vma *v)
{
	if (!(f->inode->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) || !(v->flags & MAP_SHARED))
		return 0;
	if (v->prot & PROT_WRITE)
		return -EPERM;
	v->flags |= VMA_NOWRITE;
	return 0;
}

static int memfile_getattr(struct inode *i, struct qk_stat *st)
{
	bool lower = inode_is_lower(i);
	int r = lower ? inode_getattr(memnode_of(i)->lower, st) : 0;
	memfs_sync(i);
	inode_stat(i, st);
	if (!lower)
		st->blocks = pagecache_pages(i) * 8;
	return r;
}

/* A lower file is held open: it is what it is now, and stays that when its name goes to another. */
static int memfile_open(struct inode *i, struct file *f)
{
	struct inode *l = inode_is_lower(i) ? memnode_of(i)->lower : NULL;
	if (!l || !l->ops->hold)
		return 0;
	int r = l->ops->hold(l);
	if (r)
		return r;
	inode_get(l);
	f->priv = l;
	memfs_sync(i);
	return 0;
}

static void memfile_release(struct file *f)
{
	struct inode *l = f->priv;
	if (!l)
		return;
	l->ops->unhold(l);
	inode_put(l);
}

const struct inode_ops memfs_file_ops = {.getattr = memfile_getattr,
					 .open = memfile_open,
					 .setattr = memfs_setattr,
					 .statfs = memfs_statfs,
					 MEMFS_XATTRS,
					 .getpage = memfile_getpage,
					 .getpages_around = memfile_getpages_around,
					 .evict = memfs_evict};
const struct inode_ops memfs_copied_ops = {.getattr = memfile_getattr,
					   .setattr = memfs_setattr,
					   .statfs = memfs_statfs,
					   MEMFS_XATTRS,
					   .getpage = memfile_getpage,
					   .getpages_around = memfile_getpages_around,
					   .evict = memfs_evict,
					   .readpages = memfile_readpages};
const struct file_ops memfs_file_fops = {.read = memfile_read,
					 .write = memfile_write,
					 .lseek = generic_lseek,
					 .mmap = memfile_mmap,
					 .fallocate = memfile_fallocate,
					 .release = memfile_release};

/* ---- memory without a name */
static struct inode *memfile_shmem_inode(u64 size)
{
	static struct memsuper *super;
	if (!super) {
		super = kzalloc(sizeof(*super));
		if (!super)
			return NULL;
		super->dev = inode_new_dev();
	}
	struct inode *i = memfs_new(super, S_IFREG | 0777, 0);
	if (i) {
		i->size = size;
		i->nlink = 0;
		i->iflags = (i->iflags & ~I_DISK) | I_SHMEM;
		i->seals = F_SEAL_SEAL;
	}
	return i;
}

struct file *shmem_file_new(u64 size)
{
	struct inode *i = memfile_shmem_inode(size);
	struct file *f = i ? file_new(&memfs_file_fops, i, O_RDWR, NULL) : NULL;
	if (f)
		f->path.str = kstrdup("/dev/zero (deleted)");
	return f;
}

long sys_memfd_create(u64 uname, u64 flags)
{
	char name[280] = "/memfd:";
	if (flags & ~(u64)(MFD_CLOEXEC | MFD_ALLOW_SEALING | 0x18 /* NOEXEC_SEAL, EXEC */))
		return -EINVAL;
	long n = strncpy_from_user(name + 7, UPTR(uname), 250);
	if (n < 0)
		return n == -ENAMETOOLONG ? -EINVAL : n;
	strlcpy(name + 7 + n, " (deleted)", sizeof(name) - 7 - (size_t)n);
	struct file *f = shmem_file_new(0);
	if (!f)
		return -ENOMEM;
	if (flags & MFD_ALLOW_SEALING)
		f->inode->seals = 0;
	kfree(f->path.str);
	f->path.str = kstrdup(name);
	return fd_install(f, flags & MFD_CLOEXEC ? O_CLOEXEC : 0, 0);
}
