/* The standard streams, which the host opened: pipes, terminals, sockets, files. Never blocking there; a task waits for the event that QC_POLL asks for. */
#include "fs.h"
#include "qcall.h"
#include <asm/ioctls.h>
#include <asm/signal.h>
#include <asm/termbits.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#define STREAMS 3
#define PTS_MAJOR 136u

struct winsize_abi {
	u16 row, col, x, y;
};
/* What a stream is may change at a restore: a clone has other streams. */
static struct stream {
	struct inode *inode;
	struct waitq wait;
	bool tty;
} streams[STREAMS];
static s32 foreground; /* process group of the terminal */

static int handle_of(const struct file *f)
{
	return (int)((struct stream *)f->priv - streams);
}

/* A file has an offset, which its other users on the host share. */
static bool is_file(const struct file *f)
{
	return S_ISREG(f->inode->mode) || S_ISBLK(f->inode->mode);
}

/* What is ready now of `events`; of what is not, the host will tell. */
static s64 ask(int handle, u32 events)
{
	seg_begin();
	return qcall(QC_POLL, 0, (u64)handle, events, 0, 0, 0, 0);
}

/* Sleeps until the stream may be ready for `events`. 0 or -EINTR. */
static int wait_for(struct stream *s, u32 events)
{
	struct waiter w = {.task = current};
	int r = 0;
	waitq_add(&s->wait, &w);
	if (ask((int)(s - streams), events) == 0)
		r = task_sleep(UINT64_MAX);
	waitq_del(&w);
	return r;
}

static ssize_t at_offset(enum qk_op op, struct file *f, struct uio *u, u64 off)
{
	if (!is_file(f))
		return -ESPIPE;
	ssize_t want = uio_segs(u, u->resid, op == QC_PREAD);
	return want <= 0 ? want : qcall(op, 0, (u64)handle_of(f), off, 0, 0, 0, 0);
}

static ssize_t read(struct file *f, struct uio *u, u64 *pos)
{
	if (pos != &f->pos)
		return at_offset(QC_PREAD, f, u, *pos);
	for (;;) {
		ssize_t want = uio_segs(u, u->resid, true);
		if (want <= 0)
			return want;
		host_contact(true);
		s64 r = qcall(QC_READ, 0, (u64)handle_of(f), 0, 0, 0, 0, 0);
		if (r != -EAGAIN)
			return r;
		if (f->flags & O_NONBLOCK) {
			const struct stream *s = f->priv;
			if (!list_empty(&s->wait.head))
				ask(handle_of(f), POLL_IN); /* an edge-triggered epoll hears of the next input */
			return -EAGAIN;
		}
		if (wait_for(f->priv, POLL_IN))
			return -ERESTARTSYS;
	}
}

static ssize_t write(struct file *f, struct uio *u, u64 *pos)
{
	ssize_t done = 0;
	if (pos != &f->pos)
		return at_offset(QC_PWRITE, f, u, *pos);
	while (u->resid) {
		ssize_t want = uio_segs(u, u->resid, false);
		if (want <= 0)
			return done ? done : want;
		host_contact(false);
		s64 r = qcall(QC_WRITE, 0, (u64)handle_of(f), 0, 0, 0, 0, 0);
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
		if (wait_for(f->priv, POLL_OUT))
			return done ? done : -ERESTARTSYS;
	}
	return done;
}

static s64 seek(struct file *f, s64 off, int whence)
{
	seg_begin();
	return is_file(f) ? qcall(QC_LSEEK, 0, (u64)handle_of(f), (u64)off, (u64)whence, 0, 0, 0) : -ESPIPE;
}

static int sync(struct file *f, bool data)
{
	seg_begin();
	return (int)qcall(QC_FSYNC, 0, (u64)handle_of(f), data, 0, 0, 0, 0);
}

