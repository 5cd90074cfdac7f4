/* System calls on sockets. Only AF_UNIX so far: other families answer -EAFNOSUPPORT. */
#include "unix.h"
#include <linux/fcntl.h>
#include <linux/stat.h>
#include <asm/ioctls.h>
#include <asm/socket.h>

#define AF_UNIX 1
#define MSG_PEEK 2u
#define MSG_CTRUNC 8u
#define MSG_DONTWAIT 0x40u
#define MSG_CMSG_CLOEXEC 0x40000000u
#define SOL_SOCKET 1
#define SCM_RIGHTS 1
#define SCM_CREDENTIALS 2
#define SOCK_TYPE_MASK 15u
#define SHUT_RD 0
#define SHUT_WR 1
#define SHUT_RDWR 2
#define IOV_SMALL 8

struct address {
	u16 family;
	char path[UNIX_PATH];
};
struct msghdr_abi {
	u64 name;
	u32 namelen, pad0;
	u64 iov, iovlen, control, controllen;
	u32 flags, pad1;
};
struct cmsg {
	u64 len;
	s32 level, type;
};

static ssize_t sock_read(struct file *f, struct uio *u, u64 *pos)
{
	struct message info = {0};
	u32 flags = 0;
	ssize_t r = usock_receive(f->priv, u, 0, f->flags & O_NONBLOCK, &info, &flags);
	for (u32 k = 0; k < info.nfiles; k++)
		file_put(info.files[k]);
	kfree(info.files);
	return r;
}

static ssize_t sock_write(struct file *f, struct uio *u, u64 *pos)
{
	return usock_send(f->priv, NULL, u, NULL, 0, 0, f->flags & O_NONBLOCK);
}

static u32 sock_poll(struct file *f, struct poll_table *pt)
{
	return usock_poll(f->priv, f, pt);
}

static long sock_ioctl(struct file *f, u32 cmd, u64 arg)
{
	s32 n = (s32)usock_readable(f->priv);
	return cmd == FIONREAD ? put_user(n, UPTR(arg)) : -ENOTTY;
}

static void sock_release(struct file *f)
{
	usock_close(f->priv);
}

static const struct file_ops sock_ops = {.read = sock_read, .write = sock_write, .poll = sock_poll, .ioctl = sock_ioctl, .release = sock_release};

static struct file *get(u64 fd, struct usock **s, long *err)
{
	struct file *f = fd_get((int)fd);
	*err = f ? 0 : -EBADF;
	if (f && f->ops != &sock_ops) {
		file_put(f);
		*err = -ENOTSOCK;
		return NULL;
	}
	if (f)
		*s = f->priv;
	return f;
}

static struct file *new_file(struct usock *s, u64 flags)
{
	struct file *f = s ? anon_file(&sock_ops, S_IFSOCK | 0777, O_RDWR | (flags & SOCK_NONBLOCK ? O_NONBLOCK : 0), s, NULL) : NULL;
	if (!f && s)
		usock_put(s);
	return f;
}

static long check(u64 family, u64 type, u64 protocol)
{
	u32 t = (u32)type & SOCK_TYPE_MASK;
	if (type & ~(u64)(SOCK_TYPE_MASK | SOCK_NONBLOCK | SOCK_CLOEXEC))
		return -EINVAL;
	if (family != AF_UNIX)
		return -EAFNOSUPPORT;
	if (t != SOCK_STREAM && t != SOCK_DGRAM && t != SOCK_SEQPACKET)
		return -ESOCKTNOSUPPORT;
	return protocol && protocol != AF_UNIX ? -EPROTONOSUPPORT : 0;
}

long sys_socket(u64 family, u64 type, u64 protocol)
{
	long r = check((u32)family, (u32)type, (u32)protocol);
	if (r)
		return r;
	struct file *f = new_file(usock_new((int)(type & SOCK_TYPE_MASK)), type);
	return f ? fd_install(f, type & SOCK_CLOEXEC ? O_CLOEXEC : 0, 0) : -ENOMEM;
}

