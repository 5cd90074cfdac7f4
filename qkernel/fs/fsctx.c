/* Working directory, root and umask of a task. */
#include "fsctx.h"
#include "mount.h"

struct fs_ctx *fs_ctx_new(void)
{
	struct fs_ctx *c = kzalloc(sizeof(*c));
	struct mount *m = list_first(&all_mounts, struct mount, node);
	if (!c)
		return NULL;
	c->refs = 1;
	c->umask = 022;
	c->root = (struct path){.mnt = m, .inode = m->root};
	c->cwd = c->root;
	inode_get(m->root);
	inode_get(m->root);
	return c;
}

struct fs_ctx *fs_ctx_clone(struct fs_ctx *src)
{
	struct fs_ctx *c = kzalloc(sizeof(*c));
	if (!c)
		return NULL;
	c->refs = 1;
	c->umask = src->umask;
	if (path_copy(&c->cwd, &src->cwd) || path_copy(&c->root, &src->root)) {
		kfree(c);
		return NULL;
	}
	return c;
}

void fs_ctx_put(struct fs_ctx *c)
{
	if (--c->refs)
		return;
	path_put(&c->cwd);
	path_put(&c->root);
	kfree(c);
}
