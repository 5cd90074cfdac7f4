/* /dev/pts: a node for each pseudo-terminal whose master is open. */
#include "mount.h"
#include "tty.h"

#define PTS_DEV 136u
#define TTY_GROUP 5u
#define PTMX_DEV (5u << 8 | 2u)

static struct inode *root;

struct inode *devpts_root(void)
{
	struct inode *node;
	root = tmpfs_root(0755);
	if (root && root->ops->create(root, "ptmx", S_IFCHR, PTMX_DEV, &node) == 0)
		inode_put(node);
	return root;
}

static void devpts_name_of(u32 index, char name[16])
{
	snprintf(name, 16, "%u", index);
}

int devpts_add(u32 index)
{
	struct inode *node;
	char name[16];
	devpts_name_of(index, name);
	int r = root ? root->ops->create(root, name, S_IFCHR | 0620, PTS_DEV << 8 | (index & 0xff) | (u64)(index & ~0xffu) << 12, &node) : -ENODEV;
	if (r)
		return r;
	node->gid = TTY_GROUP;
	inode_put(node);
	return 0;
}

void devpts_remove(u32 index)
{
	char name[16];
	devpts_name_of(index, name);
	root->ops->unlink(root, name);
}