long sys_socketpair(u64 family, u64 type, u64 protocol, u64 ufds)
{
	s32 fds[2];
	long r = check((u32)family, (u32)type, (u32)protocol);
	if (r)
		return r == -EAFNOSUPPORT ? -EOPNOTSUPP : r;
	struct usock *a = usock_new((int)(type & SOCK_TYPE_MASK)), *b = usock_new((int)(type & SOCK_TYPE_MASK));
	if (a && b)
		usock_pair(a, b);
	struct file *fa = new_file(a, type), *fb = new_file(b, type);
	if (!fa || !fb) {
		if (fa)
			file_put(fa);
		if (fb)
			file_put(fb);
		return -ENOMEM;
	}
	u32 cloexec = type & SOCK_CLOEXEC ? O_CLOEXEC : 0;
	fds[0] = fd_install(fa, cloexec, 0);
	fds[1] = fds[0] < 0 ? (file_put(fb), fds[0]) : fd_install(fb, cloexec, 0);
	if (fds[1] < 0) {
		if (fds[0] >= 0)
			fd_close(fds[0]);
		return fds[1];
	}
	if (copy_to_user(UPTR(ufds), fds, sizeof(fds))) {
		fd_close(fds[0]);
		fd_close(fds[1]);
		return -EFAULT;
	}
	return 0;
}

/* Name of an address: bytes, a path without its NUL or an abstract name. */
static long address_from_user(u64 uaddr, u64 len, char name[UNIX_PATH + 1], u32 *name_len)
{
	struct address a = {0};
	if (len < 2 || len > sizeof(a))
		return -EINVAL;
	if (copy_from_user(&a, UPTR(uaddr), len))
		return -EFAULT;
	if (a.family != AF_UNIX)
		return -EINVAL;
	*name_len = (u32)len - 2;
	memset(name, 0, UNIX_PATH + 1);
	memcpy(name, a.path, *name_len);
	if (name[0])
		*name_len = (u32)strlen(name);
	return 0;
}

static long address_to_user(const char *name, u32 name_len, u64 uaddr, u64 ulen)
{
	struct address a = {.family = AF_UNIX};
	u32 room, len = 2;
	if (!uaddr)
		return 0;
	if (get_user(room, UPTR(ulen)))
		return -EFAULT;
	if ((s32)room < 0)
		return -EINVAL;
	if (name_len) {
		memcpy(a.path, name, name_len);
		len += name_len + (name[0] && name_len < UNIX_PATH);
	}
	if (copy_to_user(UPTR(uaddr), &a, MIN(room, len)) || put_user(len, UPTR(ulen)))
		return -EFAULT;
	return 0;
}

long sys_bind(u64 fd, u64 uaddr, u64 len)
{
	struct usock *s;
	char name[UNIX_PATH + 1];
	u32 n;
	long r;
	struct file *f = get(fd, &s, &r);
	if (!f)
		return r;
	r = address_from_user(uaddr, (u32)len, name, &n);
	if (!r && !n) { /* autobind: an abstract name that is free */
		static u32 next;
		n = (u32)snprintf(name + 1, 8, "%05x", next++ & 0xfffff) + 1;
		name[0] = 0;
	}
	if (!r)
		r = usock_bind(s, name, n);
	file_put(f);
	return r;
}

long sys_listen(u64 fd, u64 backlog)
{
	struct usock *s;
	long r;
	struct file *f = get(fd, &s, &r);
	if (!f)
		return r;
	if (s->type == SOCK_DGRAM) {
		r = -EOPNOTSUPP;
	} else if (!s->name_len || s->state == SOCK_CONNECTED) {
		r = -EINVAL;
	} else {
		s->state = SOCK_LISTENING;
		s->backlog_max = MIN((u32)backlog, 4096u);
		s->peer_pid = current->proc->pid;
		s->peer_uid = current->proc->euid;
		s->peer_gid = current->proc->egid;
	}
	file_put(f);
	return r;
}

