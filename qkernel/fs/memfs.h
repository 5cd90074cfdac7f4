/* The file system in memory (fs/memfs.c: names, fs/memfile.c: content, fs/overlay.c: what shows through): tmpfs, devtmpfs, and the overlay over a tree
 * that never changes, which is a tmpfs whose directories and files are filled from a lower inode when they are first used. */
#ifndef MEMFS_H
#define MEMFS_H
#include "file.h"
#include "names.h"

struct memsuper {
	u64 dev;
	struct inode *lower; /* root of the lower tree; NULL: none */
};
struct memnode {
	struct memsuper *super;
	struct inode *lower; /* directory: its entries show through. File: its content, until `copied`. Symlink: its text. Referenced */
	u64 lower_valid;     /* of a copied file: bytes whose content is the lower file's until a page is in the own cache */
	bool complete;       /* directory: all names that `lower` had at listed_mtime and listed_ctime are among `kids` */
	bool own;            /* the attributes are: of others those of `lower`, whatever they are by now */
	bool counted;        /* `lower` knows that its content is in use here */
	u32 pass;
	struct inode *inode;
	struct list dirs;           /* of a directory: among memfs_dirs */
	u64 charged, names_charged; /* bytes against --disk: of the file itself, and of a directory's names */
	s64 listed_mtime, listed_ctime;
	struct names kids;
	char *link;
	struct xattrs *xattrs; /* fs/memxattr.c */
};
static inline struct memnode *memnode_of(const struct inode *i)
{
	return i->priv;
}
struct inode *memfs_new(struct memsuper *s, u32 mode, u64 rdev);
/* fs/overlay.c */
struct inode *memfs_lookup(struct inode *dir, const char *name, int *err);
/* rest: the name and what will be asked for below it */
struct inode *memfs_lookup_path(struct inode *dir, const char *name, const char *rest, int *err);
int memfs_merge(struct inode *dir); /* all names of the lower directory are among its entries */
void memfs_sync(struct inode *i);   /* takes the attributes of the lower inode over, where they are not its own yet */
/* A file that is new, and costs room: NULL when there is none. */
struct inode *memfs_create(struct memsuper *s, u32 mode, u64 rdev, u64 extra);
int memfs_copy_up(struct inode *i, u64 valid);
int memfs_setattr(struct inode *i, u32 mask, const struct qk_stat *st);
int memfs_statfs(struct inode *i, void *out);
void memfs_evict(struct inode *i);
void hosts_looked_up(const struct inode *dir, const char *name, struct inode *i); /* fs/hosts.c: a lower inode comes in under that name */
long memfs_getxattr(struct inode *i, const char *name, char *value);              /* fs/memxattr.c */
long memfs_listxattr(struct inode *i, char *names);
int memfs_setxattr(struct inode *i, const char *name, const void *value, size_t n, u32 flags);
void memfs_xattrs_free(struct inode *i);
#define MEMFS_XATTRS .getxattr = memfs_getxattr, .listxattr = memfs_listxattr, .setxattr = memfs_setxattr
/* Each child of directory `dir` that is in memory; nothing where dir is not of this file system. */
void memfs_each_child(struct inode *dir, void (*fn)(struct inode *dir, const char *name, struct inode *child));
void reseed_add(struct inode *dev); /* fs/reseed.c */
extern struct list memfs_dirs;
extern const struct inode_ops memfs_file_ops, memfs_copied_ops;
extern const struct file_ops memfs_file_fops;
#endif
