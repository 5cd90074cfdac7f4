/* The path walk, and opening files by name. */
#include "fdtable.h"
#include "fsctx.h"
#include "host.h"
#include "mount.h"
#include "inotify.h"
#include "walk.h"
#include <linux/fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>

#define LINKS_MAX 40

int copy_path_from_user(char dst[PATH_MAX], uptr src)
{
	long n = strncpy_from_user(dst, src, PATH_MAX);
	return n < 0 ? (int)n : 0;
}

int path_from_user(char **path, u64 upath)
{
	char *s = kmalloc(PATH_MAX);
	int r = s ? copy_path_from_user(s, UPTR(upath)) : -ENOMEM;
	if (r)
		kfree(s);
	else
		*path = s;
	return r;
}

static struct mount *path_mount_over(const struct inode *dir)
{
	struct mount *m;
	list_for_each (m, &all_mounts, node)
		if (m->covers == dir)
			return m;
	return NULL;
}

/* Moves *cur onto whatever is mounted over it. */
static void path_cross(struct path *cur)
{
	while (cur->inode->iflags & I_MOUNTPOINT) {
		struct mount *m = path_mount_over(cur->inode);
		if (!m)
			return;
		inode_get(m->root);
		inode_put(cur->inode);
		cur->inode = m->root;
		cur->mnt = m;
	}
}

static void path_up(struct path *cur)
{
	const struct inode *root = current->fs->root.inode;
	while (cur->inode != root && cur->inode == cur->mnt->root && cur->mnt->covers) {
		struct inode *over = cur->mnt->covers;
		inode_get(over);
		inode_put(cur->inode);
		cur->inode = over;
		cur->mnt = cur->mnt->parent;
	}
	struct inode *p = cur->inode->parent;
	if (cur->inode == root || !p || p == cur->inode)
		return;
	inode_get(p);
	inode_put(cur->inode);
	cur->inode = p;
	path_cross(cur);
}

/* Builds the text backwards from the end of buf. */
static char *build_path(const struct inode *i, const struct mount *m, char *buf, char *end)
{
	const struct inode *root = current ? current->fs->root.inode : NULL;
	char *at = end;
	*--at = 0;
	while (i != root) {
		if (m && i == m->root) {
			if (!m->covers)
				break;
			i = m->covers;
			m = m->parent;
			continue;
		}
		if (!i->name || !i->parent || i->parent == i)
			break;
		size_t n = strlen(i->name);
		if ((size_t)(at - buf) < n + 2)
			return NULL;
		at -= n;
		memcpy(at, i->name, n);
		*--at = '/';
		i = i->parent;
	}
	if (!*at)
		*--at = '/';
	return at;
}

char *path_text(const struct inode *dir, const struct mount *m, const char *name)
{
	char *buf = kmalloc(PATH_MAX);
	char *at = buf ? build_path(dir, m, buf, buf + PATH_MAX) : NULL;
	char *out = NULL;
	if (at) {
		size_t n = strlen(at), extra = name ? strlen(name) + 1 : 0;
		out = kmalloc(n + extra + 1);
		if (out) {
			memcpy(out, at, n + 1);
			if (name) {
				if (n == 1)
					n = 0;
				out[n] = '/';
				memcpy(out + n + 1, name, extra);
			}
		}
	}
	kfree(buf);
	return out;
}

char *path_string(const struct path *p)
{
	return path_text(p->inode, p->mnt, NULL);
}

/* Component `name` of directory cur, with the mount over it. */
int path_lookup(const struct path *dir, const char *name, const char *rest, struct path *out)
{
	struct inode *d = dir->inode;
	int err = 0;
	struct inode *i = d->ops->lookup_path ? d->ops->lookup_path(d, name, rest, &err) : d->ops->lookup ? d->ops->lookup(d, name, &err) : NULL;
	if (!i)
		return err ? err : -ENOENT;
	if (S_ISDIR(i->mode) && !i->parent) {
		i->name = kstrdup(name);
		i->parent = d;
		inode_get(d);
	} else if (unlikely(d->watches)) {
		inotify_adopt(d, name, i);
	}
	*out = (struct path){.mnt = dir->mnt, .inode = i};
	path_cross(out);
	return 0;
}

