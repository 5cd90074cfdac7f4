/* Directory trees of the host: names and attributes, and how long the host's word on them holds. One QC_LOOKUP resolves as much of a path as has
 * no links; a directory that is used much is fetched whole. Opening a file always finds it as it is (close-to-open). */
#include "host.h"
#include "ktime.h"
#include "mount.h"
#include "pagecache.h"
#include "hostfs.h"
#include "qcall.h"
#include "window.h"
#include <linux/fcntl.h>
#include <linux/stat.h>

#define LINES_MAX 20u /* lines on stderr about changed files */

static const struct inode_ops host_ops;
static u64 devs[33];
static struct inode *slots[33]; /* roots of volumes that a clone fills with a directory of its own */
u64 host_contacts = 1;

static u64 last_input = 1; /* the last of them that may have brought news */

void host_contact(bool input)
{
	host_contacts++;
	if (input)
		last_input = host_contacts;
}

/* A clone: whatever is known is from another time. */
static u64 first_valid;
static u32 parks;
void host_forget_all(void)
{
	host_contact(true);
	first_valid = mono_ns();
	parks++;
}

bool host_recent(u64 checked, u64 contact)
{
	return checked > first_valid && contact == host_contacts && mono_ns() - checked < VOLUME_VALID_NS;
}

bool host_fresh(const struct inode *i, u64 checked, u64 contact)
{
	if (i->iflags & I_VOLATILE)
		return host_recent(checked, contact);
	return checked > first_valid && contact >= last_input && mono_ns() - checked < ROOTFS_VALID_NS;
}

void host_checked(struct hostnode *n)
{
	n->checked = mono_ns();
	n->contact = host_contacts;
	n->park = parks;
}

/* A directory is what has its path: in a clone, which may be on another host, its number is another the first time. */
bool host_same(const struct inode *i, const struct qk_stat *st)
{
	return !((i->mode ^ st->mode) & S_IFMT) && (i->ino == st->ino || (S_ISDIR(st->mode) && hostnode_of(i)->park != parks));
}

bool host_is_fresh(const struct inode *i)
{
	const struct hostnode *n = hostnode_of(i);
	return host_fresh(i, n->checked, n->contact);
}

void host_doubt(struct inode *i)
{
	hostnode_of(i)->checked = 0;
	host_drop_list(hostnode_of(i));
}

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

void host_say(const struct inode *i, const char *what)
{
	static u32 lines;
	static char path[PATH_MAX];
	if (lines++ >= LINES_MAX || !host_path(i, path, sizeof(path)))
		return;
	int n = snprintf(comm_data(), QK_DATA_SIZE, "quark: /%s %s", path, what);
	qcall(QC_LOG, (u32)n, 1, 0, 0, 0, 0, 0);
}

/* Content has changed, or may have. Nobody uses the old pages: they go. Somebody does: the inode keeps what it has and gets nothing more. */
static int hostfs_changed(struct inode *i, bool surely)
{
	struct hostnode *n = hostnode_of(i);
	n->pages_until = 0;
	if (i->iflags & I_VOLATILE) {
		if (i->cache)
			pagecache_truncate(i, 0); /* mappings keep what they have */
		return 0;
	}
	if (!n->copies && (!i->cache || pagecache_drop_unused(i)))
		return 0;
	if (!surely || n->stale)
		return surely ? -ESTALE : 0;
	n->stale = true;
	host_say(i, "changed on the host while the sandbox uses its old content: what is not in memory yet cannot be read any more");
	return -ESTALE;
}

int host_set_stat(struct inode *i, const struct qk_stat *st)
{
	bool other = st->size != i->size || st->mtime_ns != i->mtime_ns, touched = st->ctime_ns != i->ctime_ns;
	int r = S_ISREG(i->mode) && (other || touched) ? hostfs_changed(i, other) : 0;
	if (!S_ISREG(i->mode) && (other || touched))
		host_drop_list(hostnode_of(i));
	if (r || hostnode_of(i)->stale)
		return -ESTALE;
	bool cut = st->size < i->size && (i->iflags & I_VOLATILE) && window_uses(i);
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
	host_checked(hostnode_of(i));
	if (cut)
		mm_unmap_file(i, (i->size + PAGE_SIZE - 1) >> PAGE_SHIFT);
	return 0;
}

int host_set_tail(struct inode *i)
{
	struct qk_stat st;
	inode_stat(i, &st);
	st.size = qcall_out(0);
	st.mtime_ns = (s64)qcall_out(1);
	st.ctime_ns = (s64)qcall_out(2);
	st.blocks = qcall_out(3);
	return host_set_stat(i, &st);
}

struct inode *host_node_new(u32 root, bool is_volatile, const struct qk_stat *st)
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
	list_add(&n->all, &host_nodes);
	names_learned++;
	names_init(&n->kids);
	i->iflags = is_volatile ? I_VOLATILE : I_CLEAN;
	i->dev = devs[root];
	host_set_stat(i, st);
	return i;
}

void host_evict(struct inode *i)
{
	struct hostnode *n = hostnode_of(i);
	list_del(&n->all);
	host_close(n);
	host_drop_list(n);
	names_free(&n->kids);
	kfree(n->link);
	kfree(n);
}

