/* Random system calls with random arguments from a seed: fuzz SEED COUNT plan|run.
 * `plan` prints a hash of the calls it would make: the same everywhere. `run` makes them, and refuses outside a sandbox
 * (no /dev/quark), because the calls would hit the host. The result is not compared: the sandbox has to survive. */
#include "check.h"
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>

#define ARENA (64 * 4096L)
static char *arena; /* calls that change mappings are pointed here, so the program itself survives */
static uint64_t state, filler;

static uint64_t splitmix64(uint64_t *from)
{
	uint64_t z = (*from += 0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static uint64_t next(void)
{
	return splitmix64(&state);
}

static long any_number(void)
{
	static const long interesting[] = {0,     1,  2,  3,     7,         8,         16,        255,       4095,     4096,    4097,
					   65536, -1, -2, -4096, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, 1L << 32, 1L << 47};
	uint64_t kind = next() % 4;
	if (kind == 0)
		return interesting[next() % (sizeof interesting / sizeof *interesting)];
	if (kind == 1)
		return (long)(next() % 64);
	if (kind == 2)
		return 1L << next() % 64;
	return (long)next();
}

/* Offsets are symbolic in `plan` mode, where arena is NULL: the hash depends on the seed alone. */
static long any_pointer(void)
{
	static const long outside[] = {0, 8, 0x7f8000000000, 0x7fa123456000, 0x7ffffffff000, 0x800000000000, (long)0xffff800000000000, -4096, -1};
	uint64_t kind = next() % 8;
	if (kind == 0)
		return outside[next() % (sizeof outside / sizeof *outside)];
	if (kind == 1)
		return (long)arena + ARENA - (long)(next() % 32); /* straddles the end */
	if (kind == 2)
		return (long)arena + (long)(next() % ARENA);
	return (long)arena + (long)(next() % (ARENA / 4096) * 4096 + next() % 16 * 8);
}

static const char *const paths[] = {"f",         "d",         "d/x", "d/y",  "absent", ".", "..", "/proc/self/maps", "/proc/self/status",
				    "/dev/null", "/dev/zero", "s",   "/tmp", "d/../f", ""};

static long any_argument(void)
{
	switch (next() % 6) {
	case 0:
		return (long)(next() % 24); /* a descriptor, most likely */
	case 1:
		return any_number();
	case 2: {
		long at = (long)arena + (long)(next() % (ARENA / 4096)) * 4096;
		const char *path = paths[next() % (sizeof paths / sizeof *paths)];
		if (arena)
			strcpy((char *)at, path);
		return at;
	}
	default:
		return any_pointer();
	}
}

/* Left out: what ends or stops this process by design, makes processes, or takes away its means to go on. */
static int left_out(long number)
{
	switch (number) {
	case SYS_exit:
	case SYS_exit_group:
	case SYS_fork:
	case SYS_vfork:
	case SYS_clone:
	case SYS_clone3:
	case SYS_execve:
	case SYS_execveat:
	case SYS_kill:
	case SYS_tkill:
	case SYS_tgkill:
	case SYS_rt_sigqueueinfo:
	case SYS_rt_tgsigqueueinfo:
	case SYS_pidfd_send_signal:
	case SYS_rt_sigreturn:
	case SYS_rt_sigaction:
	case SYS_rt_sigprocmask:
	case SYS_setitimer:
	case SYS_alarm:
	case SYS_pause:
	case SYS_reboot:
	case SYS_arch_prctl:
	case SYS_set_robust_list:
	case SYS_set_tid_address:
	case SYS_rseq:
	case SYS_seccomp:
	case SYS_setrlimit:
	case SYS_prlimit64:
		return 1;
	default:
		return 0;
	}
}

static int changes_mappings(long number)
{
	return number == SYS_mmap || number == SYS_munmap || number == SYS_mprotect || number == SYS_mremap || number == SYS_madvise ||
	       number == SYS_remap_file_pages || number == SYS_pkey_mprotect || number == SYS_process_madvise || number == SYS_shmat;
}

static void on_tick(int signal)
{
	(void)signal;
}

/* Undoes what a call may have done to our means: the tick that ends blocking calls, and the arena. */
static void repair(void)
{
	struct sigaction act = {.sa_handler = on_tick}; /* no SA_RESTART: blocking calls end */
	struct itimerval tick = {{0, 2000}, {0, 2000}};
	sigset_t none;
	sigemptyset(&none);
	sigaction(SIGALRM, &act, NULL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setitimer(ITIMER_REAL, &tick, NULL);
	mmap(arena, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	for (long i = 0; i < ARENA; i += 8)
		*(uint64_t *)(arena + i) = splitmix64(&filler) >> (i & 8 ? 55 : 0);
}

int main(int argc, char **argv)
{
	REQUIRE(argc == 4);
	state = strtoull(argv[1], NULL, 0);
	long count = atol(argv[2]);
	int run = strcmp(argv[3], "run") == 0;
	if (run && access("/dev/quark", F_OK) != 0) {
		show("refused: not inside a sandbox");
		return 2;
	}
	if (run) {
		arena = mmap(NULL, ARENA + 2 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		REQUIRE(arena != MAP_FAILED);
		arena += 4096;
		signal(SIGPIPE, SIG_IGN);
		signal(SIGXFSZ, SIG_IGN);
		for (int i = SIGRTMIN; i <= SIGRTMAX; i++)
			signal(i, SIG_IGN);
		signal(SIGIO, SIG_IGN);
	}
	int out = run ? fcntl(1, F_DUPFD, 100) : 1; /* survives random closes of low numbers, most of the time */
	uint64_t plan = 0;
	for (long i = 0; i < count; i++) {
		long number = next() % 50 ? (long)(next() % 451) : any_number();
		long args[6];
		for (int j = 0; j < 6; j++)
			args[j] = any_argument();
		if (left_out(number))
			continue;
		if (changes_mappings(number)) {
			args[0] = (long)arena + (long)(next() % (ARENA / 4096)) * 4096;
			args[1] = (long)(next() % 8) * 4096;
			if (number == SYS_mmap || number == SYS_mremap)
				args[3] &= ~(long)(MAP_FIXED | MAP_FIXED_NOREPLACE);
			if (number == SYS_mremap)
				args[3] &= ~2L;
		}
		if (number == SYS_nanosleep || number == SYS_clock_nanosleep)
			args[number == SYS_nanosleep ? 0 : 2] &= ~7L;
		plan = plan * 31 + (uint64_t)number;
		for (int j = 0; j < 6; j++)
			plan = plan * 31 + (uint64_t)args[j];
		if (!run)
			continue;
		repair();
		syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
	}
	if (run) {
		dup2(out, 1);
		show("survived");
		_exit(0);
	}
	show("plan %016lx", plan);
	return check_done();
}
