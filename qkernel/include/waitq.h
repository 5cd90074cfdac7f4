/* Wait queues (proc/waitq.c). */
#ifndef WAITQ_H
#define WAITQ_H
#include "sched.h"

struct waitq {
	struct list head; /* of struct waiter */
};
struct waiter {
	struct list node;
	struct task *task;
	/* Called at a wake-up with the poll bits that became true. NULL: wake_task(task, 0). Return true to count as one of `max`. */
	bool (*wake)(struct waiter *w, u32 events);
	bool exclusive;
};
static inline void waitq_init(struct waitq *q) { list_init(&q->head); }
void waitq_add(struct waitq *q, struct waiter *w);
void waitq_del(struct waiter *w);
void waitq_wake(struct waitq *q, u32 events, int max); /* max exclusive waiters; 0 = all */
/* Sleep until cond; evaluates to 0, -EINTR, -ETIMEDOUT. */
#define wait_event(q, cond, deadline) \
	({ \
		int _r = 0; \
		struct waiter _w = {.task = current}; \
		waitq_add((q), &_w); \
		while (!(cond)) { \
			_r = task_sleep(deadline); \
			if (_r) \
				break; \
		} \
		waitq_del(&_w); \
		if (_r && (cond)) \
			_r = 0; \
		_r; \
	})

#endif
