/* The standard streams, which the host opened: pipes, terminals, sockets, files. Never blocking there; a task waits for the event that QC_POLL asks for. */
#include "fdtable.h"
#include "host.h"
#include "ktime.h"
#include "behind.h"
#include "hoststream.h"
#include "qcall.h"
#include "tty/tty.h"

#define CONSOLE "/dev/console"
#define CONSOLE_DEV (5u << 8 | 1u)
#define TENTH_NS 100000000ul

struct stream streams[STREAMS];

int stream_handle_of(const struct file *f)
{
	return (int)((struct stream *)f->priv - streams);
}

/* A file has an offset, which its other users on the host share. */
static bool stream_is_file(const struct file *f)
{
	return S_ISREG(f->inode->mode) || S_ISBLK(f->inode->mode);
}

/* What is ready now of `events`; of what is not, the host will tell. */
static s64 stream_ask(int handle, u32 events)
{
	seg_begin();
	return qcall(QC_POLL, 0, (u64)handle, events, 0, 0, 0, 0);
}

/* Sleeps until the stream may be ready for `events`. 0, -EINTR or -ETIMEDOUT. */
static int stream_wait_for(struct stream *s, u32 events, u64 deadline)
{
	struct waiter w = {.task = current};
	int r = 0;
	waitq_add(&s->wait, &w);
	if (stream_ask((int)(s - streams), events) == 0)
		r = task_sleep(deadline);
	waitq_del(&w);
	return r;
}

static ssize_t stream_at_offset(enum qk_op op, struct file *f, struct uio *u, u64 off)
{
	if (!stream_is_file(f))
		return -ESPIPE;
	ssize_t want = uio_segs(u, u->resid, op == QC_PREAD);
	return want <= 0 ? want : qcall(op, 0, (u64)stream_handle_of(f), off, 0, 0, 0, 0);
}

static ssize_t stream_read(struct file *f, struct uio *u, u64 *pos)
{
	if (pos != &f->pos)
		return stream_at_offset(QC_PREAD, f, u, *pos);
	const struct stream *s = f->priv;
	u64 deadline = UINT64_MAX;
	/* A terminal whose reads may end with nothing (VMIN 0): after VTIME tenths of a second. */
	bool may_end = s->tty && !(hostterm_mode.c_lflag & ICANON) && !hostterm_mode.c_cc[VMIN];
	if (may_end)
		deadline = deadline_of_ns(hostterm_mode.c_cc[VTIME] * TENTH_NS);
	for (;;) {
		int job = s->tty ? tty_check_change(&console, SIGTTIN) : 0;
		if (job)
			return job;
		ssize_t want = uio_segs(u, u->resid, true);
		if (want <= 0)
			return want;
		host_contact(true);
		s64 r = qcall(QC_READ, 0, (u64)stream_handle_of(f), 0, 0, 0, 0, 0);
		if (r != -EAGAIN)
			return r;
		if (f->flags & O_NONBLOCK) {
			if (!list_empty(&s->wait.head))
				stream_ask(stream_handle_of(f), POLL_IN); /* an edge-triggered epoll hears of the next input */
			return -EAGAIN;
		}
		int w = stream_wait_for(f->priv, POLL_IN, deadline);
		if (w)
			return w == -ETIMEDOUT ? 0 : -ERESTARTSYS;
	}
}

/* What a write puts behind others: 0 when they are out, or what the write has to answer. */
static int stream_wait_for_held(struct file *f, int handle)
{
	int r;
	while ((r = behind_flush(handle)) == -EAGAIN) {
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		if (stream_wait_for(&streams[handle], POLL_OUT, UINT64_MAX))
			return -ERESTARTSYS;
	}
	return r;
}

