/* Pages of file content in memory: of host files, read in clusters, and of files that live in memory. */
#include "disk.h"
#include "pagecache.h"
#include <linux/fcntl.h>
#include <asm/signal.h>

#define PER_CHUNK 512u                 /* page pointers in one frame */
#define CLUSTER 64u                    /* pages read around a missing one */
#define SHRINK_MIN (4u * PAGE_RUN_MAX) /* pages given back at a time, so that the search for them is not made for each */
#define WHOLE_FILE 64u                 /* pages: a file this small is read at once */

struct pagecache {
	paddr_t *chunk; /* frames of PER_CHUNK page addresses; 0 = none */
	u64 chunks, pages;
	u64 next;   /* page behind the last read: the next one, when reading goes on in order */
	u32 window; /* pages of that read */
	struct inode *inode;
	struct list all;
};
static struct list caches = LIST_INIT(caches);
static void pagecache_count(struct inode *i, s64 n)
{
	i->cache->pages += (u64)n;
	if (i->iflags & I_DISK)
		disk_charge(n * (s64)PAGE_SIZE);
}

static bool pagecache_disk_full(const struct inode *i)
{
	return (i->iflags & I_DISK) && !disk_has_room(0);
}

struct pagecache *pagecache_new(struct inode *i)
{
	struct pagecache *c = kzalloc(sizeof(*c));
	if (c) {
		c->inode = i;
		list_add_tail(&c->all, &caches);
	}
	return c;
}

static paddr_t *pagecache_slot(struct pagecache *c, u64 index, bool make)
{
	u64 k = index / PER_CHUNK;
	if (k >= c->chunks) {
		u64 n = MAX(k + 1, MIN(c->chunks * 2, k + 64));
		paddr_t *grown = make ? kzalloc(n * sizeof(paddr_t)) : NULL;
		if (!grown)
			return NULL;
		if (c->chunk)
			memcpy(grown, c->chunk, c->chunks * sizeof(paddr_t));
		kfree(c->chunk);
		c->chunk = grown;
		c->chunks = n;
	}
	if (!c->chunk[k] && make)
		c->chunk[k] = frame_alloc(FRAME_ZERO);
	return c->chunk[k] ? (paddr_t *)phys_to_virt(c->chunk[k]) + index % PER_CHUNK : NULL;
}

static paddr_t pagecache_find(struct inode *i, u64 index)
{
	paddr_t *s = i->cache ? pagecache_slot(i->cache, index, false) : NULL;
	return s ? *s : 0;
}

bool pagecache_has(struct inode *i, u64 index)
{
	return pagecache_find(i, index) != 0;
}

u64 pagecache_pages(struct inode *i)
{
	return i->cache ? i->cache->pages : 0;
}

static void pagecache_drop(struct pagecache *c, paddr_t *s)
{
	frame_put(*s);
	*s = 0;
	pagecache_count(c->inode, -1);
}

/* Drops all pages from index `from` on. */
static void pagecache_drop_from(struct pagecache *c, u64 from)
{
	for (u64 k = from / PER_CHUNK; k < c->chunks; k++) {
		if (!c->chunk[k])
			continue;
		paddr_t *s = phys_to_virt(c->chunk[k]);
		u64 first = k == from / PER_CHUNK ? from % PER_CHUNK : 0;
		for (u64 j = first; j < PER_CHUNK; j++)
			if (s[j])
				pagecache_drop(c, &s[j]);
		if (!first) {
			frame_put(c->chunk[k]);
			c->chunk[k] = 0;
		}
	}
}

void pagecache_free(struct pagecache *c)
{
	pagecache_drop_from(c, 0);
	list_del(&c->all);
	kfree(c->chunk);
	kfree(c);
}

static int pagecache_use(struct inode *i)
{
	if (!i->cache)
		i->cache = pagecache_new(i);
	return i->cache ? 0 : -ENOMEM;
}

/* Reads the missing pages [index, index + n) from the back end; stops before one that is there. */
static int pagecache_fill(struct inode *i, u64 index, u64 n)
{
	paddr_t frames[PAGE_RUN_MAX];
	unsigned got = 0;
	n = MIN(n, PAGE_RUN_MAX);
	while (got < n && !pagecache_find(i, index + got)) {
		paddr_t p = frame_alloc(0);
		if (!p)
			break;
		frames[got++] = p;
	}
	if (!got)
		return -ENOMEM;
	int r = i->ops->readpages(i, index, got, frames);
	for (unsigned k = 0; k < got; k++) {
		paddr_t *s = r ? NULL : pagecache_slot(i->cache, index + k, true);
		if (s && !*s) {
			*s = frames[k];
			pagecache_count(i, 1);
		} else {
			frame_put(frames[k]);
			if (!r && k == 0)
				return -ENOMEM;
		}
	}
	return r;
}

