/* Between hoststream.c and hostterm.c. */
#ifndef HOSTSTREAM_H
#define HOSTSTREAM_H
#include "behind.h"
#include "tty/tty.h"

/* What a stream is may change at a restore: a clone has other streams. */
struct stream {
	struct inode *inode;
	struct waitq wait;
	bool tty;
};
extern struct stream streams[STREAMS];
extern const struct file_ops stream_ops;
int stream_handle_of(const struct file *f);
void stream_signal_foreground(int sig);
long stream_ioctl(struct file *f, u32 cmd, u64 arg);
s64 hostterm_ioctl(u32 cmd, const void *in, u32 in_len, void *out, u32 out_len); /* of the terminal; -ENXIO: there is none */
extern struct termios hostterm_mode;
void hostterm_install(void);
void hostterm_restored(void);
#endif
