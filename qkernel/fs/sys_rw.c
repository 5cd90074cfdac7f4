/* System calls that move data: read, write and their vectors, lseek, sendfile, copy_file_range. */
#include "fdtable.h"
#include "inotify.h"
#include <asm/resource.h>
#include <asm/signal.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#define IOV_MAX 1024
#define IOV_STACK 8

int file_size_allowed(u64 size)
{
	if (size <= current->proc->rlim[RLIMIT_FSIZE].cur)
		return 0;
	send_signal_task(current, SIGXFSZ, NULL);
	return -EFBIG;
}

/* Cuts what would reach beyond RLIMIT_FSIZE; beyond it already: the signal and -EFBIG. */
static int rw_cut_to_limit(const struct file *f, struct uio *u, const u64 *pos)
{
	u64 limit = current->proc->rlim[RLIMIT_FSIZE].cur, at = f->flags & O_APPEND ? f->inode->size : *pos;
	if (limit == UINT64_MAX || !u->resid)
		return 0;
	if (at >= limit)
		return file_size_allowed(at + 1);
	u->resid = MIN(u->resid, limit - at);
	return 0;
}

ssize_t file_write(struct file *f, struct uio *u, u64 *pos)
{
	bool regular = S_ISREG(f->inode->mode) && pos;
	ssize_t r = !f->ops->write ? -EINVAL : regular ? rw_cut_to_limit(f, u, pos) : 0;
	if (r)
		return r;
	if (regular && u->resid)
		inode_content_changes(f->inode);
	r = f->ops->write(f, u, pos);
	if (r > 0)
		notify(f->inode, IN_MODIFY);
	return r;
}

static long rw_transfer(struct file *f, struct uio *u, u64 *pos, bool write)
{
	struct process *p = current->proc;
	long r;
	if (write) {
		r = file_write(f, u, pos);
		p->syscw++;
		p->wchar += (u64)MAX(r, 0l);
		return r;
	}
	r = f->ops->read ? f->ops->read(f, u, pos) : S_ISDIR(f->inode->mode) ? -EISDIR : -EINVAL;
	p->syscr++;
	p->rchar += (u64)MAX(r, 0l);
	if (r > 0)
		notify(f->inode, IN_ACCESS);
	return r;
}

static long rw_simple(u64 fd, u64 buf, u64 n, bool write)
{
	struct kiovec v;
	struct uio u;
	scoped_file f = fd_get_access((int)fd, write);
	if (!f)
		return -EBADF;
	int r = uio_from_user(buf, n, &v, &u);
	return r ? r : rw_transfer(f, &u, f->ops->lseek ? &f->pos : NULL, write);
}

long sys_read(u64 fd, u64 buf, u64 n)
{
	return rw_simple(fd, buf, n, false);
}

long sys_write(u64 fd, u64 buf, u64 n)
{
	return rw_simple(fd, buf, n, true);
}

static long rw_at_offset(u64 fd, u64 buf, u64 n, u64 off, bool write)
{
	struct kiovec v;
	struct uio u;
	if ((s64)off < 0)
		return -EINVAL;
	scoped_file f = fd_get_access((int)fd, write);
	if (!f)
		return -EBADF;
	int r = f->ops->lseek ? uio_from_user(buf, n, &v, &u) : -ESPIPE;
	if (r)
		return r;
	return (s64)(off + v.len) < 0 ? -EINVAL : rw_transfer(f, &u, &off, write);
}

long sys_pread64(u64 fd, u64 buf, u64 n, u64 off)
{
	return rw_at_offset(fd, buf, n, off, false);
}

long sys_pwrite64(u64 fd, u64 buf, u64 n, u64 off)
{
	return rw_at_offset(fd, buf, n, off, true);
}

/* Copies and checks an iovec array; *iov is `small` or allocated. */
long iov_from_user(u64 uiov, u64 cnt, struct kiovec *small, u64 nsmall, struct kiovec **iov, struct uio *u)
{
	if (cnt > IOV_MAX)
		return -EINVAL;
	struct kiovec *v = cnt <= nsmall ? small : kmalloc(cnt * sizeof(*v));
	if (!v)
		return -ENOMEM;
	long r = copy_from_user(v, UPTR(uiov), cnt * sizeof(*v));
	u64 total = 0;
	for (u64 i = 0; !r && i < cnt; i++) {
		if ((s64)v[i].len < 0)
			r = -EINVAL;
		else if (!access_ok(UPTR(v[i].base), v[i].len))
			r = -EFAULT;
		v[i].len = MIN(v[i].len, COUNT_MAX - total);
		total += v[i].len;
	}
	if (r) {
		if (v != small)
			kfree(v);
		return r;
	}
	*iov = v;
	*u = (struct uio){.iov = v, .cnt = (unsigned)cnt, .resid = total};
	return 0;
}

static long rw_vector(u64 fd, u64 uiov, u64 cnt, u64 *off, bool write, u64 flags)
{
	struct kiovec small[IOV_STACK], *iov;
	struct uio u;
	if (flags & ~0x1ful)
		return -EOPNOTSUPP;
	scoped_file f = fd_get_access((int)fd, write);
	if (!f)
		return -EBADF;
	long r = off && !f->ops->lseek ? -ESPIPE : iov_from_user(uiov, cnt, small, IOV_STACK, &iov, &u);
	if (r)
		return r;
	r = rw_transfer(f, &u, off ? off : f->ops->lseek ? &f->pos : NULL, write);
	if (iov != small)
		kfree(iov);
	return r;
}