/* A write to a pipe while others are close before it. Bytes that are taken, 0: it goes to the host by itself, or an error. */
static ssize_t stream_write_behind(struct file *f, struct uio *u)
{
	int self = stream_handle_of(f), r;
	ssize_t done = 0, n;
	/* Two streams can be one pipe (2>&1): what was written first comes first. If it is full, a write that does not wait gets nothing in, either. */
	for (int h = 0; h < STREAMS; h++)
		if (h != self && behind_holds(h) && stream_wait_for_held(f, h) == -ERESTARTSYS)
			return -ERESTARTSYS;
	if (S_ISFIFO(f->inode->mode) && !(f->flags & O_NONBLOCK))
		while (u->resid && (n = behind_take(self, u)) != 0) {
			if (n < 0)
				return done ? done : n;
			done += n;
			if (u->resid && (r = stream_wait_for_held(f, self)) != 0)
				return r == -ERESTARTSYS ? done : r;
		}
	if (!u->resid)
		return done;
	r = stream_wait_for_held(f, self);
	return done && (!r || r == -ERESTARTSYS || r == -EAGAIN) ? done : r;
}

static ssize_t stream_write(struct file *f, struct uio *u, u64 *pos)
{
	ssize_t done = 0;
	const struct stream *s = f->priv;
	if (pos != &f->pos)
		return stream_at_offset(QC_PWRITE, f, u, *pos);
	int job = s->tty && (hostterm_mode.c_lflag & TOSTOP) ? tty_check_change(&console, SIGTTOU) : 0;
	if (job)
		return job;
	done = stream_write_behind(f, u);
	if (done) {
		if (done == -EPIPE)
			send_signal_task(current, SIGPIPE, NULL);
		return done;
	}
	while (u->resid) {
		ssize_t want = uio_segs(u, u->resid, false);
		if (want <= 0)
			return done ? done : want;
		host_contact(false);
		s64 r = qcall(QC_WRITE, 0, (u64)stream_handle_of(f), 0, 0, 0, 0, 0);
		if (r > 0) {
			uio_advance(u, (u64)r);
			done += r;
			continue;
		}
		if (r == -EPIPE && !done)
			send_signal_task(current, SIGPIPE, NULL);
		if (r != -EAGAIN)
			return done ? done : r;
		if (f->flags & O_NONBLOCK)
			return done ? done : -EAGAIN;
		if (stream_wait_for(f->priv, POLL_OUT, UINT64_MAX))
			return done ? done : -ERESTARTSYS;
	}
	return done;
}

static s64 stream_seek(struct file *f, s64 off, int whence)
{
	seg_begin();
	return stream_is_file(f) ? qcall(QC_LSEEK, 0, (u64)stream_handle_of(f), (u64)off, (u64)whence, 0, 0, 0) : -ESPIPE;
}

static int stream_sync(struct file *f, bool data)
{
	seg_begin();
	return (int)qcall(QC_FSYNC, 0, (u64)stream_handle_of(f), data, 0, 0, 0, 0);
}

static u32 stream_poll(struct file *f, struct poll_table *pt)
{
	struct stream *s = f->priv;
	u32 want = POLL_IN | POLL_OUT;
	if (stream_is_file(f))
		return want;
	if ((f->flags & O_ACCMODE) == O_RDONLY)
		want = POLL_IN;
	else if ((f->flags & O_ACCMODE) == O_WRONLY)
		want = POLL_OUT;
	poll_wait(f, &s->wait, pt);
	s64 r = stream_ask(stream_handle_of(f), want);
	return r < 0 ? POLL_ERR : (u32)r;
}

const struct file_ops stream_ops = {
	.read = stream_read, .write = stream_write, .lseek = stream_seek, .poll = stream_poll, .ioctl = stream_ioctl, .fsync = stream_sync};

static int stream_reopen(struct inode *i, struct file *f)
{
	f->ops = &stream_ops;
	f->priv = i->priv;
	return 0;
}

static s64 host_stat(const struct stream *s, struct qk_stat *st)
{
	seg_begin();
	s64 r = qcall(QC_FSTAT, 0, (u64)(s - streams), 0, 0, 0, 0, 0);
	if (r == 0)
		memcpy(st, comm_data(), sizeof(*st));
	return r;
}

/* A file is as the host says; of anything else only the kind is the host's. */
static int stream_getattr(struct inode *i, struct qk_stat *st)
{
	if (!S_ISREG(i->mode))
		inode_stat(i, st);
	return S_ISREG(i->mode) ? (int)host_stat(i->priv, st) : 0;
}

