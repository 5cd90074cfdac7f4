/* Directory trees of the host. The rootfs never changes (what a lookup found is kept, also that a name is missing); volumes may change at
 * any time and are asked every time. One QC_LOOKUP resolves as much of a path as has no links. */
#include "hostfs.h"
#include "qcall.h"
#include <linux/fcntl.h>
#include <linux/stat.h>

static const struct inode_ops host_ops, volume_ops;
static u64 devs[33];

bool host_path(const struct inode *i, char *buf, size_t size)
{
	size_t len = 0;
	for (const struct inode *at = i; at->name; at = at->parent)
		len += strlen(at->name) + 1;
	if (len > size)
		return false;
	if (!len) {
		buf[0] = 0;
		return true;
	}
	char *end = buf + len - 1;
	*end = 0;
	for (const struct inode *at = i; at->name; at = at->parent) {
		size_t n = strlen(at->name);
		end -= n;
		memcpy(end, at->name, n);
		if (end > buf)
			*--end = '/';
	}
	return true;
}

void host_set_stat(struct inode *i, const struct qk_stat *st)
{
	if ((i->iflags & I_VOLATILE) && i->cache && (st->size != i->size || st->mtime_ns != i->mtime_ns)) {
		pagecache_free(i->cache); /* changed on the host: mappings keep what they have */
		i->cache = NULL;
	}
	i->mode = st->mode;
	i->nlink = st->nlink;
	i->uid = st->uid;
	i->gid = st->gid;
	i->ino = st->ino;
	i->rdev = st->rdev;
	i->size = st->size;
	i->blocks = st->blocks;
	i->atime_ns = st->atime_ns;
	i->mtime_ns = st->mtime_ns;
	i->ctime_ns = st->ctime_ns;
}

static struct inode *node_new(u32 root, bool is_volatile, const struct qk_stat *st)
{
	struct hostnode *n = kzalloc(sizeof(*n));
	bool dir = S_ISDIR(st->mode);
	struct inode *i = n ? inode_new(is_volatile ? &volume_ops : &host_ops,
					dir           ? &host_dir_ops
					: is_volatile ? &volume_file_ops
						      : &host_file_ops,
					st->mode, n)
			    : NULL;
	if (!i) {
		kfree(n);
		return NULL;
	}
	n->root = root;
	n->handle = -1;
	n->inode = i;
	list_init(&n->lru);
	names_init(&n->kids);
	i->iflags = is_volatile ? I_VOLATILE : I_CLEAN;
	i->dev = devs[root];
	host_set_stat(i, st);
	return i;
}

static void evict(struct inode *i)
{
	struct hostnode *n = hostnode_of(i);
	host_close(n);
	names_free(&n->kids);
	kfree(n->link);
	kfree(n);
}

/* Puts what the host says about `name` into the directory; the inode, not referenced for the caller, or NULL: out of memory. */
static struct inode *learn(struct inode *dir, const char *name, const struct qk_stat *st)
{
	struct hostnode *d = hostnode_of(dir);
	struct entry *e = names_find(&d->kids, name);
	if (e && e->inode && e->inode->ino == st->ino && !((e->inode->mode ^ st->mode) & S_IFMT)) {
		if (dir->iflags & I_VOLATILE)
			host_set_stat(e->inode, st);
		return e->inode;
	}
	struct inode *i = node_new(d->root, dir->iflags & I_VOLATILE, st);
	if (!i)
		return NULL;
	i->name = kstrdup(name);
	if (!i->name || !names_set(&d->kids, name, i)) {
		if (!i->name)
			inode_put(i);
		return NULL;
	}
	i->parent = dir;
	inode_get(dir);
	return i;
}

