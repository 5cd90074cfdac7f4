/* The line discipline's output: post-processing, echo, and what editing shows (drivers/tty/n_tty.c of Linux). */
#include "tty.h"

#define TAB_WIDTH 8u

void ring_put(struct ring *r, u8 c)
{
	r->data[r->head++ & (r->size - 1)] = c;
}

u8 ring_take(struct ring *r)
{
	return r->data[r->tail++ & (r->size - 1)];
}

/* Letters are those of Latin-1, as in lib/ctype.c of Linux: 0xd7 and 0xf7 are signs, 0xdf and 0xff have no other case. */
static u8 ldisc_upper(u8 c)
{
	return (c >= 'a' && c <= 'z') || (c >= 0xe0 && c != 0xf7 && c != 0xff) ? c - 0x20 : c;
}

u8 tty_lower(u8 c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 0xc0 && c < 0xdf && c != 0xd7) ? c + 0x20 : c;
}

/* Of a byte that is not for \n, \r or \t. */
static u8 ldisc_ordinary(struct pty *p, u8 c)
{
	if (c == '\b') {
		p->column -= p->column > 0;
	} else if (!tty_cntrl(c)) {
		if (p->tio.c_oflag & OLCUC)
			c = ldisc_upper(c);
		p->column += !tty_continuation(p, c);
	}
	return c;
}

bool ldisc_output(struct pty *p, u8 c)
{
	tcflag_t o = p->tio.c_oflag;
	u32 spaces = TAB_WIDTH - (p->column & (TAB_WIDTH - 1));
	if (ring_room(&p->out) < TAB_WIDTH)
		return false;
	if (!(o & OPOST)) {
		ring_put(&p->out, c);
		return true;
	}
	switch (c) {
	case '\n':
		if (o & ONLRET)
			p->column = 0;
		if (o & ONLCR) {
			p->column = 0;
			ring_put(&p->out, '\r');
		}
		p->canon_column = p->column;
		break;
	case '\r':
		if ((o & ONOCR) && p->column == 0)
			return true;
		if (!(o & OCRNL) || (o & ONLRET))
			p->canon_column = p->column = 0;
		if (o & OCRNL)
			c = '\n';
		break;
	case '\t':
		p->column += spaces;
		if ((o & TABDLY) == XTABS) {
			while (spaces--)
				ring_put(&p->out, ' ');
			return true;
		}
		break;
	default:
		c = ldisc_ordinary(p, c);
	}
	ring_put(&p->out, c);
	return true;
}

void ldisc_echo_raw(struct pty *p, u8 c)
{
	(void)ldisc_output(p, c);
}

void ldisc_echo(struct pty *p, u8 c)
{
	if ((p->tio.c_lflag & ECHOCTL) && tty_cntrl(c) && c != '\t') {
		ldisc_echo_raw(p, '^');
		ldisc_echo_raw(p, c ^ 0100);
	} else {
		ldisc_echo_raw(p, c);
	}
}

void ldisc_finish_erasing(struct pty *p)
{
	if (p->erasing)
		ldisc_echo_raw(p, '/');
	p->erasing = false;
}

static u8 ldisc_at(const struct pty *p, u32 i)
{
	return p->line[i & (TTY_LINE - 1)];
}

static void rub_out(struct pty *p)
{
	ldisc_echo_raw(p, '\b');
	ldisc_echo_raw(p, ' ');
	ldisc_echo_raw(p, '\b');
}

/* Goes back over a tab: as many columns as it took, which depends on what is before it. */
static void rub_out_tab(struct pty *p)
{
	u32 columns = 0, i = p->head;
	bool after_tab = false;
	while (i != p->canon && !after_tab) {
		u8 c = ldisc_at(p, --i);
		if (c == '\t')
			after_tab = true;
		else if (tty_cntrl(c))
			columns += p->tio.c_lflag & ECHOCTL ? 2 : 0;
		else
			columns += !tty_continuation(p, c);
	}
	if (!after_tab)
		columns += p->canon_column;
	for (u32 n = TAB_WIDTH - (columns & (TAB_WIDTH - 1)); n; n--)
		ldisc_echo_raw(p, '\b');
}

/* Shows that the character [from, old head), which begins with c, is gone. */
static void ldisc_show_erased(struct pty *p, u8 c, u32 from, u32 end, bool single)
{
	tcflag_t l = p->tio.c_lflag;
	if (l & ECHOPRT) {
		if (!p->erasing)
			ldisc_echo_raw(p, '\\');
		p->erasing = true;
		ldisc_echo(p, c);
		while (++from != end)
			ldisc_echo_raw(p, ldisc_at(p, from));
	} else if (single && !(l & ECHOE)) {
		ldisc_echo(p, p->tio.c_cc[VERASE]);
	} else if (c == '\t') {
		rub_out_tab(p);
	} else {
		if (tty_cntrl(c) && (l & ECHOCTL))
			rub_out(p);
		if (!tty_cntrl(c) || (l & ECHOCTL))
			rub_out(p);
	}
}

static bool ldisc_word_char(u8 c)
{
	return (c >= '0' && c <= '9') || (ldisc_upper(c) >= 'A' && ldisc_upper(c) <= 'Z') || (c >= 0xc0 && c != 0xd7 && c != 0xf7) || c == '_';
}

void ldisc_erase(struct pty *p, u8 key)
{
	tcflag_t l = p->tio.c_lflag;
	bool single = key == p->tio.c_cc[VERASE], word = !single && key == p->tio.c_cc[VWERASE] && (l & IEXTEN), seen = false;
	if (p->head == p->canon)
		return;
	if (!single && !word && !tty_has(l, ECHO | ECHOK | ECHOKE | ECHOE)) {
		p->head = p->canon;
		if (!(l & ECHO))
			return;
		ldisc_finish_erasing(p);
		ldisc_echo(p, p->tio.c_cc[VKILL]);
		if (l & ECHOK)
			ldisc_echo_raw(p, '\n');
		return;
	}
	while (p->head != p->canon) {
		u32 from = p->head, end = p->head;
		u8 c;
		do {
			c = ldisc_at(p, --from);
		} while (tty_continuation(p, c) && from != p->canon);
		if (tty_continuation(p, c))
			break;
		if (word && !ldisc_word_char(c) && seen)
			break;
		seen |= ldisc_word_char(c);
		p->head = from;
		if (l & ECHO)
			ldisc_show_erased(p, c, from, end, single);
		if (single)
			break;
	}
	if (p->head == p->canon && (l & ECHO))
		ldisc_finish_erasing(p);
}

void ldisc_start(struct pty *p)
{
	if (!p->stopped)
		return;
	p->stopped = false;
	p->status &= (u8)~TIOCPKT_STOP;
	pty_packet(p, TIOCPKT_START);
	pty_wake(p);
}

void ldisc_stop(struct pty *p)
{
	if (p->stopped)
		return;
	p->stopped = true;
	p->status &= (u8)~TIOCPKT_START;
	pty_packet(p, TIOCPKT_STOP);
}