long sys_connect(u64 fd, u64 uaddr, u64 len)
{
	struct usock *s;
	char name[UNIX_PATH + 1];
	u32 n;
	long r;
	struct file *f = get(fd, &s, &r);
	if (!f)
		return r;
	r = address_from_user(uaddr, (u32)len, name, &n);
	if (!r)
		r = n ? usock_connect(s, name, n, f->flags & O_NONBLOCK) : -EINVAL;
	file_put(f);
	return r;
}

long sys_accept4(u64 fd, u64 uaddr, u64 ulen, u64 flags)
{
	struct usock *s;
	long r;
	int err;
	if (flags & ~(u64)(SOCK_NONBLOCK | SOCK_CLOEXEC))
		return -EINVAL;
	struct file *f = get(fd, &s, &r);
	if (!f)
		return r;
	struct usock *c = s->type == SOCK_DGRAM ? NULL : usock_accept(s, f->flags & O_NONBLOCK, &err);
	if (s->type == SOCK_DGRAM)
		err = -EOPNOTSUPP;
	file_put(f);
	if (!c)
		return err;
	struct file *cf = new_file(c, flags);
	if (!cf)
		return -ENOMEM;
	r = address_to_user(c->peer ? c->peer->name : "", c->peer ? c->peer->name_len : 0, uaddr, ulen);
	if (r) {
		file_put(cf);
		return r;
	}
	return fd_install(cf, flags & SOCK_CLOEXEC ? O_CLOEXEC : 0, 0);
}

long sys_accept(u64 fd, u64 uaddr, u64 ulen)
{
	return sys_accept4(fd, uaddr, ulen, 0);
}

static long name_of(u64 fd, u64 uaddr, u64 ulen, bool peer)
{
	struct usock *s;
	long r;
	struct file *f = get(fd, &s, &r);
	if (!f)
		return r;
	if (peer && (s->state != SOCK_CONNECTED || !s->peer)) {
		r = -ENOTCONN;
	} else {
		const struct usock *o = peer ? s->peer : s;
		r = address_to_user(o->name, o->name_len, uaddr, ulen);
	}
	file_put(f);
	return r;
}

long sys_getsockname(u64 fd, u64 uaddr, u64 ulen)
{
	return name_of(fd, uaddr, ulen, false);
}
long sys_getpeername(u64 fd, u64 uaddr, u64 ulen)
{
	return name_of(fd, uaddr, ulen, true);
}

long sys_shutdown(u64 fd, u64 how)
{
	struct usock *s;
	long r;
	struct file *f = get(fd, &s, &r);
	if (!f)
		return r;
	if (how > SHUT_RDWR) {
		r = -EINVAL;
	} else if (s->state != SOCK_CONNECTED) {
		r = -ENOTCONN;
	} else {
		s->shut_read |= how != SHUT_WR;
		s->shut_write |= how != SHUT_RD;
		waitq_wake(&s->wait, 0, 0);
		if (s->peer)
			waitq_wake(&s->peer->wait, 0, 0);
	}
	file_put(f);
	return r;
}

/* ---- messages */
static long control_from_user(u64 ucontrol, u64 len, struct file ***files, u32 *nfiles)
{
	u64 at = 0;
	*files = NULL;
	*nfiles = 0;
	if (len > 65536)
		return -ENOBUFS;
	while (at + sizeof(struct cmsg) <= len) {
		struct cmsg c;
		if (copy_from_user(&c, UPTR(ucontrol + at), sizeof(c)))
			return -EFAULT;
		if (c.len < sizeof(c) || c.len > len - at)
			return -EINVAL;
		u32 n = (u32)(c.len - sizeof(c)) / 4;
		if (c.level == SOL_SOCKET && c.type == SCM_RIGHTS && n) {
			s32 fds[FDS_MAX];
			if (n > FDS_MAX || *files)
				return -EINVAL;
			if (copy_from_user(fds, UPTR(ucontrol + at + sizeof(c)), n * 4ul))
				return -EFAULT;
			*files = kzalloc(n * sizeof(struct file *));
			if (!*files)
				return -ENOMEM;
			for (u32 k = 0; k < n; k++) {
				(*files)[k] = fd_get(fds[k]);
				if (!(*files)[k])
					return -EBADF;
				(*nfiles)++;
			}
		} else if (c.level == SOL_SOCKET && c.type != SCM_CREDENTIALS && c.type != SCM_RIGHTS) {
			return -EINVAL;
		}
		at += ALIGN_UP(c.len, 8ul);
	}
	return 0;
}

