/* Places in the tree, and the walk to them (fs/path.c). */
#ifndef PATH_H
#define PATH_H
#include "inode.h"
#include "uaccess.h"

struct mount;

/* A place in the tree. The tree of mounts is flat: mounts cover a directory inode of another mount. */
struct path {
	struct mount *mnt;
	struct inode *inode; /* referenced */
	char *str;           /* absolute path as walked, owned; for getcwd, /proc/self/fd, *at() */
};
void path_put(struct path *p);
int path_copy(struct path *dst, const struct path *src);

#define WALK_FOLLOW 1u    /* follow a final symlink */
#define WALK_PARENT 2u    /* stop at the parent; last component goes to `last` (NAME_MAX + 1 bytes) */
#define WALK_DIRECTORY 4u /* must be a directory */
#define WALK_EMPTY 8u     /* AT_EMPTY_PATH: "" is dirfd itself */
#define WALK_NOSTR 16u    /* leave out->str NULL: it is not needed (stat, access) */
/* How openat2 restricts a walk (RESOLVE_* of linux/openat2.h), in a walk's flags and in the oflags of file_open. */
#define WALK_RESOLVE_SHIFT 26
#define WALK_RESOLVE(resolve) ((u32)(resolve) << WALK_RESOLVE_SHIFT)
/* dirfd: AT_FDCWD or a descriptor. path: kernel string. 0 or -errno; out->inode referenced. */
int path_walk(int dirfd, const char *path, u32 flags, struct path *out, char *last);
char *path_string(const struct path *p); /* absolute path of a directory, from the inodes' names; kmalloc'd, NULL: out of memory */
#define PATH_MAX 4096
int copy_path_from_user(char dst[PATH_MAX], uptr src); /* 0, -EFAULT, -ENAMETOOLONG, -ENOENT when empty is an error of the caller */
/* The walk of a system call: upath in user memory, at AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH; no path text. 0 or -errno. */
int path_walk_user(int dirfd, u64 upath, u64 at, struct path *p);

#endif
