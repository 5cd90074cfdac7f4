/* Pseudo-terminals: the files of both ends (drivers/tty/pty.c of Linux). */
#include "ktime.h"
#include "tty.h"

#define PTYS 1024u
#define CHUNK 256u
#define EXPANDED 8u /* what one byte can become in output: a tab */
#define TENTH_NS 100000000ul

static struct pty *ptys[PTYS];

void pty_wake(struct pty *p)
{
	waitq_wake(&p->wait, 0, 0);
}

void pty_packet(struct pty *p, u8 status)
{
	if (!p->packet)
		return;
	p->status |= status;
	pty_wake(p);
}

static void pty_put(struct pty *p)
{
	if (--p->refs)
		return;
	kfree(p->in.data);
	kfree(p->out.data);
	kfree(p);
}

/* Was it opened before its end of the line was hung up? f->pos, which a terminal has no other use for, says how many hang-ups there had been. */
static bool pty_dead(const struct file *f)
{
	const struct pty *p = f->priv;
	return f->pos != p->hangups;
}

void pty_hangup(struct pty *p)
{
	p->hangups++; /* the files stay open: the master sees the end when they are closed, as with Linux */
	tty_hangup_jobs(&p->tty, true);
	pty_wake(p);
}

/* ---- master */
static ssize_t master_read(struct file *f, struct uio *u, u64 *pos)
{
	struct pty *p = f->priv;
	u8 head = 0, buf[CHUNK];
	if (!u->resid)
		return 0;
	while (!ring_used(&p->out) && !(p->packet && p->status)) {
		if (p->slave_seen && !p->slaves)
			return -EIO;
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event(&p->wait, ring_used(&p->out) || (p->packet && p->status) || (p->slave_seen && !p->slaves), UINT64_MAX))
			return -ERESTARTSYS;
	}
	ssize_t done = 0;
	if (p->packet) {
		head = p->status;
		if (uio_write(u, &head, 1) <= 0)
			return -EFAULT;
		p->status = 0;
		done = 1;
	}
	while (!head && u->resid && ring_used(&p->out)) {
		u32 n = 0, before = p->out.tail;
		while (n < CHUNK && n < u->resid && ring_used(&p->out))
			buf[n++] = ring_take(&p->out);
		ssize_t r = uio_write(u, buf, n);
		p->out.tail = before + (r > 0 ? (u32)r : 0);
		if (r <= 0)
			return done ? done : -EFAULT;
		done += r;
	}
	pty_wake(p);
	return done;
}

static ssize_t master_write(struct file *f, struct uio *u, u64 *pos)
{
	struct pty *p = f->priv;
	ssize_t done = 0;
	while (u->resid) {
		u8 buf[CHUNK];
		if (!ring_room(&p->in)) {
			if (f->flags & O_NONBLOCK)
				return done ? done : -EAGAIN;
			if (wait_event(&p->wait, ring_room(&p->in), UINT64_MAX))
				return done ? done : -ERESTARTSYS;
		}
		ssize_t n = uio_read(u, buf, MIN(MIN(u->resid, CHUNK), ring_room(&p->in)));
		if (n <= 0)
			return done ? done : n;
		for (ssize_t i = 0; i < n; i++)
			ring_put(&p->in, buf[i]);
		ldisc_pump(p);
		done += n;
	}
	return done;
}

static u32 master_poll(struct file *f, struct poll_table *pt)
{
	struct pty *p = f->priv;
	u32 bits = 0;
	poll_wait(f, &p->wait, pt);
	if (p->packet && p->status)
		bits |= POLL_IN | POLL_PRI;
	if (ring_used(&p->out))
		bits |= POLL_IN;
	if (ring_room(&p->in))
		bits |= POLL_OUT;
	if (p->slave_seen && !p->slaves)
		bits |= POLL_HUP;
	return bits;
}

static void master_release(struct file *f)
{
	struct pty *p = f->priv;
	p->master = false;
	devpts_remove(p->index);
	ptys[p->index] = NULL;
	list_del(&p->tty.all);
	pty_hangup(p);
	pty_put(p);
}

const struct file_ops pty_master_ops = {
	.read = master_read, .write = master_write, .poll = master_poll, .ioctl = pty_ioctl, .release = master_release};

int ptmx_open(struct file *f)
{
	u32 index = 0;
	while (index < PTYS && ptys[index])
		index++;
	if (index == PTYS)
		return -ENOSPC;
	struct pty *p = kzalloc(sizeof(*p));
	if (!p)
		return -ENOMEM;
	*p = (struct pty){.index = index, .refs = 1, .master = true, .locked = true, .in.size = TTY_STREAM, .out.size = TTY_STREAM};
	p->in.data = kmalloc(TTY_STREAM);
	p->out.data = kmalloc(TTY_STREAM);
	waitq_init(&p->wait);
	ldisc_init(p);
	int r = p->in.data && p->out.data ? devpts_add(index) : -ENOMEM;
	if (r) {
		pty_put(p);
		return r;
	}
	ptys[index] = p;
	tty_add(&p->tty);
	f->ops = &pty_master_ops;
	f->priv = p;
	return 0;
}

