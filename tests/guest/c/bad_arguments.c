/* Hostile arguments that are not pointers: huge sizes and counts, negative descriptors, overflows, absurd flags. */
#include "check.h"
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static char buffer[4096];

int main(void)
{
	int file = open("file", O_RDWR | O_CREAT, 0600), zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY), pair[2];
	REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	long b = (long)buffer;

	CHECK_ERR("read.size_negative", syscall(SYS_read, file, b, -1L), EFAULT);
	CHECK_ERR("pread.offset_negative", syscall(SYS_pread64, file, b, 1, LONG_MIN), EINVAL);
	CHECK_ERR("pwrite.offset_overflow", syscall(SYS_pwrite64, file, b, 4096, LONG_MAX - 10), EINVAL);
	CHECK("readv.sum_overflow", syscall(SYS_readv, zero, (struct iovec[]){{buffer, LONG_MAX}, {buffer, LONG_MAX}}, 2) == -1);
	CHECK_ERR("writev.sum_overflow", syscall(SYS_writev, null, (struct iovec[]){{buffer, -1UL}, {buffer, 1}}, 2), EINVAL);
	CHECK_ERR("fallocate.overflow", syscall(SYS_fallocate, file, 0, LONG_MAX, LONG_MAX), EFBIG);

	CHECK_ERR("mmap.size_max", syscall(SYS_mmap, 0, ULONG_MAX, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
	CHECK_ERR("mmap.offset_overflow", syscall(SYS_mmap, 0, 1L << 40, PROT_READ, MAP_PRIVATE, file, LONG_MAX & ~4095L), EOVERFLOW);
	CHECK("munmap.size_max", syscall(SYS_munmap, b & ~4095L, ULONG_MAX) == -1);
	CHECK("mprotect.size_max", syscall(SYS_mprotect, b & ~4095L, ULONG_MAX & ~4095UL, PROT_READ) == -1);
	CHECK("madvise.size_max", syscall(SYS_madvise, b & ~4095L, ULONG_MAX & ~4095UL, MADV_DONTNEED) == -1);
	CHECK("mremap.size_max", syscall(SYS_mremap, b & ~4095L, 4096, ULONG_MAX & ~4095UL, MREMAP_MAYMOVE) == -1);
	CHECK("mincore.size_max", syscall(SYS_mincore, b & ~4095L, ULONG_MAX & ~4095UL, b) == -1);
	CHECK("msync.size_max", syscall(SYS_msync, b & ~4095L, ULONG_MAX & ~4095UL, MS_ASYNC) == -1);
	CHECK("brk.max", syscall(SYS_brk, ULONG_MAX) == syscall(SYS_brk, 0));

	CHECK_ERR("poll.count_max", syscall(SYS_poll, b, UINT_MAX, 0), EINVAL);
	CHECK_ERR("epoll_wait.count_max", syscall(SYS_epoll_wait, epoll_create1(0), b, INT_MAX, 0), EINVAL);
	CHECK_ERR("epoll_create.zero", epoll_create(0), EINVAL);
	CHECK_ERR("epoll_create1.flags", epoll_create1(-1), EINVAL);
	CHECK_ERR("eventfd.flags", eventfd(0, -1), EINVAL);
	CHECK_ERR("select.count", syscall(SYS_select, INT_MIN, 0, 0, 0, 0), EINVAL);
	CHECK_ERR("sendto.size_max", syscall(SYS_sendto, pair[0], b, -1L, MSG_DONTWAIT, 0, 0), EFAULT);
	CHECK_ERR("bind.length_max", syscall(SYS_bind, pair[0], b, UINT_MAX), EINVAL);
	CHECK_ERR("setsockopt.length_negative", syscall(SYS_setsockopt, pair[0], SOL_SOCKET, SO_SNDBUF, b, -1), EINVAL);
	struct msghdr message = {.msg_iov = (struct iovec *)buffer, .msg_iovlen = 1 << 20};
	CHECK_ERR("sendmsg.vector_max", sendmsg(pair[0], &message, 0), EMSGSIZE);
	message = (struct msghdr){.msg_control = buffer, .msg_controllen = ULONG_MAX};
	CHECK("sendmsg.control_max", sendmsg(pair[0], &message, 0) == -1);

	CHECK_ERR("fd.int_min", syscall(SYS_read, INT_MIN, b, 1), EBADF);
	CHECK_ERR("fd.int_max", syscall(SYS_read, INT_MAX, b, 1), EBADF);
	CHECK_EQ("fd.upper_half_ignored", syscall(SYS_pread64, 1L << 32 | (long)file, b, 0, 0), 0);
	CHECK_ERR("close.negative", syscall(SYS_close, -1), EBADF);
	CHECK_ERR("dup2.max", syscall(SYS_dup2, file, UINT_MAX), EBADF);
	CHECK_ERR("open.directory_fd", syscall(SYS_openat, INT_MAX, (long)"x", O_RDONLY, 0), EBADF);
	CHECK_ERR("kill.signal_negative", syscall(SYS_kill, getpid(), -1), EINVAL);
	CHECK_ERR("tgkill.negative", syscall(SYS_tgkill, -1, -1, 0), EINVAL);
	CHECK_ERR("futex.huge_op", syscall(SYS_futex, b, INT_MAX, 0, 0, 0, 0), ENOSYS);
	CHECK_ERR("sched.pid_negative", syscall(SYS_sched_getscheduler, -1), EINVAL);
	CHECK("getrandom.huge", syscall(SYS_getrandom, b, 4096, 0) == 4096);
	CHECK("set_tid_address", syscall(SYS_set_tid_address, 0) == getpid());
	return check_done();
}
