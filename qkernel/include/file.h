/* Open files: what they do, opening, polling, reading and writing. */
#ifndef FILE_H
#define FILE_H
#include "path.h"
#include "waitq.h"

struct vma;
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

/* Kernel-side open, as used by execve and the boot: referenced file or -errno through *err. oflags O_*. */
struct file *file_open(int dirfd, const char *path, u32 oflags, u32 mode, int *err);
ssize_t file_read_kernel(struct file *f, void *dst, size_t n, u64 off);
ssize_t file_size(struct file *f);
/* Write as write(2) does, with what goes for all file systems: RLIMIT_FSIZE, set-id bits, events. u may be cut. */
ssize_t file_write(struct file *f, struct uio *u, u64 *pos);
int file_size_allowed(u64 size); /* 0, or SIGXFSZ sent and -EFBIG */
#define FILE_SIZE_MAX (1ull << 43)
/* Creates a node (S_IFIFO, S_IFSOCK, S_IFREG, S_IFCHR with rdev) as mknodat does, umask applied. out (may be NULL): the inode, referenced. */
int vfs_mknod(int dirfd, const char *path, u32 mode, u64 rdev, struct inode **out);
/* Open an inode as open(2) does after the walk (access mode checked): takes no references over; f->path is a copy of p. */
struct file *inode_open(const struct path *p, u32 oflags, int *err);
struct file *shmem_file_new(u64 size); /* unnamed tmpfs file, open O_RDWR: MAP_SHARED|MAP_ANONYMOUS and memfd; NULL: out of memory */
s64 generic_lseek(struct file *f, s64 off, int whence);

/* ---- polling (fs/poll.c, epoll.c) */
void poll_wait(struct file *f, struct waitq *q, struct poll_table *pt); /* from file_ops.poll: be woken by q */
u32 file_poll(struct file *f, struct poll_table *pt);
void epoll_forget(struct file *f); /* file_put calls it at the last reference, before ops->release */

/* ---- FIFOs, devices and socket nodes of any filesystem (fs/devfs.c): what opening such an inode does. The VFS calls it instead of i->ops->open
 * when S_ISFIFO, S_ISCHR, S_ISBLK or S_ISSOCK; sets f->ops and f->priv; may sleep (FIFO). 0 or -errno. */
int special_open(struct inode *i, struct file *f, u32 oflags);
long pipe_fcntl(struct file *f, u32 cmd, u64 arg); /* F_SETPIPE_SZ, F_GETPIPE_SZ; -EBADF: not a pipe */

long iov_from_user(u64 uiov, u64 cnt, struct kiovec *small, u64 nsmall, struct kiovec **iov, struct uio *u); /* fs/sys_rw.c */
/* File without a place in the tree; name as /proc/self/fd shows it, "anon_inode:[eventfd]", or NULL: "TYPE:[ino]". NULL: out of memory. */
struct file *anon_file(const struct file_ops *ops, u32 mode, u32 flags, void *priv, const char *name);
s64 dir_lseek(struct file *f, s64 off, int whence); /* file_ops.lseek of directories and of texts: no end to seek from */

#endif
