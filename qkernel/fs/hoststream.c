/* Standard streams and terminals of the host: never blocking there; a task waits for the event that QC_POLL asks for. */
#include "fs.h"
#include "qcall.h"
#include <asm/ioctls.h>
#include <asm/signal.h>
#include <asm/termbits.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#define STREAMS 3

struct winsize_abi {
	u16 row, col, x, y;
};
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

static ssize_t read(struct file *f, struct uio *u, u64 *pos)
{
	for (;;) {
		ssize_t want = uio_segs(u, u->resid, true);
		if (want <= 0)
			return want;
		host_contact();
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
	while (u->resid) {
		ssize_t want = uio_segs(u, u->resid, false);
		if (want <= 0)
			return done ? done : want;
		host_contact();
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

static u32 poll(struct file *f, struct poll_table *pt)
{
	struct stream *s = f->priv;
	u32 want = POLL_IN | POLL_OUT;
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

static const struct file_ops ops = {.read = read, .write = write, .poll = poll, .ioctl = ioctl};

static int reopen(struct inode *i, struct file *f)
{
	f->ops = &ops;
	f->priv = i->priv;
	return 0;
}

static const struct inode_ops inode_ops = {.open = reopen};

struct file *hoststream_open(int handle, u32 oflags)
{
	struct stream *s = &streams[handle];
	if (!s->inode) {
		struct qk_stat st = {.mode = S_IFIFO | 0600};
		waitq_init(&s->wait);
		seg_begin();
		if (qcall(QC_FSTAT, 0, (u64)handle, 0, 0, 0, 0, 0) == 0)
			memcpy(&st, comm_data(), sizeof(st));
		seg_begin();
		s->tty = S_ISCHR(st.mode) && qcall(QC_IOCTL, 0, (u64)handle, TCGETS, 0, 0, 0, 0) >= 0;
		/* A stream has no offset of its own here: a redirected file looks like a pipe. */
		if (!S_ISCHR(st.mode) && !S_ISSOCK(st.mode))
			st.mode = S_IFIFO | 0600;
		s->inode = anon_inode((st.mode & S_IFMT) | (s->tty ? 0620 : st.mode & 0777));
		if (!s->inode)
			return NULL;
		s->inode->ops = &inode_ops;
		s->inode->priv = s;
		if (S_ISCHR(st.mode))
			s->inode->rdev = s->tty ? 136u << 8 : st.rdev;
	}
	inode_get(s->inode);
	struct file *f = file_new(&ops, s->inode, oflags, s);
	if (f && s->tty)
		f->path.str = kstrdup("/dev/pts/0");
	return f;
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
