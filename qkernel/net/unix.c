/* Unix domain sockets: connections, queues of messages, names. */
#include "ktime.h"
#include "unix.h"
#include <asm/signal.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#define BUF_DEFAULT 212992u
#define MESSAGE_SPARE 32u /* of the send buffer: what the largest message leaves */
#define STREAM_CHUNK 32768u
#define MSG_PEEK 2u
#define MSG_TRUNC 0x20u
#define MSG_WAITALL 0x100u
#define MSG_NOSIGNAL 0x4000u

struct list all_usocks = LIST_INIT(all_usocks);

struct usock *usock_new(int type)
{
	struct usock *s = kzalloc(sizeof(*s));
	if (!s)
		return NULL;
	s->refs = 1;
	s->type = type;
	s->rcvbuf = s->sndbuf = BUF_DEFAULT;
	s->rcvtimeo_ns = s->sndtimeo_ns = UINT64_MAX;
	list_init(&s->inbox);
	list_init(&s->backlog);
	list_init(&s->pending);
	list_init(&s->bound);
	list_init(&s->flight);
	list_init(&s->search);
	waitq_init(&s->wait);
	list_add_tail(&s->all, &all_usocks);
	return s;
}

void usock_drop_inbox(struct usock *s)
{
	while (!list_empty(&s->inbox)) {
		struct message *m = list_first(&s->inbox, struct message, node);
		list_del(&m->node);
		message_bury(m);
	}
	s->queued = 0;
}

void usock_put(struct usock *s)
{
	if (--s->refs)
		return;
	usock_drop_inbox(s);
	list_del(&s->all);
	kfree(s);
}

static void unix_wake(struct usock *s)
{
	waitq_wake(&s->wait, POLL_IN | POLL_OUT | POLL_HUP | POLL_RDHUP, 0);
}

void usock_close(struct usock *s)
{
	struct usock *p = s->peer;
	s->closed = true;
	if (p && s->type != SOCK_DGRAM && !list_empty(&s->inbox))
		p->reset = true;
	usock_drop_inbox(s); /* at once, for the descriptors in it: the peer may hold this end for long */
	if (!list_empty(&s->bound))
		list_del(&s->bound);
	if (s->node) {
		s->node->ipc = NULL;
		inode_put(s->node);
		s->node = NULL;
	}
	while (!list_empty(&s->backlog)) {
		struct usock *c = list_first(&s->backlog, struct usock, pending);
		list_del(&c->pending);
		usock_close(c);
	}
	s->peer = NULL;
	if (p) {
		unix_wake(p);
		usock_put(p);
	}
	unix_wake(s);
	usock_put(s);
}

void usock_pair(struct usock *a, struct usock *b)
{
	a->peer = b;
	b->peer = a;
	a->refs++;
	b->refs++;
	a->state = b->state = SOCK_CONNECTED;
	a->peer_pid = b->peer_pid = current->proc->pid;
	a->peer_uid = b->peer_uid = current->proc->euid;
	a->peer_gid = b->peer_gid = current->proc->egid;
}

/* A wait with a time limit is not restarted after a handler. */
static int unix_interrupted(int r, u64 limit)
{
	return r == -ETIMEDOUT ? -EAGAIN : limit == UINT64_MAX ? -ERESTARTSYS : -EINTR;
}

int usock_connect(struct usock *s, const char *name, u32 len, bool nonblock)
{
	int err;
	struct usock *l = usock_find(name, len, s->type, &err);
	if (!l)
		return err;
	if (s->type == SOCK_DGRAM) {
		if (l->peer && l->peer != s) {
			usock_put(l);
			return -EPERM;
		}
		if (s->peer)
			usock_put(s->peer);
		s->peer = l;
		s->state = SOCK_CONNECTED;
		return 0;
	}
	if (s->state != SOCK_UNCONNECTED || l->state != SOCK_LISTENING) {
		usock_put(l);
		return s->state == SOCK_CONNECTED ? -EISCONN : s->state == SOCK_LISTENING ? -EINVAL : -ECONNREFUSED;
	}
	while (l->nbacklog > l->backlog_max && !l->closed) {
		if (nonblock)
			err = -EAGAIN;
		else if (wait_event(&l->wait, l->nbacklog <= l->backlog_max || l->closed, deadline_of_ns(s->sndtimeo_ns)))
			err = -ERESTARTSYS;
		if (err)
			break;
	}
	struct usock *c = err || l->closed ? NULL : usock_new(s->type);
	if (!c) {
		err = err ? err : l->closed ? -ECONNREFUSED : -ENOMEM;
	} else {
		usock_pair(s, c);
		s->peer_pid = l->peer_pid;
		s->peer_uid = l->peer_uid;
		s->peer_gid = l->peer_gid;
		memcpy(c->name, l->name, sizeof(c->name));
		c->name_len = l->name_len;
		list_add_tail(&c->pending, &l->backlog);
		l->nbacklog++;
		unix_wake(l);
	}
	usock_put(l);
	return err;
}

