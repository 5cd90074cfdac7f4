/* The oracle of transfers in the request fuzzer: all memory that a request moves is the guest's, but for what QVisor puts around a line of the log. */
#include <sys/uio.h>

#include "requests.h"

#define LOG_MARKS 7 /* bytes: "quark: " */
static _Thread_local bool logs;

int64_t __real_qstream_log(struct qv *vm, struct iovec *iov, int n);
int64_t __wrap_qstream_log(struct qv *vm, struct iovec *iov, int n);
int64_t __wrap_qstream_log(struct qv *vm, struct iovec *iov, int n)
{
	logs = true;
	int64_t r = __real_qstream_log(vm, iov, n);
	logs = false;
	return r;
}

static void check_iov(int fd, const struct iovec *iov, int n)
{
	const struct qv *vm = machine;
	if (vm && fd == vm->pagemap_fd)
		return; /* a capture asks which pages there are */
	for (int i = 0; vm && i < n; i++) {
		const char *at = iov[i].iov_base;
		size_t len = iov[i].iov_len;
		bool ram = at >= vm->ram && len <= vm->ram_bytes && (size_t)(at - vm->ram) <= vm->ram_bytes - len;
		bool window = vm->window && at >= vm->window && len <= QK_WINDOW_CHUNK * (size_t)QK_WINDOW_CHUNKS &&
			      (size_t)(at - vm->window) <= QK_WINDOW_CHUNK * (size_t)QK_WINDOW_CHUNKS - len;
		bool text = logs && ((at >= vm->comm_area && len <= QK_DATA_SIZE && at + len <= vm->comm_area + QK_COMM_SIZE(vm->nvcpus)) ||
				     len <= LOG_MARKS);
		if (!ram && !window && !text)
			violation("a transfer of %zu bytes at %p, which is none of the guest's memory", len, (const void *)at);
	}
}

/* The linker gives these the calls of QVisor's objects (--wrap). */
#define WRAP(name, declared, passed) \
	ssize_t __real_##name declared; \
	ssize_t __wrap_##name declared; \
	ssize_t __wrap_##name declared \
	{ \
		check_iov(fd, iov, n); \
		return __real_##name passed; \
	}
WRAP(preadv, (int fd, const struct iovec *iov, int n, off_t at), (fd, iov, n, at))
WRAP(preadv2, (int fd, const struct iovec *iov, int n, off_t at, int flags), (fd, iov, n, at, flags))
WRAP(pwritev2, (int fd, const struct iovec *iov, int n, off_t at, int flags), (fd, iov, n, at, flags))
WRAP(readv, (int fd, const struct iovec *iov, int n), (fd, iov, n))
WRAP(writev, (int fd, const struct iovec *iov, int n), (fd, iov, n))

void __real_qfile_close_pending(struct qv_vcpu *v);
void __wrap_qfile_close_pending(struct qv_vcpu *v);
/* Each request begins with it. */
void __wrap_qfile_close_pending(struct qv_vcpu *v)
{
	atomic_fetch_add(&served, 1);
	__real_qfile_close_pending(v);
}
