/* Write-behind of the standard streams that are pipes (behind.c). */
#ifndef BEHIND_H
#define BEHIND_H

#include "uaccess.h"

#define STREAMS 3

/* Takes what fits of a write that follows others closely. Bytes, or 0: not for write-behind, or no room. */
ssize_t behind_take(int handle, struct uio *u);
/* Hands on what is held back. 0: nothing is left; -EAGAIN: the pipe is full, and the host will tell when it is not; another error: it is lost. */
int behind_flush(int handle);
bool behind_holds(int handle);
void behind_forget(void);   /* a clone: it was the other one's */
void behind_park(void);     /* as much as possible goes out, and memory back */
void behind_end(bool wait); /* the sandbox ends; wait: until all is out, the reader is gone, or there is no time for that */
void behind_hurry(void);    /* a signal asks for the end */

#endif
