/* A guest kernel that is QVisor's enemy: it has the whole of the ABI in its hands, and tries what its first argument says. What it reached that it must not,
 * it says on standard output; an end without such a line is what the test wants. */
#include <stdint.h>
#include <stddef.h>

#include "quark_abi.h"

#define COMM ((volatile struct qk_comm *)QK_COMM_BASE)
#define VCPU ((volatile struct qk_vcpu *)(QK_COMM_BASE + QK_OFF_VCPU(0)))
#define PART(offset) ((char *)(QK_COMM_BASE + QK_OFF_VCPU(0) + (offset)))
#define SEGS ((volatile struct qk_seg *)PART(QK_VCPU_SEGS))
#define CLOSES ((volatile struct qk_closes *)PART(QK_VCPU_CLOSE))
#define DATA PART(QK_VCPU_DATA)
#define SPARE (48ull << 20) /* GPA of memory that nobody uses */
#define RAM(gpa) ((char *)(QK_DIRECT_BASE + (gpa)))

/* Linux's, which the host takes (fcntl.h, errno.h) */
#define O_RDWR 2
#define O_CREAT 0100
#define O_TRUNC 01000
#define O_DIRECTORY 0200000
#define EFAULT 14
#define VOLUME 1 /* the root that may be written; 2 is read-only */
#define ROOTS 3

static size_t length(const char *s)
{
	size_t n = 0;
	while (s[n])
		n++;
	return n;
}

void *memcpy(void *to, const void *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile char *)to)[i] = ((const char *)from)[i];
	return to;
}

void *memset(void *to, int c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile char *)to)[i] = (char)c;
	return to;
}

static int same(const char *a, const char *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (a[i] != b[i])
			return 0;
	return 1;
}

static void out32(uint16_t port)
{
	__asm__ volatile("outl %0, %1" ::"a"(0), "d"(port) : "memory");
}

static uint64_t rdtsc(void)
{
	uint32_t low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static uint64_t seed = 88172645463325252ull;
static uint64_t any(void)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * 0x2545f4914f6cdd1dull;
}

static void submit(uint32_t op, uint32_t data_len, uint32_t nseg, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3)
{
	volatile struct qk_call *c = &VCPU->call;
	c->op = op;
	c->data_len = data_len;
	c->nseg = nseg;
	c->arg[0] = a0;
	c->arg[1] = a1;
	c->arg[2] = a2;
	c->arg[3] = a3;
	__atomic_store_n(&VCPU->call.state, QK_CALL_SUBMITTED, __ATOMIC_SEQ_CST);
}

static int64_t call(uint32_t op, uint32_t data_len, uint32_t nseg, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3)
{
	submit(op, data_len, nseg, a0, a1, a2, a3);
	while (__atomic_load_n(&VCPU->call.state, __ATOMIC_SEQ_CST) != QK_CALL_DONE)
		out32(QK_PORT_CALL);
	return VCPU->call.ret;
}

static uint32_t put_names(const char *a, const char *b)
{
	size_t n = length(a) + 1, m = b ? length(b) + 1 : 0;
	memcpy(DATA, a, n);
	memcpy(DATA + n, b, m);
	return (uint32_t)(n + m);
}

static int64_t named(uint32_t op, const char *a, const char *b, uint64_t a0, uint64_t a1, uint64_t a2)
{
	return call(op, put_names(a, b), 0, a0, a1, a2, 0);
}

static void print(const char *text)
{
	size_t n = length(text);
	memcpy(RAM(SPARE), text, n);
	SEGS[0].gpa = SPARE;
	SEGS[0].len = n;
	call(QC_WRITE, 0, 1, 1, 0, 0, 0);
}

static void print_number(const char *text, int64_t n)
{
	char digits[24], *p = digits + sizeof(digits) - 1;
	uint64_t left = n < 0 ? -(uint64_t)n : (uint64_t)n;
	*p = 0;
	do
		*--p = (char)('0' + left % 10);
	while (left /= 10);
	if (n < 0)
		*--p = '-';
	print(text);
	print(" ");
	print(p);
	print("\n");
}

static _Noreturn void end(int status)
{
	for (;;) {
		submit(QC_EXIT, 0, 0, (uint64_t)status, 0, 0, 0);
		out32(QK_PORT_CALL);
	}
}

