/* Inodes: one for each file object of a filesystem, reference counted. What a filesystem does for them. */
#ifndef INODE_H
#define INODE_H
#include "klib.h"
#include "quark_abi.h"

struct inode;
struct path;
struct file;
struct file_ops;
struct flock_state;

struct inode_ops {
	/* Directory operations. `name` is one component, not "." or "..". lookup: child inode, referenced, or -errno through *err. */
	struct inode *(*lookup)(struct inode *dir, const char *name, int *err);
	/* Used instead of lookup when set: `rest` is the path from `name` on, for file systems that can look up many components at once. */
	struct inode *(*lookup_path)(struct inode *dir, const char *name, const char *rest, int *err);
	int (*create)(struct inode *dir, const char *name, u32 mode, u64 rdev, struct inode **out); /* regular, fifo, socket, device nodes */
	int (*mkdir)(struct inode *dir, const char *name, u32 mode);
	int (*unlink)(struct inode *dir, const char *name);
	int (*rmdir)(struct inode *dir, const char *name);
	int (*rename)(struct inode *olddir, const char *oldname, struct inode *newdir, const char *newname, u32 flags);
	int (*link)(struct inode *target, struct inode *dir, const char *name);
	int (*symlink)(struct inode *dir, const char *name, const char *target);
	int (*tmpfile)(struct inode *dir, u32 mode, struct inode **out); /* O_TMPFILE: a regular file without a name */
	/* Emits entries from position *pos on through emit (false: buffer full, stop before advancing). */
	int (*readdir)(struct inode *dir, u64 *pos, bool (*emit)(void *ctx, const char *name, u64 ino, u8 type, u64 next_pos), void *ctx);
	/* Any inode. readlink: target, NUL-terminated, into buf; length or -errno. */
	long (*readlink)(struct inode *i, char *buf, size_t size);
	/* /proc/self/fd/N and the like: follow without a path: referenced inode+mount of the target. NULL op for ordinary links. */
	int (*follow)(struct inode *i, struct path *out);
	int (*getattr)(struct inode *i, struct qk_stat *st);                 /* NULL: from the inode's fields */
	int (*setattr)(struct inode *i, u32 mask, const struct qk_stat *st); /* QK_ATTR_* | size truncates */
	int (*statfs)(struct inode *i, void *statfs64);
	int (*open)(struct inode *i, struct file *f); /* sets f->ops/f->priv when they differ from i->fops */
	/* A lower tree that others may change. hold: an open, finds the file as it is now or -ESTALE (look the name up again); kept until unhold.
	 * copied: one more (change 1) or less (-1) keeps using the content. NULL: it never changes. */
	int (*hold)(struct inode *i);
	void (*unhold)(struct inode *i);
	void (*copied)(struct inode *i, int change);
	/* Page cache back end: read pages [index, index+n) into frames (zero beyond the end). */
	int (*readpages)(struct inode *i, u64 index, unsigned n, const paddr_t *frames);
	/* The frame for a mapping of page `index` (below the size), referenced. write: of a shared writable mapping. */
	int (*getpage)(struct inode *i, u64 index, bool write, paddr_t *out);
	/* The frame for a shared mapping, when that is not the page cache's: what the host and others have of the file. */
	int (*getshared)(struct inode *i, u64 index, paddr_t *out);
	/* As getpage(write = false) for what is in memory already or comes with one host read: fills out[] where it is 0, returns how many. */
	unsigned (*getpages_around)(struct inode *i, u64 index, unsigned max, paddr_t *out);
	/* Extended attributes (fs/xattr.c has checked the call). value and names have room for what Linux allows: XATTR_SIZE_MAX, XATTR_LIST_MAX. Length,
	 * -ENODATA. set: value NULL removes; flags XATTR_CREATE, XATTR_REPLACE. */
	long (*getxattr)(struct inode *i, const char *name, char *value);
	long (*listxattr)(struct inode *i, char *names);
	int (*setxattr)(struct inode *i, const char *name, const void *value, size_t n, u32 flags);
	void (*evict)(struct inode *i); /* last reference and link gone */
};

struct inode {
	u32 refs;
	u32 mode; /* S_IF* | permissions */
	u32 nlink, uid, gid;
	u64 ino, dev, rdev, size, blocks;
	s64 atime_ns, mtime_ns, ctime_ns;
	const struct inode_ops *ops;
	const struct file_ops *fops;
	void *priv;              /* of the filesystem */
	struct pagecache *cache; /* fs/pagecache.c; NULL until used */
	struct flock_state *locks;
	/* Directories: referenced "..", root: itself (then not counted). The path walk sets it where lookup left NULL. Others: where a watched directory has
	 * them (fs/inotify.c), and on the host (fs/hostfs.c). */
	struct inode *parent;
	char *name;           /* directories: own name in parent (getcwd, /proc); owned. Set like parent */
	u32 iflags;           /* I_* */
	u32 seals;            /* F_SEAL_* of memfd and shmem files (memfs honours them; fcntl F_ADD_SEALS sets them) */
	s32 writers;          /* open files that may write; below zero: programs that run from it (deny_write). Neither beside the other: ETXTBSY */
	struct list *watches; /* fs/inotify.c: NULL while there are none */
	u32 nwatches;
	void *ipc; /* fs/pipe.c: the pipe of a FIFO, the bound socket of a S_IFSOCK; its owner clears it */
};
#define I_MOUNTPOINT 1u /* a mount covers it */
#define I_VOLATILE 2u   /* of a -v mount: the host may change it at any time */
#define I_SHMEM 8u      /* anonymous memory: seals apply, not counted against the file limit of tmpfs */
#define I_CLEAN 16u     /* the cached pages can be read again from the host: they may be dropped when memory runs short */
#define I_LINKABLE 32u  /* made by O_TMPFILE: may get a first name */
#define I_DISK 64u      /* its pages count against the limit of --disk */
struct inode *inode_new(const struct inode_ops *ops, const struct file_ops *fops, u32 mode, void *priv); /* refs = 1 */
void inode_get(struct inode *i);
void inode_put(struct inode *i);
u64 inode_new_dev(void);                        /* number of another anonymous device (st_dev) */
int inode_permission(struct inode *i, u32 may); /* 4 read 2 write 1 exec */
int inode_deny_write(struct inode *i);          /* a program runs from it: 0, -ETXTBSY when it is open for writing */
void inode_allow_write(struct inode *i);        /* it has ended */
/* Set-id bits go when somebody without CAP_FSETID changes the content. */
void inode_content_changes(struct inode *i);
int inode_getattr(struct inode *i, struct qk_stat *st);
bool inode_in_group(u32 gid);                               /* is it one of the caller's? */
void inode_stat(const struct inode *i, struct qk_stat *st); /* from the inode's fields alone */
bool inode_is_lower(const struct inode *i);                 /* of the overlay, and its content still that of the tree below, which never changes */
void locks_free(struct flock_state *s);                     /* fs/lock.c; NULL: nothing */

#endif
