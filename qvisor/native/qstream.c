/* QCall operations on streams: the standard streams, which may be pipes, terminals, sockets or files. Never blocks, and never sets O_NONBLOCK of a file
 * that others have open, too: of a terminal QVisor has an open file of its own. */
#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vm.h"

#define PIPE_SIZE (1 << 20)     /* /proc/sys/fs/pipe-max-size: what anybody may have */
#define BLOCKING_WRITE_MAX 4096 /* PIPE_BUF: what poll(POLLOUT) promises not to block */

static struct qv_handle *stream(struct qv *vm, uint64_t index)
{
	if (index > 2 || vm->handles[index].kind != QV_H_STREAM || vm->handles[index].fd < 0)
		return NULL;
	return &vm->handles[index];
}

static int ready(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};
	struct timespec now = {0};
	int n = ppoll(&p, 1, &now, NULL);
	return n < 0 ? -errno : n ? p.revents : 0;
}

/* A pipe that was full or empty: a larger one means fewer turns between its two ends. Refused when the user has too many such pipes; all the same. */
static void grow_pipe(int fd)
{
	int size = fcntl(fd, F_GETPIPE_SZ);
	if (size > 0 && size < PIPE_SIZE)
		fcntl(fd, F_SETPIPE_SZ, PIPE_SIZE);
}

void qstream_take(struct qv *vm, const int stdio[3])
{
	char link[FD_NAME];
	for (int i = 0; i < 3; i++) {
		vm->handles[i] = (struct qv_handle){.fd = stdio[i], .kind = QV_H_STREAM, .writable = true};
		int mode = isatty(stdio[i]) ? fcntl(stdio[i], F_GETFL) & O_ACCMODE : -1;
		vm_fd_name(stdio[i], link);
		/* Not of another user's terminal, as after su(1): poll(2), then, is the best that there is. */
		vm->terminals[i] = mode < 0 ? 0 : open(link, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) + 1;
	}
}

void qstream_close_all(struct qv *vm)
{
	for (int i = 0; i < 3; i++)
		if (vm->terminals[i])
			close(vm->terminals[i] - 1);
}

/* What to read and write. */
static int stream_fd(const struct qv *vm, uint64_t handle)
{
	return vm->terminals[handle] ? vm->terminals[handle] - 1 : vm->handles[handle].fd;
}

static int64_t stream_read(int fd, const struct iovec *iov, int n)
{
	ssize_t r = preadv2(fd, iov, n, -1, RWF_NOWAIT);
	if (r >= 0 || (errno != EOPNOTSUPP && errno != EAGAIN && errno != ENOSYS && errno != EINVAL))
		return r < 0 ? -errno : r;
	if (ready(fd, POLLIN) <= 0) {
		grow_pipe(fd);
		return -EAGAIN;
	}
	r = preadv2(fd, iov, n, -1, 0);
	return r < 0 ? -errno : r;
}

/* Does a write there end by itself, however much it is? A file, or a device that is no terminal (/dev/null, /dev/full). */
static bool never_waits(int fd)
{
	struct stat st;
	struct termios mode;
	return fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) || (S_ISCHR(st.st_mode) && ioctl(fd, TCGETS, &mode)));
}

static int64_t stream_write(int fd, struct iovec *iov, int n)
{
	ssize_t r = pwritev2(fd, iov, n, -1, RWF_NOWAIT);
	if (r >= 0 || (errno != EOPNOTSUPP && errno != EAGAIN && errno != ENOSYS && errno != EINVAL))
		return r < 0 ? -errno : r;
	bool whole = never_waits(fd);
	if (!whole && ready(fd, POLLOUT) <= 0) {
		grow_pipe(fd);
		return -EAGAIN;
	}
	size_t left = whole ? SIZE_MAX : BLOCKING_WRITE_MAX;
	for (int i = 0; i < n; i++) {
		if (iov[i].iov_len > left)
			iov[i].iov_len = left;
		left -= iov[i].iov_len;
	}
	r = pwritev2(fd, iov, n, -1, 0);
	return r < 0 ? -errno : r;
}

int64_t qstream_log(struct qv *vm, struct iovec *iov, int n)
{
	return stream(vm, 2) ? stream_write(stream_fd(vm, 2), iov, n) : 0;
}

static int64_t stream_poll(struct qv *vm, int handle, uint32_t events)
{
	int bits = ready(vm->handles[handle].fd, (short)events);
	if (bits < 0)
		return bits;
	uint32_t missing = events & (POLLIN | POLLOUT | POLLPRI | POLLRDHUP) & ~(uint32_t)bits;
	if (!missing || bits & (POLLERR | POLLHUP | POLLNVAL))
		return bits;
	int r = events_arm(vm, handle, missing);
	return r == -EPERM ? (int64_t)(events & (POLLIN | POLLOUT)) : r ? r : bits;
}

static int64_t stream_flags(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	return flags < 0 ? -errno : flags & O_PATH ? -EBADF : flags; /* O_PATH: in the place of one that the caller closed */
}

static int64_t stream_seek(int fd, const struct qv_call *call)
{
	off_t at = lseek(fd, (off_t)call->arg[1], (int)call->arg[2]);
	return at < 0 ? -errno : at;
}

static int64_t stream_ioctl(int fd, uint64_t request, uint64_t arg, void *data, uint32_t *len)
{
	switch (request) {
	case TCGETS:
		*len = sizeof(struct termios);
		break;
	case TIOCGWINSZ:
		*len = sizeof(struct winsize);
		break;
	case FIONREAD:
		*len = sizeof(int);
		break;
	case TCSETS:
	case TCSETSW:
	case TCSETSF:
		if (*len < sizeof(struct termios))
			return -EINVAL;
		*len = 0;
		break;
	case TIOCSWINSZ:
		if (*len < sizeof(struct winsize))
			return -EINVAL;
		*len = 0;
		break;
	case TCSBRK:
	case TCSBRKP:
	case TCXONC:
	case TCFLSH:
		*len = 0;
		/* tcdrain(3) (TCSBRK, 1) waits as long as the terminal's reader likes: what was written is in its hands. */
		return request == TCSBRK || request == TCSBRKP || !ioctl(fd, request, arg) ? 0 : -errno;
	default:
		return -ENOTTY;
	}
	return ioctl(fd, request, data) ? -errno : 0;
}

int64_t qstream_call(struct qv *vm, struct qv_call *call)
{
	struct iovec iov[QK_SEG_MAX];
	struct qv_handle *h = stream(vm, call->arg[0]);
	uint32_t len = call->data_len;
	int n;
	call->data_len = 0;
	if (!h)
		return -EBADF;
	switch (call->op) {
	case QC_READ:
		n = segs_to_iov(vm, call, iov);
		return n < 0 ? n : stream_read(stream_fd(vm, call->arg[0]), iov, n);
	case QC_WRITE: {
		n = segs_to_iov(vm, call, iov);
		int64_t r = n < 0 ? n : stream_write(stream_fd(vm, call->arg[0]), iov, n);
		if (r > 0 && call->arg[0] == 1 && !vm->first_output_ns)
			vm_first_output(vm);
		return r;
	}
	case QC_POLL:
		return stream_poll(vm, (int)call->arg[0], (uint32_t)call->arg[1]);
	case QC_FLAGS:
		return stream_flags(h->fd);
	case QC_LSEEK:
		return stream_seek(h->fd, call);
	default:
		call->data_len = len;
		return stream_ioctl(h->fd, call->arg[1], call->arg[2], call->data, &call->data_len);
	}
}
