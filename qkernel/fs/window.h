/* Files of volumes mapped shared (fs/window.c). */
#ifndef WINDOW_H
#define WINDOW_H
#include "inode.h"
int window_get(struct inode *i, u64 index, paddr_t *out); /* inode_ops.getshared; -EIO: beyond the end */
unsigned window_around(struct inode *i, u64 index, unsigned max, paddr_t *out);
bool window_uses(const struct inode *i);
void window_drop(const struct inode *i); /* nothing of it is mapped any more */
/* Pages of host files that are mapped shared: one more or less in use. */
void window_count(paddr_t p, int change);
#endif
