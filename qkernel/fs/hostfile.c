/* Content of host files: handles (opened when first needed, the least recently used ones closed), pages, directory entries, and the
 * write-through files of -v volumes. */
#include "hostfs.h"
#include "qcall.h"
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/stat.h>

#define HANDLES 256 /* open at once without a program asking for it */

static struct list lru = LIST_INIT(lru); /* of handles nobody holds open, least recently used first */
static u32 open_handles;

void host_close(struct hostnode *n)
{
	if (n->handle < 0)
		return;
	qcall_close_later(n->handle);
	n->handle = -1;
	if (!list_empty(&n->lru))
		list_del(&n->lru);
	open_handles--;
}

static int open_now(struct inode *i, bool write)
{
	struct hostnode *n = hostnode_of(i);
	if (!host_path(i, comm_data(), PATH_MAX))
		return -ENAMETOOLONG;
	seg_begin();
	s64 r = qcall(QC_OPEN, (u32)strlen(comm_data()) + 1, n->root, write ? O_RDWR : O_RDONLY, 0, 0, 0, 0);
	if (r < 0)
		return (int)r;
	struct qk_stat st;
	memcpy(&st, comm_data(), sizeof(st));
	if (st.ino != i->ino || ((st.mode ^ i->mode) & S_IFMT)) {
		qcall_close_later((int)r); /* replaced on the host since it was looked up */
		return -ESTALE;
	}
	if (i->iflags & I_VOLATILE)
		host_set_stat(i, &st);
	return (int)r;
}

int host_handle(struct inode *i, bool write)
{
	struct hostnode *n = hostnode_of(i);
	if (n->handle < 0 || (write && !n->writable)) {
		while (open_handles >= HANDLES && !list_empty(&lru))
			host_close(list_first(&lru, struct hostnode, lru));
		int h = open_now(i, write);
		if (h < 0)
			return h;
		host_close(n);
		n->handle = h;
		n->writable = write;
		open_handles++;
		if (!n->opens)
			list_add_tail(&n->lru, &lru);
	} else if (!list_empty(&n->lru)) {
		list_del(&n->lru);
		list_add_tail(&n->lru, &lru);
	}
	return n->handle;
}

int host_readpages(struct inode *i, u64 index, unsigned n, const paddr_t *frames)
{
	int h = host_handle(i, false);
	if (h < 0)
		return h;
	seg_begin();
	for (unsigned k = 0; k < n; k++)
		seg_add(frames[k], PAGE_SIZE);
	s64 r = qcall(QC_PREAD, 0, (u64)h, index << PAGE_SHIFT, 0, 0, 0, 0);
	if (r < 0)
		return (int)r;
	for (unsigned k = 0; k < n; k++) { /* zero beyond the end */
		u64 at = (u64)k << PAGE_SHIFT;
		if (at + PAGE_SIZE > (u64)r)
			memset((char *)phys_to_virt(frames[k]) + ((u64)r > at ? (u64)r - at : 0), 0, PAGE_SIZE - ((u64)r > at ? (u64)r - at : 0));
	}
	return 0;
}

int host_getpage(struct inode *i, u64 index, bool write, paddr_t *out)
{
	if (index << PAGE_SHIFT >= i->size)
		return -EIO;
	return pagecache_get(i, index, false, out);
}

struct dirent_header { /* struct linux_dirent64 */
	u64 ino;
	s64 off;
	u16 len;
	u8 type;
	char name[];
} __attribute__((packed));

int host_readdir(struct inode *i, u64 *pos, bool (*emit)(void *ctx, const char *name, u64 ino, u8 type, u64 next_pos), void *ctx)
{
	int h = host_handle(i, false);
	char *copy = kmalloc(QK_DATA_SIZE);
	int r = h < 0 ? h : copy ? 0 : -ENOMEM;
	bool more = true;
	while (!r && more) {
		seg_begin();
		s64 n = qcall(QC_READDIR, 0, (u64)h, *pos, 0, 0, 0, 0);
		if (n <= 0) {
			r = (int)n;
			break;
		}
		n = MIN(n, (s64)QK_DATA_SIZE);
		memcpy(copy, comm_data(), (size_t)n); /* emit may call the host */
		for (s64 at = 0; more && at + (s64)sizeof(struct dirent_header) < n;) {
			const struct dirent_header *d = (void *)(copy + at);
			if (d->len <= sizeof(*d) || at + d->len > n || strnlen(d->name, d->len - sizeof(*d)) == d->len - sizeof(*d)) {
				r = -EIO;
				break;
			}
			more = emit(ctx, d->name, d->ino, d->type, (u64)d->off);
			if (more)
				*pos = (u64)d->off;
			at += d->len;
		}
	}
	kfree(copy);
	return r;
}