/* Asks the host for `rest` (its first component is the one wanted) below dir and keeps all that comes back. */
static int ask(struct inode *dir, const char *rest)
{
	char *path = kmalloc(PATH_MAX);
	if (!path)
		return -ENOMEM;
	int r = host_path(dir, path, PATH_MAX) ? 0 : -ENAMETOOLONG;
	size_t len = r ? 0 : strlen(path);
	unsigned prefix = len ? 1 : 0, parts = 0;
	for (size_t k = 0; k < len; k++)
		prefix += path[k] == '/';
	size_t start = len ? len + 1 : 0, end = len;
	while (!r && *rest) {
		size_t n = 0;
		while (rest[n] && rest[n] != '/')
			n++;
		if ((n == 1 && rest[0] == '.') || (n == 2 && rest[0] == '.' && rest[1] == '.'))
			break;
		if (end + n + 2 > PATH_MAX) {
			r = parts ? 0 : -ENAMETOOLONG;
			break;
		}
		if (end)
			path[end++] = '/';
		memcpy(path + end, rest, n);
		end += n;
		path[end] = 0;
		parts++;
		rest += n;
		while (*rest == '/')
			rest++;
		if (dir->iflags & I_VOLATILE)
			break; /* every component is asked for when its turn comes */
	}
	if (r || !parts) {
		kfree(path);
		return r ? r : -EINVAL;
	}
	memcpy(comm_data(), path, end + 1);
	seg_begin();
	s64 count = qcall(QC_LOOKUP, (u32)end + 1, hostnode_of(dir)->root, 0, 0, 0, 0, 0);
	int why = (int)qcall_out(0);
	r = count < 0 ? (int)count : 0;
	struct qk_stat st;
	struct inode *at = dir;
	char *name = path + start;
	for (unsigned k = prefix; !r && k < prefix + parts; k++) {
		char *slash = strchr(name, '/');
		if (slash)
			*slash = 0;
		if (k >= count) {
			if (why == ENOENT && k == count && S_ISDIR(at->mode) && !(at->iflags & I_VOLATILE))
				names_set(&hostnode_of(at)->kids, name, NULL);
			else if (k == prefix && why)
				r = -why;
			break;
		}
		memcpy(&st, comm_data() + k * sizeof(st), sizeof(st));
		at = learn(at, name, &st);
		if (!at) {
			r = -ENOMEM;
			break;
		}
		struct hostnode *n = hostnode_of(at);
		if (S_ISLNK(st.mode)) {
			kfree(n->link);
			n->link = kstrdup(comm_data() + (u64)count * sizeof(st));
			break;
		}
		name = slash ? slash + 1 : name;
		if (!S_ISDIR(st.mode))
			break;
	}
	if (!r && count <= (s64)prefix && why != ENOENT)
		r = why ? -why : -ENOTDIR;
	kfree(path);
	return r;
}

static struct inode *lookup_path(struct inode *dir, const char *name, const char *rest, int *err)
{
	struct hostnode *d = hostnode_of(dir);
	struct entry *e = names_find(&d->kids, name);
	bool known = e && !(dir->iflags & I_VOLATILE);
	*err = 0;
	if (!known) {
		if (d->kids.count > 16384)
			names_free(&d->kids); /* a program that tries names without end */
		*err = ask(dir, rest);
		e = names_find(&d->kids, name);
		if (*err == -ENOENT && e)
			names_del(&d->kids, e);
		if (*err)
			return NULL;
		if (e && (dir->iflags & I_VOLATILE) && qcall_out(0) == ENOENT) {
			names_del(&d->kids, e);
			e = NULL;
		}
	}
	if (!e || !e->inode) {
		*err = -ENOENT;
		return NULL;
	}
	inode_get(e->inode);
	return e->inode;
}

static struct inode *lookup(struct inode *dir, const char *name, int *err)
{
	return lookup_path(dir, name, name, err);
}

static long readlink(struct inode *i, char *buf, size_t size)
{
	struct hostnode *n = hostnode_of(i);
	if (!n->link)
		return -EINVAL;
	return (long)MIN(strlcpy(buf, n->link, size), size - 1);
}

