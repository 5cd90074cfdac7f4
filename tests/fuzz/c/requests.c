/* Fuzzes the request server: a machine without a running guest, whose place this program takes. The vCPU's thread serves here, the real poller and the real
 * tick thread beside it, and another thread rewrites what a guest can write, at any moment (guest.c). An input is a list of shots (shot.h). */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#if __has_feature(address_sanitizer)
#include <sanitizer/lsan_interface.h>
#endif

#include "requests.h"

#define RAM_RESERVED (4 * QK_SLOT_SIZE)
#define RAM_LIMIT (2 * QK_SLOT_SIZE)
#define FILE_MAX (4u << 20)    /* bytes: RLIMIT_FSIZE */
#define INPUTS_PER_MACHINE 128 /* making one costs milliseconds */
#define INPUTS_PER_CHECK 16
#define POLLER_SPINS 2000
#define THREAD_END_MS 10000
#define MACHINES_PER_LEAK_CHECK 64
#define STEADY_MACHINES 4 /* after which descriptors and threads have to be as many as before */

struct shot shots[SHOTS_MAX];
static size_t count;
struct qv *_Atomic machine;
static int kvm, self, pipe_in[2], pipe_out[2], pty_master, pty_slave, stops, signals;
pthread_mutex_t rewriting = PTHREAD_MUTEX_INITIALIZER;
_Atomic unsigned current;
_Atomic uint64_t served;
static uint64_t inputs, machines, started_ns;
static char recipes[1 << 20]; /* of the last capture: the next clone begins with it */
static size_t nrecipes;
static int fds_before, threads_before;

static void on_kick(int sig)
{
	(void)sig;
}

/* Whoever reads what the guest writes. */
static void *reader(void *unused)
{
	(void)unused;
	for (;;) {
		char data[4096];
		fd_set set;
		FD_ZERO(&set);
		FD_SET(pipe_out[0], &set);
		FD_SET(pty_master, &set);
		select(1 + (pipe_out[0] > pty_master ? pipe_out[0] : pty_master), &set, NULL, NULL, NULL);
		if ((FD_ISSET(pipe_out[0], &set) && read(pipe_out[0], data, sizeof(data)) < 0) ||
		    (FD_ISSET(pty_master, &set) && read(pty_master, data, sizeof(data)) < 0))
			return NULL;
	}
}

static void die(const char *what)
{
	perror(what);
	exit(2);
}

#if __has_feature(address_sanitizer)
/* A machine is not on the heap. */
static void know_machine(struct qv *vm, bool there)
{
	(there ? __lsan_register_root_region : __lsan_unregister_root_region)(vm, sizeof(*vm));
}

static void check_leaks(void)
{
	if (machines % MACHINES_PER_LEAK_CHECK == 0 && __lsan_do_recoverable_leak_check())
		violation("memory of the host was leaked");
}
#else
static void know_machine(struct qv *vm, bool there)
{
	(void)vm;
	(void)there;
}

static void check_leaks(void)
{
}
#endif

static void new_machine(void)
{
	struct qv *vm;
	struct qv_config config = {.ram_limit = RAM_LIMIT, .signals = signals};
	int r = qv_create(kvm, RAM_RESERVED, &vm);
	if (r) {
		fprintf(stderr, "fuzz: no machine: %s\n", strerror(-r));
		exit(2);
	}
	know_machine(vm, true);
	world_fill(&config);
	config.stdio[0] = machines % 2 ? pty_slave : pipe_in[0];
	config.stdio[1] = machines % 2 ? pty_slave : pipe_out[1];
	config.stdio[2] = pipe_out[1];
	if (qv_open_pagemap(vm, self) || qv_configure(vm, &config))
		die("configure");
	if (machines % 4 > 1) {
		world_restore(vm);
		if (nrecipes && qv_recipes_load(vm, recipes, nrecipes))
			violation("the open files of a guest, as a capture recorded them, are refused");
	}
	qv_on_stop(vm, stops);
	vm->comm->boot.ram_limit = RAM_LIMIT;
	vcpu_of(vm)->thread = pthread_self();
	atomic_store(&vcpu_of(vm)->running, 1);
	qcall_allow(vcpu_of(vm), true);
	if (tick_start(vm))
		die("tick");
	pthread_mutex_lock(&rewriting);
	machine = vm;
	pthread_mutex_unlock(&rewriting);
}