/* ---- files of volumes: reads and writes go to the host, which may change them at any time */
int host_file_open(struct inode *i, struct file *f)
{
	struct hostnode *n = hostnode_of(i);
	if (!(i->iflags & I_VOLATILE) || !S_ISREG(i->mode))
		return 0;
	int h = host_handle(i, (f->flags & O_ACCMODE) != O_RDONLY);
	if (h < 0)
		return h;
	if (!n->opens++)
		list_del(&n->lru);
	return 0;
}

static void volume_release(struct file *f)
{
	struct hostnode *n = hostnode_of(f->inode);
	if (--n->opens == 0 && n->handle >= 0)
		list_add_tail(&n->lru, &lru);
}

static ssize_t volume_read(struct file *f, struct uio *u, u64 *pos)
{
	struct hostnode *n = hostnode_of(f->inode);
	ssize_t done = 0;
	while (u->resid) {
		ssize_t want = uio_segs(u, 1 << 20, true);
		if (want <= 0)
			return done ? done : want;
		s64 r = qcall(QC_PREAD, 0, (u64)n->handle, *pos, 0, 0, 0, 0);
		if (r <= 0)
			return done ? done : r;
		uio_advance(u, (u64)r);
		*pos += (u64)r;
		done += r;
		if (r < want)
			break;
	}
	return done;
}

/* Pages already read by a mapping follow what was written. */
static void refresh(struct inode *i, u64 from, u64 to)
{
	for (u64 k = from >> PAGE_SHIFT; i->cache && k <= (to - 1) >> PAGE_SHIFT; k++) {
		paddr_t p;
		if (!pagecache_has(i, k) || pagecache_get(i, k, false, &p))
			continue;
		host_readpages(i, k, 1, &p);
		frame_put(p);
	}
}

static ssize_t volume_write(struct file *f, struct uio *u, u64 *pos)
{
	struct inode *i = f->inode;
	struct hostnode *n = hostnode_of(i);
	ssize_t done = 0;
	struct qk_stat st;
	if (f->flags & O_APPEND) {
		seg_begin();
		if (qcall(QC_FSTAT, 0, (u64)n->handle, 0, 0, 0, 0, 0) < 0)
			return -EIO;
		memcpy(&st, comm_data(), sizeof(st));
		*pos = st.size;
	}
	while (u->resid) {
		ssize_t want = uio_segs(u, 1 << 20, false);
		if (want <= 0)
			return done ? done : want;
		s64 r = qcall(QC_PWRITE, 0, (u64)n->handle, *pos, 0, 0, 0, 0);
		if (r <= 0)
			return done ? done : r;
		refresh(i, *pos, *pos + (u64)r);
		uio_advance(u, (u64)r);
		*pos += (u64)r;
		done += r;
	}
	i->size = MAX(i->size, *pos);
	i->mtime_ns = (s64)real_ns();
	return done;
}

static int on_handle(struct file *f, enum qk_op op, u64 a, u64 b, u64 c)
{
	seg_begin();
	return (int)qcall(op, 0, (u64)hostnode_of(f->inode)->handle, a, b, c, 0, 0);
}

static int volume_fsync(struct file *f, bool data)
{
	return on_handle(f, QC_FSYNC, data, 0, 0);
}

static int volume_fallocate(struct file *f, int mode, u64 off, u64 len)
{
	int r = on_handle(f, QC_FALLOCATE, (u64)mode, off, len);
	if (!r && !(mode & 1))
		f->inode->size = MAX(f->inode->size, off + len);
	return r;
}

static s64 volume_lseek(struct file *f, s64 off, int whence)
{
	if (whence >= 2 && on_handle(f, QC_FSTAT, 0, 0, 0) == 0)
		host_set_stat(f->inode, (const struct qk_stat *)comm_data());
	return generic_lseek(f, off, whence);
}

/* Shared writable mappings would need pages to be written back. */
static int volume_mmap(struct file *f, struct vma *v)
{
	return (v->flags & MAP_SHARED) && (f->flags & O_ACCMODE) != O_RDONLY && (v->prot & PROT_WRITE) ? -ENODEV : 0;
}

const struct file_ops host_file_ops = {.read = pagecache_read, .lseek = generic_lseek, .mmap = generic_mmap};
const struct file_ops volume_file_ops = {.read = volume_read,
					 .write = volume_write,
					 .lseek = volume_lseek,
					 .mmap = volume_mmap,
					 .fsync = volume_fsync,
					 .fallocate = volume_fallocate,
					 .release = volume_release};
const struct file_ops host_dir_ops = {.lseek = dir_lseek};
