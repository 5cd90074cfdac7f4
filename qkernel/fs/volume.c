/* Volumes (-v): changes of names and attributes, which go to the host. */
#include "pagecache.h"
#include "hostfs.h"
#include "qcall.h"
#include "window.h"
#include <linux/fcntl.h>
#include <linux/stat.h>

static int volume_named(struct inode *dir, const char *name, size_t *len)
{
	size_t n;
	if (!host_path(dir, comm_data(), PATH_MAX))
		return -ENAMETOOLONG;
	n = strlen(comm_data());
	if (n + strlen(name) + 2 > PATH_MAX)
		return -ENAMETOOLONG;
	if (n)
		comm_data()[n++] = '/';
	strlcpy(comm_data() + n, name, PATH_MAX - n);
	*len = n + strlen(name) + 1;
	seg_begin();
	return 0;
}

static int volume_create(struct inode *dir, const char *name, u32 mode, u64 rdev, struct inode **out)
{
	size_t n;
	bool node = S_ISFIFO(mode) || S_ISSOCK(mode);
	int r = S_ISREG(mode) || node ? volume_named(dir, name, &n) : -EPERM;
	if (!r && node) {
		r = (int)qcall(QC_MKNOD, (u32)n, hostnode_of(dir)->root, mode, 0, 0, 0, 0);
		if (!r) {
			host_forget(dir, name);
			*out = host_lookup(dir, name, &r);
		}
		return r;
	}
	if (r)
		return r;
	s64 h = qcall(QC_OPEN, (u32)n, hostnode_of(dir)->root, O_RDWR | O_CREAT | O_EXCL, mode & 07777, 0, 0, 0);
	if (h < 0)
		return (int)h;
	struct qk_stat st;
	memcpy(&st, comm_data(), sizeof(st));
	host_forget(dir, name);
	*out = host_learn(dir, name, &st, NULL);
	if (!*out) {
		qcall_close_later((int)h);
		return -ENOMEM;
	}
	inode_get(*out);
	host_adopt(*out, (int)h, true);
	hostnode_of(*out)->created = true;
	return 0;
}

static int volume_mkdir(struct inode *dir, const char *name, u32 mode)
{
	size_t n;
	int r = volume_named(dir, name, &n);
	if (!r)
		r = (int)qcall(QC_MKDIR, (u32)n, hostnode_of(dir)->root, mode, 0, 0, 0, 0);
	if (!r)
		host_forget(dir, name);
	return r;
}

static int volume_remove(struct inode *dir, const char *name, u32 flags)
{
	size_t n;
	int r = volume_named(dir, name, &n);
	if (!r)
		r = (int)qcall(QC_UNLINK, (u32)n, hostnode_of(dir)->root, flags, 0, 0, 0, 0);
	if (!r) {
		struct entry *e = names_find(&hostnode_of(dir)->kids, name);
		if (e && e->inode && e->inode->nlink) {
			e->inode->nlink--;
			hostnode_of(e->inode)->checked = 0;
		}
		host_forget(dir, name);
	}
	return r;
}

static int volume_unlink(struct inode *dir, const char *name)
{
	return volume_remove(dir, name, 0);
}

static int volume_rmdir(struct inode *dir, const char *name)
{
	return volume_remove(dir, name, AT_REMOVEDIR);
}

/* Old and new path one behind the other in the data area. */
static int volume_two_names(enum qk_op op, struct inode *a, const char *an, struct inode *b, const char *bn, u64 flags)
{
	size_t n, m;
	char *first;
	int r = volume_named(b, bn, &m);
	first = r ? NULL : kmalloc(m);
	if (!first)
		return r ? r : -ENOMEM;
	memcpy(first, comm_data(), m);
	r = volume_named(a, an, &n);
	if (!r) {
		memcpy(comm_data() + n, first, m);
		r = (int)qcall(op, (u32)(n + m), hostnode_of(a)->root, flags, 0, 0, 0, 0);
	}
	kfree(first);
	return r;
}

static int volume_rename(struct inode *od, const char *on, struct inode *nd, const char *nn, u32 flags)
{
	int r = volume_two_names(QC_RENAME, od, on, nd, nn, flags);
	if (r)
		return r;
	struct entry *e = names_find(&hostnode_of(od)->kids, on);
	struct inode *i = e ? e->inode : NULL;
	if (!i || (flags & 2)) { /* exchanged: both are looked up again */
		host_forget(od, on);
		host_forget(nd, nn);
		return 0;
	}
	inode_get(i);
	hostnode_of(i)->checked = 0;
	host_forget(od, on);
	host_forget(nd, nn);
	/* The path of its host handle goes by name and parent. The VFS does this for directories after us. */
	if (!S_ISDIR(i->mode)) {
		struct inode *old = i->parent;
		char *name = kstrdup(nn);
		if (name) {
			kfree(i->name);
			i->name = name;
		}
		inode_get(nd);
		i->parent = nd;
		inode_put(old);
	}
	if (!hostnode_of(i)->opens)
		host_close(hostnode_of(i));
	names_set(&hostnode_of(nd)->kids, nn, i);
	return 0;
}

