/* Shared mappings of files of volumes: guest-physical memory that is the host's own page cache, in chunks, each of one piece of a file. */
#include "host.h"
#include "window.h"
#include "hostfs.h"
#include "qcall.h"
#include <linux/falloc.h>

#define PER_CHUNK (QK_WINDOW_CHUNK / PAGE_SIZE)

static struct chunk {
	struct inode *inode; /* not referenced: whoever maps it has it open; NULL: free */
	u64 number;          /* of the piece of the file */
	u32 refs;            /* page table entries and users of the moment */
	bool writable;
} chunks[QK_WINDOW_CHUNKS];
static u32 used;    /* all from here on are free */
static bool scarce; /* the host had no room for a page: from now on each gets its room before a program can touch it */

static u32 window_index_of(const struct chunk *c)
{
	return (u32)(c - chunks);
}

static paddr_t window_page_at(const struct chunk *c, u64 index)
{
	return QK_WINDOW_GPA + window_index_of(c) * QK_WINDOW_CHUNK + index % PER_CHUNK * PAGE_SIZE;
}

void window_count(paddr_t p, int change)
{
	chunks[(p - QK_WINDOW_GPA) / QK_WINDOW_CHUNK].refs += (u32)change;
}

static struct chunk *window_find(const struct inode *i, u64 number)
{
	for (u32 k = 0; k < used; k++)
		if (chunks[k].inode == i && chunks[k].number == number)
			return &chunks[k];
	return NULL;
}

bool window_uses(const struct inode *i)
{
	for (u32 k = 0; k < used; k++)
		if (chunks[k].inode == i)
			return true;
	return false;
}

static void window_release(struct chunk *c)
{
	seg_begin();
	qcall(QC_UNMAP, 0, window_index_of(c), 0, 0, 0, 0, 0);
	*c = (struct chunk){0};
}

void window_drop(const struct inode *i)
{
	for (u32 k = 0; k < used; k++)
		if (chunks[k].inode == i && !chunks[k].refs)
			window_release(&chunks[k]);
}

static struct chunk *window_unused(void)
{
	for (u32 k = 0; k < QK_WINDOW_CHUNKS; k++)
		if (!chunks[k].inode) {
			used = MAX(used, k + 1);
			return &chunks[k];
		}
	for (u32 k = 0; k < QK_WINDOW_CHUNKS; k++)
		if (!chunks[k].refs) {
			window_release(&chunks[k]);
			return &chunks[k];
		}
	return NULL;
}

/* Has the host show the piece; the file's handle decides whether it can be written. */
static int window_show(struct chunk *c)
{
	int h = host_handle(c->inode, false);
	if (h < 0)
		return h;
	c->writable = hostnode_of(c->inode)->writable;
	seg_begin();
	return (int)qcall(QC_MAP, 0, (u64)h, window_index_of(c), c->number * QK_WINDOW_CHUNK, c->writable, 0, 0);
}

/* Where a file system has no fallocate, touching the page has to tell. */
static int window_make_room(struct inode *i, u64 index)
{
	int h = host_handle(i, false);
	if (h < 0)
		return h;
	seg_begin();
	s64 r = qcall(QC_FALLOCATE, 0, (u64)h, FALLOC_FL_KEEP_SIZE, index << PAGE_SHIFT, PAGE_SIZE, 0, 0);
	return r == -EOPNOTSUPP ? 0 : (int)r;
}

static bool window_beyond(struct inode *i, u64 index)
{
	if (index << PAGE_SHIFT < i->size)
		return false;
	return host_refetch(i) || index << PAGE_SHIFT >= i->size;
}

int window_get(struct inode *i, u64 index, paddr_t *out)
{
	if (window_beyond(i, index))
		return -EIO;
	struct chunk *c = window_find(i, index / PER_CHUNK);
	int r = 0;
	if (!c) {
		c = frames_map_window() ? window_unused() : NULL;
		if (!c)
			return -ENOMEM;
		*c = (struct chunk){.inode = i, .number = index / PER_CHUNK};
		r = window_show(c);
		if (r)
			*c = (struct chunk){0};
	} else if (!c->writable && hostnode_of(i)->writable) {
		r = window_show(c);
	}
	if (!r && scarce && c->writable)
		r = window_make_room(i, index);
	if (r)
		return r == -ENOMEM ? r : -EIO;
	c->refs++;
	*out = window_page_at(c, index);
	return 0;
}

unsigned window_around(struct inode *i, u64 index, unsigned max, paddr_t *out)
{
	unsigned n = 0;
	if (scarce)
		return 0;
	for (unsigned k = 0; k < max && (index + k) << PAGE_SHIFT < i->size; k++) {
		struct chunk *c = window_find(i, (index + k) / PER_CHUNK);
		if (!c)
			continue;
		c->refs++;
		out[k] = window_page_at(c, index + k);
		n++;
	}
	return n;
}

/* What is shown of files may have been cut: programs find the end where it is now. */
static void window_cut(void)
{
	for (u32 k = 0; k < used; k++) {
		struct inode *i = chunks[k].inode;
		if (!i)
			continue;
		if (host_refetch(i) == 0)
			mm_unmap_file(i, (i->size + PAGE_SIZE - 1) >> PAGE_SHIFT);
		if (chunks[k].inode == i && window_show(&chunks[k]))
			mm_unmap_file(i, 0);
	}
}

/* Whoever touches a page next asks for it, and for room. */
static void window_full(void)
{
	scarce = true;
	for (u32 k = 0; k < used; k++) {
		struct inode *i = chunks[k].inode;
		if (!i)
			continue;
		mm_unmap_file(i, 0);
		if (chunks[k].inode == i && window_show(&chunks[k]))
			chunks[k].inode = chunks[k].refs ? i : NULL;
	}
}

void window_lost(u32 why)
{
	if (why == QK_LOST_FULL)
		window_full();
	else
		window_cut();
}

/* The host of a clone shows nothing yet. */
void window_after_restore(void)
{
	for (u32 k = 0; k < used; k++) {
		struct inode *i = chunks[k].inode;
		if (!i || window_show(&chunks[k]) == 0)
			continue;
		host_say(i, "was mapped shared and cannot be mapped again: touching it gives SIGBUS");
		mm_unmap_file(i, 0);
		chunks[k].inode = chunks[k].refs ? i : NULL;
	}
}
