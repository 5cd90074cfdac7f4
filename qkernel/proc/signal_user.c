/* How many queued signals and POSIX timers each user has: RLIMIT_SIGPENDING (getrlimit(2)). */
#include "proc.h"
#include <asm/resource.h>

struct signal_user {
	struct list node;
	u32 uid;
	u64 n;
};
static struct list users = LIST_INIT(users);

static struct signal_user *user_find(u32 uid)
{
	struct signal_user *u;
	list_for_each (u, &users, node)
		if (u->uid == uid)
			return u;
	u = kzalloc(sizeof(*u));
	if (u) {
		u->uid = uid;
		list_add_tail(&u->node, &users);
	}
	return u;
}

struct signal_user *signal_user_get(const struct process *p, bool beyond)
{
	struct signal_user *u = user_find(p->uid);
	if (!u)
		return NULL;
	u->n++;
	if (beyond || u->n <= p->rlim[RLIMIT_SIGPENDING].cur)
		return u;
	signal_user_put(u);
	return NULL;
}

void signal_user_put(struct signal_user *u)
{
	if (!u || --u->n)
		return;
	list_del(&u->node);
	kfree(u);
}

u64 signal_user_count(const struct process *p)
{
	const struct signal_user *u;
	list_for_each (u, &users, node)
		if (u->uid == p->uid)
			return u->n;
	return 0;
}
