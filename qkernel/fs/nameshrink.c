/* What is known of host files that nobody uses is let go when memory runs short: it can be asked for again. Between system calls alone: nobody holds
 * an entry or an inode without a reference then. */
#include "host.h"
#include "pagecache.h"
#include "hostfs.h"
#include "memfs.h"
#include <linux/stat.h>

#define LEARNED_MIN 4096u /* inodes learned since the last time: fewer are not worth the search */
#define LOW_PART 8u       /* memory is short when less than this part of it is left */

u32 names_learned;

static bool shrink_only_names(const struct names *t)
{
	const struct entry *e;
	list_for_each (e, &t->order, order)
		if (e->state != ENTRY_NAMED)
			return false;
	return true;
}

/* Does the entry alone hold it, and is it as it would be when looked up again? */
static bool shrink_overlay_unused(struct inode *i)
{
	const struct memnode *m = memnode_of(i);
	bool plain = !m->own && !m->counted && !m->xattrs && !i->watches && !i->locks && !i->ipc && !(i->iflags & I_MOUNTPOINT);
	return i->refs == 1 && m->lower && plain && !pagecache_pages(i) && (!S_ISDIR(i->mode) || shrink_only_names(&m->kids));
}

static void overlay_shrink(struct memnode *d)
{
	struct entry *e, *next;
	list_for_each_safe (e, next, &d->kids.order, order) {
		struct inode *i = e->inode;
		if (e->state != ENTRY_INODE || !shrink_overlay_unused(i))
			continue;
		if (!d->complete) {
			names_del(&d->kids, e);
			continue;
		}
		e->inode = NULL;
		e->state = ENTRY_NAMED; /* a reader of the directory keeps its place */
		inode_put(i);
	}
}

static bool shrink_host_unused(struct inode *i)
{
	const struct hostnode *n = hostnode_of(i);
	bool plain = n->handle < 0 && !n->opens && !n->copies && !n->stale && !i->watches && !i->locks && !i->ipc && !(i->iflags & I_MOUNTPOINT);
	return i->refs == 1 && plain && !pagecache_pages(i) && list_empty(&n->kids.order);
}

static void host_shrink(struct hostnode *d)
{
	struct entry *e, *next;
	list_for_each_safe (e, next, &d->kids.order, order)
		if (!e->inode || shrink_host_unused(e->inode))
			names_del(&d->kids, e);
}

/* Both lists begin with the newest: what is in a directory was mostly learned after it. The next of them has a reference, so that it stays. */
static void overlay_shrink_all(void)
{
	struct memnode *m, *next;
	list_for_each_safe (m, next, &memfs_dirs, dirs) {
		struct inode *held = &next->dirs == &memfs_dirs ? NULL : next->inode;
		if (held)
			inode_get(held);
		overlay_shrink(m);
		inode_put(held);
	}
}

static void host_shrink_all(void)
{
	struct hostnode *n, *next;
	list_for_each_safe (n, next, &host_nodes, all) {
		struct inode *held = &next->all == &host_nodes ? NULL : next->inode;
		if (held)
			inode_get(held);
		host_shrink(n);
		inode_put(held);
	}
}

void names_shrink(void)
{
	if (names_learned < LEARNED_MIN || frames_available() > frames_limit() / LOW_PART)
		return;
	names_learned = 0;
	overlay_shrink_all();
	host_shrink_all();
}
