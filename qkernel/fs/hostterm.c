/* The host's terminal among the standard streams: its hostterm_mode and size, /dev/console, ioctl. */
#include "hoststream.h"
#include "qcall.h"
#include "tty/tty.h"

struct termios hostterm_mode;   /* of the terminal, as the program set it or found it */
static bool mode_set;           /* the program did: a clone's terminal gets it, too */
static struct winsize_abi size; /* as it was last seen */

static long hostterm_ask(struct file *f, u32 cmd, u64 arg, u32 size, bool in)
{
	if (in && copy_from_user(comm_data(), UPTR(arg), size))
		return -EFAULT;
	seg_begin();
	s64 r = qcall(QC_IOCTL, in ? size : 0, (u64)stream_handle_of(f), cmd, 0, 0, 0, 0);
	if (r >= 0 && !in) {
		u8 copy[sizeof(struct termios)];
		memcpy(copy, comm_data(), size);
		if (copy_to_user(UPTR(arg), copy, size))
			return -EFAULT;
	}
	return r;
}

static long hostterm_set_mode(struct file *f, u32 cmd, u64 arg)
{
	struct termios wanted;
	if (copy_from_user(&wanted, UPTR(arg), sizeof(wanted)))
		return -EFAULT;
	long r = hostterm_ask(f, cmd, arg, sizeof(wanted), true);
	if (r >= 0) {
		hostterm_mode = wanted;
		mode_set = true;
	}
	return r;
}

static bool hostterm_changes(u32 cmd)
{
	return cmd == TCSETS || cmd == TCSETSW || cmd == TCSETSF || cmd == TCFLSH || cmd == TCXONC || cmd == TCSBRK || cmd == TCSBRKP;
}

long stream_ioctl(struct file *f, u32 cmd, u64 arg)
{
	const struct stream *s = f->priv;
	long r;
	if (cmd == FIONREAD)
		return hostterm_ask(f, cmd, arg, sizeof(s32), false);
	if (!s->tty)
		return -ENOTTY;
	if (hostterm_changes(cmd) && (r = tty_check_change(&console, SIGTTOU)) != 0)
		return r;
	switch (cmd) {
	case TCGETS:
		return hostterm_ask(f, cmd, arg, sizeof(struct termios), false);
	case TCSETS:
	case TCSETSW:
	case TCSETSF:
		return hostterm_set_mode(f, cmd, arg);
	case TIOCGWINSZ:
		return hostterm_ask(f, cmd, arg, sizeof(struct winsize_abi), false);
	case TIOCSWINSZ:
		return hostterm_ask(f, cmd, arg, sizeof(struct winsize_abi), true);
	case TCSBRK:
	case TCSBRKP:
	case TCXONC:
	case TCFLSH:
		seg_begin();
		return qcall(QC_IOCTL, 0, (u64)stream_handle_of(f), cmd, arg, 0, 0, 0);
	default:
		return tty_job_ioctl(&console, true, cmd, arg, &r) ? r : -ENOTTY;
	}
}

static struct stream *hostterm_stream(void)
{
	for (int h = 0; h < STREAMS; h++)
		if (streams[h].inode && streams[h].tty)
			return &streams[h];
	return NULL;
}

s64 hostterm_ioctl(u32 cmd, const void *in, u32 in_len, void *out, u32 out_len)
{
	const struct stream *s = hostterm_stream();
	if (!s)
		return -ENXIO;
	memcpy(comm_data(), in, in_len);
	seg_begin();
	s64 r = qcall(QC_IOCTL, in_len, (u64)(s - streams), cmd, 0, 0, 0, 0);
	if (r >= 0)
		memcpy(out, comm_data(), out_len);
	return r;
}

int console_open(struct file *f)
{
	struct stream *s = hostterm_stream();
	if (!s)
		return -ENXIO;
	f->ops = &stream_ops;
	f->priv = s;
	return 0;
}

void hostterm_restored(void)
{
	/* The program goes on as on the terminal that it had: with its hostterm_mode, and told if the size is another one. */
	struct winsize_abi now = size;
	if (mode_set)
		hostterm_ioctl(TCSETS, &hostterm_mode, sizeof(hostterm_mode), NULL, 0);
	else
		hostterm_ioctl(TCGETS, NULL, 0, &hostterm_mode, sizeof(hostterm_mode));
	if (hostterm_ioctl(TIOCGWINSZ, NULL, 0, &now, sizeof(now)) >= 0 && memcmp(&now, &size, sizeof(now)) != 0) {
		size = now;
		stream_signal_foreground(SIGWINCH);
	}
}

void hostterm_install(void)
{
	if (hostterm_ioctl(TCGETS, NULL, 0, &hostterm_mode, sizeof(hostterm_mode)) >= 0)
		tty_opened(&console, 0);
	hostterm_ioctl(TIOCGWINSZ, NULL, 0, &size, sizeof(size));
}
