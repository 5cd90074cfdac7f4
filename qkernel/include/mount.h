/* Mounts (fs/mount.c). The tree is flat: each covers a directory inode of another one. */
#ifndef MOUNT_H
#define MOUNT_H
#include "inode.h"

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
struct inode *tmpfs_root(u32 mode);              /* fs/memfs.c */
struct inode *hostfs_root(u32 root);             /* host root number */
struct inode *overlay_root(struct inode *lower); /* changes stay in memory, over `lower`, which never changes; takes the reference over */
struct inode *devfs_root(void);
struct inode *devpts_root(void);
struct inode *procfs_root(void);
struct inode *sysfs_root(void);  /* mount at /sys */
struct inode *cgroup_root(void); /* mount at /sys/fs/cgroup */

#endif