/* Drops the unused pages [from, to). */
static void pagecache_drop_range(struct pagecache *c, u64 from, u64 to)
{
	for (u64 k = from; k < to; k++) {
		paddr_t *s = pagecache_slot(c, k, false);
		if (s && *s && frame_refs(*s) == 1)
			pagecache_drop(c, s);
	}
}

/* Reads page `index` and neighbours that are missing too: those around it, or more and more of what follows when reading goes on in order. */
static int pagecache_fill_around(struct inode *i, u64 index, unsigned want)
{
	struct pagecache *c = i->cache;
	u64 pages = (i->size + PAGE_SIZE - 1) >> PAGE_SHIFT, from = index, to;
	u64 low = pages <= WHOLE_FILE ? 0 : index & ~(u64)(CLUSTER - 1);
	bool in_order = index && index == c->next;
	if (frames_available() < 4 * PAGE_RUN_MAX)
		pagecache_shrink(SHRINK_MIN);
	c->window = in_order ? MIN(c->window * 2, PAGE_RUN_MAX) : CLUSTER;
	while (!in_order && from > low && !pagecache_find(i, from - 1))
		from--;
	if (in_order)
		to = index + MAX(c->window, want);
	else
		to = MAX((index & ~(u64)(CLUSTER - 1)) + CLUSTER, index + want);
	to = pages <= WHOLE_FILE ? pages : MIN(pages, to);
	if (frames_available() < 2 * PAGE_RUN_MAX) { /* short of memory: only what is asked for */
		from = index;
		to = index + 1;
	}
	/* A file that memory cannot hold would only push others out: what has been read in order is not kept. */
	if (in_order && ((i->iflags & I_VOLATILE) || ((i->iflags & I_CLEAN) && pages > frames_limit() / 4)))
		pagecache_drop_range(c, index > 2 * PAGE_RUN_MAX ? index - 2 * PAGE_RUN_MAX : 0, index);
	u64 n = to > from ? MIN(to - from, PAGE_RUN_MAX) : 1;
	if (from + n <= index)
		from = index;
	c->next = from + n;
	return pagecache_fill(i, from, n);
}

static int pagecache_find_or_read(struct inode *i, u64 index, unsigned want, bool create, paddr_t *out)
{
	int r = pagecache_use(i);
	if (r)
		return r;
	paddr_t p = pagecache_find(i, index);
	if (!p && i->ops->readpages) {
		r = pagecache_fill_around(i, index, want);
		if (r)
			return r;
		p = pagecache_find(i, index);
		if (!p)
			return -ENOMEM;
	} else if (!p) {
		if (!create)
			return -ENOENT;
		if (pagecache_disk_full(i))
			return -ENOSPC;
		paddr_t *s = pagecache_slot(i->cache, index, true);
		p = s ? frame_alloc(FRAME_ZERO) : 0;
		if (!p)
			return -ENOMEM;
		*s = p;
		pagecache_count(i, 1);
	}
	frame_get(p);
	*out = p;
	return 0;
}

bool pagecache_drop_unused(struct inode *i)
{
	struct pagecache *c = i->cache;
	for (u64 k = 0; k < c->chunks; k++) {
		const paddr_t *s = c->chunk[k] ? phys_to_virt(c->chunk[k]) : NULL;
		for (u64 j = 0; s && j < PER_CHUNK; j++)
			if (s[j] && frame_refs(s[j]) > 1)
				return false;
	}
	pagecache_drop_from(c, 0);
	return true;
}

void pagecache_put(struct inode *i, u64 index, paddr_t frame)
{
	paddr_t *s = pagecache_use(i) ? NULL : pagecache_slot(i->cache, index, true);
	if (s && !*s) {
		*s = frame;
		pagecache_count(i, 1);
	} else {
		frame_put(frame);
	}
}

int pagecache_get(struct inode *i, u64 index, bool create, paddr_t *out)
{
	return pagecache_find_or_read(i, index, 1, create, out);
}

int pagecache_get_run(struct inode *i, u64 index, unsigned want, paddr_t *out)
{
	return pagecache_find_or_read(i, index, want, false, out);
}