static int volume_link(struct inode *target, struct inode *dir, const char *name)
{
	size_t n;
	int r;
	if (target->name)
		r = volume_two_names(QC_LINK, target->parent, target->name, dir, name, 0);
	else if (hostnode_of(target)->handle < 0) /* a file without a name (O_TMPFILE) that nobody has open */
		r = -ENOENT;
	else if (!(r = volume_named(dir, name, &n)))
		r = (int)qcall(QC_NAME, (u32)n, hostnode_of(dir)->root, (u64)hostnode_of(target)->handle, 0, 0, 0, 0);
	if (!r) {
		target->nlink++;
		host_forget(dir, name);
		hostnode_of(target)->checked = 0;
	}
	return r;
}

static int volume_symlink(struct inode *dir, const char *name, const char *target)
{
	size_t n, m = strlen(target) + 1;
	int r = volume_named(dir, name, &n);
	if (r)
		return r;
	memcpy(comm_data() + n, target, m);
	r = (int)qcall(QC_SYMLINK, (u32)(n + m), hostnode_of(dir)->root, 0, 0, 0, 0, 0);
	if (!r)
		host_forget(dir, name);
	return r;
}

static int volume_tmpfile(struct inode *dir, u32 mode, struct inode **out)
{
	struct hostnode *d = hostnode_of(dir);
	struct qk_stat st;
	if (!host_path(dir, comm_data(), PATH_MAX))
		return -ENAMETOOLONG;
	seg_begin();
	s64 h = qcall(QC_TMPFILE, (u32)strlen(comm_data()) + 1, d->root, mode & 07777, 0, 0, 0, 0);
	if (h < 0)
		return (int)h;
	memcpy(&st, comm_data(), sizeof(st));
	*out = host_node_new(d->root, true, &st);
	if (!*out) {
		qcall_close_later((int)h);
		return -ENOMEM;
	}
	host_adopt(*out, (int)h, true);
	hostnode_of(*out)->created = true;
	return 0;
}

static int volume_setattr(struct inode *i, u32 mask, const struct qk_stat *st)
{
	struct hostnode *n = hostnode_of(i);
	s64 r = 0;
	if ((mask & QK_ATTR_SIZE) && n->opens && n->writable) {
		seg_begin();
		r = qcall(QC_FTRUNCATE, 0, (u64)n->handle, st->size, 0, 0, 0, 0);
		if (!r)
			host_set_tail(i);
		mask &= ~QK_ATTR_SIZE;
	}
	if (!r && mask && n->opens && n->handle >= 0) {
		seg_begin();
		r = qcall(QC_SETATTR, 0, (u64)n->handle, mask | QK_ATTR_HANDLE, mask & QK_ATTR_SIZE ? st->size : st->mode,
			  (u64)st->uid << 32 | st->gid, (u64)st->atime_ns, (u64)st->mtime_ns);
	} else if (!r && mask) {
		if (!host_path(i, comm_data(), PATH_MAX))
			return -ENAMETOOLONG;
		seg_begin();
		r = qcall(QC_SETATTR, (u32)strlen(comm_data()) + 1, n->root, mask, mask & QK_ATTR_SIZE ? st->size : st->mode,
			  (u64)st->uid << 32 | st->gid, (u64)st->atime_ns, (u64)st->mtime_ns);
	}
	if (!r && mask && (i->nlink || n->opens))
		r = host_refetch(i);
	return (int)r;
}

const struct inode_ops volume_ops = {
	.lookup = host_lookup,
	.lookup_path = host_lookup_path,
	.create = volume_create,
	.mkdir = volume_mkdir,
	.unlink = volume_unlink,
	.rmdir = volume_rmdir,
	.rename = volume_rename,
	.link = volume_link,
	.symlink = volume_symlink,
	.tmpfile = volume_tmpfile,
	.readdir = host_readdir,
	.readlink = host_readlink,
	.getattr = host_getattr,
	.setattr = volume_setattr,
	.statfs = host_statfs,
	.getxattr = host_getxattr,
	.listxattr = host_listxattr,
	.setxattr = host_setxattr,
	.open = volume_open,
	.readpages = host_readpages,
	.getpage = host_getpage,
	.getshared = window_get,
	.getpages_around = pagecache_around,
	.evict = host_evict,
};
