/* Fuzzes what the program QVisor is told: its messages, the guest kernel, the layout of a snapshot with vCPU state, open files and tables, the arguments. Each
 * input makes a machine, and where all of it is believed, some requests are served. The place of terminal.c is here: an error ends an input, not the process. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <sanitizer/common_interface_defs.h>

#include "program.h"
#include "vm.h"
#include "world.h"

#define TAIL 4096u /* bytes of an input that are no structure */
#define SECTIONS 6
#define STATE_AT (2u * TAIL) /* in the layout: a vCPU state as it should be, but for one byte */
#define IMAGE_BYTES (2 * QK_SLOT_SIZE)
#define INPUTS_PER_CHECK 256
#define MAPS_MAX 16

/* Where the parts of a sound input lie in its tail. */
#define RUNS_AT 0u
#define RECIPES_AT 512u
#define FILES_AT 1024u
#define TEXT_AT 2048u

struct input {
	struct qm_prepare prepare;
	struct qm_assign assign;
	uint64_t ram_bytes;
	struct {
		uint64_t offset, bytes;
	} section[SECTIONS];
	uint32_t state_at, layout_bytes;
	uint8_t state_byte, magic, kernel_is_sound, reserved[5];
	uint8_t tail[TAIL];
};

/* Sound inputs; and a guest kernel that is cut off. */
enum { BASE_CLONE, BASE_COLD, BASE_CUT, BASES };

struct header { /* of a layout (layout.c) */
	char magic[8];
	uint64_t ram_bytes;
	struct {
		uint64_t offset, bytes;
	} section[SECTIONS];
};

static jmp_buf end_of_input;
static bool in_input;
static int kvm, image, standard[3], first_free;
static struct program program;
static struct input bases[BASES];
static char *state;
static uint64_t inputs, believed, started_ns;
static struct {
	void *at;
	size_t size;
} maps[MAPS_MAX];
static unsigned nmaps;

_Noreturn void leave(int exit_status)
{
	(void)exit_status;
	if (!in_input)
		abort();
	longjmp(end_of_input, 1);
}

/* The program keeps its layout mapped, and its kernel when it fails, until it ends: here they are found again. */
void *__real_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
	void *p = __real_mmap(at, size, prot, flags, fd, offset);
	if (in_input && !at && p != MAP_FAILED && flags == MAP_PRIVATE && nmaps < MAPS_MAX) {
		maps[nmaps].at = p;
		maps[nmaps++].size = size;
	}
	return p;
}

static int memory(const void *data, size_t n)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (fd < 0 || write(fd, data, n) != (ssize_t)n)
		exit(2);
	return fd;
}

static int layout_file(const struct input *in)
{
	static char file[STATE_AT + 65536];
	struct header h = {.ram_bytes = in->ram_bytes};
	memcpy(h.magic, "QKLAYOUT", sizeof(h.magic));
	h.magic[7] = (char)(h.magic[7] ^ in->magic);
	memcpy(h.section, in->section, sizeof(h.section));
	memcpy(file, &h, sizeof(h));
	memcpy(file + TAIL, in->tail, TAIL);
	memcpy(file + STATE_AT, state, qv_state_size());
	file[STATE_AT + in->state_at % qv_state_size()] ^= (char)in->state_byte;
	size_t size = in->layout_bytes < sizeof(file) ? in->layout_bytes : sizeof(file);
	return memory(file, size);
}

static void say(int sock, const void *message, size_t size, const int *fds, int n)
{
	if (qc_send(sock, message, size, fds, n) < 0)
		exit(2);
	for (int i = 0; i < n; i++)
		close(fds[i]);
}

static void requests(struct qv *vm)
{
	static const char *const names[] = {"directory/file", "lost", "stored/file", "directory", ""};
	struct qv_vcpu *v = &vm->vcpus[0];
	struct qk_call *call = &v->shared->call;
	qcall_allow(v, true);
	for (unsigned i = 0; i < 24; i++) {
		static const uint32_t of_handles[] = {QC_PREAD, QC_FSTAT, QC_READDIR}, of_names[] = {QC_LOOKUP, QC_OPEN, QC_LIST};
		bool named = i % 2;
		*call = (struct qk_call){.op = named ? of_names[i % 3] : of_handles[i % 3], .nseg = 1, .arg = {named ? 0 : 3 + i / 2}};
		memcpy(v->block + QK_VCPU_DATA, names[i % 5], strlen(names[i % 5]) + 1);
		call->data_len = 64;
		*(struct qk_seg *)(v->block + QK_VCPU_SEGS) = (struct qk_seg){.gpa = 1 << 20, .len = 8192};
		call->state = QK_CALL_SUBMITTED;
		qcall_serve(v);
	}
	qcall_allow(v, false);
}

