/* inotify(7): watches on inodes, and the queue of events of an instance. Changes made in the sandbox are seen; those the host makes to a volume are not. */
#include "fdtable.h"
#include "inotify.h"
#include "memfs.h"
#include <asm/ioctls.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#define EVENTS_MAX 16384u /* what the limits of /proc/sys/fs/inotify say */
#define INSTANCES_MAX 128u
#define WATCHES_MAX 65536u
#define EXCLUSIVE_BITS (IN_MASK_ADD | IN_MASK_CREATE)
#define KEPT_BITS (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK)

struct instance {
	struct list watches, events;
	u32 nwatches, nevents;
	u64 bytes; /* of the events */
	s32 last_wd;
	struct waitq wait;
};
struct watch {
	struct list of_instance, of_inode;
	struct instance *instance;
	struct inode *inode; /* referenced */
	s32 wd;
	u32 mask;
};
struct event {
	struct list node;
	s32 wd;
	u32 mask, cookie, len; /* as struct inotify_event: len is that of the padded name */
	char name[];
};
#define EVENT_HEAD 16u

u32 inotify_watches;
static u32 instances, last_cookie;
static const struct file_ops inotify_ops;

u32 inotify_cookie(void)
{
	return ++last_cookie;
}

static void inotify_event_add(struct instance *in, s32 wd, u32 mask, u32 cookie, const char *name)
{
	size_t n = name ? strlen(name) : 0;
	const struct event *last = container_of(in->events.prev, struct event, node); /* if there is one */
	/* The same thing again tells nothing new. */
	if (in->nevents && last->wd == wd && last->mask == mask && last->cookie == cookie &&
	    (n ? last->len && !strcmp(last->name, name) : !last->len))
		return;
	if (in->nevents >= EVENTS_MAX) {
		if (last->mask == IN_Q_OVERFLOW)
			return;
		wd = -1;
		mask = IN_Q_OVERFLOW;
		cookie = 0;
		n = 0;
	}
	u32 len = n ? (u32)ALIGN_UP(n + 1, (size_t)EVENT_HEAD) : 0;
	struct event *e = kzalloc(sizeof(*e) + len);
	if (!e)
		return; /* out of memory: lost, as any event may be that nobody reads */
	*e = (struct event){.wd = wd, .mask = mask, .cookie = cookie, .len = len};
	if (n)
		memcpy(e->name, name, n);
	list_add_tail(&e->node, &in->events);
	in->nevents++;
	in->bytes += EVENT_HEAD + len;
	waitq_wake(&in->wait, POLL_IN, 0);
}

static void inotify_event_drop(struct instance *in, struct event *e)
{
	list_del(&e->node);
	in->nevents--;
	in->bytes -= EVENT_HEAD + e->len;
	kfree(e);
}

/* tell: the program gets IN_IGNORED. */
static void inotify_watch_remove(struct watch *w, bool tell)
{
	struct inode *i = w->inode;
	if (tell)
		inotify_event_add(w->instance, w->wd, IN_IGNORED, 0, NULL);
	list_del(&w->of_instance);
	list_del(&w->of_inode);
	w->instance->nwatches--;
	inotify_watches--;
	kfree(w);
	if (!--i->nwatches) {
		kfree(i->watches);
		i->watches = NULL;
	}
	inode_put(i);
}

static void inotify_tell_watches(struct inode *i, u32 mask, u32 cookie, const char *name, bool unlinked_child)
{
	struct watch *w, *next;
	if (!i->watches)
		return;
	inode_get(i); /* the last watch may go */
	list_for_each_safe (w, next, i->watches, of_inode) {
		if (!(w->mask & mask & IN_ALL_EVENTS) || (unlinked_child && (w->mask & IN_EXCL_UNLINK)))
			continue;
		inotify_event_add(w->instance, w->wd, mask, cookie, name);
		bool last = i->nwatches == 1;
		if (w->mask & IN_ONESHOT)
			inotify_watch_remove(w, true);
		if (last)
			break;
	}
	inode_put(i);
}

static u32 inotify_with_type(const struct inode *i, u32 mask)
{
	return i && S_ISDIR(i->mode) ? mask | IN_ISDIR : mask;
}

