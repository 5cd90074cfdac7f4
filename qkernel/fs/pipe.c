/* Pipes and FIFOs: a ring of frames that come and go with the data. */
#include "fdtable.h"
#include "pipe.h"
#include <asm/signal.h>
#include <linux/fcntl.h>
#include <linux/stat.h>
#include <asm/ioctls.h>

#define SIZE_DEFAULT (64u << 10)
#define SIZE_LIMIT (1u << 20)
#define PIPE_BUF 4096u
#define PACKETS (SIZE_LIMIT / PAGE_SIZE)

static const struct file_ops pipe_ops;

struct pipe *pipe_of(struct file *f)
{
	return f->ops == &pipe_ops ? f->priv : NULL;
}

static struct pipe *pipe_new(void)
{
	struct pipe *p = kzalloc(sizeof(*p));
	if (!p)
		return NULL;
	p->size = SIZE_DEFAULT;
	p->frame = kzalloc(p->size / PAGE_SIZE * sizeof(paddr_t));
	waitq_init(&p->wait);
	if (!p->frame) {
		kfree(p);
		return NULL;
	}
	return p;
}

static void pipe_free(struct pipe *p)
{
	for (u32 k = 0; k < p->size / PAGE_SIZE; k++)
		if (p->frame[k])
			frame_put(p->frame[k]);
	kfree(p->frame);
	kfree(p->packet_end);
	kfree(p);
}

static u32 pipe_used(const struct pipe *p)
{
	return (u32)(p->head - p->tail);
}
static u32 pipe_free_bytes(const struct pipe *p)
{
	/* A packet has a page to itself, as in Linux. */
	if (p->packets >= p->size / PAGE_SIZE)
		return 0;
	/* A page is free when all of it is read. */
	return p->size - (u32)(p->head - (p->tail & PAGE_MASK));
}

u32 pipe_room(const struct pipe *p)
{
	return pipe_free_bytes(p);
}

/* Bytes in one piece at ring position `at`. */
static u32 pipe_piece(const struct pipe *p, u64 at, u64 n)
{
	return (u32)MIN(n, PAGE_SIZE - (at & (PAGE_SIZE - 1)));
}

static paddr_t *pipe_frame_at(struct pipe *p, u64 at)
{
	return &p->frame[(at & (p->size - 1)) >> PAGE_SHIFT];
}

static ssize_t pipe_put(struct pipe *p, struct uio *u, u64 n)
{
	ssize_t done = 0;
	while ((u64)done < n) {
		u32 part = pipe_piece(p, p->head, n - (u64)done);
		paddr_t *f = pipe_frame_at(p, p->head);
		if (!*f)
			*f = frame_alloc(0);
		if (!*f)
			return done ? done : -ENOMEM;
		ssize_t r = uio_read(u, (char *)phys_to_virt(*f) + (p->head & (PAGE_SIZE - 1)), part);
		if (r < 0)
			return done ? done : r;
		p->head += (u64)r;
		done += r;
		if (r < part)
			break;
	}
	return done;
}

/* Moves the tail; a frame read to its end goes back, unless the writer is in it already, one round ahead. */
void pipe_consume(struct pipe *p, u64 n)
{
	while (n) {
		u32 part = pipe_piece(p, p->tail, n);
		paddr_t *f = pipe_frame_at(p, p->tail);
		p->tail += part;
		n -= part;
		if (!(p->tail & (PAGE_SIZE - 1)) && pipe_used(p) <= p->size - PAGE_SIZE && *f) {
			frame_put(*f);
			*f = 0;
		}
	}
	while (p->packets && p->packet_end[p->first_packet] <= p->tail) {
		p->first_packet = (p->first_packet + 1) % PACKETS;
		p->packets--;
	}
	if (p->head == p->tail && p->tail & ~PAGE_MASK)
		p->head = p->tail &= PAGE_MASK; /* empty: from the page's begin again */
	waitq_wake(&p->wait, POLL_OUT, 0);
}

/* Copies without taking. */
ssize_t pipe_peek(struct pipe *p, struct uio *u, u64 n)
{
	ssize_t done = 0;
	u64 at = p->tail;
	n = MIN(n, pipe_used(p));
	while ((u64)done < n) {
		u32 part = pipe_piece(p, at, n - (u64)done);
		paddr_t *f = pipe_frame_at(p, at);
		ssize_t r = uio_write(u, (char *)phys_to_virt(*f) + (at & (PAGE_SIZE - 1)), part);
		if (r < 0)
			return done ? done : r;
		at += (u64)r;
		done += r;
		if (r < part)
			break;
	}
	return done;
}

