/* Content of host files: handles (those that nobody holds open are few, the least recently used ones are closed), pages, and opening. */
#include "ktime.h"
#include "pagecache.h"
#include "hostfs.h"
#include "qcall.h"
#include "window.h"
#include <linux/fcntl.h>
#include <linux/stat.h>

#define HANDLES_IDLE 256u /* open without a program asking for it */
#define FIRST_PAGES 32u   /* of a file that is no longer than these, all comes with the open */
#define TRIES 4           /* to read pages of a file that changes meanwhile */

static struct list lru = LIST_INIT(lru); /* of handles nobody holds open, least recently used first */
static u32 idle_handles;

static void hostfile_idle_add(struct hostnode *n)
{
	list_add_tail(&n->lru, &lru);
	idle_handles++;
}

static void hostfile_idle_remove(struct hostnode *n)
{
	if (list_empty(&n->lru))
		return;
	list_del(&n->lru);
	idle_handles--;
}

void host_close(struct hostnode *n)
{
	if (n->handle < 0)
		return;
	qcall_close_later(n->handle);
	n->handle = -1;
	n->created = false;
	hostfile_idle_remove(n);
}

static void hostfile_close_idle(u32 most)
{
	while (idle_handles > most && !list_empty(&lru))
		host_close(list_first(&lru, struct hostnode, lru));
}

void host_adopt(struct inode *i, int handle, bool writable)
{
	struct hostnode *n = hostnode_of(i);
	host_close(n);
	n->handle = handle;
	n->writable = writable;
	if (!n->opens)
		hostfile_idle_add(n);
}

/* Frames for all of a small file of which nothing is cached: before the request is made, an allocation may be one. */
static unsigned hostfile_first_frames(struct inode *i, paddr_t *frames)
{
	u64 pages = (i->size + PAGE_SIZE - 1) >> PAGE_SHIFT;
	unsigned n = 0;
	if (!S_ISREG(i->mode) || pages > FIRST_PAGES || pagecache_pages(i) || frames_free() < 512)
		return 0;
	for (; n < pages; n++) {
		frames[n] = frame_alloc(0);
		if (!frames[n])
			break;
	}
	return n;
}

/* Puts the first pages into the cache when they are the whole file; drops them else. */
static void hostfile_keep_first(struct inode *i, const paddr_t *frames, unsigned n, u64 bytes)
{
	bool whole = bytes == i->size && bytes;
	for (unsigned k = 0; k < n; k++) {
		u64 at = (u64)k << PAGE_SHIFT, have = bytes > at ? MIN(bytes - at, PAGE_SIZE) : 0;
		if (!whole || !have) {
			frame_put(frames[k]);
			continue;
		}
		memset((char *)phys_to_virt(frames[k]) + have, 0, PAGE_SIZE - have);
		pagecache_put(i, k, frames[k]);
	}
	if (whole && (i->iflags & I_VOLATILE))
		hostnode_of(i)->pages_until = mono_ns() + VOLUME_VALID_NS;
}

static int hostfile_open_now(struct inode *i, bool write)
{
	struct hostnode *n = hostnode_of(i);
	paddr_t frames[FIRST_PAGES];
	unsigned got = 0;
	hostfile_close_idle(HANDLES_IDLE);
	if ((i->iflags & I_VOLATILE) && !n->opens && i->cache)
		pagecache_truncate(i, 0); /* an open brings what is there now */
	s64 r = -EMFILE;
	if (!write)
		got = hostfile_first_frames(i, frames);
	for (int tries = 0; tries < 2; tries++) {
		if (!host_path(i, comm_data(), PATH_MAX)) {
			r = -ENAMETOOLONG;
			break;
		}
		seg_begin();
		for (unsigned k = 0; k < got; k++)
			seg_add(frames[k], PAGE_SIZE);
		r = qcall(QC_OPEN, (u32)strlen(comm_data()) + 1, n->root, write ? O_RDWR : O_RDONLY, 0, 0, 0, 0);
		if (r != -EMFILE && r != -ENFILE)
			break;
		hostfile_close_idle(0);
	}
	u64 bytes = qcall_out(0);
	struct qk_stat st;
	memcpy(&st, comm_data(), sizeof(st));
	bool same = r >= 0 && host_same(i, &st);
	if (r >= 0 && !same)
		qcall_close_later((int)r); /* replaced on the host since it was looked up */
	int err = r < 0 ? (int)r : same ? host_set_stat(i, &st) : -ESTALE;
	if (same && err)
		qcall_close_later((int)r);
	hostfile_keep_first(i, frames, got, err ? 0 : bytes);
	if (err == -ESTALE)
		n->checked = 0;
	return err ? err : (int)r;
}