static u32 poll(struct file *f, struct poll_table *pt)
{
	struct stream *s = f->priv;
	u32 want = POLL_IN | POLL_OUT;
	if (is_file(f))
		return want;
	if ((f->flags & O_ACCMODE) == O_RDONLY)
		want = POLL_IN;
	else if ((f->flags & O_ACCMODE) == O_WRONLY)
		want = POLL_OUT;
	poll_wait(f, &s->wait, pt);
	s64 r = ask(handle_of(f), want);
	return r < 0 ? POLL_ERR : (u32)r;
}

static long host_ioctl(struct file *f, u32 cmd, u64 arg, u32 size, bool in)
{
	if (in && copy_from_user(comm_data(), UPTR(arg), size))
		return -EFAULT;
	seg_begin();
	s64 r = qcall(QC_IOCTL, in ? size : 0, (u64)handle_of(f), cmd, 0, 0, 0, 0);
	if (r >= 0 && !in) {
		u8 copy[sizeof(struct termios)];
		memcpy(copy, comm_data(), size);
		if (copy_to_user(UPTR(arg), copy, size))
			return -EFAULT;
	}
	return r;
}

static long ioctl(struct file *f, u32 cmd, u64 arg)
{
	const struct stream *s = f->priv;
	s32 id;
	if (cmd == FIONREAD)
		return host_ioctl(f, cmd, arg, sizeof(s32), false);
	if (!s->tty)
		return -ENOTTY;
	switch (cmd) {
	case TCGETS:
		return host_ioctl(f, cmd, arg, sizeof(struct termios), false);
	case TCSETS:
	case TCSETSW:
	case TCSETSF:
		return host_ioctl(f, cmd, arg, sizeof(struct termios), true);
	case TIOCGWINSZ:
		return host_ioctl(f, cmd, arg, sizeof(struct winsize_abi), false);
	case TIOCSWINSZ:
		return host_ioctl(f, cmd, arg, sizeof(struct winsize_abi), true);
	case TIOCGPGRP:
		id = foreground ? foreground : current->proc->pgid;
		return put_user(id, UPTR(arg));
	case TIOCSPGRP:
		if (get_user(id, UPTR(arg)))
			return -EFAULT;
		foreground = id;
		return 0;
	case TIOCGSID:
		id = current->proc->sid;
		return put_user(id, UPTR(arg));
	case TIOCSCTTY:
	case TIOCNOTTY:
	case TCSBRK:
	case TCXONC:
	case TCFLSH:
		return 0;
	default:
		return -ENOTTY;
	}
}

static const struct file_ops ops = {.read = read, .write = write, .lseek = seek, .poll = poll, .ioctl = ioctl, .fsync = sync};

