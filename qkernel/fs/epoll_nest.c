/* Epolls that watch epolls: a chain of them may not be long, since a wake-up follows it, nor come back to where it began (EP_MAX_NESTS of Linux). */
#include "epoll.h"

static u64 walk_number; /* epoll.seen of those that the walk in progress has been at */

/* Epolls in the longest chain below `ep`; NESTS_MAX + 1: too many, or `target` is one of them. Recursion ends at NESTS_MAX. */
static int epoll_depth_below(struct epoll *ep, const struct epoll *target, int at)
{
	struct item *it;
	if (ep == target || at > NESTS_MAX)
		return NESTS_MAX + 1;
	if (ep->seen == walk_number)
		return ep->depth;
	int deepest = 0;
	list_for_each (it, &ep->items, all) {
		if (it->f->ops == &epoll_ops)
			deepest = MAX(deepest, 1 + epoll_depth_below(it->f->priv, target, at + 1));
		if (deepest > NESTS_MAX)
			return NESTS_MAX + 1;
	}
	ep->seen = walk_number;
	ep->depth = deepest;
	return deepest;
}

/* The same upwards: who watches this one. */
static int epoll_depth_above(struct epoll *ep, int at)
{
	struct item *it;
	int highest = 0;
	if (at > NESTS_MAX)
		return NESTS_MAX + 1;
	if (ep->seen == walk_number)
		return ep->depth;
	list_for_each (it, &ep->file->epoll_links, of_file) {
		highest = MAX(highest, 1 + epoll_depth_above(it->ep, at + 1));
		if (highest > NESTS_MAX)
			return NESTS_MAX + 1;
	}
	ep->seen = walk_number;
	ep->depth = highest;
	return highest;
}

bool epoll_nested_too_deep(struct epoll *ep, struct file *f)
{
	if (f->ops != &epoll_ops)
		return false;
	walk_number++;
	int below = epoll_depth_below(f->priv, ep, 0);
	if (below > NESTS_MAX)
		return true;
	walk_number++;
	return below + 1 + epoll_depth_above(ep, 0) > NESTS_MAX;
}

/* Ways that a wake-up of `f` can take, by length: their number is limited, because each is followed (path_limits of Linux). */
static const u32 ways_max[NESTS_MAX + 1] = {1000, 500, 100, 50, 10};

static bool epoll_count_ways(const struct file *f, int nests, u32 ways[NESTS_MAX + 1])
{
	const struct item *it;
	if (nests > NESTS_MAX)
		return false;
	list_for_each (it, &f->epoll_links, of_file) {
		if (!list_empty(&it->ep->file->epoll_links)) {
			if (!epoll_count_ways(it->ep->file, nests + 1, ways))
				return false;
		} else if (nests && ++ways[nests] > ways_max[nests]) { /* any number of epolls may watch a file directly */
			return false;
		}
	}
	return true;
}

/* Of all files that are reached from `f` downwards. */
static bool epoll_ways_fit_below(struct file *f)
{
	struct item *it;
	if (f->ops != &epoll_ops) {
		u32 ways[NESTS_MAX + 1] = {0};
		return epoll_count_ways(f, 0, ways);
	}
	struct epoll *ep = f->priv;
	if (ep->seen == walk_number)
		return true;
	ep->seen = walk_number;
	list_for_each (it, &ep->items, all)
		if (!epoll_ways_fit_below(it->f))
			return false;
	return true;
}

bool epoll_ways_fit(struct file *f)
{
	walk_number++;
	return epoll_ways_fit_below(f);
}
