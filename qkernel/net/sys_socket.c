/* System calls on sockets: making, naming, connecting them, and their options. Only AF_UNIX so far: other families answer -EAFNOSUPPORT. */
#include "fdtable.h"
#include "unix.h"
#include <linux/fcntl.h>
#include <linux/stat.h>
#include <asm/ioctls.h>
#include <asm/socket.h>

#define AF_UNIX 1
#define SOCK_TYPE_MASK 15u
#define SHUT_RD 0
#define SHUT_WR 1
#define SHUT_RDWR 2
/* Limits of SO_RCVBUF and SO_SNDBUF (socket(7)); what is asked for is doubled. */
#define BUF_MAX 212992u
#define RCVBUF_MIN 2304u
#define SNDBUF_MIN 4608u

struct address {
	u16 family;
	char path[UNIX_PATH];
};

static ssize_t sock_read(struct file *f, struct uio *u, u64 *pos)
{
	struct message info = {0};
	u32 flags = 0;
	ssize_t r = usock_receive(f->priv, u, 0, f->flags & O_NONBLOCK, &info, &flags);
	files_free(info.files, info.nfiles);
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
	flight_closed();
}

static const struct file_ops sock_ops = {.read = sock_read, .write = sock_write, .poll = sock_poll, .ioctl = sock_ioctl, .release = sock_release};

struct usock *usock_of(struct file *f)
{
	return f->ops == &sock_ops ? f->priv : NULL;
}

struct file *socket_get(u64 fd, long *err)
{
	return fd_get_kind((int)fd, &sock_ops, -ENOTSOCK, err);
}

static struct file *sock_new_file(struct usock *s, u64 flags)
{
	struct file *f = s ? anon_file(&sock_ops, S_IFSOCK | 0777, O_RDWR | (flags & SOCK_NONBLOCK ? O_NONBLOCK : 0), s, NULL) : NULL;
	if (f)
		s->file = f;
	else if (s)
		usock_put(s);
	return f;
}

static long sock_check(u64 family, u64 type, u64 protocol)
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
	long r = sock_check((u32)family, (u32)type, (u32)protocol);
	if (r)
		return r;
	struct file *f = sock_new_file(usock_new((int)(type & SOCK_TYPE_MASK)), type);
	return f ? fd_install(f, type & SOCK_CLOEXEC ? O_CLOEXEC : 0, 0) : -ENOMEM;
}

long sys_socketpair(u64 family, u64 type, u64 protocol, u64 ufds)
{
	long r = sock_check((u32)family, (u32)type, (u32)protocol);
	if (r)
		return r == -EAFNOSUPPORT ? -EOPNOTSUPP : r;
	struct usock *a = usock_new((int)(type & SOCK_TYPE_MASK)), *b = usock_new((int)(type & SOCK_TYPE_MASK));
	if (a && b)
		usock_pair(a, b);
	struct file *fa = sock_new_file(a, type), *fb = sock_new_file(b, type);
	if (fa && fb)
		return fd_install_pair(fa, fb, type & SOCK_CLOEXEC ? O_CLOEXEC : 0, ufds);
	if (fa)
		file_put(fa);
	if (fb)
		file_put(fb);
	return -ENOMEM;
}

long address_from_user(u64 uaddr, u64 len, char name[UNIX_PATH + 1], u32 *name_len)
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

long address_to_user(const char *name, u32 name_len, u64 uaddr, u64 ulen)
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
	char name[UNIX_PATH + 1];
	u32 n;
	long r;
	scoped_file f = socket_get(fd, &r);
	if (!f)
		return r;
	r = address_from_user(uaddr, (u32)len, name, &n);
	if (r)
		return r;
	if (!n) { /* autobind: an abstract name that is free */
		static u32 next;
		n = (u32)snprintf(name + 1, 8, "%05x", next++ & 0xfffff) + 1;
		name[0] = 0;
	}
	return usock_bind(f->priv, name, n);
}

long sys_listen(u64 fd, u64 backlog)
{
	long r;
	scoped_file f = socket_get(fd, &r);
	if (!f)
		return r;
	struct usock *s = f->priv;
	if (s->type == SOCK_DGRAM)
		return -EOPNOTSUPP;
	if (!s->name_len || s->state == SOCK_CONNECTED)
		return -EINVAL;
	s->state = SOCK_LISTENING;
	s->backlog_max = MIN((u32)backlog, 4096u);
	s->peer_pid = current->proc->pid;
	s->peer_uid = current->proc->euid;
	s->peer_gid = current->proc->egid;
	return 0;
}

long sys_connect(u64 fd, u64 uaddr, u64 len)
{
	char name[UNIX_PATH + 1];
	u32 n;
	long r;
	scoped_file f = socket_get(fd, &r);
	if (!f)
		return r;
	r = address_from_user(uaddr, (u32)len, name, &n);
	if (r)
		return r;
	return n ? usock_connect(f->priv, name, n, f->flags & O_NONBLOCK) : -EINVAL;
}

