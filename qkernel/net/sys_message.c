/* System calls that send and receive on sockets, with addresses and control messages (unix(7), cmsg(3)). */
#include "fdtable.h"
#include "unix.h"
#include <linux/fcntl.h>
#include <asm/socket.h>

#define MSG_CTRUNC 8u
#define MSG_DONTWAIT 0x40u
#define MSG_CMSG_CLOEXEC 0x40000000u
#define SCM_RIGHTS 1
#define SCM_CREDENTIALS 2
#define IOV_SMALL 8

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

static bool msg_nonblocking(const struct file *f, u64 flags)
{
	return (f->flags & O_NONBLOCK) || (flags & MSG_DONTWAIT);
}

static long msg_control_from_user(u64 ucontrol, u64 len, struct file ***files, u32 *nfiles)
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
			s32 fds[FDS_MAX]; /* several such messages are one list */
			if (n > FDS_MAX - *nfiles)
				return -EINVAL;
			if (copy_from_user(fds, UPTR(ucontrol + at + sizeof(c)), n * 4ul))
				return -EFAULT;
			struct file **longer = krealloc(*files, (*nfiles + n) * sizeof(struct file *));
			if (!longer)
				return -ENOMEM;
			*files = longer;
			for (u32 k = 0; k < n; k++) {
				struct file *f = fd_get(fds[k]);
				if (!f)
					return -EBADF;
				longer[(*nfiles)++] = f;
			}
		} else if (c.level == SOL_SOCKET && c.type != SCM_CREDENTIALS && c.type != SCM_RIGHTS) {
			return -EINVAL;
		}
		at += ALIGN_UP(c.len, 8ul);
	}
	return 0;
}

void files_free(struct file **files, u32 n)
{
	for (u32 k = 0; k < n; k++)
		file_put(files[k]);
	kfree(files);
}

static long msg_send_to(struct file *f, struct uio *u, u64 uaddr, u64 len, struct file **files, u32 nfiles, u64 flags)
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
		r = usock_send(s, to, u, files, nfiles, (u32)flags, msg_nonblocking(f, flags));
	if (to)
		usock_put(to);
	if (r < 0)
		files_free(files, nfiles);
	return r;
}

long sys_sendto(u64 fd, u64 buf, u64 n, u64 flags, u64 uaddr, u64 len)
{
	struct kiovec v;
	struct uio u;
	long r;
	scoped_file f = socket_get(fd, &r);
	if (!f)
		return r;
	r = uio_from_user(buf, n, &v, &u);
	return r ? r : msg_send_to(f, &u, uaddr, (u32)len, NULL, 0, flags);
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
	r = m.controllen ? msg_control_from_user(m.control, m.controllen, &files, &nfiles) : 0;
	if (r)
		files_free(files, nfiles);
	else
		r = msg_send_to(f, &u, m.name, m.namelen, files, nfiles, flags);
	if (iov != small)
		kfree(iov);
	return r;
}

long sys_sendmsg(u64 fd, u64 umsg, u64 flags)
{
	long r;
	scoped_file f = socket_get(fd, &r);
	return f ? send_msg(f, umsg, flags) : r;
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

static long msg_control_to_user(struct usock *s, struct message *info, struct msghdr_abi *m, u64 flags)
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
static long msg_sender_to_user(const struct usock *s, const struct message *info, u64 uaddr, u64 ulen)
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
	long n = usock_receive(s, &u, (u32)flags, msg_nonblocking(f, flags), &info, &m.flags);
	if (n >= 0) {
		r = msg_control_to_user(s, &info, &m, flags);
		if (!r && m.name)
			r = msg_sender_to_user(s, &info, m.name, umsg + 8);
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
	long r;
	scoped_file f = socket_get(fd, &r);
	return f ? receive_msg(f, umsg, flags) : r;
}

long sys_recvfrom(u64 fd, u64 buf, u64 n, u64 flags, u64 uaddr, u64 ulen)
{
	struct kiovec v;
	struct uio u;
	struct message info = {0};
	u32 mflags = 0;
	long r;
	scoped_file f = socket_get(fd, &r);
	if (!f)
		return r;
	r = uio_from_user(buf, n, &v, &u);
	if (!r)
		r = usock_receive(f->priv, &u, (u32)flags, msg_nonblocking(f, flags), &info, &mflags);
	if (r < 0)
		return r;
	files_free(info.files, info.nfiles);
	long e = msg_sender_to_user(f->priv, &info, uaddr, ulen);
	return e ? e : r;
}

static long msg_many(u64 fd, u64 umsgs, u64 count, u64 flags, bool send)
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
	return msg_many(fd, umsgs, count, flags, true);
}
long sys_recvmmsg(u64 fd, u64 umsgs, u64 count, u64 flags, u64 utimeout)
{
	return msg_many(fd, umsgs, count, flags, false);
}
