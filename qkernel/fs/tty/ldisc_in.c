/* The line discipline's input: editing, signals, flow control, and what a read gets (drivers/tty/n_tty.c of Linux). */
#include "tty.h"

#define NO_CHAR 0u /* __DISABLED_CHAR: a control character that is off; in the buffer, the end of file */
#define PARITY_MARK 0377u

void ldisc_init(struct pty *p)
{
	/* tty_std_termios of Linux. */
	static const struct termios standard = {
		.c_iflag = ICRNL | IXON,
		.c_oflag = OPOST | ONLCR,
		.c_cflag = B38400 | CS8 | CREAD,
		.c_lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
		.c_cc = {[VINTR] = 3,
			 [VQUIT] = 28,
			 [VERASE] = 127,
			 [VKILL] = 21,
			 [VEOF] = 4,
			 [VMIN] = 1,
			 [VSTART] = 17,
			 [VSTOP] = 19,
			 [VSUSP] = 26,
			 [VREPRINT] = 18,
			 [VDISCARD] = 15,
			 [VWERASE] = 23,
			 [VLNEXT] = 22},
	};
	p->tio = standard;
	p->ispeed = p->ospeed = 38400;
}

static bool ldisc_is_end(const struct pty *p, u32 i)
{
	i &= TTY_LINE - 1;
	return p->ends[i / 64] >> i % 64 & 1;
}

static void ldisc_mark_end(struct pty *p, u32 i, bool on)
{
	i &= TTY_LINE - 1;
	p->ends[i / 64] = on ? p->ends[i / 64] | 1ull << i % 64 : p->ends[i / 64] & ~(1ull << i % 64);
}

static void ldisc_put(struct pty *p, u8 c)
{
	ldisc_mark_end(p, p->head, false);
	p->line[p->head++ & (TTY_LINE - 1)] = c;
}

static bool ldisc_is_key(const struct pty *p, u8 c, int which)
{
	return c == p->tio.c_cc[which] && c != NO_CHAR;
}

static void ldisc_before_first_echo(struct pty *p)
{
	if (p->canon == p->head)
		p->canon_column = p->column;
}

/* A character that means nothing. A newline that was typed as a return looks like one, any other like ^J. */
static void ldisc_plain(struct pty *p, u8 c, bool was_return)
{
	if (p->tio.c_lflag & ECHO) {
		ldisc_finish_erasing(p);
		ldisc_before_first_echo(p);
		if (c == '\n' && was_return)
			ldisc_echo_raw(p, c);
		else
			ldisc_echo(p, c);
	}
	if (c == PARITY_MARK && (p->tio.c_iflag & PARMRK))
		ldisc_put(p, c);
	ldisc_put(p, c);
}

void ldisc_flush_input(struct pty *p)
{
	p->head = p->canon = p->tail = 0;
	p->in.tail = p->in.head;
	memset(p->ends, 0, sizeof(p->ends));
	p->erasing = p->literal_next = false;
	pty_packet(p, TIOCPKT_FLUSHREAD);
}

static bool ldisc_signal_key(struct pty *p, u8 c)
{
	int sig = ldisc_is_key(p, c, VINTR) ? SIGINT : ldisc_is_key(p, c, VQUIT) ? SIGQUIT : ldisc_is_key(p, c, VSUSP) ? SIGTSTP : 0;
	if (!sig || !(p->tio.c_lflag & ISIG))
		return false;
	tty_signal(p->tty.pgrp, sig);
	if (!(p->tio.c_lflag & NOFLSH)) {
		u32 kept = p->in.tail;
		ldisc_flush_input(p);
		p->in.tail = kept;      /* what came behind the key is new input */
		p->out.head = p->shown; /* what was typed with it is not shown any more */
		pty_packet(p, TIOCPKT_FLUSHWRITE);
	}
	if (p->tio.c_iflag & IXON)
		ldisc_start(p);
	if (p->tio.c_lflag & ECHO)
		ldisc_echo(p, c);
	return true;
}

static bool ldisc_flow_key(struct pty *p, u8 c)
{
	if (!(p->tio.c_iflag & IXON))
		return false;
	if (ldisc_is_key(p, c, VSTART))
		ldisc_start(p);
	else if (ldisc_is_key(p, c, VSTOP))
		ldisc_stop(p);
	else
		return false;
	return true;
}

static void ldisc_end_line(struct pty *p, u8 c)
{
	ldisc_put(p, c);
	ldisc_mark_end(p, p->head - 1, true);
	p->canon = p->head;
}

static void ldisc_reprint(struct pty *p, u8 c)
{
	ldisc_finish_erasing(p);
	ldisc_echo(p, c);
	ldisc_echo_raw(p, '\n');
	for (u32 i = p->canon; i != p->head; i++)
		ldisc_echo(p, p->line[i & (TTY_LINE - 1)]);
}

