/* The only way to user memory. Walks the page tables of the current address space in software (a real fault costs 50 us on software KVM and the kernel
 * must not fault), faulting pages in as needed. All return 0 or -EFAULT unless said otherwise. */
#ifndef UACCESS_H
#define UACCESS_H

#include "errno.h"
#include "mm.h"

int copy_from_user(void *dst, uptr src, size_t n);
int copy_to_user(uptr dst, const void *src, size_t n);
/* Length without the NUL; -EFAULT; -ENAMETOOLONG when no NUL within size. */
long strncpy_from_user(char *dst, uptr src, size_t size);
/* Bytes that could be accessed (for partial reads/writes): like copy but stops at the first bad page; returns bytes done. */
size_t copy_to_user_partial(uptr dst, const void *src, size_t n);
#define get_user(var, p) copy_from_user(&(var), (p), sizeof(var))
#define put_user(val, p) \
	({ \
		__auto_type _v = (val); \
		copy_to_user((p), &_v, sizeof(_v)); \
	})
static inline uptr uptr_add(uptr p, u64 n) { return UPTR(p.addr + n); }
static inline bool uptr_null(uptr p) { return p.addr == 0; }
/* Is [p, p+n) below QK_USER_TOP without wrap? */
static inline bool access_ok(uptr p, u64 n) { return n <= QK_USER_TOP && p.addr <= QK_USER_TOP - n; }
/* Adds the physical pieces of [p, p+n) to the current segment list (qcall.h). write: the host will write there. Returns bytes added (may be fewer than n
 * when the list is full or memory ends: -EFAULT when none). Valid until the kernel sleeps. */
ssize_t seg_add_user(uptr u, u64 n, bool write);
/* Kernel pointer to a naturally aligned u32 of user memory, for futex: valid until the kernel sleeps; NULL: fault. *key gets its physical address. */
u32 *user_word(uptr p, bool write, paddr_t *key);

/* A user or kernel buffer list, so that read/write paths serve both. */
struct uio {
	const struct kiovec *iov; /* array in kernel memory */
	unsigned cnt;
	u64 off;     /* consumed of iov[0] */
	u64 resid;   /* bytes left */
	bool kernel; /* iov bases are kernel pointers */
};
struct kiovec {
	u64 base, len;
};
#define COUNT_MAX 0x7ffff000ul /* what one call moves at most (MAX_RW_COUNT of Linux) */
/* Makes u the user buffer [buf, buf+n), cut to COUNT_MAX, with v as its one piece; -EFAULT: not user memory. */
static inline int uio_from_user(u64 buf, u64 n, struct kiovec *v, struct uio *u)
{
	*v = (struct kiovec){buf, MIN(n, COUNT_MAX)};
	*u = (struct uio){.iov = v, .cnt = 1, .resid = v->len};
	return access_ok(UPTR(buf), n) ? 0 : -EFAULT;
}
/* Move n bytes between the uio and kernel memory, advancing it; return bytes moved (short at a bad page), or -EFAULT when none. */
ssize_t uio_read(struct uio *u, void *dst, size_t n);        /* from the uio (write(2) path) */
ssize_t uio_write(struct uio *u, const void *src, size_t n); /* to the uio (read(2) path) */
ssize_t uio_zero(struct uio *u, size_t n);
/* Makes the next at most n bytes the QCall segments, without advancing. write: the host writes. Bytes, fewer at a bad page; -EFAULT when none. */
ssize_t uio_segs(struct uio *u, u64 n, bool write);
void uio_advance(struct uio *u, u64 n);

#endif