unsigned pagecache_around(struct inode *i, u64 index, unsigned max, paddr_t *out)
{
	unsigned n = 0;
	for (unsigned k = 0; i->cache && k < max; k++) {
		paddr_t p = out[k] ? 0 : pagecache_find(i, index + k);
		if (p && index + k < (i->size + PAGE_SIZE - 1) >> PAGE_SHIFT) {
			frame_get(p);
			out[k] = p;
			n++;
		}
	}
	return n;
}

void pagecache_zero(struct inode *i, u64 off, u64 len, u64 zeros_from)
{
	while (len && off < i->size) {
		u64 in = off & (PAGE_SIZE - 1), part = MIN(len, PAGE_SIZE - in);
		paddr_t p;
		bool whole = part == PAGE_SIZE;
		if (whole && off >= zeros_from) {
			paddr_t *s = i->cache ? pagecache_slot(i->cache, off >> PAGE_SHIFT, false) : NULL;
			if (s && *s && frame_refs(*s) == 1)
				pagecache_drop(i->cache, s);
			else if (s && *s)
				memset(phys_to_virt(*s), 0, PAGE_SIZE);
		} else if (pagecache_get(i, off >> PAGE_SHIFT, false, &p) == 0) {
			memset((char *)phys_to_virt(p) + in, 0, part);
			frame_put(p);
		}
		off += part;
		len -= part;
	}
}

u64 pagecache_seek(struct inode *i, u64 off, bool hole)
{
	const struct pagecache *c = i->cache;
	u64 k = off >> PAGE_SHIFT;
	while (c && k / PER_CHUNK < c->chunks) {
		bool chunk = c->chunk[k / PER_CHUNK], there = chunk && pagecache_find(i, k);
		if (there != hole)
			break;
		k = chunk ? k + 1 : (k / PER_CHUNK + 1) * PER_CHUNK;
	}
	if (!hole && (!c || k / PER_CHUNK >= c->chunks))
		return i->size;
	return MIN(MAX(off, k << PAGE_SHIFT), i->size);
}

void pagecache_truncate(struct inode *i, u64 size)
{
	if (!i->cache)
		return;
	paddr_t p = size & (PAGE_SIZE - 1) ? pagecache_find(i, size >> PAGE_SHIFT) : 0;
	if (p)
		memset((char *)phys_to_virt(p) + (size & (PAGE_SIZE - 1)), 0, PAGE_SIZE - (size & (PAGE_SIZE - 1)));
	pagecache_drop_from(i->cache, (size + PAGE_SIZE - 1) >> PAGE_SHIFT);
}

u64 pagecache_shrink(u64 want)
{
	struct pagecache *c, *next;
	u64 freed = 0;
	want = MAX(want, SHRINK_MIN);
	/* Whose turn it was goes to the end: the next search does not begin with those that have nothing left. */
	struct list *last = caches.prev;
	list_for_each_safe (c, next, &caches, all) {
		bool end = &c->all == last;
		if (c->inode->iflags & I_CLEAN) {
			for (u64 k = 0; k < c->chunks && c->pages && freed < want; k++) {
				paddr_t *s = c->chunk[k] ? phys_to_virt(c->chunk[k]) : NULL;
				for (u64 j = 0; s && j < PER_CHUNK && freed < want; j++)
					if (s[j] && frame_refs(s[j]) == 1) {
						pagecache_drop(c, &s[j]);
						freed++;
					}
			}
		}
		if (freed >= want || end)
			break;
		list_del(&c->all);
		list_add_tail(&c->all, &caches);
	}
	return freed;
}

/* A new page needs no reading when all of it that the file has is overwritten. */
int pagecache_page_for_write(struct inode *i, u64 index, u64 in, u64 part, paddr_t *out)
{
	bool whole = in == 0 && (part == PAGE_SIZE || (index << PAGE_SHIFT) + part >= i->size);
	if (pagecache_disk_full(i) && !pagecache_find(i, index))
		return -ENOSPC;
	if (!i->ops->readpages || !whole || pagecache_find(i, index))
		return pagecache_get(i, index, true, out);
	int r = pagecache_use(i);
	paddr_t *s = r ? NULL : pagecache_slot(i->cache, index, true), p = s ? frame_alloc(FRAME_ZERO) : 0;
	if (!p)
		return -ENOMEM;
	*s = p;
	pagecache_count(i, 1);
	frame_get(p);
	*out = p;
	return 0;
}
