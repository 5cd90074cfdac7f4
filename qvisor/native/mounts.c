/* Roots as mounts of nobody else: what lies above is not there for who has the descriptor, and of what lies beneath nothing lends rights. */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "qvisor_api.h"

#define RECURSIVE 0x8000 /* AT_RECURSIVE of linux/fcntl.h, which fcntl.h does not go with */

int qv_own_mount(int fd, int read_only)
{
	/* Slaves: what the host unmounts is unmounted here, too, where its mounts are shared, as systemd has them; else it stays in use. */
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (read_only ? MOUNT_ATTR_RDONLY : 0), .propagation = MS_SLAVE};
	int own = (int)syscall(SYS_open_tree, fd, "", AT_EMPTY_PATH | RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (own < 0)
		return -errno;
	if (syscall(SYS_mount_setattr, own, "", AT_EMPTY_PATH | RECURSIVE, &attr, sizeof(attr)) == 0)
		return own;
	int r = -errno;
	close(own);
	return r;
}
