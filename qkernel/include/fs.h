/* Files: inodes, directory entries, mounts, open files, polling. */
#ifndef FS_H
#define FS_H

#include "quark_abi.h"
#include "task.h"
#include "uaccess.h"

struct inode;
struct path;
struct file;
struct mount;

/* ---- inodes: one for each file object of a filesystem. Reference counted. */
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
	struct inode *
		parent; /* directories: referenced "..", root: itself (then not counted). The path walk sets it where lookup left NULL. Others: where a
	                       * watched directory has them (fs/inotify.c), and on the host (fs/hostfs.c) */
	char *name;     /* directories: own name in parent (getcwd, /proc); owned. Set like parent */
	u32 iflags;     /* I_* */
	u32 seals;      /* F_SEAL_* of memfd and shmem files (memfs honours them; fcntl F_ADD_SEALS sets them) */
	s32 writers;    /* open files that may write; below zero: programs that run from it (deny_write). Neither beside the other: ETXTBSY */
	struct list *watches; /* fs/inotify.c: NULL while there are none */
	u32 nwatches;
	void *ipc; /* fs/pipe.c: the pipe of a FIFO, the bound socket of a S_IFSOCK; its owner clears it */
};
#define I_MOUNTPOINT 1u                 /* a mount covers it */
#define I_VOLATILE 2u                   /* of a -v mount: the host may change it at any time */
#define I_SHMEM 8u                      /* anonymous memory: seals apply, not counted against the file limit of tmpfs */
#define I_CLEAN 16u                     /* the cached pages can be read again from the host: they may be dropped when memory runs short */
#define I_LINKABLE 32u                  /* made by O_TMPFILE: may get a first name */
#define I_DISK 64u                      /* its pages count against the limit of --disk */
void locks_free(struct flock_state *s); /* fs/lock.c; NULL: nothing */
void locks_after_restore(void);
struct inode *inode_new(const struct inode_ops *ops, const struct file_ops *fops, u32 mode, void *priv); /* refs = 1 */
void inode_get(struct inode *i);
void inode_put(struct inode *i);
u64 inode_new_dev(void); /* number of another anonymous device (st_dev) */

/* A place in the tree. The tree of mounts is flat: mounts cover a directory inode of another mount. */
struct path {
	struct mount *mnt;
	struct inode *inode; /* referenced */
	char *str;           /* absolute path as walked, owned; for getcwd, /proc/self/fd, *at() */
};
void path_put(struct path *p);
int path_copy(struct path *dst, const struct path *src);

/* ---- open files */
#define POLL_IN 1u
#define POLL_PRI 2u
#define POLL_OUT 4u
#define POLL_ERR 8u
#define POLL_HUP 0x10u
#define POLL_RDHUP 0x2000u

