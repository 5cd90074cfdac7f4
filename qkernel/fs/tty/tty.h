/* Terminals: job control, which the host's terminal and pseudo-terminals share, and the line discipline of the latter. */
#ifndef TTY_H
#define TTY_H

#include "file.h"
#include "../../proc/proc.h"
#include <asm/ioctls.h>
#include <asm/signal.h>
#include <asm/termbits.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

struct winsize_abi {
	u16 row, col, x, y;
};

/* ---- jobs.c. A terminal controls the session that it names, so a process has at most one. */
struct tty {
	struct list all;
	s32 session, pgrp; /* 0: none */
};
extern struct tty console;                     /* the host's terminal */
void tty_add(struct tty *t);                   /* to the terminals that a session can have */
struct tty *tty_controlling(void);             /* of the current process; NULL: none */
void tty_opened(struct tty *t, u32 oflags);    /* a session leader without a terminal gets this one */
void tty_signal(s32 pgrp, int sig);            /* from the kernel */
int tty_check_change(struct tty *t, int sig);  /* a background process that reads (SIGTTIN) or changes: 0, -EIO, -ERESTARTSYS */
void tty_hangup_jobs(struct tty *t, bool all); /* the session loses its terminal; all: SIGHUP to its leader, too */
/* TIOCGPGRP, TIOCSPGRP, TIOCGSID, TIOCSCTTY, TIOCNOTTY. own: t is the terminal that was opened, not the other end of a master. */
bool tty_job_ioctl(struct tty *t, bool own, u32 cmd, u64 arg, long *result);

/* ---- a pseudo-terminal: the slave has the line discipline, the master is bytes */
#define TTY_LINE 4096u         /* N_TTY_BUF_SIZE */
#define TTY_STREAM (64u << 10) /* what either direction holds until its writer waits */

struct ring { /* of bytes; head and tail run freely */
	u8 *data;
	u32 size, head, tail;
};
struct pty {
	struct tty tty;
	u32 index, refs;
	u32 slaves;  /* open files of the slave */
	u32 hangups; /* files that were opened before the last one are dead */
	bool master, locked, packet, slave_seen, exclusive;
	u8 status; /* TIOCPKT_* to be read by the master */
	struct termios tio;
	struct termios fixed; /* TIOCSLCKTRMIOS: the bits of `tio` that stay as they are */
	u32 ispeed, ospeed;
	struct winsize_abi size;
	/* line discipline, input: [tail, canon) can be read in canonical mode, [canon, head) is being edited */
	u8 line[TTY_LINE];
	u64 ends[TTY_LINE / 64]; /* where a line ends */
	u32 head, canon, tail;
	bool literal_next, erasing, stopped;
	u32 shown;                /* where the echo of the input in hand began in out */
	u32 column, canon_column; /* of the output */
	struct ring in;           /* the master wrote it, the line discipline has no room yet */
	struct ring out;          /* for the master */
	struct waitq wait;
};
static inline u32 ring_used(const struct ring *r)
{
	return r->head - r->tail;
}
static inline u32 ring_room(const struct ring *r)
{
	return r->size - ring_used(r);
}
void ring_put(struct ring *r, u8 c);
u8 ring_take(struct ring *r);

static inline bool tty_has(tcflag_t flags, tcflag_t bit)
{
	return (flags & bit) == bit;
}
static inline bool tty_cntrl(u8 c)
{
	return c < 32 || c == 127;
}
static inline bool tty_continuation(const struct pty *p, u8 c)
{
	return (p->tio.c_iflag & IUTF8) && (c & 0xc0) == 0x80;
}

/* ldisc_out.c */
u8 tty_lower(u8 c);
bool ldisc_output(struct pty *p, u8 c);   /* one byte through output processing; false: no room */
void ldisc_echo_raw(struct pty *p, u8 c); /* as ldisc_output; dropped when there is no room */
void ldisc_echo(struct pty *p, u8 c);     /* ^X for control characters */
void ldisc_finish_erasing(struct pty *p);
void ldisc_erase(struct pty *p, u8 key); /* VERASE, VWERASE, VKILL */
void ldisc_start(struct pty *p);
void ldisc_stop(struct pty *p);
/* ldisc_in.c */
void ldisc_init(struct pty *p);
void ldisc_pump(struct pty *p);                       /* from p->in as far as there is room */
u32 ldisc_readable(const struct pty *p, u32 minimum); /* bytes; 0: a read would wait */
ssize_t ldisc_take(struct pty *p, struct uio *u, bool *line_over);
void ldisc_flush_input(struct pty *p);
void ldisc_set(struct pty *p, const struct termios *tio);
/* pty.c */
extern const struct file_ops pty_master_ops, pty_slave_ops;
void pty_wake(struct pty *p);
void pty_packet(struct pty *p, u8 status); /* tells a master in packet mode */
void pty_hangup(struct pty *p);
void tty_hangup(struct tty *t); /* of either kind */
int ptmx_open(struct file *f);  /* makes a pair; f becomes its master */
int pts_open(u32 index, struct file *f, u32 oflags);
int tty_open_controlling(struct file *f); /* /dev/tty */
/* fs/hoststream.c */
int console_open(struct file *f);
/* pty_ioctl.c */
long pty_ioctl(struct file *f, u32 cmd, u64 arg);
/* devpts.c */
int devpts_add(u32 index);
void devpts_remove(u32 index);

#endif
