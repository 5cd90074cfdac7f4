/* Extended attributes kept in memory, for files of tmpfs and of the overlay; those of a lower file are taken over when they are first asked for. */
#include "disk.h"
#include "ktime.h"
#include "memfs.h"
#include <linux/limits.h>
#include <linux/xattr.h>

#define TOTAL_MAX (128u << 10) /* bytes of names and values of one file; then -ENOSPC */

struct xattr {
	struct list node;
	size_t len;
	char *value;
	char name[];
};
struct xattrs {
	struct list all;
	size_t total;
	bool loaded; /* what a lower file has is here */
};

static struct xattr *xattr_find(struct xattrs *s, const char *name)
{
	struct xattr *x;
	list_for_each (x, &s->all, node)
		if (!strcmp(x->name, name))
			return x;
	return NULL;
}

static void xattr_drop(struct xattrs *s, struct xattr *x)
{
	list_del(&x->node);
	s->total -= strlen(x->name) + 1 + x->len;
	kfree(x->value);
	kfree(x);
}

static int xattr_put(struct xattrs *s, const char *name, const void *value, size_t n)
{
	size_t len = strlen(name) + 1;
	struct xattr *old = xattr_find(s, name), *x;
	size_t freed = old ? len + old->len : 0;
	if (s->total - freed + len + n > TOTAL_MAX)
		return -ENOSPC;
	x = kmalloc(sizeof(*x) + len);
	char *copy = x ? kmalloc(n ? n : 1) : NULL;
	if (!copy) {
		kfree(x);
		return -ENOMEM;
	}
	memcpy(x->name, name, len);
	memcpy(copy, value, n);
	x->value = copy;
	x->len = n;
	if (old)
		xattr_drop(s, old);
	list_add_tail(&x->node, &s->all);
	s->total += len + n;
	return 0;
}

static int xattr_load(struct xattrs *s, struct inode *lower)
{
	char *names = kmalloc(XATTR_LIST_MAX), *value = kmalloc(XATTR_SIZE_MAX);
	long n = !names || !value ? -ENOMEM : lower->ops->listxattr(lower, names);
	int r = n < 0 ? (int)n : 0;
	for (long at = 0; !r && at < n; at += (long)strlen(names + at) + 1) {
		long len = lower->ops->getxattr(lower, names + at, value);
		if (len >= 0)
			r = xattr_put(s, names + at, value, (size_t)len);
	}
	s->loaded = r == 0;
	kfree(names);
	kfree(value);
	return r;
}

/* The attributes of the file, NULL: none, or *err. make: for a change. */
static struct xattrs *xattrs_of(struct inode *i, bool make, int *err)
{
	struct memnode *m = memnode_of(i);
	bool below = m->lower && m->lower->ops->listxattr;
	*err = 0;
	if (!m->xattrs && (make || below)) {
		m->xattrs = kzalloc(sizeof(*m->xattrs));
		if (!m->xattrs) {
			*err = -ENOMEM;
			return NULL;
		}
		list_init(&m->xattrs->all);
	}
	if (m->xattrs && below && !m->xattrs->loaded)
		*err = xattr_load(m->xattrs, m->lower);
	return *err ? NULL : m->xattrs;
}

long memfs_getxattr(struct inode *i, const char *name, char *value)
{
	int err;
	/* What the host has of other kinds is not for the guest: no need to ask for it (ls and cp do, for each file). */
	bool user = !strncmp(name, XATTR_USER_PREFIX, strlen(XATTR_USER_PREFIX));
	struct xattrs *s = user || memnode_of(i)->xattrs ? xattrs_of(i, false, &err) : NULL;
	const struct xattr *x = s ? xattr_find(s, name) : NULL;
	if (!x)
		return -ENODATA;
	memcpy(value, x->value, x->len);
	return (long)x->len;
}

int memfs_setxattr(struct inode *i, const char *name, const void *value, size_t n, u32 flags)
{
	int err;
	struct xattrs *s = xattrs_of(i, true, &err);
	struct xattr *x = s ? xattr_find(s, name) : NULL;
	if (!s)
		return err;
	if (x && (flags & XATTR_CREATE))
		return -EEXIST;
	if (!x && (flags & XATTR_REPLACE))
		return -ENODATA;
	size_t before = s->total;
	if (value)
		err = disk_has_room(n) ? xattr_put(s, name, value, n) : -ENOSPC;
	else if (x)
		xattr_drop(s, x);
	memnode_of(i)->charged += s->total - before;
	disk_charge((s64)(s->total - before));
	if (!err)
		i->ctime_ns = (s64)real_ns();
	return err;
}

long memfs_listxattr(struct inode *i, char *names)
{
	int err;
	struct xattrs *s = xattrs_of(i, false, &err);
	const struct xattr *x;
	size_t n = 0;
	if (!s)
		return err;
	list_for_each (x, &s->all, node) {
		size_t len = strlen(x->name) + 1;
		if (n + len > XATTR_LIST_MAX)
			return -E2BIG;
		memcpy(names + n, x->name, len);
		n += len;
	}
	return (long)n;
}

void memfs_xattrs_free(struct inode *i)
{
	struct xattrs *s = memnode_of(i)->xattrs;
	while (s && !list_empty(&s->all))
		xattr_drop(s, list_first(&s->all, struct xattr, node));
	kfree(s);
}