int pipe_wait_data(struct pipe *p, bool nonblock)
{
	while (!pipe_used(p)) {
		if (!p->writers)
			return 1;
		if (nonblock)
			return -EAGAIN;
		if (wait_event(&p->wait, pipe_used(p) || !p->writers, UINT64_MAX))
			return -ERESTARTSYS;
	}
	return 0;
}

int pipe_wait_room(struct pipe *p, u32 n, bool nonblock)
{
	for (;;) {
		if (!p->readers) {
			send_signal_task(current, SIGPIPE, NULL);
			return -EPIPE;
		}
		if (pipe_free_bytes(p) >= n)
			return 0;
		if (nonblock)
			return -EAGAIN;
		if (wait_event(&p->wait, pipe_free_bytes(p) >= n || !p->readers, UINT64_MAX))
			return -ERESTARTSYS;
	}
}

static ssize_t pipe_read(struct file *f, struct uio *u, u64 *pos)
{
	struct pipe *p = f->priv;
	if (!u->resid)
		return 0;
	int w = pipe_wait_data(p, f->flags & O_NONBLOCK);
	if (w)
		return w == 1 ? 0 : w;
	u64 want = u->resid, end = p->packets ? p->packet_end[p->first_packet] - p->tail : 0;
	ssize_t n = pipe_peek(p, u, end ? MIN(want, end) : want);
	if (n > 0)
		pipe_consume(p, end ? end : (u64)n); /* the rest of a packet is lost */
	return n;
}

static ssize_t pipe_write(struct file *f, struct uio *u, u64 *pos)
{
	struct pipe *p = f->priv;
	ssize_t done = 0;
	bool atomic = u->resid <= PIPE_BUF, packets = f->flags & O_DIRECT;
	if (packets && !p->packet_end && !(p->packet_end = kmalloc(PACKETS * sizeof(*p->packet_end))))
		return -ENOMEM;
	while (u->resid) {
		if (done && !p->readers)
			return done;
		u32 need = packets ? (u32)MIN(u->resid, PIPE_BUF) : atomic ? (u32)u->resid : 1;
		int w = pipe_wait_room(p, need, f->flags & O_NONBLOCK);
		ssize_t n = w ? w : pipe_put(p, u, packets ? need : MIN(pipe_free_bytes(p), u->resid));
		if (n <= 0)
			return done ? done : n;
		if (packets)
			p->packet_end[(p->first_packet + p->packets++) % PACKETS] = p->head;
		done += n;
		waitq_wake(&p->wait, POLL_IN, 0);
	}
	return done;
}

static u32 pipe_poll(struct file *f, struct poll_table *pt)
{
	struct pipe *p = f->priv;
	u32 acc = f->flags & O_ACCMODE, bits = 0;
	poll_wait(f, &p->wait, pt);
	if (acc != O_WRONLY) {
		if (pipe_used(p))
			bits |= POLL_IN;
		if (!p->writers && p->opened_w)
			bits |= POLL_HUP;
	}
	if (acc != O_RDONLY) {
		if (pipe_free_bytes(p) >= PIPE_BUF)
			bits |= POLL_OUT;
		if (!p->readers)
			bits |= POLL_ERR;
	}
	return bits;
}

static long pipe_ioctl(struct file *f, u32 cmd, u64 arg)
{
	s32 n = (s32)pipe_used(f->priv);
	return cmd == FIONREAD ? put_user(n, UPTR(arg)) : -ENOTTY;
}

static void pipe_release(struct file *f)
{
	struct pipe *p = f->priv;
	u32 acc = f->flags & O_ACCMODE;
	if (acc != O_WRONLY)
		p->readers--;
	if (acc != O_RDONLY)
		p->writers--;
	waitq_wake(&p->wait, POLL_IN | POLL_OUT | POLL_HUP | POLL_ERR, 0);
	if (--p->refs == 0) {
		if (p->inode)
			p->inode->ipc = NULL;
		pipe_free(p);
	}
}

static const struct file_ops pipe_ops = {.read = pipe_read, .write = pipe_write, .poll = pipe_poll, .ioctl = pipe_ioctl, .release = pipe_release};

static void pipe_attach(struct pipe *p, struct file *f)
{
	u32 acc = f->flags & O_ACCMODE;
	f->ops = &pipe_ops;
	f->priv = p;
	p->refs++;
	if (acc != O_WRONLY) {
		p->readers++;
		p->opened_r++;
	}
	if (acc != O_RDONLY) {
		p->writers++;
		p->opened_w++;
	}
	waitq_wake(&p->wait, POLL_IN | POLL_OUT, 0);
}

