/* Names of unix domain sockets: in the file system, and abstract ones. */
#include "fsctx.h"
#include "unix.h"
#include <linux/fcntl.h>
#include <linux/stat.h>

#define ABSTRACT_BUCKETS 512u
static struct list abstract[ABSTRACT_BUCKETS]; /* by the hash of the name; made when the first is bound */

static struct list *unix_abstract_bucket(const char *name, u32 len)
{
	if (!abstract[0].next)
		for (u32 k = 0; k < ABSTRACT_BUCKETS; k++)
			list_init(&abstract[k]);
	return &abstract[hash_bytes(name, len) % ABSTRACT_BUCKETS];
}

static struct usock *unix_abstract_find(const char *name, u32 len)
{
	struct usock *o;
	list_for_each (o, unix_abstract_bucket(name, len), bound)
		if (o->name_len == len && !memcmp(o->name, name, len))
			return o;
	return NULL;
}

int usock_bind(struct usock *s, const char *name, u32 len)
{
	if (s->name_len)
		return -EINVAL;
	if (name[0]) {
		int r = vfs_mknod(AT_FDCWD, name, S_IFSOCK | (0777 & ~current->fs->umask), 0, &s->node);
		if (r)
			return r == -EEXIST ? -EADDRINUSE : r;
		s->node->ipc = s;
	} else {
		if (unix_abstract_find(name, len))
			return -EADDRINUSE;
		list_add_tail(&s->bound, unix_abstract_bucket(name, len));
	}
	memcpy(s->name, name, len);
	s->name_len = len;
	return 0;
}

struct usock *usock_find(const char *name, u32 len, int type, int *err)
{
	struct usock *found = NULL;
	*err = -ECONNREFUSED;
	if (name[0]) {
		struct path p;
		*err = path_walk(AT_FDCWD, name, WALK_FOLLOW | WALK_NOSTR, &p, NULL);
		if (*err)
			return NULL;
		*err = S_ISSOCK(p.inode->mode) ? inode_permission(p.inode, 2) : -ECONNREFUSED;
		found = *err ? NULL : p.inode->ipc;
		path_put(&p);
		if (!*err && !found)
			*err = -ECONNREFUSED;
	} else {
		found = unix_abstract_find(name, len);
	}
	if (!found)
		return NULL;
	if (found->type != type) {
		*err = -EPROTOTYPE;
		return NULL;
	}
	*err = 0;
	found->refs++;
	return found;
}