/* The state of a walk: where it is, what is left of the path, and the buffers of links met on the way. */
struct walk {
	struct path cur;
	struct inode *dir; /* referenced: the directory cur was found in, for its path text */
	struct mount *dir_mnt;
	char name[NAME_MAX + 1];
	char *text; /* owned; what rest points into after a link */
	const char *rest;
	int links;
	u32 resolve;      /* RESOLVE_* */
	struct path base; /* where RESOLVE_BENEATH and RESOLVE_IN_ROOT began; not referenced: held by the descriptor or the task */
};

static int path_start(struct walk *w, int dirfd, const char *path)
{
	if (path[0] == '/' && (w->resolve & RESOLVE_BENEATH))
		return -EXDEV;
	if (path[0] == '/' && !(w->resolve & RESOLVE_IN_ROOT)) {
		w->cur = (struct path){.mnt = current->fs->root.mnt, .inode = current->fs->root.inode};
	} else if (dirfd == AT_FDCWD) {
		w->cur = (struct path){.mnt = current->fs->cwd.mnt, .inode = current->fs->cwd.inode};
	} else {
		struct file *f = fd_get(dirfd);
		if (!f)
			return -EBADF;
		w->cur = (struct path){.mnt = f->path.mnt, .inode = f->inode};
		inode_get(w->cur.inode);
		file_put(f);
		return 0;
	}
	inode_get(w->cur.inode);
	return 0;
}

static int path_follow_link(struct walk *w, struct path *link)
{
	if (++w->links > LINKS_MAX || (w->resolve & RESOLVE_NO_SYMLINKS))
		return -ELOOP;
	if (link->inode->ops->follow && (w->resolve & RESOLVE_NO_MAGICLINKS))
		return -ELOOP;
	if (link->inode->ops->follow && (w->resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)))
		return -EXDEV;
	if (link->inode->ops->follow) {
		struct path to;
		int r = link->inode->ops->follow(link->inode, &to);
		if (r)
			return r;
		kfree(to.str);
		to.str = NULL;
		inode_put(w->cur.inode);
		w->cur = to;
		return 0;
	}
	char *text = kmalloc(2 * PATH_MAX);
	if (!text)
		return -ENOMEM;
	long n = link->inode->ops->readlink ? link->inode->ops->readlink(link->inode, text, PATH_MAX) : -EINVAL;
	if (n <= 0) {
		kfree(text);
		return n < 0 ? (int)n : -ENOENT;
	}
	size_t left = strlen(w->rest);
	if ((size_t)n + left + 2 > 2 * PATH_MAX) {
		kfree(text);
		return -ENAMETOOLONG;
	}
	text[n] = '/';
	memcpy(text + n + (left != 0), w->rest, left + 1);
	kfree(w->text);
	w->text = text;
	w->rest = text;
	if (text[0] == '/') {
		if (w->resolve & RESOLVE_BENEATH)
			return -EXDEV;
		inode_put(w->cur.inode);
		if (w->resolve & RESOLVE_IN_ROOT)
			w->cur = w->base;
		else
			w->cur = (struct path){.mnt = current->fs->root.mnt, .inode = current->fs->root.inode};
		inode_get(w->cur.inode);
	}
	return 0;
}