void inotify_event(struct inode *i, u32 mask)
{
	mask = inotify_with_type(i, mask);
	if (i->parent && i->parent != i && i->name)
		inotify_tell_watches(i->parent, mask, 0, i->name, !i->nlink);
	inotify_tell_watches(i, mask, 0, NULL, false);
}

void inotify_self(struct inode *i, u32 mask)
{
	inotify_tell_watches(i, mask == IN_DELETE_SELF || mask == IN_MOVE_SELF ? mask : inotify_with_type(i, mask), 0, NULL, false);
}

void inotify_entry(struct inode *dir, u32 mask, const char *name, const struct inode *child, u32 cookie)
{
	inotify_tell_watches(dir, inotify_with_type(child, mask), cookie, name, false);
}

void inotify_gone(struct inode *i, u32 others)
{
	struct watch *w, *next;
	if (!i->watches || i->nlink || i->refs > i->nwatches + others)
		return;
	inode_get(i);
	list_for_each_safe (w, next, i->watches, of_inode) {
		bool last = i->nwatches == 1;
		if (w->mask & IN_DELETE_SELF)
			inotify_event_add(w->instance, w->wd, IN_DELETE_SELF, 0, NULL);
		inotify_watch_remove(w, true);
		if (last)
			break;
	}
	inode_put(i);
}

void inotify_adopt(struct inode *dir, const char *name, struct inode *child)
{
	if (!dir->watches || child->parent)
		return;
	child->name = kstrdup(name);
	if (!child->name)
		return;
	child->parent = dir;
	inode_get(dir);
}

/* ---- instances */
static ssize_t inotify_read(struct file *f, struct uio *u, u64 *pos)
{
	struct instance *in = f->priv;
	ssize_t done = 0;
	if (list_empty(&in->events)) {
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event(&in->wait, !list_empty(&in->events), UINT64_MAX))
			return -ERESTARTSYS;
	}
	while (!list_empty(&in->events)) {
		struct event *e = list_first(&in->events, struct event, node);
		if (u->resid < EVENT_HEAD + e->len)
			return done ? done : -EINVAL;
		struct inotify_event head = {.wd = e->wd, .mask = e->mask, .cookie = e->cookie, .len = e->len};
		if (uio_write(u, &head, EVENT_HEAD) != EVENT_HEAD || (e->len && uio_write(u, e->name, e->len) != (ssize_t)e->len))
			return done ? done : -EFAULT;
		done += EVENT_HEAD + e->len;
		inotify_event_drop(in, e);
	}
	return done;
}

static u32 inotify_poll(struct file *f, struct poll_table *pt)
{
	struct instance *in = f->priv;
	poll_wait(f, &in->wait, pt);
	return list_empty(&in->events) ? 0 : POLL_IN;
}

static long inotify_ioctl(struct file *f, u32 cmd, u64 arg)
{
	s32 n = (s32)((struct instance *)f->priv)->bytes;
	return cmd == FIONREAD ? put_user(n, UPTR(arg)) : -ENOTTY;
}

static void inotify_release(struct file *f)
{
	struct instance *in = f->priv;
	while (!list_empty(&in->watches))
		inotify_watch_remove(list_first(&in->watches, struct watch, of_instance), false);
	while (!list_empty(&in->events))
		inotify_event_drop(in, list_first(&in->events, struct event, node));
	instances--;
	kfree(in);
}

static const struct file_ops inotify_ops = {.read = inotify_read, .poll = inotify_poll, .ioctl = inotify_ioctl, .release = inotify_release};

long sys_inotify_init1(u64 flags)
{
	if (flags & ~(u64)(IN_CLOEXEC | IN_NONBLOCK))
		return -EINVAL;
	if (instances >= INSTANCES_MAX)
		return -EMFILE;
	struct instance *in = kzalloc(sizeof(*in));
	if (!in)
		return -ENOMEM;
	list_init(&in->watches);
	list_init(&in->events);
	waitq_init(&in->wait);
	struct file *f = anon_file(&inotify_ops, 0600, O_RDONLY | (flags & IN_NONBLOCK), in, "anon_inode:inotify");
	if (!f) {
		kfree(in);
		return -ENOMEM;
	}
	instances++;
	return fd_install(f, (u32)flags & IN_CLOEXEC, 0);
}