/* ---- What it tries */
static const char *const ways_out[] = {
	"..",
	"../outside",
	"../outside/secret",
	"directory/../../outside/secret",
	"./../outside/secret",
	"/",
	"/etc/passwd",
	"//etc/passwd",
	"away",
	"away/secret",
	"up/secret",
	"magic/etc/passwd",
	"process/status",
	"process/root/etc/passwd",
	"process/cwd",
	"process/fd/0",
	"fds/0",
	"fds/3/secret",
	"secret",
	"made/secret",
	"made/../secret",
	"directory/made-up/secret",
	"state/secret",
	"",
	".",
	"..\0..",
	"directory/..",
	"directory//..//..",
};
#define WAYS (sizeof(ways_out) / sizeof(*ways_out))

static const uint32_t named_ops[] = {QC_LOOKUP,  QC_OPEN,     QC_STATFS,   QC_LIST,      QC_MKDIR,       QC_UNLINK, QC_RENAME,  QC_LINK, QC_SYMLINK,
				     QC_SETATTR, QC_GETXATTR, QC_SETXATTR, QC_LISTXATTR, QC_REMOVEXATTR, QC_MKNOD,  QC_TMPFILE, QC_NAME};
#define NAMED_OPS (sizeof(named_ops) / sizeof(*named_ops))

/* Of a file that is not the guest's: the test makes it of this size, with this content. */
#define SECRET_SIZE 1029031u
static const char secret[] = "SECRET OF THE HOST";

static int knows_secret(void)
{
	for (size_t i = 0; i + sizeof(secret) < QK_DATA_SIZE; i += 8)
		if (*(volatile uint64_t *)(DATA + i) == SECRET_SIZE || same(DATA + i, secret, sizeof(secret) - 1))
			return 1;
	return 0;
}

/* Reads a handle into RAM, and looks for the secret there. */
static int reads_secret(int64_t handle)
{
	memset(RAM(SPARE), 0, 4096);
	SEGS[0].gpa = SPARE;
	SEGS[0].len = 4096;
	return call(QC_PREAD, 0, 1, (uint64_t)handle, 0, 0, 0) > 0 && same(RAM(SPARE), secret, sizeof(secret) - 1);
}

static void try_way(const char *name)
{
	for (uint64_t root = 0; root < ROOTS; root++) {
		for (size_t i = 0; i < NAMED_OPS; i++) {
			uint64_t a1 = named_ops[i] == QC_OPEN ? O_RDWR | (any() & 1 ? O_CREAT | O_TRUNC : 0) : any() & 1 ? 0 : 0777;
			memset(DATA, 0, 4096);
			/* Both as the first name and as the second. */
			int64_t r = any() & 1 ? named(named_ops[i], name, "taken", root, a1, 0)
					      : named(named_ops[i], "directory/file", name, root, a1, 0);
			if (knows_secret())
				print_number("told of the secret by", named_ops[i]);
			if (named_ops[i] == QC_OPEN && r >= 0) {
				if (reads_secret(r))
					print_number("read the secret through root", (int64_t)root);
				call(QC_CLOSE, 0, 0, (uint64_t)r, 0, 0, 0);
			}
		}
		int64_t r = named(QC_OPEN, name, NULL, root, 0, 0);
		if (r >= 0 && reads_secret(r))
			print_number("read the secret through root", (int64_t)root);
	}
}

/* Names that lead away, through links that are there and links that it makes. */
static void paths(void)
{
	static const char *const links[][2] = {{"made", "../outside"},
					       {"directory/made-up", "../../outside"},
					       {"process", "/proc/self"},
					       {"fds", "/proc/self/fd"},
					       {"magic", "/proc/self/root"}};
	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++)
			named(QC_SYMLINK, links[i][0], links[i][1], VOLUME, 0, 0);
		for (size_t i = 0; i < WAYS; i++)
			try_way(ways_out[i]);
	}
	print("done\n");
}

