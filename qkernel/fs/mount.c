/* The tree of mounts and how it is set up at boot. */
#include "errno.h"
#include "mm.h"
#include "mount.h"
#include "qcall.h"
#include <linux/fcntl.h>
#include <linux/stat.h>

struct list all_mounts = LIST_INIT(all_mounts);

/* Lies before the first process exists: a walk along real directories, making the missing ones in the overlay's memory. */
static struct inode *mount_make_point(const char *point, bool file)
{
	struct mount *m = list_first(&all_mounts, struct mount, node);
	struct inode *at = m->root;
	char name[256];
	inode_get(at);
	while (*point == '/')
		point++;
	while (*point) {
		size_t n = 0;
		while (point[n] && point[n] != '/')
			n++;
		if (n > 255)
			return NULL;
		memcpy(name, point, n);
		name[n] = 0;
		point += n;
		while (*point == '/')
			point++;
		int err = 0;
		struct inode *next = at->ops->lookup ? at->ops->lookup(at, name, &err) : NULL;
		if (!next && at->ops->mkdir) {
			if (file && !*point) {
				err = at->ops->create(at, name, S_IFREG | 0644, 0, &next);
			} else {
				err = at->ops->mkdir(at, name, 0755);
				if (!err)
					next = at->ops->lookup(at, name, &err);
			}
		}
		if (next && S_ISDIR(next->mode) && !next->parent) {
			next->name = kstrdup(name);
			next->parent = at;
			inode_get(at);
		}
		inode_put(at);
		if (!next)
			return NULL;
		/* Into what is mounted there already. */
		struct mount *over;
		list_for_each (over, &all_mounts, node) {
			if (over->covers == next && *point) {
				inode_get(over->root);
				inode_put(next);
				next = over->root;
				break;
			}
		}
		at = next;
	}
	return at;
}

static struct mount *mount_of(struct inode *i)
{
	struct mount *m;
	for (;;) {
		list_for_each (m, &all_mounts, node)
			if (m->root == i)
				return m;
		if (!i->parent || i->parent == i)
			return list_first(&all_mounts, struct mount, node);
		i = i->parent;
	}
}

int mount_add(const char *point, struct inode *root, const char *fstype, const char *source, u32 flags)
{
	struct mount *m = kzalloc(sizeof(*m));
	if (!m || !root)
		return -ENOMEM;
	m->root = root;
	m->point = kstrdup(point);
	m->fstype = fstype;
	m->source = source;
	m->flags = flags;
	if (!list_empty(&all_mounts)) {
		m->covers = mount_make_point(point, flags & QK_MOUNT_FILE);
		if (!m->covers) {
			kfree(m->point);
			kfree(m);
			return -ENOENT;
		}
		m->parent = mount_of(m->covers);
		m->covers->iflags |= I_MOUNTPOINT;
	}
	list_add_tail(&m->node, &all_mounts);
	return 0;
}

static void mount_must(int r, const char *what)
{
	if (r)
		panic("cannot mount %s: error %d", what, -r);
}

void vfs_init(void)
{
	const struct qk_boot *b = &comm()->boot;
	struct inode *lower = hostfs_root(0);
	if (!lower)
		panic("cannot read the root of the file system");
	mount_must(mount_add("/", overlay_root(lower), "overlay", "overlay", 0), "/");
	mount_must(mount_add("/dev", devfs_root(), "devtmpfs", "dev", 0), "/dev");
	mount_must(mount_add("/dev/pts", devpts_root(), "devpts", "devpts", 0), "/dev/pts");
	mount_must(mount_add("/dev/shm", tmpfs_root(01777), "tmpfs", "shm", 0), "/dev/shm");
	mount_must(mount_add("/proc", procfs_root(), "proc", "proc", 0), "/proc");
	mount_must(mount_add("/sys", sysfs_root(), "sysfs", "sys", QK_MOUNT_RO), "/sys");
	mount_must(mount_add("/sys/fs/cgroup", cgroup_root(), "cgroup2", "cgroup", QK_MOUNT_RO), "/sys/fs/cgroup");
	const char *at = (const char *)(QK_COMM_BASE + QK_OFF_BOOT);
	for (u32 i = 0; i < 2 + b->argc + b->envc; i++) /* cwd, hostname, argv, envp */
		at += strlen(at) + 1;
	for (u32 i = 0; i < b->nmounts; i++) {
		struct inode *root = hostfs_root(i + 1);
		if (!root)
			panic("cannot read volume %s", at);
		int r = mount_add(at, root, "quark", "host", b->mount_flags[i]);
		if (r == -ENOENT) /* the rest of the path is the rootfs's to decide */
			end_unstarted(
				126,
				"cannot mount the volume at %s: what is before its last name has to be directories, no symbolic links among them",
				at);
		mount_must(r, at);
		at += strlen(at) + 1;
	}
}
