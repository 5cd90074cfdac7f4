/* Pipes as splice(2) sees them. */
#ifndef PIPE_H
#define PIPE_H
#include "file.h"
struct pipe {
	u32 readers, writers, refs; /* refs: open files, and the inode of a FIFO has none */
	u32 opened_r, opened_w;     /* how often an end was ever opened: what a blocked open(2) waits for */
	u64 head, tail;             /* bytes ever written, read */
	u32 size;                   /* capacity, a power of two of pages */
	paddr_t *frame;
	struct waitq wait;
	struct inode *inode;
	bool anonymous; /* of pipe(2): both ends were there from the beginning, so opening it through /proc/self/fd waits for nobody (fs/pipe.c of Linux) */
	u64 *packet_end; /* O_DIRECT writes: a read gets one packet at most; a ring of PACKETS, NULL until there was one */
	u32 packets, first_packet;
};
struct pipe *pipe_of(struct file *f); /* NULL: not a pipe */
u32 pipe_room(const struct pipe *p);
/* Waits for data: 0 there is some, 1 end of file, -EAGAIN, -ERESTARTSYS. */
int pipe_wait_data(struct pipe *p, bool nonblock);
/* Waits for room: 0, -EPIPE (with the signal), -EAGAIN, -ERESTARTSYS. */
int pipe_wait_room(struct pipe *p, u32 n, bool nonblock);
ssize_t pipe_peek(struct pipe *p, struct uio *u, u64 n); /* copies without taking */
void pipe_consume(struct pipe *p, u64 n);
#endif
