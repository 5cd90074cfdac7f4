/* ioctl(2) of both ends of a pseudo-terminal: ioctl_tty(2). What concerns the terminal is the slave's, whichever end is asked. */
#include "fdtable.h"
#include "tty.h"
#include <linux/capability.h>

struct termios2_abi {
	struct termios old;
	u32 ispeed, ospeed;
};

static long pty_get_mode(const struct pty *p, u64 arg, bool with_speed)
{
	struct termios2_abi t = {p->tio, p->ispeed, p->ospeed};
	return copy_to_user(UPTR(arg), &t, with_speed ? sizeof(t) : sizeof(t.old));
}

/* The form of System V: half of the bits, and fewer control characters. */
struct termio_abi {
	u16 iflag, oflag, cflag, lflag;
	u8 line, cc[8];
};

static long pty_get_short_mode(const struct pty *p, u64 arg)
{
	const struct termios *t = &p->tio;
	struct termio_abi s = {(u16)t->c_iflag, (u16)t->c_oflag, (u16)t->c_cflag, (u16)t->c_lflag, t->c_line, {0}};
	memcpy(s.cc, t->c_cc, sizeof(s.cc));
	return copy_to_user(UPTR(arg), &s, sizeof(s));
}

/* What a privileged program has fixed stays (TIOCSLCKTRMIOS of ioctl_tty(2)). */
static void pty_keep_fixed(const struct pty *p, struct termios *t)
{
	const struct termios *is = &p->tio, *fixed = &p->fixed;
	t->c_iflag = (t->c_iflag & ~fixed->c_iflag) | (is->c_iflag & fixed->c_iflag);
	t->c_oflag = (t->c_oflag & ~fixed->c_oflag) | (is->c_oflag & fixed->c_oflag);
	t->c_cflag = (t->c_cflag & ~fixed->c_cflag) | (is->c_cflag & fixed->c_cflag);
	t->c_lflag = (t->c_lflag & ~fixed->c_lflag) | (is->c_lflag & fixed->c_lflag);
	t->c_line = fixed->c_line ? is->c_line : t->c_line;
	for (u32 k = 0; k < NCCS; k++)
		t->c_cc[k] = fixed->c_cc[k] ? is->c_cc[k] : t->c_cc[k];
}