/* The host exchanges "swap", a directory, for a link to the secret's directory, as fast as it can. */
static void swaps(void)
{
	for (int i = 0; i < 20000; i++) {
		int64_t r = named(QC_OPEN, i & 1 ? "swap/secret" : "swap/inner/secret", NULL, VOLUME, i & 2 ? O_RDWR : 0, 0);
		if (r >= 0) {
			if (reads_secret(r))
				print("read the secret\n");
			call(QC_CLOSE, 0, 0, (uint64_t)r, 0, 0, 0);
		}
		memset(DATA, 0, 1024);
		named(QC_LOOKUP, "swap/secret", NULL, VOLUME, 0, 0);
		if (knows_secret())
			print("told of the secret\n");
		named(QC_RENAME, "swap/secret", "taken", VOLUME, 0, 0);
		named(QC_SETATTR, "swap/secret", NULL, VOLUME, QK_ATTR_MODE, 0777);
	}
	print("done\n");
}

static const uint64_t edges[] = {0,
				 1,
				 2,
				 3,
				 4095,
				 4096,
				 QK_SLOT_SIZE - 1,
				 QK_SLOT_SIZE,
				 QK_COMM_GPA,
				 QK_WINDOW_GPA,
				 1ull << 31,
				 UINT32_MAX,
				 1ull << 32,
				 INT64_MAX,
				 1ull << 63,
				 UINT64_MAX - 4095,
				 UINT64_MAX};
#define EDGE edges[any() % (sizeof(edges) / sizeof(*edges))]

/* Every operation with whatever arguments. */
static void requests(void)
{
	int64_t count = 0;
	for (int i = 0; i < 20000; i++) {
		uint32_t op = QC_LOG + (uint32_t)(any() % (QC_OP_COUNT + 3 - QC_LOG));
		/* What it prints has to be seen, and QC_STOPPED stops the process, as Ctrl-Z does. */
		if (op == QC_EXIT || op == QC_PANIC || op == QC_LOG || op == QC_WRITE || op == QC_STOPPED)
			continue;
		put_names(ways_out[any() % WAYS], ways_out[any() % WAYS]);
		for (int s = 0; s < 4; s++) {
			SEGS[s].gpa = any() & 1 ? any() % QK_SLOT_SIZE : EDGE;
			SEGS[s].len = any() & 7 ? any() % 8192 : EDGE;
		}
		CLOSES->handle[0] = (uint32_t)any() % 8;
		CLOSES->count = any() % 8 ? 0 : (uint32_t)EDGE;
		uint64_t a0 = any() & 3 ? any() % 6 : EDGE;
		call(op, (uint32_t)(any() & 1 ? 64 : EDGE), (uint32_t)(any() & 1 ? any() % 5 : EDGE), a0, any() & 1 ? any() % 70 : EDGE, EDGE, EDGE);
		count++;
	}
	print_number("requests", count);
}

/* As much as there is of everything. */
static void exhaust(void)
{
	int64_t handles = 0, slots = 0, chunks = 0, r;
	while (handles < 1 << 20 && (r = named(QC_OPEN, "directory/file", NULL, VOLUME, O_RDWR, 0)) >= 0)
		handles++;
	print_number("handles end with", r);
	while (slots < 1 << 20 && (r = call(QC_GROW, 0, 0, 0, 0, 0, 0)) == 0)
		slots++;
	print_number("memory ends with", r);
	/* Beyond the limit there is nothing. */
	SEGS[0].gpa = COMM->boot.ram_limit;
	SEGS[0].len = 4096;
	if (call(QC_PREAD, 0, 1, 3, 0, 0, 0) != -EFAULT)
		print("memory beyond the limit\n");
	for (uint64_t chunk = 0; chunk < 2 * QK_WINDOW_CHUNKS; chunk++)
		chunks += call(QC_MAP, 0, 0, 3, chunk, 0, 1) == 0;
	print_number("chunks", chunks);
}

/* Files that cannot be mapped shared, in the place of all that can be. */
static _Noreturn void holes(void)
{
	int64_t good = named(QC_OPEN, "directory/file", NULL, 2, 0, 0), bad = named(QC_OPEN, "file", NULL, VOLUME, O_RDWR, 0);
	print_number("mapped", call(QC_MAP, 0, 0, (uint64_t)good, 0, 0, 0));
	int64_t r = 0;
	for (uint64_t chunk = 0; chunk < QK_WINDOW_CHUNKS; chunk++)
		r = call(QC_MAP, 0, 0, (uint64_t)bad, chunk, 0, 1);
	print_number("last", r);
	for (;;) {
		VCPU->wait_ns = UINT64_MAX;
		out32(QK_PORT_WAIT);
	}
}