long sys_readv(u64 fd, u64 iov, u64 cnt)
{
	return rw_vector(fd, iov, cnt, NULL, false, 0);
}

long sys_writev(u64 fd, u64 iov, u64 cnt)
{
	return rw_vector(fd, iov, cnt, NULL, true, 0);
}

long sys_preadv(u64 fd, u64 iov, u64 cnt, u64 off)
{
	return (s64)off < 0 ? -EINVAL : rw_vector(fd, iov, cnt, &off, false, 0);
}

long sys_pwritev(u64 fd, u64 iov, u64 cnt, u64 off)
{
	return (s64)off < 0 ? -EINVAL : rw_vector(fd, iov, cnt, &off, true, 0);
}

long sys_preadv2(u64 fd, u64 iov, u64 cnt, u64 off, u64 high, u64 flags)
{
	return off == ~0ul ? rw_vector(fd, iov, cnt, NULL, false, flags) : (s64)off < 0 ? -EINVAL : rw_vector(fd, iov, cnt, &off, false, flags);
}

long sys_pwritev2(u64 fd, u64 iov, u64 cnt, u64 off, u64 high, u64 flags)
{
	return off == ~0ul ? rw_vector(fd, iov, cnt, NULL, true, flags) : (s64)off < 0 ? -EINVAL : rw_vector(fd, iov, cnt, &off, true, flags);
}

long sys_lseek(u64 fd, u64 off, u64 whence)
{
	scoped_file f = fd_get((int)fd);
	if (!f || (f->flags & O_PATH))
		return -EBADF;
	return whence > 4 ? -EINVAL : f->ops->lseek ? f->ops->lseek(f, (s64)off, (int)whence) : -ESPIPE;
}

/* Copies through a kernel buffer until n bytes, the end of input, or an error after some progress. */
static long rw_copy_between(struct file *in, u64 *in_pos, struct file *out, u64 *out_pos, u64 n)
{
	const size_t chunk = 64 * 1024;
	u8 *buf = kmalloc(chunk);
	u64 done = 0;
	long r = buf ? 0 : -ENOMEM;
	while (buf && done < n) {
		struct kiovec v = {(u64)buf, MIN(n - done, chunk)};
		struct uio u = {.iov = &v, .cnt = 1, .resid = v.len, .kernel = true};
		r = rw_transfer(in, &u, in_pos, false);
		if (r <= 0)
			break;
		u64 got = (u64)r, put = 0;
		while (put < got) {
			v = (struct kiovec){(u64)buf + put, got - put};
			u = (struct uio){.iov = &v, .cnt = 1, .resid = v.len, .kernel = true};
			r = rw_transfer(out, &u, out_pos, true);
			if (r <= 0)
				break;
			put += (u64)r;
		}
		done += put;
		if (put < got) {
			/* What was read but not written goes back. */
			if (in_pos)
				*in_pos -= got - put;
			break;
		}
		if (signal_pending(current))
			break;
	}
	kfree(buf);
	return done ? (long)done : r;
}

long sys_sendfile(u64 out_fd, u64 in_fd, u64 uoff, u64 n)
{
	u64 off = 0;
	if (uoff && get_user(off, UPTR(uoff)))
		return -EFAULT;
	scoped_file in = fd_get_access((int)in_fd, false);
	scoped_file out = fd_get_access((int)out_fd, true);
	if (!in || !out)
		return -EBADF;
	if (!in->ops->lseek || (s64)off < 0)
		return -EINVAL;
	long r = rw_copy_between(in, uoff ? &off : &in->pos, out, out->ops->lseek ? &out->pos : NULL, MIN(n, COUNT_MAX));
	return r >= 0 && uoff && put_user(off, UPTR(uoff)) ? -EFAULT : r;
}

static bool rw_overlap(u64 a, u64 b, u64 n)
{
	return a < b + n && b < a + n;
}

long sys_copy_file_range(u64 in_fd, u64 uin, u64 out_fd, u64 uout, u64 n, u64 flags)
{
	u64 in_off = 0, out_off = 0;
	if (flags)
		return -EINVAL;
	if ((uin && get_user(in_off, UPTR(uin))) || (uout && get_user(out_off, UPTR(uout))))
		return -EFAULT;
	scoped_file in = fd_get_access((int)in_fd, false);
	scoped_file out = fd_get_access((int)out_fd, true);
	if (!in || !out)
		return -EBADF;
	if (S_ISDIR(in->inode->mode) || S_ISDIR(out->inode->mode))
		return -EISDIR;
	if (!S_ISREG(in->inode->mode) || !S_ISREG(out->inode->mode) || (s64)in_off < 0 || (s64)out_off < 0)
		return -EINVAL;
	if (out->flags & O_APPEND)
		return -EBADF;
	if (in->inode == out->inode && rw_overlap(uin ? in_off : in->pos, uout ? out_off : out->pos, n))
		return -EINVAL;
	long r = rw_copy_between(in, uin ? &in_off : &in->pos, out, uout ? &out_off : &out->pos, MIN(n, COUNT_MAX));
	if (r >= 0 && ((uin && put_user(in_off, UPTR(uin))) || (uout && put_user(out_off, UPTR(uout)))))
		return -EFAULT;
	return r;
}
