/* Working directory, root and umask. */
#include "fdtable.h"
#include "fsctx.h"
#include "walk.h"
#include <linux/fcntl.h>
#include <linux/stat.h>

long sys_getcwd(u64 ubuf, u64 size)
{
	char *s = current->fs->cwd.inode->nlink ? path_string(&current->fs->cwd) : NULL;
	if (!current->fs->cwd.inode->nlink)
		return -ENOENT;
	if (!s)
		return -ENAMETOOLONG; /* longer than PATH_MAX; the C library then asks step by step */
	size_t n = strlen(s) + 1;
	long r = n > size ? -ERANGE : copy_to_user(UPTR(ubuf), s, n) ? -EFAULT : (long)n;
	kfree(s);
	return r;
}

static long cwd_change(u64 upath, bool root)
{
	struct path p;
	char *path;
	long r = path_from_user(&path, upath);
	if (r)
		return r;
	r = path_walk(AT_FDCWD, path, WALK_FOLLOW | WALK_DIRECTORY, &p, NULL);
	kfree(path);
	if (r)
		return r;
	r = inode_permission(p.inode, 1);
	if (!r && root && current->proc->euid)
		r = -EPERM;
	struct path *which = root ? &current->fs->root : &current->fs->cwd;
	if (r) {
		path_put(&p);
		return r;
	}
	path_put(which);
	*which = p;
	return 0;
}

long sys_chdir(u64 upath)
{
	return cwd_change(upath, false);
}

long sys_chroot(u64 upath)
{
	return cwd_change(upath, true);
}

long sys_fchdir(u64 fd)
{
	struct path p;
	scoped_file f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	long r = S_ISDIR(f->inode->mode) ? inode_permission(f->inode, 1) : -ENOTDIR;
	if (!r)
		r = path_copy(&p, &f->path);
	if (!r) {
		path_put(&current->fs->cwd);
		current->fs->cwd = p;
	}
	return r;
}

long sys_umask(u64 mask)
{
	u32 old = current->fs->umask;
	current->fs->umask = (u32)mask & 0777;
	return old;
}
