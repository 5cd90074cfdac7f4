/* Open files: life cycle, kernel-side reading, pages for mappings. */
#include "inotify.h"
#include "lock.h"
#include "window.h"
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/stat.h>

/* Of files that can only be named (O_PATH) and of failed opens. */
static const struct file_ops no_ops;

struct file *file_new(const struct file_ops *ops, struct inode *inode, u32 flags, void *priv)
{
	struct file *f = kzalloc(sizeof(*f));
	if (!f) {
		if (inode)
			inode_put(inode);
		return NULL;
	}
	f->refs = 1;
	f->ops = ops ? ops : &no_ops;
	f->inode = inode;
	f->flags = flags;
	f->priv = priv;
	list_init(&f->epoll_links);
	return f;
}

void file_get(struct file *f)
{
	f->refs++;
}

void file_put(struct file *f)
{
	if (--f->refs)
		return;
	if (f->inode && f->ops != &no_ops)
		notify(f->inode, (f->flags & O_ACCMODE) == O_RDONLY ? IN_CLOSE_NOWRITE : IN_CLOSE_WRITE);
	if (f->inode && f->counted)
		f->inode->writers--;
	if (!list_empty(&f->epoll_links))
		epoll_forget(f);
	locks_release_file(f);
	if (f->ops->release)
		f->ops->release(f);
	path_put(&f->path);
	if (f->inode)
		inode_put(f->inode);
	kfree(f);
}

struct file *inode_open(const struct path *p, u32 oflags, int *err)
{
	struct inode *i = p->inode;
	inode_get(i);
	struct file *f = file_new(i->fops, i, oflags & ~(u32)(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC | O_DIRECTORY | O_NOFOLLOW), NULL);
	*err = f ? path_copy(&f->path, p) : -ENOMEM;
	if (*err) {
		if (f)
			file_put(f);
		return NULL;
	}
	if (oflags & O_PATH) {
		f->ops = &no_ops;
		return f;
	}
	bool writes = S_ISREG(i->mode) && (oflags & O_ACCMODE) != O_RDONLY;
	bool special = S_ISFIFO(i->mode) || S_ISCHR(i->mode) || S_ISBLK(i->mode) || S_ISSOCK(i->mode);
	*err = writes && i->writers < 0 ? -ETXTBSY : special ? special_open(i, f, oflags) : i->ops->open ? i->ops->open(i, f) : 0;
	if (*err) {
		f->ops = &no_ops; /* release belongs to a successful open */
		file_put(f);
		return NULL;
	}
	f->counted = writes;
	i->writers += writes;
	notify(i, IN_OPEN);
	return f;
}

ssize_t file_size(struct file *f)
{
	struct qk_stat st;
	int r = inode_getattr(f->inode, &st);
	return r ? r : (ssize_t)st.size;
}

ssize_t file_read_kernel(struct file *f, void *dst, size_t n, u64 off)
{
	if (!f->ops->read)
		return -EISDIR;
	size_t done = 0;
	while (done < n) {
		struct kiovec v = {(u64)dst + done, n - done};
		struct uio u = {.iov = &v, .cnt = 1, .resid = n - done, .kernel = true};
		u64 pos = off + done;
		ssize_t r = f->ops->read(f, &u, &pos);
		if (r < 0)
			return done ? (ssize_t)done : r;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

struct file *anon_file(const struct file_ops *ops, u32 mode, u32 flags, void *priv, const char *name)
{
	struct inode *i = anon_inode(mode);
	struct file *f = i ? file_new(ops, i, flags, priv) : NULL;
	if (f && name)
		f->path.str = kstrdup(name);
	return f;
}
