/* What splice(2) needs of pipes. */
#ifndef PIPE_H
#define PIPE_H
#include "fs.h"
struct pipe;
struct pipe *pipe_of(struct file *f); /* NULL: not a pipe */
u32 pipe_room(const struct pipe *p);
/* Waits for data: 0 there is some, 1 end of file, -EAGAIN, -ERESTARTSYS. */
int pipe_wait_data(struct pipe *p, bool nonblock);
/* Waits for room: 0, -EPIPE (with the signal), -EAGAIN, -ERESTARTSYS. */
int pipe_wait_room(struct pipe *p, u32 n, bool nonblock);
ssize_t pipe_peek(struct pipe *p, struct uio *u, u64 n); /* copies without taking */
void pipe_consume(struct pipe *p, u64 n);
#endif
