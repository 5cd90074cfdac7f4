/* Access to user memory by walking the page tables in software. */
#include "uaccess.h"
#include "arch.h"
#include "qcall.h"

static size_t uaccess_copy(vaddr_t va, void *k, size_t n, bool to_user)
{
	size_t done = 0;
	if (!access_ok(UPTR(va), n))
		n = va < QK_USER_TOP ? QK_USER_TOP - va : 0;
	while (done < n) {
		size_t part = MIN(n - done, PAGE_SIZE - (va & (PAGE_SIZE - 1)));
		paddr_t p = mm_translate(mm_current(), va, to_user ? PF_WRITE : 0);
		if (!p)
			break;
		if (to_user)
			memcpy(phys_to_virt(p), (char *)k + done, part);
		else
			memcpy((char *)k + done, phys_to_virt(p), part);
		done += part;
		va += part;
	}
	return done;
}

int copy_from_user(void *dst, uptr src, size_t n)
{
	return access_ok(src, n) && uaccess_copy(src.addr, dst, n, false) == n ? 0 : -EFAULT;
}

int copy_to_user(uptr dst, const void *src, size_t n)
{
	return access_ok(dst, n) && uaccess_copy(dst.addr, (void *)src, n, true) == n ? 0 : -EFAULT;
}

size_t copy_to_user_partial(uptr dst, const void *src, size_t n)
{
	return uaccess_copy(dst.addr, (void *)src, n, true);
}

static size_t uaccess_clear(vaddr_t va, size_t n)
{
	size_t done = 0;
	if (!access_ok(UPTR(va), n))
		return 0;
	while (done < n) {
		size_t part = MIN(n - done, PAGE_SIZE - (va & (PAGE_SIZE - 1)));
		paddr_t p = mm_translate(mm_current(), va, PF_WRITE);
		if (!p)
			break;
		memset(phys_to_virt(p), 0, part);
		done += part;
		va += part;
	}
	return done;
}

long strncpy_from_user(char *dst, uptr src, size_t size)
{
	size_t n = 0;
	while (n < size) {
		vaddr_t va = src.addr + n;
		paddr_t p = va < QK_USER_TOP ? mm_translate(mm_current(), va, 0) : 0;
		if (!p)
			return -EFAULT;
		size_t part = MIN(size - n, PAGE_SIZE - (va & (PAGE_SIZE - 1)));
		const char *s = phys_to_virt(p);
		for (size_t i = 0; i < part; i++) {
			dst[n] = s[i];
			if (!s[i])
				return (long)n;
			n++;
		}
	}
	return -ENAMETOOLONG;
}

ssize_t seg_add_user(uptr u, u64 n, bool write)
{
	u64 done = 0;
	if (!access_ok(u, n))
		return -EFAULT;
	while (done < n) {
		u64 part = MIN(n - done, PAGE_SIZE - ((u.addr + done) & (PAGE_SIZE - 1)));
		paddr_t p = mm_translate(mm_current(), u.addr + done, write ? PF_WRITE : 0);
		if (!p || seg_add(p, part))
			break;
		done += part;
	}
	return done || !n ? (ssize_t)done : -EFAULT;
}

u32 *user_word(uptr p, bool write, paddr_t *key)
{
	paddr_t a = p.addr & 3 ? 0 : mm_translate(mm_current(), p.addr, write ? PF_WRITE : 0);
	if (!a)
		return NULL;
	if (key)
		*key = a;
	return phys_to_virt(a);
}

/* One contiguous piece of the uio, at most n bytes; 0 at the end. */
static u64 uaccess_piece(const struct uio *u, u64 n, u64 *base)
{
	*base = u->iov->base + u->off;
	return MIN(n, MIN(u->resid, u->iov->len - u->off));
}

void uio_advance(struct uio *u, u64 n)
{
	u->resid -= n;
	u->off += n;
	while (u->cnt && u->off >= u->iov->len && (u->off || !u->iov->len)) {
		u->off -= u->iov->len;
		u->iov++;
		u->cnt--;
	}
}

enum uio_kind { UIO_FROM, UIO_TO, UIO_ZERO };

static ssize_t uaccess_transfer(struct uio *u, void *k, size_t n, enum uio_kind kind)
{
	size_t done = 0;
	while (done < n && u->resid) {
		u64 base, part = uaccess_piece(u, n - done, &base), got = part;
		if (!part) {
			uio_advance(u, 0);
			continue;
		}
		char *at = (char *)((u64)k + done); /* k is NULL when zeroes are written */
		if (u->kernel && kind == UIO_FROM)
			memcpy(at, (void *)base, part);
		else if (u->kernel && kind == UIO_TO)
			memcpy((void *)base, at, part);
		else if (u->kernel)
			memset((void *)base, 0, part);
		else if (kind == UIO_FROM)
			got = uaccess_copy(base, at, part, false);
		else if (kind == UIO_TO)
			got = uaccess_copy(base, at, part, true);
		else
			got = uaccess_clear(base, part);
		uio_advance(u, got);
		done += got;
		if (got < part)
			return done ? (ssize_t)done : -EFAULT;
	}
	return (ssize_t)done;
}

ssize_t uio_read(struct uio *u, void *dst, size_t n)
{
	return uaccess_transfer(u, dst, n, UIO_FROM);
}

ssize_t uio_write(struct uio *u, const void *src, size_t n)
{
	return uaccess_transfer(u, (void *)src, n, UIO_TO);
}

ssize_t uio_zero(struct uio *u, size_t n)
{
	return uaccess_transfer(u, NULL, n, UIO_ZERO);
}

/* Faults the pages in first: a fault may read a file, a call of its own, and the segment list is one. */
static void uaccess_prefault(const struct uio *u, u64 n, bool write)
{
	u64 off = u->off;
	for (unsigned i = 0; i < u->cnt && n; i++, off = 0) {
		u64 base = u->iov[i].base + off, part = MIN(n, u->iov[i].len - off);
		for (u64 at = base & PAGE_MASK; part && at < base + part; at += PAGE_SIZE)
			if (!mm_translate(mm_current(), at, write ? PF_WRITE : 0))
				return;
		n -= part;
	}
}

ssize_t uio_segs(struct uio *u, u64 n, bool write)
{
	u64 done = 0, off = u->off;
	n = MIN(n, u->resid);
	if (!u->kernel)
		uaccess_prefault(u, n, write);
	seg_begin();
	for (unsigned i = 0; i < u->cnt && done < n; i++, off = 0) {
		u64 base = u->iov[i].base + off, part = MIN(n - done, u->iov[i].len - off);
		if (u->kernel) {
			if (seg_add(virt_to_phys((void *)base), part))
				break;
			done += part;
			continue;
		}
		ssize_t got = part ? seg_add_user(UPTR(base), part, write) : 0;
		if (got < 0)
			return done ? (ssize_t)done : got;
		done += (u64)got;
		if ((u64)got < part)
			break;
	}
	return (ssize_t)done;
}