struct inode *host_learn(struct inode *dir, const char *name, const struct qk_stat *st, const char *link)
{
	struct hostnode *d = hostnode_of(dir);
	struct entry *e = names_find(&d->kids, name);
	struct inode *i = e ? e->inode : NULL;
	bool same = i && host_same(i, st) && host_set_stat(i, st) == 0;
	if (!same) {
		i = host_node_new(d->root, dir->iflags & I_VOLATILE, st);
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
	}
	if (link && S_ISLNK(st->mode)) {
		struct hostnode *n = hostnode_of(i);
		kfree(n->link);
		n->link = kstrdup(link);
		if (!n->link)
			return NULL;
	}
	return i;
}

void host_forget(struct inode *dir, const char *name)
{
	struct entry *e = names_find(&hostnode_of(dir)->kids, name);
	if (e)
		names_del(&hostnode_of(dir)->kids, e);
	host_doubt(dir);
}

long host_readlink(struct inode *i, char *buf, size_t size)
{
	struct hostnode *n = hostnode_of(i);
	if (!n->link)
		return -EINVAL;
	return (long)MIN(strlcpy(buf, n->link, size), size - 1);
}

int host_statfs(struct inode *i, void *out)
{
	if (!host_path(i, comm_data(), PATH_MAX))
		return -ENAMETOOLONG;
	seg_begin();
	s64 r = qcall(QC_STATFS, (u32)strlen(comm_data()) + 1, hostnode_of(i)->root, 0, 0, 0, 0, 0);
	if (r == 0)
		memcpy(out, comm_data(), 120); /* struct statfs */
	return (int)r;
}

int host_refetch(struct inode *i)
{
	struct hostnode *n = hostnode_of(i);
	struct qk_stat st;
	seg_begin();
	if (n->handle >= 0 && n->opens) {
		s64 r = qcall(QC_FSTAT, 0, (u64)n->handle, 0, 0, 0, 0, 0);
		if (r)
			return (int)r;
		memcpy(&st, comm_data(), sizeof(st));
		return host_set_stat(i, &st);
	}
	if (!host_path(i, comm_data(), PATH_MAX))
		return -ENAMETOOLONG;
	unsigned depth = 0;
	for (const struct inode *at = i; at->name; at = at->parent)
		depth++;
	s64 r = qcall(QC_LOOKUP, (u32)strlen(comm_data()) + 1, n->root, 0, 0, 0, 0, 0);
	if (r < 0 || r < (s64)MAX(depth, 1u))
		return r < 0 ? (int)r : -ESTALE;
	memcpy(&st, (const struct qk_stat *)comm_data() + (r - 1), sizeof(st));
	return host_same(i, &st) ? host_set_stat(i, &st) : -ESTALE;
}

int host_getattr(struct inode *i, struct qk_stat *st)
{
	/* One whose name is gone or another's by now stays as it was last seen, as long as somebody has it. */
	const struct hostnode *n = hostnode_of(i);
	if ((i->nlink || n->opens) && !host_is_fresh(i) && !n->stale)
		host_refetch(i);
	inode_stat(i, st);
	return 0;
}

static void hostfs_copied(struct inode *i, int change)
{
	hostnode_of(i)->copies += (u32)change;
}

static int hostfs_hold(struct inode *i)
{
	return S_ISREG(i->mode) ? host_hold(i, O_RDONLY) : 0;
}

static const struct inode_ops host_ops = {
	.lookup = host_lookup,
	.lookup_path = host_lookup_path,
	.readdir = host_readdir,
	.readlink = host_readlink,
	.getattr = host_getattr,
	.statfs = host_statfs,
	.getxattr = host_getxattr,
	.listxattr = host_listxattr,
	.hold = hostfs_hold,
	.unhold = host_unhold,
	.copied = hostfs_copied,
	.readpages = host_readpages,
	.getpage = host_getpage,
	.getpages_around = pagecache_around,
	.evict = host_evict,
};

static bool hostfs_root_stat(u32 root, struct qk_stat *st)
{
	seg_begin();
	comm_data()[0] = 0;
	if (qcall(QC_LOOKUP, 1, root, 0, 0, 0, 0, 0) != 1)
		return false;
	memcpy(st, comm_data(), sizeof(*st));
	return true;
}

struct inode *hostfs_root(u32 root)
{
	struct qk_stat st;
	if (!hostfs_root_stat(root, &st))
		return NULL;
	devs[root] = inode_new_dev();
	struct inode *i = host_node_new(root, root != 0, &st);
	if (i && S_ISDIR(st.mode))
		i->parent = i;
	if (i && root && (comm()->boot.mount_flags[root - 1] & QK_MOUNT_SLOT))
		slots[root] = i;
	return i;
}

void hostfs_after_restore(void)
{
	struct qk_stat st;
	for (u32 root = 1; root < ARRAY_SIZE(slots); root++) {
		struct inode *i = slots[root];
		if (!i || !hostfs_root_stat(root, &st))
			continue;
		/* Nothing that is known of the directory before is true of this one, even if a number is the same. */
		host_close(hostnode_of(i));
		host_drop_list(hostnode_of(i));
		names_free(&hostnode_of(i)->kids);
		host_set_stat(i, &st);
	}
}