int fifo_open(struct inode *i, struct file *f)
{
	struct pipe *p = i->ipc;
	u32 acc = f->flags & O_ACCMODE;
	if (!p) {
		p = pipe_new();
		if (!p)
			return -ENOMEM;
		p->inode = i;
		i->ipc = p;
	}
	if (acc == O_WRONLY && (f->flags & O_NONBLOCK) && !p->readers && !p->anonymous) {
		if (!p->refs) {
			i->ipc = NULL;
			pipe_free(p);
		}
		return -ENXIO;
	}
	u32 seen_r = p->opened_r, seen_w = p->opened_w;
	pipe_attach(p, f);
	int r = 0;
	if (p->anonymous)
		return 0;
	if (acc == O_RDONLY && !(f->flags & O_NONBLOCK) && !p->writers)
		r = wait_event(&p->wait, p->opened_w != seen_w, UINT64_MAX);
	else if (acc == O_WRONLY && !p->readers)
		r = wait_event(&p->wait, p->opened_r != seen_r, UINT64_MAX);
	if (r)
		pipe_release(f);
	return r ? -ERESTARTSYS : 0;
}

/* ---- pipe(2) */
static struct file *pipe_end(struct inode *i, struct pipe *p, u32 flags)
{
	inode_get(i);
	struct file *f = file_new(NULL, i, flags, NULL);
	if (f)
		pipe_attach(p, f);
	return f;
}

static long pipe_make(u64 ufds, u32 flags)
{
	if (flags & ~(u32)(O_CLOEXEC | O_NONBLOCK | O_DIRECT))
		return -EINVAL;
	struct inode *i = anon_inode(S_IFIFO | 0600);
	struct pipe *p = i ? pipe_new() : NULL;
	if (!p) {
		if (i)
			inode_put(i);
		return -ENOMEM;
	}
	p->inode = i;
	p->anonymous = true;
	i->ipc = p;
	struct file *r = pipe_end(i, p, O_RDONLY | (flags & O_NONBLOCK)),
		    *w = r ? pipe_end(i, p, O_WRONLY | (flags & (O_NONBLOCK | O_DIRECT))) : NULL;
	if (!r)
		pipe_free(p);
	inode_put(i);
	if (!w) {
		if (r)
			file_put(r);
		return -ENOMEM;
	}
	return fd_install_pair(r, w, flags, ufds);
}

long sys_pipe(u64 ufds)
{
	return pipe_make(ufds, 0);
}

long sys_pipe2(u64 ufds, u64 flags)
{
	return pipe_make(ufds, (u32)flags);
}

/* Copied over through a flat buffer: rare. */
static long pipe_resize(struct pipe *p, u32 size)
{
	u32 n = pipe_used(p);
	char *flat = kmalloc(n ? n : 1);
	paddr_t *frames = kzalloc(size / PAGE_SIZE * sizeof(paddr_t));
	if (!flat || !frames) {
		kfree(flat);
		kfree(frames);
		return -ENOMEM;
	}
	struct kiovec v = {(u64)flat, n};
	struct uio u = {.iov = &v, .cnt = 1, .resid = n, .kernel = true};
	pipe_peek(p, &u, n);
	for (u32 k = 0; k < p->size / PAGE_SIZE; k++)
		if (p->frame[k])
			frame_put(p->frame[k]);
	kfree(p->frame);
	p->frame = frames;
	p->size = size;
	for (u32 k = 0; k < p->packets; k++)
		p->packet_end[(p->first_packet + k) % PACKETS] -= p->tail;
	p->head = p->tail = 0;
	v = (struct kiovec){(u64)flat, n};
	u = (struct uio){.iov = &v, .cnt = 1, .resid = n, .kernel = true};
	ssize_t kept = pipe_put(p, &u, n);
	while (p->packets && (kept < 0 || p->packet_end[(p->first_packet + p->packets - 1) % PACKETS] > p->head))
		p->packets--; /* out of memory: what could not be kept is no packet */
	kfree(flat);
	waitq_wake(&p->wait, POLL_OUT, 0);
	return size;
}

long pipe_fcntl(struct file *f, u32 cmd, u64 arg)
{
	struct pipe *p = f->priv;
	if (f->ops != &pipe_ops)
		return -EBADF;
	if (cmd == F_GETPIPE_SZ)
		return p->size;
	u32 size = PAGE_SIZE;
	if (arg > SIZE_LIMIT)
		return -EPERM;
	while (size < arg)
		size *= 2;
	if (size < pipe_used(p) || size / PAGE_SIZE < p->packets)
		return -EBUSY;
	return size == p->size ? (long)size : pipe_resize(p, size);
}