struct usock *usock_accept(struct usock *s, bool nonblock, int *err)
{
	*err = s->state == SOCK_LISTENING ? 0 : -EINVAL;
	if (!*err && list_empty(&s->backlog)) {
		if (nonblock)
			*err = -EAGAIN;
		else {
			int r = wait_event(&s->wait, !list_empty(&s->backlog), deadline_of_ns(s->rcvtimeo_ns));
			*err = r ? unix_interrupted(r, s->rcvtimeo_ns) : 0;
		}
	}
	if (*err)
		return NULL;
	struct usock *c = list_first(&s->backlog, struct usock, pending);
	list_del(&c->pending);
	s->nbacklog--;
	unix_wake(s);
	return c;
}

/* ---- data */
/* Bytes that a stream takes now; for a message it is enough that there are some. What poll says (usock_poll) asks for more: a send that follows it
 * must find room, and a queue that is never drained below its limit would be filled byte by byte. */
static u32 unix_room(const struct usock *s, const struct usock *to)
{
	if (to->closed || to->shut_read)
		return s->sndbuf;
	return to->queued < s->sndbuf ? s->sndbuf - to->queued : 0;
}

static bool unix_writable(const struct usock *s, const struct usock *to)
{
	return to->closed || to->shut_read || to->queued <= s->sndbuf / 4;
}

static ssize_t unix_enqueue(struct usock *s, struct usock *to, struct uio *u, u32 n, struct file **files, u32 nfiles)
{
	struct message *m = kzalloc(sizeof(*m));
	if (m)
		m->data = kmalloc(n ? n : 1);
	if (!m || !m->data) {
		kfree(m);
		return -ENOBUFS;
	}
	ssize_t r = n ? uio_read(u, m->data, n) : 0;
	if (r < 0 || r < n) {
		message_bury(m);
		return -EFAULT;
	}
	m->len = (u32)r;
	m->files = files;
	m->nfiles = nfiles;
	m->pid = current->proc->pid;
	m->uid = current->proc->euid;
	m->gid = current->proc->egid;
	memcpy(m->from, s->name, sizeof(m->from));
	m->from_len = s->name_len;
	flight_begin(m);
	list_add_tail(&m->node, &to->inbox);
	to->queued += m->len + (u32)sizeof(*m);
	waitq_wake(&to->wait, POLL_IN, 0);
	return r;
}

ssize_t usock_send(struct usock *s, struct usock *to, struct uio *u, struct file **files, u32 nfiles, u32 flags, bool nonblock)
{
	bool stream = s->type == SOCK_STREAM;
	ssize_t done = 0;
	bool given = false;
	if (!flight_may_send(nfiles))
		return -ETOOMANYREFS;
	if (!to)
		to = s->peer;
	if (s->shut_write || (s->type != SOCK_DGRAM && s->state == SOCK_CONNECTED && !to))
		goto broken;
	if (!to)
		return s->type == SOCK_DGRAM && s->state == SOCK_CONNECTED ? -ECONNREFUSED : -ENOTCONN;
	if (stream && !u->resid) { /* no bytes are nothing on a stream, and their descriptors go nowhere */
		files_free(files, nfiles);
		return 0;
	}
	if (!stream && u->resid > s->sndbuf - MESSAGE_SPARE)
		return -EMSGSIZE;
	if (s->type == SOCK_DGRAM && to->peer && to->peer != s)
		return -EPERM; /* connected to another one */
	to->refs++;
	u64 deadline = deadline_of_ns(s->sndtimeo_ns);
	do {
		ssize_t r = 0;
		if (!unix_room(s, to)) {
			/* A poller of this end waits on its own queue: the reader wakes it through its peer. */
			int w = nonblock ? -ETIMEDOUT : wait_event(&to->wait, unix_room(s, to), deadline);
			r = w ? unix_interrupted(w, deadline) : 0;
		}
		u32 n = stream ? (u32)MIN(MIN(u->resid, STREAM_CHUNK), unix_room(s, to)) : (u32)u->resid;
		if (!r && (to->closed || to->shut_read)) {
			usock_put(to);
			if (done)
				return done;
			if (!stream && s->type == SOCK_DGRAM)
				return -ECONNREFUSED;
			goto broken;
		}
		if (!r)
			r = unix_enqueue(s, to, u, n, given ? NULL : files, given ? 0 : nfiles);
		if (r < 0) {
			usock_put(to);
			return done ? done : r;
		}
		given = true;
		done += r;
	} while (stream && u->resid);
	usock_put(to);
	return done;
broken:
	if (!(flags & MSG_NOSIGNAL))
		send_signal_task(current, SIGPIPE, NULL);
	return -EPIPE;
}