/* The rings, the clock and the timers say what cannot be. */
static void rings(void)
{
	for (int i = 0; i < 2000; i++) {
		COMM->event_tail = (uint32_t)EDGE;
		COMM->event_head = (uint32_t)EDGE;
		COMM->missed = (uint32_t)EDGE;
		COMM->missed_signals = EDGE;
		COMM->nvcpus = (uint32_t)EDGE;
		COMM->free_bitmap_gpa = EDGE;
		COMM->free_bitmap_len = EDGE;
		VCPU->timer_ns = EDGE;
		VCPU->tick_ns = EDGE;
		VCPU->clock.mult = EDGE;
		VCPU->poller_awake = (uint32_t)EDGE;
		VCPU->wait_ns = any() % 10000;
		out32(i & 1 ? QK_PORT_WAIT : QK_PORT_NUDGE);
		call(QC_CLOCK, 0, 0, EDGE, 0, 0, 0);
		call(QC_POLL, 0, 0, any() % 4, EDGE, 0, 0);
		call(QC_READY, 0, 0, 0, 0, 0, 0);
	}
	print("done\n");
}

/* Exits that ask for nothing, for ever. */
static _Noreturn void exits(void)
{
	print("looping\n");
	for (;;) {
		VCPU->wait_ns = 0;
		VCPU->timer_ns = 0;
		out32(QK_PORT_CALL);
		out32(QK_PORT_NUDGE);
		out32(QK_PORT_WAIT);
	}
}

/* A wait that nothing ends. */
static _Noreturn void waits(void)
{
	print("waiting\n");
	for (;;) {
		COMM->event_tail = COMM->event_head;
		VCPU->wait_ns = UINT64_MAX;
		out32(QK_PORT_WAIT);
	}
}

/* An end with a report of control characters. */
static _Noreturn void panics(void)
{
	for (uint32_t i = 0; i < QK_DATA_SIZE; i++)
		DATA[i] = (char)(i % 33);
	for (;;) {
		submit(QC_PANIC, UINT32_MAX, UINT32_MAX, EDGE, EDGE, EDGE, EDGE);
		out32(QK_PORT_CALL);
	}
}

/* Captured here. Of its clones, those that are prepared before there is a request misuse that; the others are ordinary. */
static void ahead(char how)
{
	uint64_t cs;
	__asm__ volatile("mov %%cs, %0" : "=r"(cs));
	COMM->ring = cs & 3 ? QK_RING_3 : QK_RING_0;
	while (COMM->event_head == 0) { /* nobody has asked for the capture */
		VCPU->wait_ns = 10000000;
		out32(QK_PORT_WAIT);
	}
	out32(QK_PORT_PARK);
	while (COMM->ahead) {
		if (how == 'a')
			call(QC_OPEN, 0, 0, 0, 0, 0, 0);
		while (how == 'l')
			;
		if (how == 'w')
			out32(QK_PORT_WAIT);
		if (how == 'e')
			__asm__ volatile("ud2");
		out32(QK_PORT_PARK);
	}
	print("ran\n");
}

void hostile_main(void)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} all[] = {{"paths", paths}, {"swaps", swaps}, {"requests", requests}, {"exhaust", exhaust}, {"rings", rings},
		   {"exits", exits}, {"waits", waits}, {"panics", panics},     {"holes", holes}};
	const char *word = (const char *)(QK_COMM_BASE + QK_OFF_BOOT);
	for (int i = 0; i < 3; i++) /* the working directory, the host's name, argv[0] */
		word += length(word) + 1;
	seed += rdtsc();
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (same(word, all[i].name, length(all[i].name) + 1))
			all[i].run();
	if (same(word, "port", 5))
		out32(QK_PORT_LAST);
	if (same(word, "memory", 7))
		*(volatile char *)RAM(QK_SLOT_SIZE) = 1;
	if (same(word, "exception", 10))
		__asm__ volatile("ud2");
	if (same(word, "ahead-", 6))
		ahead(word[6]);
	if (same(word, "park", 5))
		out32(QK_PORT_PARK);
	end(0);
}