static void files_free(struct file **files, u32 n)
{
	for (u32 k = 0; k < n; k++)
		file_put(files[k]);
	kfree(files);
}

static long send_to(struct file *f, struct uio *u, u64 uaddr, u64 len, struct file **files, u32 nfiles, u64 flags)
{
	struct usock *s = f->priv, *to = NULL;
	long r = 0;
	int err;
	if (uaddr && len) {
		char name[UNIX_PATH + 1];
		u32 n = 0;
		if (s->type != SOCK_DGRAM)
			r = s->state == SOCK_CONNECTED ? -EISCONN : -EOPNOTSUPP;
		else
			r = address_from_user(uaddr, len, name, &n);
		if (!r) {
			to = n ? usock_find(name, n, s->type, &err) : NULL;
			r = to ? 0 : n ? err : -EINVAL;
		}
	}
	if (!r)
		r = usock_send(s, to, u, files, nfiles, (u32)flags, (f->flags & O_NONBLOCK) || (flags & MSG_DONTWAIT));
	if (to)
		usock_put(to);
	if (r < 0)
		files_free(files, nfiles);
	return r;
}

long sys_sendto(u64 fd, u64 buf, u64 n, u64 flags, u64 uaddr, u64 len)
{
	struct usock *s;
	long r;
	struct file *f = get(fd, &s, &r);
	if (!f)
		return r;
	bool ok = access_ok(UPTR(buf), n);
	n = MIN(n, 0x7ffff000ul);
	struct kiovec v = {buf, n};
	struct uio u = {.iov = &v, .cnt = 1, .resid = n};
	r = ok ? send_to(f, &u, uaddr, (u32)len, NULL, 0, flags) : -EFAULT;
	file_put(f);
	return r;
}

static long send_msg(struct file *f, u64 umsg, u64 flags)
{
	struct msghdr_abi m;
	struct kiovec small[IOV_SMALL], *iov;
	struct uio u;
	struct file **files = NULL;
	u32 nfiles = 0;
	if (copy_from_user(&m, UPTR(umsg), sizeof(m)))
		return -EFAULT;
	long r = iov_from_user(m.iov, m.iovlen, small, IOV_SMALL, &iov, &u);
	if (r)
		return r == -EINVAL && m.iovlen > 1024 ? -EMSGSIZE : r;
	r = m.controllen ? control_from_user(m.control, m.controllen, &files, &nfiles) : 0;
	if (r)
		files_free(files, nfiles);
	else
		r = send_to(f, &u, m.name, m.namelen, files, nfiles, flags);
	if (iov != small)
		kfree(iov);
	return r;
}

long sys_sendmsg(u64 fd, u64 umsg, u64 flags)
{
	struct usock *s;
	long r;
	struct file *f = get(fd, &s, &r);
	if (!f)
		return r;
	r = send_msg(f, umsg, flags);
	file_put(f);
	return r;
}

/* Writes one control message; its bytes, 0 when it does not fit, -EFAULT. */
static long put_cmsg(u64 at, u64 room, s32 type, const void *data, u32 n)
{
	struct cmsg c = {sizeof(c) + n, SOL_SOCKET, type};
	if (room < c.len)
		return 0;
	if (copy_to_user(UPTR(at), &c, sizeof(c)) || copy_to_user(UPTR(at + sizeof(c)), data, n))
		return -EFAULT;
	return (long)MIN(ALIGN_UP(c.len, 8ul), room);
}