static void tell(const struct input *in)
{
	int pair[2], pager[2];
	if (qc_pair(pair) || qc_pair(pager))
		exit(2);
	qc_send(pager[0], "ok", 2, NULL, 0);
	int kernel = in->kernel_is_sound ? open(getenv("FUZZ_KERNEL"), O_RDONLY | O_CLOEXEC) : memory(in->tail, TAIL);
	int first[] = {kernel, vm_dup(image), layout_file(in), pager[1]};
	say(pair[0], &in->prepare, sizeof(in->prepare), first, 4);
	receive(pair[1], &program.prepare, sizeof(program.prepare), &program.machine);
	prepare_machine(&program);
	struct qv_config roots = {0};
	world_fill(&roots);
	int second[] = {vm_dup(roots.roots[0]),
			vm_dup(roots.roots[1]),
			vm_dup(roots.roots[2]),
			vm_dup(roots.roots[3]),
			memory(in->tail + TEXT_AT, TAIL - TEXT_AT),
			memory(in->tail + FILES_AT, TAIL - FILES_AT),
			memory("content", 7),
			open("/dev/null", O_RDWR | O_CLOEXEC)};
	say(pair[0], &in->assign, sizeof(in->assign), second, 8);
	receive(pair[1], &program.assign, sizeof(program.assign), &program.request);
	timeline_take(&program.assign, 0);
	assign_request(&program);
	believed++;
	requests(program.vm);
}

static void clean(void)
{
	if (program.vm)
		qv_destroy(program.vm);
	for (unsigned i = 0; i < nmaps; i++)
		munmap(maps[i].at, maps[i].size);
	nmaps = 0;
	for (int i = 0; i < 3; i++)
		dup2(standard[i], i);
	close_range((unsigned)first_free, ~0u, 0);
	memset(&program, 0, sizeof(program));
}

static uint64_t clock_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void report(void)
{
	char line[128];
	const char *file = getenv("FUZZ_REPORT");
	int n = snprintf(line, sizeof(line), "{\"requests\": %lu, \"believed\": %lu, \"seconds\": %.1f}\n", inputs, believed,
			 (double)(clock_now() - started_ns) / 1e9);
	int fd = file ? open(file, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644) : -1;
	if (fd >= 0 && write(fd, line, (size_t)n) < 0)
		perror(file);
	if (fd >= 0)
		close(fd);
}

