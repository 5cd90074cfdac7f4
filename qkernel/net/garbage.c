/* Sockets in flight: descriptors inside the queues of sockets, and the circles of such that no program can reach any more (unix(7), SCM_RIGHTS).
 * Files leave a queue one after the other, never one inside the release of another: a chain of any length needs no stack. */
#include "unix.h"
#include <asm/resource.h>
#include <linux/capability.h>

static struct list in_flight = LIST_INIT(in_flight); /* sockets with flying > 0 */
static u32 sockets_flying, files_flying, closed_since;
static struct list dead = LIST_INIT(dead); /* messages whose files are to be put */
static bool burying;
static struct list suspects = LIST_INIT(suspects), reached = LIST_INIT(reached); /* of the collection in progress */

bool flight_may_send(u32 nfiles)
{
	const struct process *p = current->proc;
	bool free = p->cap_eff & (1ull << CAP_SYS_RESOURCE | 1ull << CAP_SYS_ADMIN);
	return free || !nfiles || files_flying <= p->rlim[RLIMIT_NOFILE].cur;
}

void flight_begin(struct message *m)
{
	files_flying += m->nfiles;
	for (u32 k = 0; k < m->nfiles; k++) {
		struct usock *s = usock_of(m->files[k]);
		if (s && !s->flying++) {
			list_add_tail(&s->flight, &in_flight);
			sockets_flying++;
		}
	}
}

void flight_end(struct message *m)
{
	files_flying -= m->nfiles;
	for (u32 k = 0; k < m->nfiles; k++) {
		struct usock *s = usock_of(m->files[k]);
		if (s && !--s->flying) {
			list_del(&s->flight);
			sockets_flying--;
		}
	}
}

static void garbage_bury(void)
{
	if (burying)
		return;
	burying = true;
	while (!list_empty(&dead)) {
		struct message *m = list_first(&dead, struct message, node);
		list_del(&m->node);
		flight_end(m);
		files_free(m->files, m->nfiles);
		kfree(m->data);
		kfree(m);
	}
	burying = false;
}

void message_bury(struct message *m)
{
	list_add_tail(&m->node, &dead);
	garbage_bury();
}

/* Calls fn for each socket in flight inside the queue of s, and of those that wait to be accepted from it. */
static void garbage_each_inside(struct usock *s, void (*fn)(struct usock *, struct list *), struct list *ctx)
{
	struct message *m;
	struct usock *c;
	list_for_each (m, &s->inbox, node)
		for (u32 k = 0; k < m->nfiles; k++) {
			struct usock *in = usock_of(m->files[k]);
			if (in)
				fn(in, ctx);
		}
	if (s->state == SOCK_LISTENING)
		list_for_each (c, &s->backlog, pending)
			garbage_each_inside(c, fn, ctx); /* one level: what waits there does not listen */
}

static void garbage_lose_one(struct usock *s, struct list *unused)
{
	(void)unused;
	if (s->maybe_lost)
		s->held_outside--;
}

static void garbage_give_back(struct usock *s, struct list *reached)
{
	if (s->maybe_lost) {
		s->maybe_lost = false;
		list_del(&s->search);
		list_add_tail(&s->search, reached);
	}
}

static void garbage_drop_messages(struct usock *s)
{
	struct usock *c;
	usock_drop_inbox(s);
	if (s->state == SOCK_LISTENING)
		list_for_each (c, &s->backlog, pending)
			usock_drop_inbox(c);
}

/* As net/unix/garbage.c of Linux did for long: sockets that only queues hold are suspects; those held by a queue that is not a suspect's, and what
 * lies in their queues, are not lost; the queues of the rest are emptied, which frees them. */
static void garbage_collect(void)
{
	struct usock *s, *next;
	list_for_each (s, &in_flight, flight) {
		if (s->file->refs != s->flying)
			continue;
		s->maybe_lost = true;
		s->held_outside = s->flying;
		list_add_tail(&s->search, &suspects);
	}
	list_for_each (s, &suspects, search)
		garbage_each_inside(s, garbage_lose_one, NULL);
	list_for_each_safe (s, next, &suspects, search)
		if (s->held_outside)
			garbage_give_back(s, &reached);
	while (!list_empty(&reached)) {
		s = list_first(&reached, struct usock, search);
		list_del(&s->search);
		garbage_each_inside(s, garbage_give_back, &reached);
	}
	burying = true; /* nothing is freed while the list is walked */
	while (!list_empty(&suspects)) {
		s = list_first(&suspects, struct usock, search);
		list_del(&s->search);
		s->maybe_lost = false;
		garbage_drop_messages(s);
	}
	burying = false;
	garbage_bury();
}

void flight_closed(void)
{
	if (!sockets_flying || burying || ++closed_since < sockets_flying / 16)
		return;
	closed_since = 0;
	garbage_collect();
}