/* Memory beyond the limit is not there. */
static void check_memory(const struct qv *vm)
{
	char line[512];
	unsigned long from, to;
	char rights[8];
	uintptr_t end = (uintptr_t)vm->ram + RAM_LIMIT, all = (uintptr_t)vm->ram + RAM_RESERVED;
	if (vm->ram_bytes > RAM_LIMIT || vm->ram_bytes != vm->nslots * QK_SLOT_SIZE)
		violation("the guest has %lu bytes of RAM in %u slots", vm->ram_bytes, vm->nslots);
	FILE *f = fopen("/proc/self/maps", "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) == 3 && from < all && to > end && strncmp(rights, "---", 3) != 0)
			violation("memory beyond the limit: %s", line);
	if (f)
		fclose(f);
}

static void check_handles(struct qv *vm)
{
	qcall_allow(vcpu_of(vm), false);
	for (int i = 3; i < vm->handles_top; i++)
		if (vm->handles[i].kind == QV_H_FILE && vm->handles[i].fd >= 0)
			world_check_descriptor(vm->handles[i].fd, vm->handles[i].root);
	qcall_allow(vcpu_of(vm), true);
}

static void end_machine(void)
{
	struct qv *vm = machine;
	check_memory(vm);
	pthread_mutex_lock(&rewriting);
	machine = NULL;
	pthread_mutex_unlock(&rewriting);
	qcall_allow(vcpu_of(vm), false);
	atomic_store(&vcpu_of(vm)->running, 0);
	know_machine(vm, false);
	qv_destroy(vm);
	check_leaks();
	int fds = world_count("/proc/self/fd"), threads = world_count("/proc/self/task");
	if (++machines == STEADY_MACHINES) {
		fds_before = fds;
		threads_before = threads;
	}
	/* pthread_join(3) returns a little before /proc forgets the thread (exit(2) clears the word that it waits for). */
	for (int i = 0; machines > STEADY_MACHINES && threads > threads_before && i < THREAD_END_MS; i++) {
		usleep(1000);
		threads = world_count("/proc/self/task");
	}
	if (machines > STEADY_MACHINES && (fds > fds_before || threads > threads_before)) {
		world_list("/proc/self/fd");
		violation("descriptors %d, before %d; threads %d, before %d", fds, fds_before, threads, threads_before);
	}
	world_check();
	world_renew_volume();
}

/* A parked machine is read by a storer. */
static void capture(struct qv *vm)
{
	static struct qv_page_run runs[1024];
	struct qv_scan_stats stats;
	qcall_allow(vcpu_of(vm), false);
	int64_t n = qv_recipes_save(vm, recipes, sizeof(recipes));
	nrecipes = n > 0 ? (size_t)n : 0;
	qv_scan(vm, 1, runs, sizeof(runs) / sizeof(*runs), &stats);
	qcall_allow(vcpu_of(vm), true);
}

static void host_does(struct qv *vm, const struct shot *s)
{
	switch (s->op % 6) {
	case 0:
		capture(vm);
		break;
	case 1:
		if (!window_cut(vm))
			window_full(vm, s->arg[0] & 1);
		break;
	case 2:
		kill(getpid(), SIGWINCH);
		break;
	case 3:
		if (ioctl(pipe_in[0], FIONREAD, &(int){0}) == 0 && write(pipe_in[1], "input", 5) < 0)
			die("write");
		break;
	default:
		qv_post(vm, (int32_t)s->arg[0], (uint32_t)s->arg[1]);
	}
}

static void play(struct qv *vm, const struct shot *s)
{
	switch (s->way % WAYS) {
	case WAY_WAIT:
		guest_set_wait(vm, s->timer % WAIT_MAX_NS);
		events_wait(vcpu_of(vm));
		break;
	case WAY_CLOCK:
		tick_hurry(vm);
		break;
	case WAY_HOST:
		host_does(vm, s);
		break;
	case WAY_POLLER:
		guest_submit(vm, s);
		for (int i = 0; i < POLLER_SPINS && guest_waits(vm); i++)
			__builtin_ia32_pause();
		qcall_serve(vcpu_of(vm));
		break;
	default:
		guest_submit(vm, s);
		qcall_serve(vcpu_of(vm));
	}
}

#if __has_feature(thread_sanitizer)
/* Coverage is counted by all threads, and not exactly. */
void AnnotateBenignRaceSized(const char *file, int line, const volatile void *at, size_t size, const char *what);
extern char __start___sancov_cntrs[], __stop___sancov_cntrs[];
static void ignore_counters(void)
{
	AnnotateBenignRaceSized(__FILE__, __LINE__, __start___sancov_cntrs, (size_t)(__stop___sancov_cntrs - __start___sancov_cntrs), "coverage");
}
#else
static void ignore_counters(void)
{
}
#endif

static uint64_t clock_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The figures, where the one who started this finds them, also after an abort. */
static void report(void)
{
	const char *file = getenv("FUZZ_REPORT");
	char line[128], new[4096];
	double seconds = (double)(clock_now() - started_ns) / 1e9;
	int n = snprintf(line, sizeof(line), "{\"requests\": %lu, \"inputs\": %lu, \"machines\": %lu, \"seconds\": %.1f}\n", atomic_load(&served),
			 inputs, machines, seconds);
	if (!file)
		return;
	snprintf(new, sizeof(new), "%s.new", file);
	int fd = open(new, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, line, (size_t)n) != n || rename(new, file))
		perror(new);
	if (fd >= 0)
		close(fd);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	struct sigaction kick = {.sa_handler = on_kick};
	struct rlimit size = {FILE_MAX, FILE_MAX};
	sigset_t set;
	pthread_t thread;
	sigaction(SIGRTMIN + 1, &kick, NULL);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	world_make();
	setrlimit(RLIMIT_FSIZE, &size);
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	self = open("/proc/self", O_PATH | O_CLOEXEC);
	stops = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pty_master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (kvm < 0 || self < 0 || stops < 0 || signals < 0 || pipe2(pipe_in, O_CLOEXEC) || pipe2(pipe_out, O_CLOEXEC) || pty_master < 0 ||
	    unlockpt(pty_master))
		die("fuzz");
	pty_slave = open(ptsname(pty_master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (pty_slave < 0)
		die("fuzz: a terminal");
	fcntl(pipe_in[1], F_SETFL, O_NONBLOCK);
	if (pthread_create(&thread, NULL, guest_rewriter, NULL) || pthread_create(&thread, NULL, reader, NULL))
		die("fuzz: a thread");
	ignore_counters();
	started_ns = clock_now();
	atexit(report);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!machine)
		new_machine();
	count = size / sizeof(*shots);
	count = count < SHOTS_MAX ? count : SHOTS_MAX;
	memcpy(shots, data, count * sizeof(*shots));
	for (size_t i = 0; i < count; i++) {
		atomic_store(&current, (unsigned)i);
		play(machine, &shots[i]);
	}
	guest_check_answer(machine);
	check_handles(machine);
	inputs++;
	if (inputs % INPUTS_PER_CHECK == 0)
		report();
	if (inputs % INPUTS_PER_MACHINE == 0)
		end_machine();
	return 0;
}