static int reopen(struct inode *i, struct file *f)
{
	f->ops = &ops;
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
static int getattr(struct inode *i, struct qk_stat *st)
{
	if (!S_ISREG(i->mode))
		inode_stat(i, st);
	return S_ISREG(i->mode) ? (int)host_stat(i->priv, st) : 0;
}

static int setattr(struct inode *i, u32 mask, const struct qk_stat *st)
{
	const struct stream *s = i->priv;
	if (mask != QK_ATTR_SIZE || !S_ISREG(i->mode))
		return mask & QK_ATTR_SIZE ? -EINVAL : -EPERM;
	seg_begin();
	return (int)qcall(QC_FTRUNCATE, 0, (u64)(s - streams), st->size, 0, 0, 0, 0);
}

static const struct inode_ops inode_ops = {.open = reopen, .getattr = getattr, .setattr = setattr};

/* Asks the host what the stream is. */
static void identify(struct stream *s)
{
	struct qk_stat st = {.mode = S_IFIFO | 0600};
	(void)host_stat(s, &st);
	seg_begin();
	s->tty = S_ISCHR(st.mode) && qcall(QC_IOCTL, 0, (u64)(s - streams), TCGETS, 0, 0, 0, 0) >= 0;
	if (S_ISDIR(st.mode))
		st.mode = S_IFIFO | 0600; /* nothing can be looked up in it */
	s->inode->mode = (st.mode & S_IFMT) | (s->tty ? 0620 : st.mode & 0777);
	s->inode->rdev = s->tty ? PTS_MAJOR << 8 : S_ISCHR(st.mode) ? st.rdev : 0;
}

struct file *hoststream_open(int handle, u32 oflags)
{
	struct stream *s = &streams[handle];
	if (!s->inode) {
		waitq_init(&s->wait);
		s->inode = anon_inode(S_IFIFO | 0600);
		if (!s->inode)
			return NULL;
		s->inode->ops = &inode_ops;
		s->inode->priv = s;
		identify(s);
	}
	inode_get(s->inode);
	struct file *f = file_new(&ops, s->inode, oflags, s);
	if (f && s->tty)
		f->path.str = kstrdup("/dev/pts/0");
	return f;
}

int hoststreams_install(void)
{
	for (int h = 0; h < STREAMS; h++) {
		seg_begin();
		s64 flags = qcall(QC_FLAGS, 0, (u64)h, 0, 0, 0, 0, 0);
		if (flags < 0)
			continue; /* the caller closed it */
		struct file *f = hoststream_open(h, (u32)flags & (O_ACCMODE | O_APPEND | O_NONBLOCK));
		if (!f || fd_replace(h, f, false) != h)
			return -ENOMEM;
	}
	return 0;
}

static void signal_foreground(int sig)
{
	struct process *p;
	struct siginfo info = {.si_signo = sig, .si_code = SI_KERNEL};
	s32 group = foreground ? foreground : init_process->pgid;
	list_for_each (p, &all_processes, all)
		if (p->pgid == group && !p->zombie)
			send_signal(p, sig, &info);
}

void host_event(int handle, u32 events)
{
	if (handle == QK_EV_SIGNAL && events >= 1 && events <= SIGNALS) {
		if (events == SIGINT || events == SIGQUIT || events == SIGTSTP || events == SIGWINCH)
			signal_foreground((int)events);
		else
			send_signal(init_process, (int)events, &(struct siginfo){.si_signo = (s32)events, .si_code = SI_USER});
	} else if (handle == QK_EV_WINCH) {
		signal_foreground(SIGWINCH);
	} else if (handle >= 0 && handle < STREAMS && streams[handle].inode) {
		waitq_wake(&streams[handle].wait, 0, 0);
	}
}

void hoststreams_look_again(void)
{
	for (int h = 0; h < STREAMS; h++)
		if (streams[h].inode)
			waitq_wake(&streams[h].wait, 0, 0);
}

void hoststreams_restored(void)
{
	for (int h = 0; h < STREAMS; h++)
		if (streams[h].inode)
			identify(&streams[h]);
}

/* ---- ioctl(2), for all files */
long sys_ioctl(u64 fd, u64 cmd, u64 arg)
{
	struct file *f = fd_get((int)fd);
	s32 on;
	long r = 0;
	if (!f || (f->flags & O_PATH)) {
		if (f)
			file_put(f);
		return -EBADF;
	}
	switch ((u32)cmd) {
	case FIOCLEX:
	case FIONCLEX:
		fd_set_cloexec((int)fd, cmd == FIOCLEX);
		break;
	case FIONBIO:
		if (get_user(on, UPTR(arg)))
			r = -EFAULT;
		else
			f->flags = on ? f->flags | O_NONBLOCK : f->flags & ~(u32)O_NONBLOCK;
		break;
	case FIOASYNC:
		break;
	case FIONREAD:
		if (S_ISREG(f->inode->mode)) {
			on = (s32)(f->inode->size - MIN(f->pos, f->inode->size));
			r = put_user(on, UPTR(arg));
			break;
		}
		/* fall through */
	default:
		r = f->ops->ioctl ? f->ops->ioctl(f, (u32)cmd, arg) : -ENOTTY;
	}
	file_put(f);
	return r;
}