static int path_step(struct walk *w, u32 flags, bool *stop)
{
	while (*w->rest == '/')
		w->rest++;
	size_t n = 0;
	while (w->rest[n] && w->rest[n] != '/')
		n++;
	if (n > NAME_MAX)
		return -ENAMETOOLONG;
	const char *here = w->rest, *after = w->rest + n;
	bool slash = *after == '/';
	while (*after == '/')
		after++;
	bool final = !*after;
	if (!S_ISDIR(w->cur.inode->mode))
		return -ENOTDIR;
	int r = inode_permission(w->cur.inode, 1);
	if (r)
		return r;
	memcpy(w->name, here, n);
	w->name[n] = 0;
	if (final && (flags & WALK_PARENT)) {
		*stop = true;
		return 0;
	}
	w->rest = after;
	bool dot = n == 1 && here[0] == '.', dotdot = n == 2 && here[0] == '.' && here[1] == '.';
	if (dot || dotdot) {
		if (dotdot && (w->resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) && w->cur.inode == w->base.inode)
			return w->resolve & RESOLVE_BENEATH ? -EXDEV : 0;
		if (dotdot)
			path_up(&w->cur);
		return 0;
	}
	struct path next;
	r = path_lookup(&w->cur, w->name, here, &next);
	if (r)
		return r;
	if ((w->resolve & RESOLVE_NO_XDEV) && next.mnt != w->cur.mnt) {
		inode_put(next.inode);
		return -EXDEV;
	}
	if (S_ISLNK(next.inode->mode) && (!final || slash || (flags & WALK_FOLLOW))) {
		if (slash && final)
			w->rest = ""; /* the link's own text decides; a trailing slash asks for a directory, which the caller checks */
		r = path_follow_link(w, &next);
		inode_put(next.inode);
		return r;
	}
	if (w->dir)
		inode_put(w->dir);
	w->dir = w->cur.inode;
	w->dir_mnt = w->cur.mnt;
	w->cur = next;
	if (final && slash && !S_ISDIR(next.inode->mode))
		return -ENOTDIR;
	return 0;
}

static int path_walk_once(int dirfd, const char *path, u32 flags, struct path *out, char *last)
{
	struct walk w = {.rest = path, .resolve = flags >> WALK_RESOLVE_SHIFT};
	*out = (struct path){0};
	if (!path[0] && !(flags & WALK_EMPTY))
		return -ENOENT;
	int r = path_start(&w, dirfd, path);
	if (r)
		return r;
	w.base = w.cur;
	bool stop = false;
	while (*w.rest == '/')
		w.rest++;
	w.name[0] = 0;
	while (!r && !stop && *w.rest)
		r = path_step(&w, flags, &stop);
	if (!r && (flags & WALK_PARENT)) {
		/* The path named no entry: "/", "." of a link's end. */
		memcpy(last, stop ? w.name : ".", stop ? strlen(w.name) + 1 : 2);
		if (!S_ISDIR(w.cur.inode->mode))
			r = -ENOTDIR;
	}
	if (!r && (flags & WALK_DIRECTORY) && !S_ISDIR(w.cur.inode->mode))
		r = -ENOTDIR;
	if (!r && !(flags & WALK_NOSTR)) {
		bool dir = S_ISDIR(w.cur.inode->mode);
		w.cur.str = dir ? path_text(w.cur.inode, w.cur.mnt, NULL) : w.dir ? path_text(w.dir, w.dir_mnt, w.name) : NULL;
	}
	if (r)
		inode_put(w.cur.inode);
	else
		*out = w.cur;
	if (w.dir)
		inode_put(w.dir);
	kfree(w.text);
	return r;
}

/* A name that was known from before may be another file's on the host by now: then everything is asked for anew, once. */
int path_walk(int dirfd, const char *path, u32 flags, struct path *out, char *last)
{
	int r = path_walk_once(dirfd, path, flags, out, last);
	if (r != -ESTALE)
		return r;
	host_forget_all();
	return path_walk_once(dirfd, path, flags, out, last);
}

int path_walk_user(int dirfd, u64 upath, u64 at, struct path *p)
{
	char *path = kmalloc(PATH_MAX);
	if (!path)
		return -ENOMEM;
	int r = copy_path_from_user(path, UPTR(upath));
	if (!r)
		r = path_walk(dirfd, path, (at & AT_SYMLINK_NOFOLLOW ? 0 : WALK_FOLLOW) | (at & AT_EMPTY_PATH ? WALK_EMPTY : 0) | WALK_NOSTR, p,
			      NULL);
	kfree(path);
	return r;
}
