/* Advisory locks (fs/lock.c). */
#ifndef LOCK_H
#define LOCK_H
#include "file.h"
#include <linux/fcntl.h>
void locks_release_file(struct file *f);               /* last reference gone: flock and OFD locks */
void locks_release_process(struct file *f, void *who); /* close(2) drops the POSIX locks of the process on the file */
long lock_fcntl(struct file *f, u32 cmd, struct flock *l);
long lock_flock(struct file *f, u32 op);
#endif