long sys_inotify_init(void)
{
	return sys_inotify_init1(0);
}

static struct watch *inotify_watch_of(const struct instance *in, const struct inode *i)
{
	struct watch *w;
	if (i->watches)
		list_for_each (w, i->watches, of_inode)
			if (w->instance == in)
				return w;
	return NULL;
}

static struct watch *inotify_watch_at(const struct instance *in, s32 wd)
{
	struct watch *w;
	list_for_each (w, &in->watches, of_instance)
		if (w->wd == wd)
			return w;
	return NULL;
}

static long inotify_watch_new(struct instance *in, struct inode *i, u32 mask)
{
	if (in->nwatches >= WATCHES_MAX)
		return -ENOSPC;
	struct watch *w = kzalloc(sizeof(*w));
	if (w && !i->watches) {
		i->watches = kmalloc(sizeof(*i->watches));
		if (i->watches)
			list_init(i->watches);
	}
	if (!w || !i->watches) {
		kfree(w);
		return -ENOMEM;
	}
	*w = (struct watch){.instance = in, .inode = i, .mask = mask, .wd = ++in->last_wd};
	if (in->last_wd == INT32_MAX)
		in->last_wd = 0;
	inode_get(i);
	i->nwatches++;
	list_add_tail(&w->of_inode, i->watches);
	list_add_tail(&w->of_instance, &in->watches);
	in->nwatches++;
	inotify_watches++;
	memfs_each_child(i, inotify_adopt);
	return w->wd;
}

static long inotify_watch_add(struct instance *in, struct inode *i, u32 mask)
{
	struct watch *w = inotify_watch_of(in, i);
	long r = inode_permission(i, 4);
	if (r)
		return r;
	if (!w)
		return inotify_watch_new(in, i, mask & KEPT_BITS);
	if (mask & IN_MASK_CREATE)
		return -EEXIST;
	w->mask = (mask & IN_MASK_ADD ? w->mask : 0) | (mask & KEPT_BITS);
	return w->wd;
}

long sys_inotify_add_watch(u64 fd, u64 upath, u64 umask)
{
	struct path p;
	long r;
	u32 mask = (u32)umask;
	if (!(mask & (IN_ALL_EVENTS | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK | EXCLUSIVE_BITS | IN_ISDIR | IN_ONESHOT | IN_UNMOUNT)))
		return -EINVAL;
	scoped_file f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	if ((mask & EXCLUSIVE_BITS) == EXCLUSIVE_BITS || f->ops != &inotify_ops)
		return -EINVAL;
	r = path_walk_user(AT_FDCWD, upath, mask & IN_DONT_FOLLOW ? AT_SYMLINK_NOFOLLOW : 0, &p);
	if (r)
		return r;
	r = (mask & IN_ONLYDIR) && !S_ISDIR(p.inode->mode) ? -ENOTDIR : inotify_watch_add(f->priv, p.inode, mask);
	path_put(&p);
	return r;
}

long sys_inotify_rm_watch(u64 fd, u64 wd)
{
	long r;
	scoped_file f = fd_get_kind((int)fd, &inotify_ops, -EINVAL, &r);
	struct watch *w = f ? inotify_watch_at(f->priv, (s32)wd) : NULL;
	if (!w)
		return f ? -EINVAL : r;
	inotify_watch_remove(w, true);
	return 0;
}

void inotify_fdinfo(const struct file *f, struct text *t)
{
	const struct watch *w;
	if (f->ops != &inotify_ops)
		return;
	list_for_each (w, &((const struct instance *)f->priv)->watches, of_instance)
		text_add(t, "inotify wd:%x ino:%lx sdev:%lx mask:%x ignored_mask:0\n", (u32)w->wd, w->inode->ino, w->inode->dev, w->mask);
}

void proc_inotify_events(struct text *t, const struct subject *s)
{
	text_add(t, "%u\n", EVENTS_MAX);
}

void proc_inotify_instances(struct text *t, const struct subject *s)
{
	text_add(t, "%u\n", INSTANCES_MAX);
}

void proc_inotify_watches(struct text *t, const struct subject *s)
{
	text_add(t, "%u\n", WATCHES_MAX);
}