static int statfs(struct inode *i, void *out)
{
	if (!host_path(i, comm_data(), PATH_MAX))
		return -ENAMETOOLONG;
	seg_begin();
	s64 r = qcall(QC_STATFS, (u32)strlen(comm_data()) + 1, hostnode_of(i)->root, 0, 0, 0, 0, 0);
	if (r == 0)
		memcpy(out, comm_data(), 120); /* struct statfs */
	return (int)r;
}

static const struct inode_ops host_ops = {
	.lookup = lookup,
	.lookup_path = lookup_path,
	.readdir = host_readdir,
	.readlink = readlink,
	.statfs = statfs,
	.open = host_file_open,
	.readpages = host_readpages,
	.getpage = host_getpage,
	.getpages_around = pagecache_around,
	.evict = evict,
};

/* ---- changes in volumes go to the host */
static int named(struct inode *dir, const char *name, size_t *len)
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

static void forget(struct inode *dir, const char *name)
{
	struct entry *e = names_find(&hostnode_of(dir)->kids, name);
	if (e)
		names_del(&hostnode_of(dir)->kids, e);
}

static int create(struct inode *dir, const char *name, u32 mode, u64 rdev, struct inode **out)
{
	size_t n;
	int r = S_ISREG(mode) ? named(dir, name, &n) : -EPERM;
	if (r)
		return r;
	s64 h = qcall(QC_OPEN, (u32)n, hostnode_of(dir)->root, O_RDWR | O_CREAT | O_EXCL, mode & 07777, 0, 0, 0);
	if (h < 0)
		return (int)h;
	struct qk_stat st;
	memcpy(&st, comm_data(), sizeof(st));
	qcall_close_later((int)h);
	*out = learn(dir, name, &st);
	if (!*out)
		return -ENOMEM;
	inode_get(*out);
	return 0;
}

static int mkdir(struct inode *dir, const char *name, u32 mode)
{
	size_t n;
	int r = named(dir, name, &n);
	return r ? r : (int)qcall(QC_MKDIR, (u32)n, hostnode_of(dir)->root, mode, 0, 0, 0, 0);
}

static int remove(struct inode *dir, const char *name, u32 flags)
{
	size_t n;
	int r = named(dir, name, &n);
	if (!r)
		r = (int)qcall(QC_UNLINK, (u32)n, hostnode_of(dir)->root, flags, 0, 0, 0, 0);
	if (!r) {
		struct entry *e = names_find(&hostnode_of(dir)->kids, name);
		if (e && e->inode && e->inode->nlink)
			e->inode->nlink--;
		forget(dir, name);
	}
	return r;
}

static int unlink(struct inode *dir, const char *name)
{
	return remove(dir, name, 0);
}

static int rmdir(struct inode *dir, const char *name)
{
	return remove(dir, name, AT_REMOVEDIR);
}

/* Old and new path one behind the other in the data area. */
static int two_names(enum qk_op op, struct inode *a, const char *an, struct inode *b, const char *bn, u64 flags)
{
	size_t n, m;
	char *first;
	int r = named(b, bn, &m);
	first = r ? NULL : kmalloc(m);
	if (!first)
		return r ? r : -ENOMEM;
	memcpy(first, comm_data(), m);
	r = named(a, an, &n);
	if (!r) {
		memcpy(comm_data() + n, first, m);
		r = (int)qcall(op, (u32)(n + m), hostnode_of(a)->root, flags, 0, 0, 0, 0);
	}
	kfree(first);
	return r;
}

static int rename(struct inode *od, const char *on, struct inode *nd, const char *nn, u32 flags)
{
	int r = two_names(QC_RENAME, od, on, nd, nn, flags);
	if (r)
		return r;
	struct entry *e = names_find(&hostnode_of(od)->kids, on);
	struct inode *i = e ? e->inode : NULL;
	if (!i || (flags & 2)) { /* exchanged: both are looked up again */
		forget(od, on);
		forget(nd, nn);
		return 0;
	}
	inode_get(i);
	forget(od, on);
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
	if (hostnode_of(i)->opens == 0)
		host_close(hostnode_of(i));
	names_set(&hostnode_of(nd)->kids, nn, i);
	return 0;
}

