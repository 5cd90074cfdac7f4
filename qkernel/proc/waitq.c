/* Wait queues: tasks and poll tables waiting for something to happen. */
#include "waitq.h"

void waitq_add(struct waitq *q, struct waiter *w)
{
	list_add_tail(&w->node, &q->head);
}

void waitq_del(struct waiter *w)
{
	list_del(&w->node);
}

void waitq_wake(struct waitq *q, u32 events, int max)
{
	struct waiter *w, *next;
	int woken = 0;
	list_for_each_safe (w, next, &q->head, node) {
		bool counts = true;
		if (w->wake)
			counts = w->wake(w, events);
		else
			wake_task(w->task, 0);
		if (w->exclusive && counts && ++woken == max)
			return;
	}
}