int host_handle(struct inode *i, bool write)
{
	struct hostnode *n = hostnode_of(i);
	if (n->handle < 0 || (write && !n->writable)) {
		int h = hostfile_open_now(i, write);
		if (h < 0)
			return h;
		host_adopt(i, h, write);
	} else if (!list_empty(&n->lru)) {
		hostfile_idle_remove(n);
		hostfile_idle_add(n);
	}
	return n->handle;
}

int host_hold(struct inode *i, u32 oflags)
{
	struct hostnode *n = hostnode_of(i);
	bool write = (oflags & O_ACCMODE) != O_RDONLY;
	bool as_it_is = !(i->iflags & I_VOLATILE) && host_recent(n->checked, n->contact) && !n->stale &&
			(n->handle >= 0 || (i->size && pagecache_pages(i) == (i->size + PAGE_SIZE - 1) >> PAGE_SHIFT));
	if (!as_it_is && !n->created) {
		int h = hostfile_open_now(i, write);
		if (h < 0)
			return h;
		if (n->opens && n->writable && !write)
			qcall_close_later(h); /* there is one that can do more */
		else
			host_adopt(i, h, write);
	}
	n->created = false;
	if (!n->opens++)
		hostfile_idle_remove(n);
	return 0;
}

void host_unhold(struct inode *i)
{
	struct hostnode *n = hostnode_of(i);
	if (--n->opens || n->handle < 0)
		return;
	if (i->iflags & I_VOLATILE) {
		window_drop(i);
		host_close(n); /* the next open asks the host anyway */
	} else {
		hostfile_idle_add(n);
	}
}

static s64 hostfile_read_pages(struct inode *i, int h, u64 index, unsigned n, const paddr_t *frames)
{
	seg_begin();
	for (unsigned k = 0; k < n; k++)
		seg_add(frames[k], PAGE_SIZE);
	return qcall(QC_PREAD, 0, (u64)h, index << PAGE_SHIFT, 0, 0, 0, 0);
}

int host_readpages(struct inode *i, u64 index, unsigned n, const paddr_t *frames)
{
	s64 r = 0;
	for (int tries = 0; tries < TRIES; tries++) {
		int h = hostnode_of(i)->stale ? -ESTALE : host_handle(i, false);
		s64 mtime = i->mtime_ns;
		u64 size = i->size;
		r = h < 0 ? h : hostfile_read_pages(i, h, index, n, frames);
		if (r == -ESTALE && !hostnode_of(i)->stale) {
			hostnode_of(i)->stale = true;
			host_say(i,
				 "is not on the host any more as it was when the sandbox began to use it: what is not in memory yet cannot be read");
		}
		if (r < 0)
			return (int)r;
		int changed = host_set_tail(i);
		if (changed)
			return changed;
		if ((i->iflags & I_VOLATILE) || (mtime == i->mtime_ns && size == i->size))
			break; /* else it changed before or while it was read: again, all of it new */
	}
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
	int r = pagecache_get(i, index, false, out);
	return r == -ESTALE ? -EIO : r; /* SIGBUS */
}

const struct file_ops host_file_ops = {.read = pagecache_read, .lseek = generic_lseek, .mmap = generic_mmap};
const struct file_ops host_dir_ops = {.lseek = dir_lseek};
