/* Page cache (fs/pagecache.c): generic read and mmap for inodes with readpages; the content of tmpfs lives in it too. */
#ifndef PAGECACHE_H
#define PAGECACHE_H
#include "file.h"

struct pagecache *pagecache_new(struct inode *i);
void pagecache_free(struct pagecache *c);
/* The frame of page index, referenced for the caller; create: zero page when missing (tmpfs). */
int pagecache_get(struct inode *i, u64 index, bool create, paddr_t *out);
#define PAGE_RUN_MAX 256u /* pages of one host read at most */
/* As pagecache_get for `want` pages that are read one after the other: brings more in with one host read. */
int pagecache_get_run(struct inode *i, u64 index, unsigned want, paddr_t *out);
/* As pagecache_get with create, for a write of the bytes [in, in + part) of the page. -ENOSPC. */
int pagecache_page_for_write(struct inode *i, u64 index, u64 in, u64 part, paddr_t *out);
bool pagecache_has(struct inode *i, u64 index);
unsigned pagecache_around(struct inode *i, u64 index, unsigned max, paddr_t *out); /* inode_ops.getpages_around */
void pagecache_truncate(struct inode *i, u64 size); /* drops pages beyond, clears the rest of the last one; i->size is the caller's */
void pagecache_zero(struct inode *i, u64 off, u64 len, u64 zeros_from); /* a hole; what is missing from zeros_from on reads as zeros */
/* First position from `off` on that is data (or a hole): of files whose pages are all there is of them. */
u64 pagecache_seek(struct inode *i, u64 off, bool hole);
u64 pagecache_pages(struct inode *i);
bool pagecache_drop_unused(struct inode *i);                   /* drops all pages; false, and none: some are in use beside the cache */
void pagecache_put(struct inode *i, u64 index, paddr_t frame); /* takes the frame over as page `index`, if that is missing */
ssize_t pagecache_read_inode(struct inode *i, struct uio *u, u64 *pos);
ssize_t pagecache_read(struct file *f, struct uio *u, u64 *pos);  /* file_ops.read for cached files */
ssize_t pagecache_write(struct file *f, struct uio *u, u64 *pos); /* tmpfs */
int generic_mmap(struct file *f, struct vma *v);                  /* fs/filemap.c */
void filemap_init(void);
u64 pagecache_shrink(u64 want); /* before memory runs out: drops clean cached pages; returns frames freed */

#endif