static void pty_use_mode(struct pty *p, struct termios *t, bool flush)
{
	if (flush)
		ldisc_flush_input(p);
	t->c_cflag = (t->c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8 | CREAD; /* pty_set_termios */
	pty_keep_fixed(p, t);
	ldisc_set(p, t);
}

static long pty_set_short_mode(struct pty *p, u64 arg, bool flush)
{
	struct termios t = p->tio;
	struct termio_abi s;
	if (copy_from_user(&s, UPTR(arg), sizeof(s)))
		return -EFAULT;
	t.c_iflag = (t.c_iflag & ~0xffffu) | s.iflag;
	t.c_oflag = (t.c_oflag & ~0xffffu) | s.oflag;
	t.c_cflag = (t.c_cflag & ~0xffffu) | s.cflag;
	t.c_lflag = (t.c_lflag & ~0xffffu) | s.lflag;
	t.c_line = s.line;
	memcpy(t.c_cc, s.cc, sizeof(s.cc));
	pty_use_mode(p, &t, flush);
	return 0;
}

static long pty_set_fixed(struct pty *p, u64 arg)
{
	struct termios t;
	if (!(current->proc->cap_eff >> CAP_SYS_ADMIN & 1))
		return -EPERM;
	if (copy_from_user(&t, UPTR(arg), sizeof(t)))
		return -EFAULT;
	p->fixed = t;
	return 0;
}

static long pty_set_mode(struct pty *p, u64 arg, bool with_speed, bool flush)
{
	struct termios2_abi t = {.ispeed = p->ispeed, .ospeed = p->ospeed};
	if (copy_from_user(&t, UPTR(arg), with_speed ? sizeof(t) : sizeof(t.old)))
		return -EFAULT;
	p->ispeed = t.ispeed;
	p->ospeed = t.ospeed;
	pty_use_mode(p, &t.old, flush);
	return 0;
}

static long pty_set_size(struct pty *p, u64 arg)
{
	struct winsize_abi size;
	if (copy_from_user(&size, UPTR(arg), sizeof(size)))
		return -EFAULT;
	if (memcmp(&size, &p->size, sizeof(size)) != 0) {
		p->size = size;
		tty_signal(p->tty.pgrp, SIGWINCH);
	}
	return 0;
}

static long pty_flush(struct pty *p, bool master, u64 which)
{
	if (which > TCIOFLUSH)
		return -EINVAL;
	bool input = which != TCOFLUSH, output = which != TCIFLUSH;
	if (master) {
		if (input)
			p->out.tail = p->out.head;
		if (output)
			p->in.tail = p->in.head;
	} else {
		if (input)
			ldisc_flush_input(p);
		if (output)
			pty_packet(p, TIOCPKT_FLUSHWRITE);
	}
	pty_wake(p);
	return 0;
}

static long pty_flow(struct pty *p, bool master, u64 action)
{
	switch (action) {
	case TCOOFF:
		if (!master)
			ldisc_stop(p);
		return 0;
	case TCOON:
		if (!master)
			ldisc_start(p);
		return 0;
	case TCIOFF:
	case TCION: {
		u8 c = p->tio.c_cc[action == TCIOFF ? VSTOP : VSTART];
		if (c && master && ring_room(&p->in)) {
			ring_put(&p->in, c);
			ldisc_pump(p);
		} else if (c && !master && ring_room(&p->out)) {
			ring_put(&p->out, c);
			pty_wake(p);
		}
		return 0;
	}
	default:
		return -EINVAL;
	}
}

static long pty_readable(struct pty *p, bool master, u64 arg)
{
	s32 n = (s32)(master ? ring_used(&p->out) : ldisc_readable(p, 1));
	return put_user(n, UPTR(arg));
}

static long pty_open_peer(struct pty *p, u32 flags)
{
	char name[32];
	int err;
	snprintf(name, sizeof(name), "/dev/pts/%u", p->index);
	struct file *f = file_open(AT_FDCWD, name, flags, 0, &err);
	return f ? fd_install(f, flags & O_CLOEXEC, 0) : err;
}

static long master_ioctl(struct pty *p, u32 cmd, u64 arg)
{
	s32 v = 0;
	if ((cmd == TIOCPKT || cmd == TIOCSPTLCK) && get_user(v, UPTR(arg)))
		return -EFAULT;
	switch (cmd) {
	case TIOCGPTN:
		return put_user(p->index, UPTR(arg));
	case TIOCSPTLCK:
		p->locked = v;
		return 0;
	case TIOCGPTLCK:
		v = p->locked;
		return put_user(v, UPTR(arg));
	case TIOCPKT:
		if (v && !p->packet)
			p->status = 0;
		p->packet = v;
		return 0;
	case TIOCGPKT:
		v = p->packet;
		return put_user(v, UPTR(arg));
	case TIOCGPTPEER:
		return pty_open_peer(p, (u32)arg);
	case TIOCSIG:
		if (arg != SIGINT && arg != SIGQUIT && arg != SIGTSTP)
			return -EINVAL;
		tty_signal(p->tty.pgrp, (int)arg);
		return 0;
	default:
		return -ENOTTY;
	}
}

static bool pty_changes(u32 cmd)
{
	return cmd == TCSETS || cmd == TCSETSW || cmd == TCSETSF || cmd == TCSETS2 || cmd == TCSETSW2 || cmd == TCSETSF2 || cmd == TCSETA ||
	       cmd == TCSETAW || cmd == TCSETAF || cmd == TCFLSH || cmd == TCXONC || cmd == TCSBRK || cmd == TCSBRKP;
}

long pty_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct pty *p = f->priv;
	bool master = f->ops == &pty_master_ops;
	long r;
	s32 v = 0;
	if (!master && f->pos != p->hangups)
		return cmd == TIOCSPGRP ? -ENOTTY : -EIO;
	if (pty_changes(cmd) && !master && (r = tty_check_change(&p->tty, SIGTTOU)) != 0)
		return r;
	switch (cmd) {
	case TCGETS:
	case TCGETS2:
		return pty_get_mode(p, arg, cmd == TCGETS2);
	case TCSETS:
	case TCSETSW:
	case TCSETSF:
		return pty_set_mode(p, arg, false, cmd == TCSETSF);
	case TCSETS2:
	case TCSETSW2:
	case TCSETSF2:
		return pty_set_mode(p, arg, true, cmd == TCSETSF2);
	case TCGETA:
		return pty_get_short_mode(p, arg);
	case TCSETA:
	case TCSETAW:
	case TCSETAF:
		return pty_set_short_mode(p, arg, cmd == TCSETAF);
	case TIOCGLCKTRMIOS:
		return copy_to_user(UPTR(arg), &p->fixed, sizeof(p->fixed));
	case TIOCSLCKTRMIOS:
		return pty_set_fixed(p, arg);
	case TIOCGWINSZ:
		return copy_to_user(UPTR(arg), &p->size, sizeof(p->size));
	case TIOCSWINSZ:
		return pty_set_size(p, arg);
	case FIONREAD:
		return pty_readable(p, master, arg);
	case TIOCOUTQ:
		return put_user(v, UPTR(arg));
	case TCFLSH:
		return pty_flush(p, master, arg);
	case TCXONC:
		return pty_flow(p, master, arg);
	case TCSBRK:
	case TCSBRKP:
		return 0; /* what was written is at the other end already, and there is no line to break */
	case TIOCEXCL:
	case TIOCNXCL:
		p->exclusive = cmd == TIOCEXCL;
		return 0;
	case TIOCGEXCL:
		v = p->exclusive;
		return put_user(v, UPTR(arg));
	case TIOCGETD:
		return put_user(v, UPTR(arg)); /* N_TTY */
	case TIOCSETD:
		return get_user(v, UPTR(arg)) ? -EFAULT : v ? -EINVAL : 0;
	case TIOCSTI:
		return -EIO; /* as Linux with dev.tty.legacy_tiocsti = 0 */
	default:
		if (tty_job_ioctl(&p->tty, !master, cmd, arg, &r))
			return r;
		return master ? master_ioctl(p, cmd, arg) : -ENOTTY;
	}
}
