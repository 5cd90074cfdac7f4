/* System calls on extended attributes (xattr(7)): names, permissions and limits; file systems keep them. */
#include "fdtable.h"
#include "mount.h"
#include "inotify.h"
#include <linux/capability.h>
#include <linux/fcntl.h>
#include <linux/limits.h>
#include <linux/stat.h>
#include <linux/xattr.h>

static bool xattr_has_prefix(const char *name, const char *prefix)
{
	return !strncmp(name, prefix, strlen(prefix));
}

static bool xattr_capable(u32 cap)
{
	return current->proc->cap_eff >> cap & 1;
}

/* May the attribute be read or written at all, and is there a handler for its kind? */
static long xattr_permission(struct inode *i, const char *name, bool write)
{
	if (xattr_has_prefix(name, XATTR_SECURITY_PREFIX))
		return !write || xattr_capable(strcmp(name, XATTR_NAME_CAPS) ? CAP_SYS_ADMIN : CAP_SETFCAP) ? 0 : -EPERM;
	if (xattr_has_prefix(name, XATTR_TRUSTED_PREFIX))
		return xattr_capable(CAP_SYS_ADMIN) ? 0 : write ? -EPERM : -ENODATA;
	if (!xattr_has_prefix(name, XATTR_USER_PREFIX))
		return -EOPNOTSUPP; /* system.posix_acl_access and the like: there are no access control lists */
	if (!name[strlen(XATTR_USER_PREFIX)])
		return -EINVAL;
	if (!S_ISREG(i->mode) && !S_ISDIR(i->mode))
		return write ? -EPERM : -ENODATA;
	if (write && S_ISDIR(i->mode) && (i->mode & S_ISVTX) && current->proc->fsuid && current->proc->fsuid != i->uid)
		return -EPERM;
	return inode_permission(i, write ? 2 : 4);
}

static long xattr_name_from_user(u64 uname, char name[XATTR_NAME_MAX + 1])
{
	long n = strncpy_from_user(name, UPTR(uname), XATTR_NAME_MAX + 1);
	return n == -ENAMETOOLONG || n == 0 ? -ERANGE : n < 0 ? n : 0;
}

/* What a call is about: by path (fd < 0) or by descriptor. The caller puts p. */
static long xattr_target(int fd, u64 upath, u64 at, struct path *p)
{
	if (upath)
		return path_walk_user(AT_FDCWD, upath, at, p);
	scoped_file f = fd_get(fd);
	if (!f || (f->flags & O_PATH))
		return -EBADF;
	*p = (struct path){.mnt = f->path.mnt, .inode = f->inode};
	inode_get(p->inode);
	return 0;
}