static int stream_setattr(struct inode *i, u32 mask, const struct qk_stat *st)
{
	const struct stream *s = i->priv;
	if (mask != QK_ATTR_SIZE || !S_ISREG(i->mode))
		return mask & QK_ATTR_SIZE ? -EINVAL : -EPERM;
	seg_begin();
	return (int)qcall(QC_FTRUNCATE, 0, (u64)(s - streams), st->size, 0, 0, 0, 0);
}

static const struct inode_ops stream_inode_ops = {.open = stream_reopen, .getattr = stream_getattr, .setattr = stream_setattr};

/* Asks the host what the stream is. */
static void stream_identify(struct stream *s)
{
	struct qk_stat st = {.mode = S_IFIFO | 0600};
	(void)host_stat(s, &st);
	seg_begin();
	s->tty = S_ISCHR(st.mode) && qcall(QC_IOCTL, 0, (u64)(s - streams), TCGETS, 0, 0, 0, 0) >= 0;
	if (S_ISDIR(st.mode))
		st.mode = S_IFIFO | 0600; /* nothing can be looked up in it */
	s->inode->mode = (st.mode & S_IFMT) | (s->tty ? 0620 : st.mode & 0777);
	s->inode->rdev = s->tty ? CONSOLE_DEV : S_ISCHR(st.mode) ? st.rdev : 0;
}

/* A terminal is /dev/console, so that ttyname(3) finds it. */
static struct file *open_stream(int handle, u32 oflags)
{
	struct stream *s = &streams[handle];
	int err;
	waitq_init(&s->wait);
	s->inode = anon_inode(S_IFIFO | 0600);
	if (!s->inode)
		return NULL;
	s->inode->ops = &stream_inode_ops;
	s->inode->priv = s;
	stream_identify(s);
	struct file *f = s->tty ? file_open(AT_FDCWD, CONSOLE, oflags, 0, &err) : NULL;
	if (f) {
		f->priv = s;
		return f;
	}
	inode_get(s->inode);
	return file_new(&stream_ops, s->inode, oflags, s);
}

int hoststreams_install(void)
{
	for (int h = 0; h < STREAMS; h++) {
		seg_begin();
		s64 flags = qcall(QC_FLAGS, 0, (u64)h, 0, 0, 0, 0, 0);
		if (flags < 0)
			continue; /* the caller closed it */
		struct file *f = open_stream(h, (u32)flags & (O_ACCMODE | O_APPEND | O_NONBLOCK));
		if (!f || fd_replace(h, f, false) != h)
			return -ENOMEM;
	}
	tty_add(&console);
	hostterm_install();
	return 0;
}

/* From whom a terminal is for all its processes; without one, for the first program's group. */
void stream_signal_foreground(int sig)
{
	tty_signal(console.pgrp ? console.pgrp : init_process->pgid, sig);
}

void host_event(int handle, u32 events)
{
	if (handle == QK_EV_SIGNAL && events >= 1 && events <= SIGNALS) {
		if (events == SIGHUP || events == SIGINT || events == SIGQUIT || events == SIGTERM)
			behind_hurry();
		if (events == SIGINT || events == SIGQUIT || events == SIGTSTP || events == SIGWINCH)
			stream_signal_foreground((int)events);
		else if (events == SIGCONT)
			tty_signal(init_process->pgid, SIGCONT);
		else
			send_signal(init_process, (int)events, &(struct siginfo){.si_signo = (s32)events, .si_code = SI_USER});
	} else if (handle == QK_EV_WINCH) {
		stream_signal_foreground(SIGWINCH);
	} else if (handle >= 0 && handle < STREAMS && streams[handle].inode) {
		behind_flush(handle);
		waitq_wake(&streams[handle].wait, 0, 0);
	}
}

void hoststreams_look_again(void)
{
	for (int h = 0; h < STREAMS; h++)
		if (streams[h].inode) {
			behind_flush(h);
			waitq_wake(&streams[h].wait, 0, 0);
		}
}

void hoststreams_restored(void)
{
	behind_forget();
	for (int h = 0; h < STREAMS; h++)
		if (streams[h].inode)
			stream_identify(&streams[h]);
	hostterm_restored();
}