static long control_to_user(struct usock *s, struct message *info, struct msghdr_abi *m, u64 flags)
{
	u64 at = m->control, room = m->controllen;
	long r;
	if (s->passcred) {
		s32 cred[3] = {info->pid, (s32)info->uid, (s32)info->gid};
		r = put_cmsg(at, room, SCM_CREDENTIALS, cred, sizeof(cred));
		if (r < 0)
			return r;
		if (!r)
			m->flags |= MSG_CTRUNC;
		at += (u64)r;
		room -= (u64)r;
	}
	if (info->nfiles) {
		s32 fds[FDS_MAX];
		u32 fit = room > sizeof(struct cmsg) ? (u32)MIN((room - sizeof(struct cmsg)) / 4, info->nfiles) : 0, n = 0;
		for (; n < fit; n++) {
			file_get(info->files[n]);
			fds[n] = fd_install(info->files[n], flags & MSG_CMSG_CLOEXEC ? O_CLOEXEC : 0, 0);
			if (fds[n] < 0)
				break;
		}
		if (n < info->nfiles)
			m->flags |= MSG_CTRUNC;
		r = n ? put_cmsg(at, room, SCM_RIGHTS, fds, n * 4) : 0;
		if (r < 0)
			return r;
		at += (u64)r;
	}
	m->controllen = at - m->control;
	return 0;
}

/* Address of who sent it: of a sender without a name, and on streams, nothing at all. */
static long sender_to_user(const struct usock *s, const struct message *info, u64 uaddr, u64 ulen)
{
	u32 none = 0;
	if (uaddr && (s->type == SOCK_STREAM || !info->from_len))
		return put_user(none, UPTR(ulen));
	return address_to_user(info->from, info->from_len, uaddr, ulen);
}

static long receive_msg(struct file *f, u64 umsg, u64 flags)
{
	struct usock *s = f->priv;
	struct msghdr_abi m;
	struct kiovec small[IOV_SMALL], *iov;
	struct uio u;
	struct message info = {0};
	if (copy_from_user(&m, UPTR(umsg), sizeof(m)))
		return -EFAULT;
	long r = iov_from_user(m.iov, m.iovlen, small, IOV_SMALL, &iov, &u);
	if (r)
		return r;
	m.flags = 0;
	long n = usock_receive(s, &u, (u32)flags, (f->flags & O_NONBLOCK) || (flags & MSG_DONTWAIT), &info, &m.flags);
	if (n >= 0) {
		r = control_to_user(s, &info, &m, flags);
		if (!r && m.name)
			r = sender_to_user(s, &info, m.name, umsg + 8);
		if (!r && (copy_to_user(UPTR(umsg + 40), &m.controllen, 8) || copy_to_user(UPTR(umsg + 48), &m.flags, 4)))
			r = -EFAULT;
		if (r)
			n = r;
		files_free(info.files, info.nfiles);
	}
	if (iov != small)
		kfree(iov);
	return n;
}

long sys_recvmsg(u64 fd, u64 umsg, u64 flags)
{
	struct usock *s;
	long r;
	struct file *f = get(fd, &s, &r);
	if (!f)
		return r;
	r = receive_msg(f, umsg, flags);
	file_put(f);
	return r;
}

long sys_recvfrom(u64 fd, u64 buf, u64 n, u64 flags, u64 uaddr, u64 ulen)
{
	struct usock *s;
	long r;
	struct message info = {0};
	u32 mflags = 0;
	struct file *f = get(fd, &s, &r);
	if (!f)
		return r;
	bool ok = access_ok(UPTR(buf), n);
	n = MIN(n, 0x7ffff000ul);
	struct kiovec v = {buf, n};
	struct uio u = {.iov = &v, .cnt = 1, .resid = n};
	r = ok ? usock_receive(s, &u, (u32)flags, (f->flags & O_NONBLOCK) || (flags & MSG_DONTWAIT), &info, &mflags) : -EFAULT;
	if (r >= 0) {
		files_free(info.files, info.nfiles);
		long e = sender_to_user(s, &info, uaddr, ulen);
		r = e ? e : r;
	}
	file_put(f);
	return r;
}

