/* Every system call family with pointers it must refuse: EFAULT (or the errno Linux checks first), never a crash.
 * Each call is made with five kinds of bad address; a line shows the errno names in that order. */
#include "check.h"
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>

static long bad[6];
#define BAD_KINDS 5 /* low, unmapped, PROT_NONE, end of a page that has no next, kernel half; [5] is read-only */

static long call(long number, const long *args)
{
	return syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

#define B 0x7fff0bad /* replaced by the bad address */
struct probe {
	const char *name;
	long number;
	long args[6];
	int write_only; /* the kernel writes there: read-only memory is bad too */
};

static void probe(const struct probe *p)
{
	char line[200];
	int at = snprintf(line, sizeof line, "%s", p->name);
	for (int kind = 0; kind < BAD_KINDS + p->write_only; kind++) {
		long args[6];
		for (int i = 0; i < 6; i++)
			args[i] = p->args[i] == B ? bad[kind] : p->args[i];
		*(char *)bad[3] = 'p'; /* an earlier call may have written the one good byte */
		long result = call(p->number, args);
		at += snprintf(line + at, sizeof line - (size_t)at, " %s", result == -1 ? errno_name(errno) : "done");
	}
	show("%s", line);
}

int main(void)
{
	char *pages = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(pages, 'p', 4096);
	char *read_only = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	REQUIRE(munmap(pages + 4096, 4096) == 0 && mprotect(pages + 3 * 4096, 4096, PROT_NONE) == 0); /* nothing is mapped after this */
	bad[0] = 8;
	bad[1] = (long)(pages + 4096 + 64);
	bad[2] = (long)(pages + 3 * 4096);
	bad[3] = (long)(pages + 4096 - 1); /* one good byte, then nothing */
	bad[4] = (long)0xffff800000001000;
	bad[5] = (long)read_only;
	int file = open("file", O_RDWR | O_CREAT, 0600), pair[2], stream[2], ends[2];
	REQUIRE(write(file, "0123456789abcdef", 16) == 16 && socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0 && pipe(ends) == 0);
	REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, stream) == 0 && fcntl(stream[0], F_SETFL, O_NONBLOCK) == 0);
	int ep = epoll_create1(0), event = eventfd(1, EFD_NONBLOCK), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	int zero = open("/dev/zero", O_RDONLY), random = open("/dev/urandom", O_RDONLY), directory = open(".", O_RDONLY);
	char buffer[256] = "x";
	long b = (long)buffer;
	const struct probe probes[] = {
		{"open", SYS_open, {B, O_RDONLY}, 0},
		{"openat", SYS_openat, {AT_FDCWD, B, O_RDONLY}, 0},
		{"stat.path", SYS_stat, {B, b}, 0},
		{"stat.buffer", SYS_stat, {(long)".", B}, 1},
		{"fstat", SYS_fstat, {file, B}, 1},
		{"newfstatat", SYS_newfstatat, {AT_FDCWD, (long)".", B, 0}, 1},
		{"statx", SYS_statx, {AT_FDCWD, (long)".", 0, STATX_SIZE, B}, 1},
		{"statfs", SYS_statfs, {(long)".", B}, 1},
		{"access", SYS_access, {B, F_OK}, 0},
		{"mkdir", SYS_mkdir, {B, 0700}, 0},
		{"rmdir", SYS_rmdir, {B}, 0},
		{"unlink", SYS_unlink, {B}, 0},
		{"rename.old", SYS_rename, {B, (long)"x"}, 0},
		{"rename.new", SYS_rename, {(long)"file", B}, 0},
		{"link", SYS_link, {(long)"file", B}, 0},
		{"symlink", SYS_symlink, {B, (long)"s"}, 0},
		{"readlink", SYS_readlink, {(long)"/proc/self/exe", B, 100}, 1},
		{"chdir", SYS_chdir, {B}, 0},
		{"getcwd", SYS_getcwd, {B, 4096}, 1},
		{"chmod", SYS_chmod, {B, 0600}, 0},
		{"truncate", SYS_truncate, {B, 0}, 0},
		{"utimensat.times", SYS_utimensat, {AT_FDCWD, (long)"file", B, 0}, 0},
		{"getdents64", SYS_getdents64, {directory, B, 1000}, 1},
		{"pread.file", SYS_pread64, {file, B, 16, 0}, 1},
		{"pwrite.file", SYS_pwrite64, {file, B, 16, 0}, 0},
		{"readv.vector", SYS_readv, {zero, B, 2}, 0},
		{"writev.vector", SYS_writev, {file, B, 2}, 0},
		{"write.eventfd", SYS_write, {event, B, 8}, 0},
		{"pipe2", SYS_pipe2, {B, 0}, 1},
		{"sendfile.offset", SYS_sendfile, {ends[1], file, B, 1}, 1},
		{"copy_file_range", SYS_copy_file_range, {file, B, file, B, 1, 0}, 1},
		{"fcntl.getlk", SYS_fcntl, {file, F_GETLK, B}, 0},
		{"ioctl.fionread", SYS_ioctl, {ends[0], 0x541b, B}, 1},
		{"poll", SYS_poll, {B, 2, 0}, 1},
		{"ppoll.time", SYS_ppoll, {0, 0, B, 0, 8}, 0},
		{"ppoll.mask", SYS_ppoll, {0, 0, 0, B, 8}, 0},
		{"select.set", SYS_select, {64, B, 0, 0, 0}, 0},
		{"select.time", SYS_select, {0, 0, 0, 0, B}, 0},
		{"epoll_ctl", SYS_epoll_ctl, {ep, EPOLL_CTL_ADD, event, B}, 0},
		{"timerfd_settime", SYS_timerfd_settime, {timer, 0, B, 0}, 0},
		{"timerfd_gettime", SYS_timerfd_gettime, {timer, B}, 1},
		{"signalfd4", SYS_signalfd4, {-1, B, 8, 0}, 0},
		{"memfd_create", SYS_memfd_create, {B, 0}, 0},
		{"rt_sigaction.new", SYS_rt_sigaction, {SIGUSR1, B, 0, 8}, 0},
		{"rt_sigaction.old", SYS_rt_sigaction, {SIGUSR1, 0, B, 8}, 1},
		{"rt_sigprocmask.new", SYS_rt_sigprocmask, {SIG_BLOCK, B, 0, 8}, 0},
		{"rt_sigprocmask.old", SYS_rt_sigprocmask, {SIG_BLOCK, 0, B, 8}, 1},
		{"rt_sigpending", SYS_rt_sigpending, {B, 8}, 1},
		{"rt_sigsuspend", SYS_rt_sigsuspend, {B, 8}, 0},
		{"rt_sigtimedwait", SYS_rt_sigtimedwait, {B, 0, 0, 8}, 0},
		{"sigaltstack.new", SYS_sigaltstack, {B, 0}, 0},
		{"sigaltstack.old", SYS_sigaltstack, {0, B}, 1},
		{"setitimer", SYS_setitimer, {ITIMER_REAL, B, 0}, 0},
		{"getitimer", SYS_getitimer, {ITIMER_REAL, B}, 1},
		{"timer_create", SYS_timer_create, {CLOCK_MONOTONIC, B, b}, 0},
		{"nanosleep", SYS_nanosleep, {B, 0}, 0},
		{"clock_nanosleep", SYS_clock_nanosleep, {CLOCK_MONOTONIC, 0, B, 0}, 0},
		{"clock_gettime", SYS_clock_gettime, {CLOCK_PROCESS_CPUTIME_ID, B}, 1},
		{"clock_getres", SYS_clock_getres, {CLOCK_MONOTONIC, B}, 1},
		{"gettimeofday", SYS_gettimeofday, {B, 0}, 1},
		{"time", SYS_time, {B}, 1},
		{"times", SYS_times, {B}, 1},
		{"getrusage", SYS_getrusage, {RUSAGE_SELF, B}, 1},
		{"getrlimit", SYS_getrlimit, {RLIMIT_CORE, B}, 1},
		{"setrlimit", SYS_setrlimit, {RLIMIT_CORE, B}, 0},
		{"uname", SYS_uname, {B}, 1},
		{"sysinfo", SYS_sysinfo, {B}, 1},
		{"getrandom", SYS_getrandom, {B, 16, 0}, 1},
		{"sched_getaffinity", SYS_sched_getaffinity, {0, 128, B}, 1},
		{"sched_setaffinity", SYS_sched_setaffinity, {0, 8, B}, 0},
		{"sched_getparam", SYS_sched_getparam, {0, B}, 1},
		{"prctl.set_name", SYS_prctl, {15, B}, 0},
		{"prctl.get_name", SYS_prctl, {16, B}, 1},
		{"getresuid", SYS_getresuid, {B, B, B}, 1},
		{"mincore", SYS_mincore, {(long)pages, 4096, B}, 1},
		{"futex.wait", SYS_futex, {B, 0, 'p', 0, 0, 0}, 0},
		{"futex.timeout", SYS_futex, {b, 128, 'x', B, 0, 0}, 0},
		{"socketpair", SYS_socketpair, {AF_UNIX, SOCK_STREAM, 0, B}, 1},
		{"bind", SYS_bind, {pair[0], B, 20}, 0},
		{"connect", SYS_connect, {pair[0], B, 20}, 0},
		{"getsockname", SYS_getsockname, {pair[0], B, b}, 0},
		{"getsockopt.length", SYS_getsockopt, {pair[0], SOL_SOCKET, SO_TYPE, b, B}, 0},
		{"setsockopt", SYS_setsockopt, {pair[0], SOL_SOCKET, SO_PASSCRED, B, 4}, 0},
		{"sendto", SYS_sendto, {pair[0], B, 16, MSG_DONTWAIT, 0, 0}, 0},
		{"sendmsg", SYS_sendmsg, {pair[0], B, 0}, 0},
		{"recvmsg", SYS_recvmsg, {pair[1], B, MSG_DONTWAIT}, 0},
		{"sendto.stream", SYS_sendto, {stream[0], B, 16, MSG_DONTWAIT, 0, 0}, 0},
		{"arch_prctl", SYS_arch_prctl, {0x1003, B}, 1},
		{"get_robust_list", SYS_get_robust_list, {0, B, b}, 1},
		{"capget", SYS_capget, {B, b}, 0},
	};
	for (size_t i = 0; i < sizeof probes / sizeof *probes; i++)
		probe(&probes[i]);

	/* transfers that begin well and end badly move what they can, or nothing: both devices and pipes */
	char *edge = pages + 4096 - 100;
	show("read.zero %ld", read(zero, edge, 300) > 0 ? 1L : -1L);
	CHECK("read.urandom_edge", read(random, edge, 300) <= 100);
	CHECK("write.pipe_edge", write(ends[1], edge, 300) <= 100);
	CHECK_ERR("write.all_bad", write(ends[1], (void *)bad[1], 10), EFAULT);
	CHECK_EQ("write.null_zero_bytes", write(ends[1], NULL, 0), 0);
	CHECK_ERR("read.all_bad", read(zero, (void *)bad[4], 10), EFAULT);
	CHECK("still_alive", write(ends[1], "x", 1) == 1);
	return check_done();
}