static long xattr_set(int fd, u64 upath, u64 at, u64 uname, u64 uvalue, u64 n, u64 flags)
{
	char name[XATTR_NAME_MAX + 1];
	struct path p;
	if (flags & ~(u64)(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	long r = xattr_name_from_user(uname, name);
	if (r)
		return r;
	if (n > XATTR_SIZE_MAX)
		return -E2BIG;
	char *value = kmalloc(n ? n : 1);
	if (!value)
		return -ENOMEM;
	r = copy_from_user(value, UPTR(uvalue), n) ? -EFAULT : xattr_target(fd, upath, at, &p);
	if (!r) {
		struct inode *i = p.inode;
		r = p.mnt && (p.mnt->flags & QK_MOUNT_RO) ? -EROFS : xattr_permission(i, name, true);
		if (!r)
			r = i->ops->setxattr ? i->ops->setxattr(i, name, value, n, (u32)flags) : -EOPNOTSUPP;
		if (!r)
			notify(i, IN_ATTRIB);
		path_put(&p);
	}
	kfree(value);
	return r;
}

static long xattr_remove(int fd, u64 upath, u64 at, u64 uname)
{
	char name[XATTR_NAME_MAX + 1];
	struct path p;
	long r = xattr_name_from_user(uname, name);
	if (!r)
		r = xattr_target(fd, upath, at, &p);
	if (r)
		return r;
	r = p.mnt && (p.mnt->flags & QK_MOUNT_RO) ? -EROFS : xattr_permission(p.inode, name, true);
	if (!r)
		r = p.inode->ops->setxattr ? p.inode->ops->setxattr(p.inode, name, NULL, 0, XATTR_REPLACE) : -EOPNOTSUPP;
	if (!r)
		notify(p.inode, IN_ATTRIB);
	path_put(&p);
	return r;
}

/* Of a file's own answer: copied out, or -ERANGE; size 0 only asks. */
static long xattr_answer(long n, const char *buf, u64 ubuf, u64 size)
{
	if (n <= 0 || !size)
		return n;
	return (u64)n > size ? -ERANGE : copy_to_user(UPTR(ubuf), buf, (u64)n) ? -EFAULT : n;
}

static long xattr_get(int fd, u64 upath, u64 at, u64 uname, u64 uvalue, u64 size)
{
	char name[XATTR_NAME_MAX + 1];
	struct path p;
	long r = xattr_name_from_user(uname, name);
	if (!r)
		r = xattr_target(fd, upath, at, &p);
	if (r)
		return r;
	char *value = kmalloc(XATTR_SIZE_MAX);
	r = value ? xattr_permission(p.inode, name, false) : -ENOMEM;
	if (!r)
		r = xattr_answer(p.inode->ops->getxattr ? p.inode->ops->getxattr(p.inode, name, value) : -EOPNOTSUPP, value, uvalue, size);
	kfree(value);
	path_put(&p);
	return r;
}

/* Without the names of trusted attributes for those who may not have them. */
static long xattr_visible(char *names, long n)
{
	long kept = 0;
	if (xattr_capable(CAP_SYS_ADMIN))
		return n;
	for (long at = 0; at < n;) {
		long len = (long)strnlen(names + at, (size_t)(n - at)) + 1;
		if (!xattr_has_prefix(names + at, XATTR_TRUSTED_PREFIX)) {
			memmove(names + kept, names + at, (size_t)len);
			kept += len;
		}
		at += len;
	}
	return kept;
}

static long xattr_list(int fd, u64 upath, u64 at, u64 ubuf, u64 size)
{
	struct path p;
	long r = xattr_target(fd, upath, at, &p);
	if (r)
		return r;
	char *names = kmalloc(XATTR_LIST_MAX);
	r = !names ? -ENOMEM : p.inode->ops->listxattr ? p.inode->ops->listxattr(p.inode, names) : 0;
	if (r > 0)
		r = xattr_answer(xattr_visible(names, r), names, ubuf, size);
	kfree(names);
	path_put(&p);
	return r;
}

#define NOFOLLOW AT_SYMLINK_NOFOLLOW
/* A path of NULL is a bad address, not "by descriptor". */
#define BY_PATH(upath, call) ((upath) ? (call) : -EFAULT)

long sys_setxattr(u64 path, u64 name, u64 value, u64 n, u64 flags)
{
	return BY_PATH(path, xattr_set(-1, path, 0, name, value, n, flags));
}
long sys_lsetxattr(u64 path, u64 name, u64 value, u64 n, u64 flags)
{
	return BY_PATH(path, xattr_set(-1, path, NOFOLLOW, name, value, n, flags));
}
long sys_fsetxattr(u64 fd, u64 name, u64 value, u64 n, u64 flags)
{
	return xattr_set((int)fd, 0, 0, name, value, n, flags);
}
long sys_getxattr(u64 path, u64 name, u64 value, u64 size)
{
	return BY_PATH(path, xattr_get(-1, path, 0, name, value, size));
}
long sys_lgetxattr(u64 path, u64 name, u64 value, u64 size)
{
	return BY_PATH(path, xattr_get(-1, path, NOFOLLOW, name, value, size));
}
long sys_fgetxattr(u64 fd, u64 name, u64 value, u64 size)
{
	return xattr_get((int)fd, 0, 0, name, value, size);
}
long sys_listxattr(u64 path, u64 buf, u64 size)
{
	return BY_PATH(path, xattr_list(-1, path, 0, buf, size));
}
long sys_llistxattr(u64 path, u64 buf, u64 size)
{
	return BY_PATH(path, xattr_list(-1, path, NOFOLLOW, buf, size));
}
long sys_flistxattr(u64 fd, u64 buf, u64 size)
{
	return xattr_list((int)fd, 0, 0, buf, size);
}
long sys_removexattr(u64 path, u64 name)
{
	return BY_PATH(path, xattr_remove(-1, path, 0, name));
}
long sys_lremovexattr(u64 path, u64 name)
{
	return BY_PATH(path, xattr_remove(-1, path, NOFOLLOW, name));
}
long sys_fremovexattr(u64 fd, u64 name)
{
	return xattr_remove((int)fd, 0, 0, name);
}