struct poll_table; /* fs/poll.c: NULL = only ask */
struct file_ops {
	/* pos: &f->pos for read/write, a local for pread/pwrite; NULL for streams. */
	ssize_t (*read)(struct file *f, struct uio *u, u64 *pos);
	ssize_t (*write)(struct file *f, struct uio *u, u64 *pos);
	s64 (*lseek)(struct file *f, s64 off, int whence);  /* NULL: -ESPIPE */
	u32 (*poll)(struct file *f, struct poll_table *pt); /* NULL: always POLL_IN | POLL_OUT */
	long (*ioctl)(struct file *f, u32 cmd, u64 arg);    /* NULL: -ENOTTY */
	int (*mmap)(struct file *f, struct vma *v);         /* NULL: -ENODEV; generic_mmap for page-cache files */
	void (*area)(struct file *f, bool more);            /* NULL, or told of each copy and each end of an area that maps it */
	int (*fsync)(struct file *f, bool data);
	int (*fallocate)(struct file *f, int mode, u64 off, u64 len);
	void (*release)(struct file *f);
};
struct file {
	u32 refs;
	u32 flags; /* O_* status flags */
	u64 pos;
	const struct file_ops *ops;
	struct inode *inode; /* referenced; anonymous files (pipe, eventfd...) have one of anon_inode() */
	struct path path;    /* str may be NULL for anonymous files ("pipe:[n]" by inode) */
	void *priv;
	struct list epoll_links; /* fs/epoll.c */
	s32 owner;               /* F_SETOWN */
	bool counted;            /* among inode->writers */
	u32 seals;
};
struct file *file_new(const struct file_ops *ops, struct inode *inode, u32 flags, void *priv); /* refs 1; takes over the caller's inode ref */
void file_get(struct file *f);
void file_put(struct file *f);
/* `scoped_file f = fd_get(fd);` puts the reference, if there is one, when f leaves its scope: for the many calls that hold a file until they return. */
static inline void file_put_scoped(struct file *const *f)
{
	if (*f)
		file_put(*f);
}
#define scoped_file __attribute__((cleanup(file_put_scoped))) struct file *
/* Opening special files found on any file system; implemented beside pipes (fs/pipe.c) and devices (fs/devfs.c). They set f->ops and f->priv. */
int fifo_open(struct inode *i, struct file *f);
int chrdev_open(struct inode *i, struct file *f, u32 oflags); /* by i->rdev; -ENXIO when there is no such device */
struct inode *anon_inode(u32 mode);                           /* new inode on the anonymous filesystem, e.g. S_IFIFO | 0600 */

/* ---- descriptor tables (fs/fdtable.c) */
struct files {
	u32 refs;
	u32 cap;
	struct file **fd;
	u64 *cloexec; /* bitmaps */
	u32 next;
};
struct files *files_new(void);
struct files *files_clone(struct files *src);
void files_put(struct files *fs);
void files_close_exec(struct files *fs);
struct file *fd_get(int fd);                    /* referenced or NULL (EBADF) */
struct file *fd_get_access(int fd, bool write); /* as fd_get; NULL also when it is not open for that access */
/* As fd_get for a file of that kind. NULL: -EBADF or, of another kind, `other` in *err (0 else). */
struct file *fd_get_kind(int fd, const struct file_ops *ops, long other, long *err);
int fd_install(struct file *f, u32 oflags, int min); /* lowest free >= min; takes over the reference; O_CLOEXEC; -EMFILE (then drops it) */
/* Installs two files and writes their numbers to user memory, all or nothing. Takes over the references. 0 or -errno. */
int fd_install_pair(struct file *a, struct file *b, u32 oflags, u64 ufds);
int fd_close(int fd);
int fd_replace(int fd, struct file *f, bool cloexec); /* dup2: closes what was there; takes over the reference; fd or -errno */
bool fd_cloexec(int fd);                              /* for fcntl and /proc */
void fd_set_cloexec(int fd, bool on);

/* ---- cwd, root, umask (fs/fsctx.c) */
struct fs_ctx {
	u32 refs;
	u32 umask;
	struct path cwd, root;
};
struct fs_ctx *fs_ctx_new(void);
struct fs_ctx *fs_ctx_clone(struct fs_ctx *src);
void fs_ctx_put(struct fs_ctx *c);