/* ---- slave */
static ssize_t slave_read(struct file *f, struct uio *u, u64 *pos)
{
	struct pty *p = f->priv;
	ssize_t done = 0;
	u64 deadline = UINT64_MAX;
	bool started = false, line_over;
	while (u->resid) {
		if (pty_dead(f))
			return done;
		int r = tty_check_change(&p->tty, SIGTTIN);
		if (r)
			return done ? done : r;
		bool canonical = p->tio.c_lflag & ICANON;
		u32 min = p->tio.c_cc[VMIN];
		u64 time = p->tio.c_cc[VTIME] * TENTH_NS;
		if (canonical && ldisc_readable(p, 1))
			return ldisc_take(p, u, &line_over);
		if (!canonical) {
			ssize_t n = ldisc_take(p, u, &line_over);
			if (n < 0)
				return done ? done : n;
			done += n;
			if (done >= (ssize_t)(min ? min : 1) || !u->resid || (!min && !time))
				return done;
			/* VMIN 0: from the call on; else from the last byte on. */
			if (time && (min ? n > 0 : !started))
				deadline = deadline_of_ns(time);
			started = true;
		}
		if (f->flags & O_NONBLOCK)
			return done ? done : -EAGAIN;
		int w = wait_event(&p->wait, ldisc_readable(p, 1) || pty_dead(f), deadline);
		if (w == -ETIMEDOUT)
			return done;
		if (w)
			return done ? done : -ERESTARTSYS;
	}
	return done;
}

static bool pty_can_write(const struct pty *p)
{
	return !p->stopped && ring_room(&p->out) >= EXPANDED;
}

static ssize_t slave_write(struct file *f, struct uio *u, u64 *pos)
{
	struct pty *p = f->priv;
	ssize_t done = 0;
	int r = p->tio.c_lflag & TOSTOP ? tty_check_change(&p->tty, SIGTTOU) : 0;
	if (r)
		return r;
	while (u->resid) {
		u8 buf[CHUNK];
		if (!pty_dead(f) && !pty_can_write(p)) {
			if (f->flags & O_NONBLOCK)
				return done ? done : -EAGAIN;
			if (wait_event(&p->wait, pty_can_write(p) || pty_dead(f), UINT64_MAX))
				return done ? done : -ERESTARTSYS;
		}
		if (pty_dead(f))
			return done ? done : -EIO;
		ssize_t n = uio_read(u, buf, MIN(MIN(u->resid, CHUNK), ring_room(&p->out) / EXPANDED));
		if (n <= 0)
			return done ? done : n;
		for (ssize_t i = 0; i < n; i++)
			ldisc_output(p, buf[i]);
		done += n;
		pty_wake(p);
	}
	return done;
}

static u32 slave_poll(struct file *f, struct poll_table *pt)
{
	struct pty *p = f->priv;
	u32 bits = 0;
	poll_wait(f, &p->wait, pt);
	if (pty_dead(f))
		return POLL_IN | POLL_OUT | POLL_ERR | POLL_HUP;
	if (ldisc_readable(p, p->tio.c_cc[VTIME] ? 1 : p->tio.c_cc[VMIN]))
		bits |= POLL_IN;
	if (pty_can_write(p))
		bits |= POLL_OUT;
	return bits;
}

static void slave_release(struct file *f)
{
	struct pty *p = f->priv;
	p->slaves--;
	pty_wake(p);
	pty_put(p);
}

const struct file_ops pty_slave_ops = {.read = slave_read, .write = slave_write, .poll = slave_poll, .ioctl = pty_ioctl, .release = slave_release};

static int slave_open(struct pty *p, struct file *f)
{
	if (!p->master || p->locked)
		return -EIO;
	if (p->exclusive && current->proc->euid)
		return -EBUSY;
	p->refs++;
	p->slaves++;
	p->slave_seen = true;
	f->ops = &pty_slave_ops;
	f->priv = p;
	f->pos = p->hangups;
	return 0;
}

int pts_open(u32 index, struct file *f, u32 oflags)
{
	struct pty *p = index < PTYS ? ptys[index] : NULL;
	int r = p ? slave_open(p, f) : -EIO;
	if (!r)
		tty_opened(&p->tty, oflags);
	return r;
}

void tty_hangup(struct tty *t)
{
	if (t == &console)
		tty_hangup_jobs(t, true);
	else
		pty_hangup(container_of(t, struct pty, tty));
}

/* /dev/tty */
int tty_open_controlling(struct file *f)
{
	struct tty *t = tty_controlling();
	if (!t)
		return -ENXIO;
	return t == &console ? console_open(f) : slave_open(container_of(t, struct pty, tty), f);
}
