/* Drives QVisor's server of requests as a hostile guest would. Argument: a folder with the host roots `root` (read-only) and `volume`. Input: requests
 * with the contents of the segment list and of the data area; output of each: its result and what came back. Memory beside RAM is watched.
 * qvisor: qcall.c q*.c segs.c events.c poller.c walk.c window.c depends.c */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vm.h"

#define RAM_BYTES 0x8000u
#define COMM_BYTES QK_COMM_SIZE(1)
#define BESIDE 0x1000u /* bytes on both sides of RAM and of the comm area that nothing may change */

enum { CALL, SEGMENTS, EVENT };
struct request {
	uint32_t kind, op, nseg, data_len, nsegs_given, data_given;
	uint64_t arg[6];
};
static struct qk_seg given_segs[QK_SEG_MAX];

/* Requests are so far apart that no poller starts: they are served on this thread. */
uint64_t now_ns(void)
{
	static uint64_t now;
	return now += 1000000000;
}
void vm_first_output(struct qv *vm)
{
	vm->first_output_ns = 1;
}
int vm_add_slot(struct qv *vm)
{
	(void)vm;
	return -ENOMEM;
}
int vm_set_slot(struct qv *vm, unsigned slot, uint64_t gpa, uint64_t size, void *host)
{
	(void)vm, (void)slot, (void)gpa, (void)size, (void)host;
	return 0;
}
void *vm_replace(void *at, size_t size, int prot, int flags, int fd, uint64_t off)
{
	return mmap(at, size, prot, flags | MAP_FIXED, fd, (off_t)off);
}
void vm_interrupt(struct qv_vcpu *v)
{
	(void)v;
}

static char *watched(size_t n)
{
	char *p = malloc(n + 2 * (size_t)BESIDE);
	memset(p, 0xa5, n + 2 * (size_t)BESIDE);
	return p + BESIDE;
}

static void check_beside(const char *p, size_t n, const char *what)
{
	for (size_t i = 1; i <= BESIDE; i++) {
		if ((unsigned char)p[-(long)i] != 0xa5 || (unsigned char)p[n + i - 1] != 0xa5) {
			fprintf(stderr, "%s: %zu bytes beside it something was written\n", what, i);
			exit(1);
		}
	}
}

/* A walk that followed a link out of its root would show what lies there. */
static void check_walk(const struct qv *vm, int64_t components)
{
	const struct qk_stat *found = (const struct qk_stat *)(vm->vcpus[0].block + QK_VCPU_DATA);
	struct stat outside[2];
	if (stat(".", &outside[0]) || stat("secret", &outside[1]))
		exit(2);
	for (int64_t i = 0; i < components; i++) {
		if (found[i].ino == outside[0].st_ino || found[i].ino == outside[1].st_ino) {
			fprintf(stderr, "component %ld of a walk lies outside of its root\n", (long)i);
			exit(1);
		}
	}
}

static void put(const void *p, size_t n)
{
	fwrite(p, 1, n, stdout);
}

/* What segs_to_iov makes of the list: each piece as an offset in RAM. */
static void report_segments(struct qv *vm, const struct qv_call *call)
{
	struct iovec iov[QK_SEG_MAX];
	int64_t n = segs_to_iov(vm, call, iov);
	put(&n, sizeof(n));
	for (int64_t i = 0; i < n; i++) {
		uint64_t piece[2] = {(uint64_t)((char *)iov[i].iov_base - vm->ram), iov[i].iov_len};
		put(piece, sizeof(piece));
	}
}

static void run(struct qv *vm, const struct request *r)
{
	struct qv_vcpu *v = &vm->vcpus[0];
	struct qk_call *call = &v->shared->call;
	memcpy(v->block + QK_VCPU_SEGS, given_segs, r->nsegs_given * sizeof(*given_segs));
	*call = (struct qk_call){.op = r->op, .nseg = r->nseg, .data_len = r->data_len, .state = QK_CALL_SUBMITTED};
	memcpy(call->arg, r->arg, sizeof(call->arg));
	if (r->kind == SEGMENTS) {
		struct qv_call copy = {.nseg = r->nseg, .segs = (const struct qk_seg *)(v->block + QK_VCPU_SEGS)};
		report_segments(vm, &copy);
		return;
	}
	if (r->kind == EVENT) {
		vm->event_head = (uint32_t)r->arg[1];
		vm->comm->event_head = ~(uint32_t)r->arg[1]; /* the guest can write there, too: nobody believes it */
		vm->comm->event_tail = (uint32_t)r->arg[2];
		events_push(vm, (int32_t)r->arg[0], 1);
		int64_t moved = (int64_t)(vm->event_head - (uint32_t)r->arg[1]);
		put(&moved, sizeof(moved));
		return;
	}
	int64_t ret = qcall_serve(v) ? 1 : call->ret;
	put(&ret, sizeof(ret));
	if (r->op == QC_LOOKUP)
		check_walk(vm, ret);
	if (call->state == QK_CALL_DONE && call->data_len > QK_DATA_SIZE) {
		fprintf(stderr, "%u bytes of the data area are said to be valid\n", call->data_len);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	static struct qv vm;
	struct request r;
	if (argc != 2 || chdir(argv[1]))
		return 2;
	/* A guest may fill a volume that it was given; a test need not. */
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &(struct rlimit){1 << 20, 1 << 20});
	char *ram = watched(RAM_BYTES), *comm = watched(COMM_BYTES);
	memset(ram, 0, RAM_BYTES);
	memset(comm, 0, COMM_BYTES);
	vm = (struct qv){.ram = ram, .ram_bytes = RAM_BYTES, .ram_limit = RAM_BYTES, .comm_area = comm, .comm = (struct qk_comm *)comm, .nvcpus = 1};
	char *block = comm + QK_OFF_VCPU(0);
	vm.vcpus[0] = (struct qv_vcpu){.vm = &vm, .block = block, .shared = (struct qk_vcpu *)block};
	vm.config =
		(struct qv_config){.nroots = 2, .signals = -1, .roots = {open("root", O_PATH | O_DIRECTORY), open("volume", O_PATH | O_DIRECTORY)}};
	vm.epoll_fd = vm.wake_fd = vm.debug_fd = -1;
	pthread_mutex_init(&vm.event_lock, NULL);
	if (events_init(&vm))
		return 2;
	int null = open("/dev/null", O_RDWR);
	for (int i = 0; i < 3; i++)
		vm.handles[i] = (struct qv_handle){.fd = null, .kind = QV_H_STREAM, .writable = true};
	while (fread(&r, sizeof(r), 1, stdin) == 1) {
		if (fread(given_segs, sizeof(*given_segs), r.nsegs_given, stdin) != r.nsegs_given ||
		    fread(block + QK_VCPU_DATA, 1, r.data_given, stdin) != r.data_given)
			return 2;
		run(&vm, &r);
		check_beside(ram, RAM_BYTES, "RAM");
		check_beside(comm, COMM_BYTES, "the comm area");
	}
	if (memmem(ram, RAM_BYTES, "SECRET", 6) || memmem(comm, COMM_BYTES, "SECRET", 6)) {
		fprintf(stderr, "the guest has read what is outside of its roots\n");
		return 1;
	}
	poller_destroy(&vm);
	qfile_close_all(&vm);
	events_destroy(&vm);
	free(ram - BESIDE);
	free(comm - BESIDE);
	return 0;
}