static int link(struct inode *target, struct inode *dir, const char *name)
{
	return two_names(QC_LINK, target->parent, target->name, dir, name, 0);
}

static int symlink(struct inode *dir, const char *name, const char *target)
{
	size_t n, m = strlen(target) + 1;
	int r = named(dir, name, &n);
	if (r)
		return r;
	memcpy(comm_data() + n, target, m);
	return (int)qcall(QC_SYMLINK, (u32)(n + m), hostnode_of(dir)->root, 0, 0, 0, 0, 0);
}

static int refetch(struct inode *i)
{
	struct hostnode *n = hostnode_of(i);
	seg_begin();
	s64 r;
	if (n->opens && n->handle >= 0) {
		r = qcall(QC_FSTAT, 0, (u64)n->handle, 0, 0, 0, 0, 0);
		if (!r)
			host_set_stat(i, (const struct qk_stat *)comm_data());
		return (int)r;
	}
	if (!host_path(i, comm_data(), PATH_MAX))
		return -ENAMETOOLONG;
	unsigned depth = 0;
	for (const struct inode *at = i; at->name; at = at->parent)
		depth++;
	r = qcall(QC_LOOKUP, (u32)strlen(comm_data()) + 1, n->root, 0, 0, 0, 0, 0);
	if (r < 0 || r < (s64)MAX(depth, 1u))
		return r < 0 ? (int)r : -ESTALE;
	host_set_stat(i, (const struct qk_stat *)comm_data() + (r - 1));
	return 0;
}

static int getattr(struct inode *i, struct qk_stat *st)
{
	int r = i->nlink ? refetch(i) : 0;
	inode_stat(i, st);
	return r;
}

static int setattr(struct inode *i, u32 mask, const struct qk_stat *st)
{
	struct hostnode *n = hostnode_of(i);
	s64 r = 0;
	if ((mask & QK_ATTR_SIZE) && n->opens && n->writable) {
		seg_begin();
		r = qcall(QC_FTRUNCATE, 0, (u64)n->handle, st->size, 0, 0, 0, 0);
		mask &= ~QK_ATTR_SIZE;
		pagecache_truncate(i, st->size);
		i->size = st->size;
	}
	if (!r && mask) {
		if (!host_path(i, comm_data(), PATH_MAX))
			return -ENAMETOOLONG;
		seg_begin();
		r = qcall(QC_SETATTR, (u32)strlen(comm_data()) + 1, n->root, mask, mask & QK_ATTR_SIZE ? st->size : st->mode,
			  (u64)st->uid << 32 | st->gid, (u64)st->atime_ns, (u64)st->mtime_ns);
	}
	if (!r && i->nlink)
		r = refetch(i);
	return (int)r;
}

static const struct inode_ops volume_ops = {
	.lookup = lookup,
	.create = create,
	.mkdir = mkdir,
	.unlink = unlink,
	.rmdir = rmdir,
	.rename = rename,
	.link = link,
	.symlink = symlink,
	.readdir = host_readdir,
	.readlink = readlink,
	.getattr = getattr,
	.setattr = setattr,
	.statfs = statfs,
	.open = host_file_open,
	.readpages = host_readpages,
	.getpage = host_getpage,
	.getpages_around = pagecache_around,
	.evict = evict,
};

struct inode *hostfs_root(u32 root)
{
	seg_begin();
	comm_data()[0] = 0;
	s64 r = qcall(QC_LOOKUP, 1, root, 0, 0, 0, 0, 0);
	if (r != 1)
		return NULL;
	struct qk_stat st;
	memcpy(&st, comm_data(), sizeof(st));
	devs[root] = inode_new_dev();
	struct inode *i = node_new(root, root != 0, &st);
	if (i && S_ISDIR(st.mode))
		i->parent = i;
	return i;
}