static long many(u64 fd, u64 umsgs, u64 count, u64 flags, bool send)
{
	long done = 0, r = 0;
	for (u64 k = 0; k < MIN(count, 1024ul); k++) {
		u64 at = umsgs + k * 64; /* struct mmsghdr */
		r = send ? sys_sendmsg(fd, at, flags) : sys_recvmsg(fd, at, flags | (done ? MSG_DONTWAIT : 0));
		if (r < 0)
			break;
		u32 n = (u32)r;
		if (put_user(n, UPTR(at + 56)))
			return done ? done : -EFAULT;
		done++;
	}
	return done ? done : r;
}

long sys_sendmmsg(u64 fd, u64 umsgs, u64 count, u64 flags)
{
	return many(fd, umsgs, count, flags, true);
}
long sys_recvmmsg(u64 fd, u64 umsgs, u64 count, u64 flags, u64 utimeout)
{
	return many(fd, umsgs, count, flags, false);
}

/* ---- options */
long sys_setsockopt(u64 fd, u64 level, u64 name, u64 uval, u64 len)
{
	struct usock *s;
	long r;
	s32 v = 0;
	s64 tv[2] = {0, 0};
	struct file *f = get(fd, &s, &r);
	if (!f)
		return r;
	bool time = name == SO_RCVTIMEO_OLD || name == SO_SNDTIMEO_OLD;
	if (level != SOL_SOCKET)
		r = -ENOPROTOOPT;
	else if ((s32)len < 0 || len < (time ? sizeof(tv) : sizeof(v)))
		r = -EINVAL;
	else if (copy_from_user(time ? (void *)tv : (void *)&v, UPTR(uval), time ? sizeof(tv) : sizeof(v)))
		r = -EFAULT;
	if (!r) {
		u64 ns = tv[0] || tv[1] ? (u64)tv[0] * 1000000000 + (u64)tv[1] * 1000 : UINT64_MAX;
		switch (name) {
		case SO_RCVTIMEO_OLD:
			s->rcvtimeo_ns = ns;
			break;
		case SO_SNDTIMEO_OLD:
			s->sndtimeo_ns = ns;
			break;
		case SO_PASSCRED:
			s->passcred = v;
			break;
		case SO_RCVBUF:
			s->rcvbuf = MAX(4096u, MIN((u32)v * 2, 1u << 20));
			break;
		case SO_SNDBUF:
		case SO_REUSEADDR:
		case SO_REUSEPORT:
		case SO_KEEPALIVE:
		case SO_BROADCAST:
		case SO_OOBINLINE:
		case SO_LINGER:
		case SO_PRIORITY:
			break;
		default:
			r = -ENOPROTOOPT;
		}
	}
	file_put(f);
	return r;
}

long sys_getsockopt(u64 fd, u64 level, u64 name, u64 uval, u64 ulen)
{
	struct usock *s;
	long r;
	u32 room, len = 4;
	s32 v[4] = {0};
	struct file *f = get(fd, &s, &r);
	if (!f)
		return r;
	if (get_user(room, UPTR(ulen)))
		r = -EFAULT;
	else if (level != SOL_SOCKET)
		r = -ENOPROTOOPT;
	switch (r ? ~0ul : name) {
	case ~0ul:
		break;
	case SO_TYPE:
		v[0] = s->type;
		break;
	case SO_DOMAIN:
		v[0] = AF_UNIX;
		break;
	case SO_ACCEPTCONN:
		v[0] = s->state == SOCK_LISTENING;
		break;
	case SO_RCVBUF:
	case SO_SNDBUF:
		v[0] = (s32)s->rcvbuf;
		break;
	case SO_PASSCRED:
		v[0] = s->passcred;
		break;
	case SO_PEERCRED:
		v[0] = s->peer_pid;
		v[1] = (s32)s->peer_uid;
		v[2] = (s32)s->peer_gid;
		len = 12;
		break;
	case SO_ERROR:
	case SO_PROTOCOL:
	case SO_REUSEADDR:
	case SO_KEEPALIVE:
	case SO_LINGER:
		break;
	default:
		r = -ENOPROTOOPT;
	}
	if (!r) {
		len = MIN(len, room);
		if (copy_to_user(UPTR(uval), v, len) || put_user(len, UPTR(ulen)))
			r = -EFAULT;
	}
	file_put(f);
	return r;
}