long sys_accept4(u64 fd, u64 uaddr, u64 ulen, u64 flags)
{
	long r;
	int err;
	if (flags & ~(u64)(SOCK_NONBLOCK | SOCK_CLOEXEC))
		return -EINVAL;
	scoped_file f = socket_get(fd, &r);
	if (!f)
		return r;
	struct usock *s = f->priv;
	if (s->type == SOCK_DGRAM)
		return -EOPNOTSUPP;
	struct usock *c = usock_accept(s, f->flags & O_NONBLOCK, &err);
	if (!c)
		return err;
	struct file *cf = sock_new_file(c, flags);
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

static long sock_name_of(u64 fd, u64 uaddr, u64 ulen, bool peer)
{
	long r;
	scoped_file f = socket_get(fd, &r);
	if (!f)
		return r;
	const struct usock *s = f->priv;
	if (peer && (s->state != SOCK_CONNECTED || !s->peer))
		return -ENOTCONN;
	if (peer)
		s = s->peer;
	return address_to_user(s->name, s->name_len, uaddr, ulen);
}

long sys_getsockname(u64 fd, u64 uaddr, u64 ulen)
{
	return sock_name_of(fd, uaddr, ulen, false);
}
long sys_getpeername(u64 fd, u64 uaddr, u64 ulen)
{
	return sock_name_of(fd, uaddr, ulen, true);
}

long sys_shutdown(u64 fd, u64 how)
{
	long r;
	scoped_file f = socket_get(fd, &r);
	if (!f)
		return r;
	struct usock *s = f->priv;
	if (how > SHUT_RDWR)
		return -EINVAL;
	if (s->state != SOCK_CONNECTED)
		return -ENOTCONN;
	s->shut_read |= how != SHUT_WR;
	s->shut_write |= how != SHUT_RD;
	waitq_wake(&s->wait, 0, 0);
	if (s->peer)
		waitq_wake(&s->peer->wait, 0, 0);
	return 0;
}

/* ---- options */
static u64 sock_time_limit(const s64 tv[2])
{
	return tv[0] || tv[1] ? (u64)tv[0] * 1000000000 + (u64)tv[1] * 1000 : UINT64_MAX;
}

long sys_setsockopt(u64 fd, u64 level, u64 name, u64 uval, u64 len)
{
	long r;
	s32 v = 0;
	s64 tv[2] = {0, 0};
	scoped_file f = socket_get(fd, &r);
	if (!f)
		return r;
	struct usock *s = f->priv;
	bool time = name == SO_RCVTIMEO_OLD || name == SO_SNDTIMEO_OLD;
	if (level != SOL_SOCKET)
		return -ENOPROTOOPT;
	if ((s32)len < 0 || len < (time ? sizeof(tv) : sizeof(v)))
		return -EINVAL;
	if (copy_from_user(time ? (void *)tv : (void *)&v, UPTR(uval), time ? sizeof(tv) : sizeof(v)))
		return -EFAULT;
	switch (name) {
	case SO_RCVTIMEO_OLD:
		s->rcvtimeo_ns = sock_time_limit(tv);
		return 0;
	case SO_SNDTIMEO_OLD:
		s->sndtimeo_ns = sock_time_limit(tv);
		return 0;
	case SO_PASSCRED:
		s->passcred = v;
		return 0;
	case SO_RCVBUF:
		s->rcvbuf = MAX(RCVBUF_MIN, MIN((u32)v, BUF_MAX) * 2);
		return 0;
	case SO_SNDBUF:
		s->sndbuf = MAX(SNDBUF_MIN, MIN((u32)v, BUF_MAX) * 2);
		return 0;
	case SO_REUSEADDR:
	case SO_REUSEPORT:
	case SO_KEEPALIVE:
	case SO_BROADCAST:
	case SO_OOBINLINE:
	case SO_LINGER:
	case SO_PRIORITY:
		return 0;
	default:
		return -ENOPROTOOPT;
	}
}

long sys_getsockopt(u64 fd, u64 level, u64 name, u64 uval, u64 ulen)
{
	long r;
	u32 room, len = 4;
	s32 v[4] = {0};
	scoped_file f = socket_get(fd, &r);
	if (!f)
		return r;
	const struct usock *s = f->priv;
	if (get_user(room, UPTR(ulen)))
		return -EFAULT;
	if (level != SOL_SOCKET)
		return -ENOPROTOOPT;
	switch (name) {
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
		v[0] = (s32)s->rcvbuf;
		break;
	case SO_SNDBUF:
		v[0] = (s32)s->sndbuf;
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
		return -ENOPROTOOPT;
	}
	len = MIN(len, room);
	return copy_to_user(UPTR(uval), v, len) || put_user(len, UPTR(ulen)) ? -EFAULT : 0;
}
