/* splice, tee, vmsplice: as copies through a kernel buffer. What a caller can see is the same; only the time differs. */
#include "fdtable.h"
#include "pipe.h"
#include <linux/fcntl.h>
#include <linux/stat.h>

#define CHUNK 65536u
#define F_NONBLOCK 2u

static struct uio splice_kernel_uio(struct kiovec *v, void *buf, u64 n)
{
	*v = (struct kiovec){(u64)buf, n};
	return (struct uio){.iov = v, .cnt = 1, .resid = n, .kernel = true};
}

static ssize_t splice_from_pipe(struct pipe *p, struct file *out, u64 *pos, void *buf, u64 n, bool nonblock)
{
	struct kiovec v;
	int w = pipe_wait_data(p, nonblock);
	if (w)
		return w == 1 ? 0 : w;
	struct uio u = splice_kernel_uio(&v, buf, MIN(n, CHUNK));
	ssize_t have = pipe_peek(p, &u, u.resid);
	if (have <= 0)
		return have;
	u = splice_kernel_uio(&v, buf, (u64)have);
	ssize_t r = file_write(out, &u, pos);
	if (r > 0)
		pipe_consume(p, (u64)r);
	return r;
}

static ssize_t splice_to_pipe(struct file *in, u64 *pos, struct pipe *p, struct file *pf, void *buf, u64 n, bool nonblock)
{
	struct kiovec v;
	int w = pipe_wait_room(p, 1, nonblock);
	if (w)
		return w;
	struct uio u = splice_kernel_uio(&v, buf, MIN(MIN(n, CHUNK), pipe_room(p)));
	ssize_t r = in->ops->read ? in->ops->read(in, &u, pos) : -EINVAL;
	if (r <= 0)
		return r;
	u = splice_kernel_uio(&v, buf, (u64)r);
	return pf->ops->write(pf, &u, NULL);
}

static ssize_t splice_between(struct pipe *a, struct pipe *b, struct file *bf, void *buf, u64 n, bool nonblock, bool consume)
{
	struct kiovec v;
	int w = pipe_wait_data(a, nonblock);
	if (!w)
		w = pipe_wait_room(b, 1, nonblock);
	if (w)
		return w == 1 ? 0 : w;
	struct uio u = splice_kernel_uio(&v, buf, MIN(MIN(n, CHUNK), pipe_room(b)));
	ssize_t have = pipe_peek(a, &u, u.resid);
	if (have <= 0)
		return have;
	u = splice_kernel_uio(&v, buf, (u64)have);
	ssize_t r = bf->ops->write(bf, &u, NULL);
	if (r > 0 && consume)
		pipe_consume(a, (u64)r);
	return r;
}

static long splice(struct file *in, u64 uin, struct file *out, u64 uout, u64 n, bool nonblock)
{
	struct pipe *a = pipe_of(in), *b = pipe_of(out);
	u64 in_pos = 0, out_pos = 0;
	if (!a && !b)
		return -EINVAL;
	if ((a && uin) || (b && uout))
		return -ESPIPE;
	if ((uin && get_user(in_pos, UPTR(uin))) || (uout && get_user(out_pos, UPTR(uout))))
		return -EFAULT;
	if ((s64)in_pos < 0 || (s64)out_pos < 0 || (a && a == b) || (out->flags & O_APPEND))
		return -EINVAL;
	if ((uin && !in->ops->lseek) || (uout && !out->ops->lseek))
		return -ESPIPE;
	void *buf = kmalloc(CHUNK);
	if (!buf)
		return -ENOMEM;
	ssize_t r;
	if (a && b)
		r = splice_between(a, b, out, buf, n, nonblock, true);
	else if (a)
		r = splice_from_pipe(a, out, uout ? &out_pos : out->ops->lseek ? &out->pos : NULL, buf, n, nonblock);
	else
		r = splice_to_pipe(in, uin ? &in_pos : in->ops->lseek ? &in->pos : NULL, b, out, buf, n, nonblock);
	kfree(buf);
	if (r >= 0 && ((uin && put_user(in_pos, UPTR(uin))) || (uout && put_user(out_pos, UPTR(uout)))))
		return -EFAULT;
	return r;
}

long sys_splice(u64 in_fd, u64 uin, u64 out_fd, u64 uout, u64 n, u64 flags)
{
	if (flags & ~15ul)
		return -EINVAL;
	if (!n)
		return 0;
	scoped_file in = fd_get_access((int)in_fd, false);
	scoped_file out = fd_get_access((int)out_fd, true);
	if (!in || !out)
		return -EBADF;
	return splice(in, uin, out, uout, n, (flags & F_NONBLOCK) || ((in->flags | out->flags) & O_NONBLOCK));
}

long sys_tee(u64 in_fd, u64 out_fd, u64 n, u64 flags)
{
	if (flags & ~15ul)
		return -EINVAL;
	if (!n)
		return 0;
	scoped_file in = fd_get_access((int)in_fd, false);
	scoped_file out = fd_get_access((int)out_fd, true);
	if (!in || !out)
		return -EBADF;
	struct pipe *a = pipe_of(in), *b = pipe_of(out);
	if (!a || !b || a == b)
		return -EINVAL;
	void *buf = kmalloc(CHUNK);
	long r = buf ? splice_between(a, b, out, buf, n, flags & F_NONBLOCK, false) : -ENOMEM;
	kfree(buf);
	return r;
}

long sys_vmsplice(u64 fd, u64 uiov, u64 cnt, u64 flags)
{
	struct kiovec small[8], *iov;
	struct uio u;
	scoped_file f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	long r = flags & ~15ul ? -EINVAL : !pipe_of(f) ? -EBADF : iov_from_user(uiov, cnt, small, 8, &iov, &u);
	if (r)
		return r;
	r = (f->flags & O_ACCMODE) == O_WRONLY ? f->ops->write(f, &u, NULL) : f->ops->read(f, &u, NULL);
	if (iov != small)
		kfree(iov);
	return r;
}
