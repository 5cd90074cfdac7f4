/* Waiting for files: what poll, select and epoll share. */
#ifndef POLL_H
#define POLL_H
#include "file.h"

struct poll_table {
	void (*add)(struct poll_table *pt, struct file *f, struct waitq *q);
};
/* Replaces the signal mask for the time of a wait (ppoll, pselect6, epoll_pwait); the old one comes back when the call ends. umask 0: nothing. */
long poll_set_mask(u64 umask, u64 size);
/* To be called with the result of the wait: keeps the mask for the handler of a signal that ended it. */
long poll_end_mask(bool was_set, long result);
/* CLOCK_MONOTONIC deadline of a timeout in ms; negative: none. */
u64 deadline_of_ms(s64 ms);
#endif
