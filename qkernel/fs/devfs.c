/* Devices in memory: /dev and what its nodes do. */
#include "mount.h"
#include "random.h"
#include "memfs.h"
#include "tty/tty.h"
#include "qcall.h"
#include <linux/fcntl.h>
#include <linux/stat.h>

#define PTS_MAJOR 136u
#define MKDEV(major, minor) ((u64)(major) << 8 | (minor))

extern const struct file_ops dev_quark_ops; /* fs/dev_quark.c */

static ssize_t null_read(struct file *f, struct uio *u, u64 *pos)
{
	return 0;
}

static ssize_t null_write(struct file *f, struct uio *u, u64 *pos)
{
	u64 n = u->resid;
	uio_advance(u, n);
	return (ssize_t)n;
}

static ssize_t full_write(struct file *f, struct uio *u, u64 *pos)
{
	return u->resid ? -ENOSPC : 0;
}

static ssize_t zero_read(struct file *f, struct uio *u, u64 *pos)
{
	return uio_zero(u, u->resid);
}

static ssize_t random_read(struct file *f, struct uio *u, u64 *pos)
{
	u8 buf[256];
	ssize_t done = 0;
	while (u->resid) {
		size_t n = MIN(u->resid, sizeof(buf));
		random_bytes(buf, n);
		ssize_t r = uio_write(u, buf, n);
		if (r < 0)
			return done ? done : r;
		done += r;
		if ((size_t)r < n)
			break;
	}
	return done;
}

static s64 devfs_no_seek(struct file *f, s64 off, int whence)
{
	return 0;
}

/* A private mapping of /dev/zero is anonymous memory; a shared one is memory of its own. */
static int zero_mmap(struct file *f, struct vma *v)
{
	struct file *mem = (v->flags & 1) ? shmem_file_new(v->end - v->start) : NULL;
	if ((v->flags & 1) && !mem)
		return -ENOMEM;
	file_put(v->file);
	v->file = mem;
	v->pgoff = 0;
	return 0;
}

static const struct file_ops null_ops = {.read = null_read, .write = null_write, .lseek = devfs_no_seek};
static const struct file_ops zero_ops = {.read = zero_read, .write = null_write, .lseek = devfs_no_seek, .mmap = zero_mmap};
static const struct file_ops full_ops = {.read = zero_read, .write = full_write, .lseek = devfs_no_seek};
static const struct file_ops random_ops = {.read = random_read, .write = null_write, .lseek = devfs_no_seek};

/* ops NULL: a terminal. */
static const struct device {
	const char *name;
	u64 dev;
	u32 mode;
	const struct file_ops *ops;
} devices[] = {
	{"null", MKDEV(1, 3), 0666, &null_ops},     {"zero", MKDEV(1, 5), 0666, &zero_ops},      {"full", MKDEV(1, 7), 0666, &full_ops},
	{"random", MKDEV(1, 8), 0666, &random_ops}, {"urandom", MKDEV(1, 9), 0666, &random_ops}, {"tty", MKDEV(5, 0), 0666, NULL},
	{"ptmx", MKDEV(5, 2), 0666, NULL},          {"console", MKDEV(5, 1), 0620, NULL},        {"quark", MKDEV(10, 0x71), 0666, &dev_quark_ops},
};

static int devfs_open_terminal(u64 dev, struct file *f)
{
	switch (dev) {
	case MKDEV(5, 0):
		return tty_open_controlling(f);
	case MKDEV(5, 1):
		return console_open(f);
	case MKDEV(5, 2):
		return ptmx_open(f);
	default:
		return -ENXIO;
	}
}

int chrdev_open(struct inode *i, struct file *f, u32 oflags)
{
	for (unsigned k = 0; k < ARRAY_SIZE(devices); k++) {
		if (devices[k].dev != i->rdev)
			continue;
		if (!devices[k].ops)
			return devfs_open_terminal(i->rdev, f);
		f->ops = devices[k].ops;
		return 0;
	}
	return (i->rdev >> 8 & 0xfff) == PTS_MAJOR ? pts_open((u32)(i->rdev & 0xff) | (u32)(i->rdev >> 12 & 0xfff00), f, oflags) : -ENXIO;
}

int special_open(struct inode *i, struct file *f, u32 oflags)
{
	if (i->ops->open)
		return i->ops->open(i, f);
	if (S_ISFIFO(i->mode))
		return fifo_open(i, f);
	return S_ISCHR(i->mode) ? chrdev_open(i, f, oflags) : -ENXIO;
}

struct inode *devfs_root(void)
{
	struct inode *root = tmpfs_root(0755), *node;
	if (!root)
		return NULL;
	for (unsigned k = 0; k < ARRAY_SIZE(devices); k++)
		if (root->ops->create(root, devices[k].name, S_IFCHR | devices[k].mode, devices[k].dev, &node) == 0)
			inode_put(node);
	reseed_add(root);
	root->ops->symlink(root, "fd", "/proc/self/fd");
	root->ops->symlink(root, "stdin", "/proc/self/fd/0");
	root->ops->symlink(root, "stdout", "/proc/self/fd/1");
	root->ops->symlink(root, "stderr", "/proc/self/fd/2");
	root->ops->mkdir(root, "shm", 01777);
	root->ops->mkdir(root, "pts", 0755);
	return root;
}