/* Keys of canonical mode. */
static bool ldisc_editing_key(struct pty *p, u8 c)
{
	tcflag_t l = p->tio.c_lflag;
	bool extended = l & IEXTEN, echo = l & ECHO;
	if (ldisc_is_key(p, c, VERASE) || ldisc_is_key(p, c, VKILL) || (ldisc_is_key(p, c, VWERASE) && extended)) {
		ldisc_erase(p, c);
	} else if (ldisc_is_key(p, c, VLNEXT) && extended) {
		p->literal_next = true;
		if (echo) {
			ldisc_finish_erasing(p);
			if (l & ECHOCTL) {
				ldisc_echo_raw(p, '^');
				ldisc_echo_raw(p, '\b');
			}
		}
	} else if (ldisc_is_key(p, c, VREPRINT) && echo && extended) {
		ldisc_reprint(p, c);
	} else if (c == '\n') {
		if (l & (ECHO | ECHONL))
			ldisc_echo_raw(p, c);
		ldisc_end_line(p, c);
	} else if (ldisc_is_key(p, c, VEOF)) {
		ldisc_end_line(p, NO_CHAR);
	} else if (ldisc_is_key(p, c, VEOL) || (ldisc_is_key(p, c, VEOL2) && extended)) {
		if (echo) {
			ldisc_before_first_echo(p);
			ldisc_echo(p, c);
		}
		if (c == PARITY_MARK && (p->tio.c_iflag & PARMRK))
			ldisc_put(p, c);
		ldisc_end_line(p, c);
	} else {
		return false;
	}
	return true;
}

static void ldisc_receive(struct pty *p, u8 c)
{
	tcflag_t i = p->tio.c_iflag, l = p->tio.c_lflag;
	if (l & EXTPROC) {
		ldisc_put(p, c);
		return;
	}
	if (i & ISTRIP)
		c &= 0x7f;
	if (tty_has(l, IEXTEN) && (i & IUCLC))
		c = tty_lower(c);
	if (p->literal_next) {
		p->literal_next = false;
		ldisc_plain(p, c, false);
		return;
	}
	if (ldisc_flow_key(p, c) || ldisc_signal_key(p, c))
		return;
	if (p->stopped && tty_has(i, IXON | IXANY))
		ldisc_start(p);
	bool was_return = c == '\r';
	if (c == '\r') {
		if (i & IGNCR)
			return;
		if (i & ICRNL)
			c = '\n';
	} else if (c == '\n' && (i & INLCR)) {
		c = '\r';
	}
	if (!(l & ICANON) || !ldisc_editing_key(p, c))
		ldisc_plain(p, c, was_return);
}

/* Room for a character and its double. A line that fills the buffer loses its end, but can be ended. */
static bool ldisc_room(struct pty *p)
{
	if (p->head - p->tail < TTY_LINE - 2)
		return true;
	if (!(p->tio.c_lflag & ICANON) || p->canon != p->tail)
		return false;
	p->head = p->tail + TTY_LINE - 3;
	return true;
}

void ldisc_pump(struct pty *p)
{
	bool any = false;
	p->shown = p->out.head;
	while (ring_used(&p->in) && ldisc_room(p)) {
		ldisc_receive(p, ring_take(&p->in));
		any = true;
	}
	if (any)
		pty_wake(p);
}

u32 ldisc_readable(const struct pty *p, u32 minimum)
{
	if (p->tio.c_lflag & ICANON)
		return p->canon - p->tail;
	u32 n = p->head - p->tail;
	return n >= (minimum ? minimum : 1) ? n : 0;
}

/* To the next line's end at most in canonical mode. The bytes; 0: an end of file was at the front, or nothing was there. */
ssize_t ldisc_take(struct pty *p, struct uio *u, bool *line_over)
{
	bool canonical = p->tio.c_lflag & ICANON;
	u32 limit = canonical ? p->canon : p->head;
	ssize_t done = 0;
	*line_over = false;
	while (p->tail != limit && !*line_over) {
		u8 c = p->line[p->tail & (TTY_LINE - 1)];
		bool end = canonical && ldisc_is_end(p, p->tail), eof = end && c == NO_CHAR;
		if (!u->resid && !eof)
			break;
		if (!eof) {
			ssize_t r = uio_write(u, &c, 1);
			if (r <= 0)
				return done ? done : -EFAULT;
			done++;
		}
		ldisc_mark_end(p, p->tail++, false);
		*line_over = end;
	}
	ldisc_pump(p);
	return done;
}

void ldisc_set(struct pty *p, const struct termios *tio)
{
	struct termios old = p->tio;
	p->tio = *tio;
	if ((old.c_lflag ^ tio->c_lflag) & (ICANON | EXTPROC)) {
		memset(p->ends, 0, sizeof(p->ends));
		p->canon = p->head;
		if ((tio->c_lflag & ICANON) && p->head != p->tail)
			ldisc_mark_end(p, p->head - 1, true); /* what is there can be read at once */
		p->erasing = p->literal_next = false;
	}
	if (!(tio->c_iflag & IXON) && (old.c_iflag & IXON))
		ldisc_start(p);
	bool had = (old.c_iflag & IXON) && old.c_cc[VSTOP] == 023 && old.c_cc[VSTART] == 021;
	bool has = (tio->c_iflag & IXON) && tio->c_cc[VSTOP] == 023 && tio->c_cc[VSTART] == 021;
	if (p->packet && had != has) {
		p->status &= (u8) ~(TIOCPKT_DOSTOP | TIOCPKT_NOSTOP);
		pty_packet(p, has ? TIOCPKT_DOSTOP : TIOCPKT_NOSTOP);
	}
	ldisc_pump(p);
	pty_wake(p);
}
