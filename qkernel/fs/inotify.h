/* Where the file system calls tell inotify(7) what happens: nothing but a look at a counter while nobody watches. */
#ifndef INOTIFY_H
#define INOTIFY_H
#include "procfs.h"
#include <linux/inotify.h>

extern u32 inotify_watches; /* of all instances */

/* The inode itself, and its directory by the inode's name there. */
void inotify_event(struct inode *i, u32 mask);
/* The inode alone: its own end, move, or number of links. */
void inotify_self(struct inode *i, u32 mask);
/* An entry of a directory came or went. child: what it names (may be NULL). */
void inotify_entry(struct inode *dir, u32 mask, const char *name, const struct inode *child, u32 cookie);
u32 inotify_cookie(void);
/* A child of a watched directory learns where it is, so that what happens to it can be told there. */
void inotify_adopt(struct inode *dir, const char *name, struct inode *child);
/* An inode without a name: is gone when only watches hold it, and `others` references of the caller. */
void inotify_gone(struct inode *i, u32 others);
void inotify_fdinfo(const struct file *f, struct text *t);

static inline void notify(struct inode *i, u32 mask)
{
	if (unlikely(inotify_watches))
		inotify_event(i, mask);
}
static inline void notify_self(struct inode *i, u32 mask)
{
	if (unlikely(inotify_watches))
		inotify_self(i, mask);
}
static inline void notify_entry(struct inode *dir, u32 mask, const char *name, const struct inode *child, u32 cookie)
{
	if (unlikely(inotify_watches))
		inotify_entry(dir, mask, name, child, cookie);
}
#endif
