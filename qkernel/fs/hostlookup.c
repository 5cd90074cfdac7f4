/* Names of host files: looked up with all that lies above them, in one request, or from what a listing said. */
#include "ktime.h"
#include "hostfs.h"
#include "qcall.h"
#include <linux/fcntl.h>
#include <linux/stat.h>

#define KIDS_MAX 16384u /* names kept of a directory */

static void hostlookup_missing(struct inode *dir, const char *name)
{
	struct entry *e = names_set(&hostnode_of(dir)->kids, name, NULL);
	if (e) {
		e->ino = mono_ns();
		e->cookie = host_contacts;
	}
}

/* Appends as many plain components of rest to path (of len bytes) as fit; how many. */
static unsigned hostlookup_add_parts(char *path, size_t len, const char *rest)
{
	unsigned parts = 0;
	while (*rest) {
		size_t n = 0;
		while (rest[n] && rest[n] != '/')
			n++;
		bool dots = (n == 1 && rest[0] == '.') || (n == 2 && rest[0] == '.' && rest[1] == '.');
		if (dots || len + n + 2 > PATH_MAX)
			break;
		if (len)
			path[len++] = '/';
		memcpy(path + len, rest, n);
		len += n;
		path[len] = 0;
		parts++;
		rest += n;
		while (*rest == '/')
			rest++;
	}
	return parts;
}

/* Takes in the answer about the directories above `dir`, itself the depth-th of them. */
static int hostlookup_above(struct inode *dir, const struct qk_stat *st, unsigned depth)
{
	for (struct inode *at = dir; depth; at = at->parent) {
		const struct qk_stat *s = &st[--depth];
		if (!host_same(at, s))
			return -ESTALE; /* another directory has that name now */
		host_set_stat(at, s);
	}
	return 0;
}

/* Asks the host for `rest` (its first component is the one wanted) below dir and keeps all that comes back. path: PATH_MAX bytes. */
static int hostlookup_ask(struct inode *dir, const char *rest, char *path)
{
	if (!host_path(dir, path, PATH_MAX))
		return -ENAMETOOLONG;
	size_t len = strlen(path);
	unsigned above = len ? 1 : 0;
	for (size_t k = 0; k < len; k++)
		above += path[k] == '/';
	unsigned parts = hostlookup_add_parts(path, len, rest);
	if (!parts)
		return -ENAMETOOLONG;
	strlcpy(comm_data(), path, PATH_MAX);
	seg_begin();
	s64 count = qcall(QC_LOOKUP, (u32)strlen(path) + 1, hostnode_of(dir)->root, 0, 0, 0, 0, 0);
	int why = (int)qcall_out(0);
	if (count < 0)
		return (int)count;
	u32 bytes = MIN(qcall_data_len(), QK_DATA_SIZE);
	if (count < (s64)above || (u64)count * sizeof(struct qk_stat) > bytes)
		return why == ENOENT || !why ? -ESTALE : -why;
	/* What follows may ask the host again: a copy. */
	struct qk_stat *st = kmalloc(bytes + sizeof(*st) + 1);
	if (!st)
		return -ENOMEM;
	memcpy(st, comm_data(), bytes);
	((char *)st)[bytes] = 0;
	int r = hostlookup_above(dir, st, above);
	struct inode *at = dir;
	char *name = path + (len ? len + 1 : 0);
	for (unsigned k = above; !r && k < above + parts; k++) {
		char *slash = strchr(name, '/');
		if (slash)
			*slash = 0;
		if (k >= count) {
			if (why == ENOENT && k == count && S_ISDIR(at->mode))
				hostlookup_missing(at, name);
			if (k == above)
				r = why ? -why : -ENOTDIR;
			break;
		}
		at = host_learn(at, name, &st[k], (char *)&st[count]);
		if (!at)
			r = -ENOMEM;
		else if (!S_ISDIR(at->mode))
			break;
		name = slash ? slash + 1 : name;
	}
	kfree(st);
	return r;
}

/* Whether it is time to fetch the whole directory: names are asked for one after the other. The larger it is the later. */
static bool hostlookup_worth_listing(struct inode *dir)
{
	struct hostnode *d = hostnode_of(dir);
	u64 now = mono_ns();
	if (now - d->misses_since > VOLUME_VALID_NS) {
		d->misses_since = now;
		d->misses = 0;
	}
	d->misses++;
	return d->misses == (dir->size <= PAGE_SIZE ? 2u : dir->size <= 16 * PAGE_SIZE ? 8u : 64u);
}

struct inode *host_lookup_path(struct inode *dir, const char *name, const char *rest, int *err)
{
	struct hostnode *d = hostnode_of(dir);
	struct entry *e = names_find(&d->kids, name);
	bool known = e && (e->inode ? host_is_fresh(e->inode) && !hostnode_of(e->inode)->stale : host_fresh(dir, e->ino, e->cookie));
	*err = 0;
	if (!known) {
		const struct qk_entry *q = NULL;
		int found = host_find(dir, name, &q);
		if (found < 0 && hostlookup_worth_listing(dir) && host_list(dir) == 0)
			found = host_find(dir, name, &q);
		if (d->kids.count > KIDS_MAX)
			names_free(&d->kids); /* a program that tries names without end */
		if (found > 0) {
			*err = host_learn(dir, name, &q->st, q->name + strlen(q->name) + 1) ? 0 : -ENOMEM;
		} else if (found == 0) {
			*err = -ENOENT;
		} else {
			char *path = kmalloc(PATH_MAX);
			*err = path ? hostlookup_ask(dir, rest, path) : -ENOMEM;
			kfree(path);
		}
		e = names_find(&d->kids, name);
		if (*err == -ENOENT && e && e->inode) {
			names_del(&d->kids, e);
			hostlookup_missing(dir, name);
		}
		if (*err)
			return NULL;
	}
	if (!e || !e->inode) {
		*err = -ENOENT;
		return NULL;
	}
	inode_get(e->inode);
	return e->inode;
}

struct inode *host_lookup(struct inode *dir, const char *name, int *err)
{
	return host_lookup_path(dir, name, name, err);
}