/* A clone with an open file, a file that its snapshot knows, arguments; and what boots. */
static void make_bases(void)
{
	struct input base = {0};
	static const char text[] = "/\0host\0program\0A=B\0/volume\0/read-only\0/single\0{}";
	struct qv_page_run run = {.gfn = 16, .pages = 32, .kind = QV_PAGES_WRITTEN};
	struct {
		uint32_t index, root;
		int32_t flags;
		uint32_t writable, name_len, reserved;
		struct qk_stat identity;
		char name[14];
	} __attribute__((packed)) recipe = {
		.index = 3, .root = 1, .flags = O_RDWR, .writable = 1, .name_len = 14, .identity = {.mode = S_IFREG | 0644}};
	memcpy(recipe.name, "directory/file", sizeof(recipe.name));
	struct {
		uint32_t count, reserved;
		struct qv_file file;
		char name[12];
	} table = {.count = 1,
		   .file = {.size = 7, .mode = S_IFREG | 0644, .guest_ino = 5, .flags = QV_FILE_STORED | QV_FILE_KEPT},
		   .name = "stored/file"};
	table.file.name = (uint32_t)((char *)table.name - (char *)&table);
	base.prepare = (struct qm_prepare){
		.version = QM_VERSION, .flags = QM_CLONE | QM_COMPLETE | QM_POPULATE, .image = 1, .layout = 2, .pager = 3, .ring = QK_RING_3};
	base.assign = (struct qm_assign){.version = QM_VERSION,
					 .nroots = ROOTS,
					 .roots = {0, 1, 2, 3},
					 .root_flags = {0, 0, QK_MOUNT_RO, QK_MOUNT_FILE},
					 .stdio = {-1, 7, -1},
					 .text = 4,
					 .document_len = 2,
					 .boot = {.ram_limit = IMAGE_BYTES, .argc = 1, .envc = 1, .nmounts = 3, .blob_len = sizeof(text) - 3},
					 .files = -1,
					 .contents = 6,
					 .timing_file = -1};
	base.ram_bytes = IMAGE_BYTES;
	base.layout_bytes = UINT32_MAX;
	memcpy(base.tail + RUNS_AT, &run, sizeof(run));
	memcpy(base.tail + RECIPES_AT, &recipe, sizeof(recipe));
	memcpy(base.tail + FILES_AT, &table, sizeof(table));
	memcpy(base.tail + TEXT_AT, text, sizeof(text));
	enum { FILES, RUNS, WORKING_SET, CPU_STATE, RECIPES };
	base.section[FILES].offset = TAIL + FILES_AT;
	base.section[FILES].bytes = sizeof(table);
	base.section[RUNS].offset = TAIL + RUNS_AT;
	base.section[RUNS].bytes = sizeof(run);
	base.section[WORKING_SET] = base.section[RUNS];
	base.section[CPU_STATE].offset = STATE_AT;
	base.section[CPU_STATE].bytes = qv_state_size();
	base.section[RECIPES].offset = TAIL + RECIPES_AT;
	base.section[RECIPES].bytes = sizeof(recipe);
	bases[BASE_CLONE] = base;
	base.prepare.flags = 0;
	base.kernel_is_sound = 1;
	base.assign.contents = -1;
	bases[BASE_COLD] = base;
	base.kernel_is_sound = 0;
	int kernel = open(getenv("FUZZ_KERNEL"), O_RDONLY | O_CLOEXEC);
	if (kernel < 0 || pread(kernel, base.tail, TEXT_AT, 0) != TEXT_AT)
		exit(2);
	close(kernel);
	bases[BASE_CUT] = base;
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct qv *vm;
	struct rlimit none = {1 << 20, 1 << 20};
	(void)argc;
	(void)argv;
	world_make();
	setrlimit(RLIMIT_FSIZE, &none);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	image = memfd_create("image", MFD_CLOEXEC); /* empty: pages that nobody ever brings in must not be waited for */
	state = malloc(qv_state_size());
	none = (struct rlimit){IMAGE_BYTES, IMAGE_BYTES};
	if (kvm < 0 || image < 0 || !state || qv_create(kvm, IMAGE_BYTES, &vm) || qv_state_save(vm, state, qv_state_size()) ||
	    !getenv("FUZZ_KERNEL")) {
		fprintf(stderr, "fuzz: no machine, or no FUZZ_KERNEL\n");
		exit(2);
	}
	qv_destroy(vm);
	for (int i = 0; i < 3; i++)
		standard[i] = fcntl(i, F_DUPFD_CLOEXEC, 3);
	__sanitizer_set_report_fd((void *)(intptr_t)standard[2]);
	make_bases();
	first_free = open("/dev/null", O_RDONLY | O_CLOEXEC);
	started_ns = clock_now();
	atexit(report);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct input in;
	in = bases[BASE_CLONE];
	memcpy(&in, data, size < sizeof(in) ? size : sizeof(in));
	int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	dup2(nowhere, 2);
	if (qv_create(kvm, IMAGE_BYTES, &program.vm))
		exit(2);
	program.host = (struct qm_machine){.version = QM_VERSION, .flags = QM_ALONE | QM_UNCONFINED};
	program.recorded = -1;
	in_input = true;
	if (!setjmp(end_of_input))
		tell(&in);
	in_input = false;
	clean();
	if (++inputs % INPUTS_PER_CHECK == 0) {
		world_check();
		report();
	}
	return 0;
}

static const uint64_t edges[] = {
	0,
	1,
	2,
	3,
	7,
	8,
	63,
	64,
	4095,
	4096,
	8192,
	1u << 20,
	QK_SLOT_SIZE,
	IMAGE_BYTES,
	INT32_MAX,
	UINT32_MAX,
	1ull << 52,
	1ull << 63,
	UINT64_MAX - 4095,
	UINT64_MAX,
};

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
/* Inputs are whole, so that each change is one of a field. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	unsigned r = seed * 2654435761u + 1;
	struct input *base = &bases[seed / 3 % BASES];
	if (max < sizeof(*base))
		return size;
	if (size < sizeof(*base))
		memcpy(data, base, sizeof(*base));
	size = sizeof(*base);
	for (unsigned changes = 1 + seed % 3; changes; changes--) {
		r = r * 1103515245 + 12345;
		unsigned kind = r >> 16 & 7;
		r = r * 1103515245 + 12345;
		/* The fixed part is small, and each of its fields decides much. */
		size_t area = kind & 1 ? offsetof(struct input, tail) : size, at = (r >> 8) % (area / 4) * 4;
		r = r * 1103515245 + 12345;
		uint64_t value = edges[(r >> 8) % (sizeof(edges) / sizeof(*edges))];
		if (kind < 4)
			memcpy(data + at, &value, r >> 30 || at + 8 > size ? 4 : 8);
		else if (kind == 4)
			memcpy(data + at, (char *)base + at, 4);
		else
			LLVMFuzzerMutate(data + at, area - at < 16 ? area - at : 16, area - at < 16 ? area - at : 16);
	}
	return size;
}