static bool unix_ended(const struct usock *s)
{
	return s->shut_read || (s->type != SOCK_DGRAM && (!s->peer || s->peer->closed || s->peer->shut_write));
}

ssize_t usock_receive(struct usock *s, struct uio *u, u32 flags, bool nonblock, struct message *info, u32 *msg_flags)
{
	bool stream = s->type == SOCK_STREAM, first = true;
	ssize_t done = 0;
	u64 deadline = deadline_of_ns(s->rcvtimeo_ns);
	if (s->type != SOCK_DGRAM && s->state != SOCK_CONNECTED)
		return s->state == SOCK_LISTENING || stream ? -EINVAL : -ENOTCONN;
	while (u->resid || first) {
		if (list_empty(&s->inbox)) {
			if (!done && s->reset) {
				s->reset = false;
				return -ECONNRESET;
			}
			if (unix_ended(s) || (done && !(flags & MSG_WAITALL)))
				break;
			if (nonblock)
				return done ? done : -EAGAIN;
			int r = wait_event(&s->wait, !list_empty(&s->inbox) || unix_ended(s), deadline);
			if (r)
				return done ? done : unix_interrupted(r, deadline);
			continue;
		}
		struct message *m = list_first(&s->inbox, struct message, node);
		/* Data with descriptors is not mixed with what came before. */
		if (!first && (m->nfiles || m->pid != info->pid || m->uid != info->uid))
			break;
		u32 n = (u32)MIN(u->resid, m->len - m->off);
		ssize_t r = n ? uio_write(u, m->data + m->off, n) : 0;
		if (r < 0)
			return done ? done : r;
		if (first) {
			*info = *m;
			if (flags & MSG_PEEK) {
				info->files = NULL;
				info->nfiles = 0;
			} else { /* the caller has the descriptors now */
				flight_end(m);
				m->files = NULL;
				m->nfiles = 0;
			}
			first = false;
		}
		done += r;
		if (!stream && m->off + (u32)r < m->len) {
			*msg_flags |= MSG_TRUNC;
			if (flags & MSG_TRUNC)
				done = m->len;
		}
		if (flags & MSG_PEEK)
			break;
		m->off += (u32)r;
		if (!stream || m->off == m->len) {
			s->queued -= m->len + (u32)sizeof(*m);
			list_del(&m->node);
			message_bury(m);
			unix_wake(s);
			if (s->peer)
				waitq_wake(&s->peer->wait, POLL_OUT, 0);
		}
		if (!stream)
			break;
	}
	return done;
}

u32 usock_readable(const struct usock *s)
{
	const struct message *m;
	u32 n = 0;
	list_for_each (m, &s->inbox, node) {
		n += m->len - m->off;
		if (s->type != SOCK_STREAM)
			break;
	}
	return n;
}

u32 usock_poll(struct usock *s, struct file *f, struct poll_table *pt)
{
	u32 bits = 0;
	poll_wait(f, &s->wait, pt);
	if (s->state == SOCK_LISTENING)
		return list_empty(&s->backlog) ? 0 : POLL_IN;
	if (!list_empty(&s->inbox) || (s->state == SOCK_CONNECTED && unix_ended(s)))
		bits |= POLL_IN;
	if (s->type != SOCK_DGRAM) {
		if (s->state == SOCK_UNCONNECTED)
			return bits | POLL_OUT | POLL_HUP;
		if (unix_ended(s))
			bits |= POLL_RDHUP;
		if (!s->peer || s->peer->closed || (s->shut_write && unix_ended(s)))
			bits |= POLL_HUP;
	}
	if (!s->peer || unix_writable(s, s->peer))
		bits |= POLL_OUT;
	return bits;
}
