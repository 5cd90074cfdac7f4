/* Extended attributes of files of the host: user.* alone, asked for each time. */
#include "hostfs.h"
#include "qcall.h"
#include <linux/limits.h>
#include <linux/stat.h>
#include <linux/xattr.h>

/* An open file of a volume is asked by its handle: its name may be gone, or another's. */
static bool hostxattr_by_handle(const struct inode *i)
{
	return (i->iflags & I_VOLATILE) && hostnode_of(i)->opens && hostnode_of(i)->handle >= 0;
}

static u64 hostxattr_subject_of(const struct inode *i)
{
	return hostxattr_by_handle(i) ? (u64)hostnode_of(i)->handle : hostnode_of(i)->root;
}

/* The data area gets the file's path, the attribute's name and n bytes of value; their length or -errno. */
static long hostxattr_request(struct inode *i, const char *name, const void *value, size_t n)
{
	if (hostxattr_by_handle(i))
		comm_data()[0] = 0;
	else if (!i->nlink)
		return -ESTALE; /* its path names nothing, or something else */
	else if (!host_path(i, comm_data(), PATH_MAX))
		return -ENAMETOOLONG;
	size_t at = strlen(comm_data()) + 1, len = name ? strlen(name) + 1 : 0;
	if (at + len + n > QK_DATA_SIZE)
		return -E2BIG;
	memcpy(comm_data() + at, name, len);
	memcpy(comm_data() + at + len, value, n);
	seg_begin();
	return (long)(at + len + n);
}

static long hostxattr_host_asks(struct inode *i, enum qk_op op, const char *name, char *out, size_t room)
{
	long n = hostxattr_request(i, name, NULL, 0);
	if (n < 0)
		return n;
	n = qcall(op, (u32)n, hostxattr_subject_of(i), 0, hostxattr_by_handle(i), 0, 0, 0);
	if (n > 0) {
		n = MIN(n, (long)MIN(room, (size_t)QK_DATA_SIZE));
		memcpy(out, comm_data(), (size_t)n);
	}
	return n;
}

long host_getxattr(struct inode *i, const char *name, char *value)
{
	bool user = !strncmp(name, XATTR_USER_PREFIX, strlen(XATTR_USER_PREFIX));
	return user ? hostxattr_host_asks(i, QC_GETXATTR, name, value, XATTR_SIZE_MAX) : -ENODATA;
}

long host_listxattr(struct inode *i, char *names)
{
	if (!S_ISREG(i->mode) && !S_ISDIR(i->mode))
		return 0;
	long n = hostxattr_host_asks(i, QC_LISTXATTR, NULL, names, XATTR_LIST_MAX);
	return n == -EOPNOTSUPP ? 0 : n > 0 && names[n - 1] ? -EIO : n;
}

int host_setxattr(struct inode *i, const char *name, const void *value, size_t size, u32 flags)
{
	if (strncmp(name, XATTR_USER_PREFIX, strlen(XATTR_USER_PREFIX)) != 0)
		return -EOPNOTSUPP;
	long n = hostxattr_request(i, name, value, size);
	if (n < 0)
		return (int)n;
	host_doubt(i);
	return (int)qcall(value ? QC_SETXATTR : QC_REMOVEXATTR, (u32)n, hostxattr_subject_of(i), flags, hostxattr_by_handle(i), 0, 0, 0);
}
