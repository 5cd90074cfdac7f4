/* What a QVisor that was taken over would try with its roots: escape READONLY VOLUME SECRET, directories and the absolute name of a file beside them. Linked
 * with QVisor's own mounts.c and landlock.c. Arguments `mounts`, `landlock` before say by which of the two it is held. Prints what succeeded. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "confine.h"
#include "qvisor_api.h"

static void tried(const char *what, int r)
{
	if (r >= 0)
		printf("%s\n", what);
}

int main(int argc, char **argv)
{
	if (argc != 5)
		return 2;
	bool mounts = !strcmp(argv[1], "mounts");
	struct confined_root roots[2] = {{.fd = open(argv[2], O_PATH)}, {.fd = open(argv[3], O_PATH), .writable = true}};
	for (int i = 0; mounts && i < 2; i++)
		if ((roots[i].fd = qv_own_mount(roots[i].fd, !roots[i].writable)) < 0)
			return 3;
	if (!mounts && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || landlock_confine(roots, 2)))
		return 4;
	/* What it is for. */
	if (openat(roots[0].fd, "file", O_RDONLY) < 0 || openat(roots[1].fd, "new", O_WRONLY | O_CREAT, 0600) < 0 ||
	    mkdirat(roots[1].fd, "folder", 0700) || renameat(roots[1].fd, "new", roots[1].fd, "folder/moved"))
		return 5;
	tried("read above the root", openat(roots[0].fd, "../secret", O_RDONLY));
	tried("read above the volume", openat(roots[1].fd, "../../secret", O_RDONLY));
	tried("write above the volume", openat(roots[1].fd, "../secret", O_WRONLY));
	if (openat(roots[1].fd, "../made", O_WRONLY | O_CREAT, 0600) < 0)
		errno = 0; /* where that would be, its caller looks: ".." of a mount is the mount */
	tried("write in the root", openat(roots[0].fd, "file", O_WRONLY));
	tried("make a file in the root", openat(roots[0].fd, "made", O_WRONLY | O_CREAT, 0600));
	tried("remove from the root", unlinkat(roots[0].fd, "file", 0));
	tried("open a device in the volume", openat(roots[1].fd, "null", O_RDWR));
	if (!mounts) /* (the mounts are of no help here: the empty root is) */
		tried("read by an absolute name", open(argv[4], O_RDONLY));
	return 0;
}