/* ---- path walk (fs/path.c) */
#define WALK_FOLLOW 1u    /* follow a final symlink */
#define WALK_PARENT 2u    /* stop at the parent; last component goes to `last` (NAME_MAX + 1 bytes) */
#define WALK_DIRECTORY 4u /* must be a directory */
#define WALK_EMPTY 8u     /* AT_EMPTY_PATH: "" is dirfd itself */
#define WALK_NOSTR 16u    /* leave out->str NULL: it is not needed (stat, access) */
/* dirfd: AT_FDCWD or a descriptor. path: kernel string. 0 or -errno; out->inode referenced. */
/* How openat2 restricts a walk (RESOLVE_* of linux/openat2.h), in a walk's flags and in the oflags of file_open. */
#define WALK_RESOLVE_SHIFT 26
#define WALK_RESOLVE(resolve) ((u32)(resolve) << WALK_RESOLVE_SHIFT)
int path_walk(int dirfd, const char *path, u32 flags, struct path *out, char *last);
/* Kernel-side open, as used by execve and the boot: referenced file or -errno through *err. oflags O_*. */
struct file *file_open(int dirfd, const char *path, u32 oflags, u32 mode, int *err);
ssize_t file_read_kernel(struct file *f, void *dst, size_t n, u64 off);
ssize_t file_size(struct file *f);
int inode_permission(struct inode *i, u32 may); /* 4 read 2 write 1 exec */
int inode_deny_write(struct inode *i);          /* a program runs from it: 0, -ETXTBSY when it is open for writing */
void inode_allow_write(struct inode *i);        /* it has ended */
/* Write as write(2) does, with what goes for all file systems: RLIMIT_FSIZE, set-id bits, events. u may be cut. */
ssize_t file_write(struct file *f, struct uio *u, u64 *pos);
/* Set-id bits go when somebody without CAP_FSETID changes the content. */
void inode_content_changes(struct inode *i);
int file_size_allowed(u64 size); /* 0, or SIGXFSZ sent and -EFBIG */
#define FILE_SIZE_MAX (1ull << 43)
char *path_string(const struct path *p); /* absolute path of a directory, from the inodes' names; kmalloc'd, NULL: out of memory */
/* Creates a node (S_IFIFO, S_IFSOCK, S_IFREG, S_IFCHR with rdev) as mknodat does, umask applied. out (may be NULL): the inode, referenced. */
int vfs_mknod(int dirfd, const char *path, u32 mode, u64 rdev, struct inode **out);
/* Open an inode as open(2) does after the walk (access mode checked): takes no references over; f->path is a copy of p. */
struct file *inode_open(const struct path *p, u32 oflags, int *err);
#define PATH_MAX 4096

/* ---- mounts (fs/mount.c) and start-up: root = overlay(hostfs root 0, tmpfs), /dev devfs, /proc procfs, /dev/shm and /tmp as part of the overlay,
 * -v mounts from comm->boot. */
struct mount {
	struct list node;
	struct inode *root;
	struct inode *covers; /* directory inode it lies over; NULL for the root mount */
	struct mount *parent;
	char *point; /* absolute mount point, owned */
	const char *fstype;
	const char *source;
	u32 flags; /* QK_MOUNT_RO */
};
extern struct list all_mounts;
void vfs_init(void); /* after mm, before start_init */
int mount_add(const char *point, struct inode *root, const char *fstype, const char *source, u32 flags);
struct inode *tmpfs_root(u32 mode);  /* fs/memfs.c */
struct inode *hostfs_root(u32 root); /* host root number */
void host_contact(bool input);       /* something went to the host, or (input) came from it or time was let pass: what it said before may be old */
void host_forget_all(void);          /* everything that the host said may be old: a clone */
void hostfiles_before_park(void);
void hostfs_after_restore(void); /* volume slots have another directory now */
void window_cut(void);           /* fs/window.c: QK_EV_CUT */
void window_after_restore(void);
struct inode *overlay_root(struct inode *lower); /* changes stay in memory, over `lower`, which never changes; takes the reference over */
bool inode_is_lower(const struct inode *i);      /* of the overlay, and its content still that of the tree below, which never changes */
struct file *shmem_file_new(u64 size);           /* unnamed tmpfs file, open O_RDWR: MAP_SHARED|MAP_ANONYMOUS and memfd; NULL: out of memory */
struct inode *devfs_root(void);
struct inode *devpts_root(void);
struct inode *procfs_root(void);

/* ---- page cache (fs/pagecache.c): generic read/mmap for inodes with readpages; tmpfs content lives in it too */
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
/* Bytes that files in guest memory may hold (0: half of the memory limit); that limit, and what is left of it, in pages. */
void disk_set_limit(u64 bytes);
u64 disk_total(void), disk_free(void);
/* Bytes of names, attributes and inodes of those files: kernel memory that counts as well. A charge always succeeds: ask for room first. */
void disk_charge(s64 bytes);
bool disk_has_room(u64 bytes);
u64 pagecache_pages(struct inode *i);
bool pagecache_drop_unused(struct inode *i);                   /* drops all pages; false, and none: some are in use beside the cache */
void pagecache_put(struct inode *i, u64 index, paddr_t frame); /* takes the frame over as page `index`, if that is missing */
ssize_t pagecache_read_inode(struct inode *i, struct uio *u, u64 *pos);
ssize_t pagecache_read(struct file *f, struct uio *u, u64 *pos);  /* file_ops.read for cached files */
ssize_t pagecache_write(struct file *f, struct uio *u, u64 *pos); /* tmpfs */
s64 generic_lseek(struct file *f, s64 off, int whence);
int generic_mmap(struct file *f, struct vma *v); /* fs/filemap.c */
void filemap_init(void);
u64 pagecache_shrink(u64 want); /* before memory runs out: drops clean cached pages; returns frames freed */
void names_shrink(void);        /* between system calls: lets names of host files go that nobody uses, if memory is short */

/* ---- polling (fs/poll.c, epoll.c) */
void poll_wait(struct file *f, struct waitq *q, struct poll_table *pt); /* from file_ops.poll: be woken by q */
u32 file_poll(struct file *f, struct poll_table *pt);
void epoll_forget(struct file *f); /* file_put calls it at the last reference, before ops->release */

/* ---- FIFOs, devices and socket nodes of any filesystem (fs/devfs.c): what opening such an inode does. The VFS calls it instead of i->ops->open
 * when S_ISFIFO, S_ISCHR, S_ISBLK or S_ISSOCK; sets f->ops and f->priv; may sleep (FIFO). 0 or -errno. */
int special_open(struct inode *i, struct file *f, u32 oflags);
long pipe_fcntl(struct file *f, u32 cmd, u64 arg); /* F_SETPIPE_SZ, F_GETPIPE_SZ; -EBADF: not a pipe */
struct inode *sysfs_root(void);                    /* mount at /sys */
struct inode *cgroup_root(void);                   /* mount at /sys/fs/cgroup */

/* ---- host streams (fs/hoststream.c): standard streams and ttys of the host */
int hoststreams_install(void);           /* descriptors 0 to 2 of the first process; -ENOMEM */
void hoststreams_restored(void);         /* they may be of another kind now */
void host_event(int handle, u32 events); /* from events_poll */
void hoststreams_look_again(void);       /* whoever waits at one asks again: events may have been lost, or the host is another one */

/* ---- shared helpers */
long iov_from_user(u64 uiov, u64 cnt, struct kiovec *small, u64 nsmall, struct kiovec **iov, struct uio *u); /* fs/sys_rw.c */
/* File without a place in the tree; name as /proc/self/fd shows it, "anon_inode:[eventfd]", or NULL: "TYPE:[ino]". NULL: out of memory. */
struct file *anon_file(const struct file_ops *ops, u32 mode, u32 flags, void *priv, const char *name);
s64 dir_lseek(struct file *f, s64 off, int whence);                   /* file_ops.lseek of directories and of texts: no end to seek from */
int copy_path_from_user(char dst[PATH_MAX], uptr src);                /* 0, -EFAULT, -ENAMETOOLONG, -ENOENT when empty is an error of the caller */
void stat_to_user_struct(const struct qk_stat *st, void *linux_stat); /* struct stat of the syscall ABI, 144 bytes */
int inode_getattr(struct inode *i, struct qk_stat *st);
bool inode_in_group(u32 gid);                               /* is it one of the caller's? */
void inode_stat(const struct inode *i, struct qk_stat *st); /* from the inode's fields alone */
/* The walk of a system call: upath in user memory, at AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH; no path text. 0 or -errno. */
int path_walk_user(int dirfd, u64 upath, u64 at, struct path *p);

#endif
