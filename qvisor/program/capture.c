/* Captures: a parked machine is read by a storer, another process, which asks for what it wants (message.h). While it does, a fork of this process stands
 * still in the machine's place, which goes on at once. */
#include "program.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECIPES_MAX (64ull << 20)
#define RUNS_MAX ((32ull << 30) / PAGE / 2) /* every second page of the largest sandbox */

struct frozen {
	struct qm_frozen head;
	uint64_t started_ns;
	char *state, *recipes;
};

static pid_t child; /* which a storer reads from */

/* So many bytes that cost only what is used of them. */
static void *fresh(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* What has to be read before the machine goes on. -errno: it cannot be. */
static int64_t freeze(struct qv *vm, struct frozen *f)
{
	const struct qk_comm *comm = qv_comm(vm);
	f->started_ns = clock_ns();
	f->state = fresh(qv_state_size());
	f->recipes = fresh(RECIPES_MAX);
	if (!f->state || !f->recipes)
		return -ENOMEM;
	int64_t r = qv_state_save(vm, f->state, qv_state_size());
	if (r < 0)
		return r;
	r = qv_recipes_save(vm, f->recipes, RECIPES_MAX);
	if (r < 0)
		return r;
	/* The guest's word: no more than can be. */
	uint64_t ram = qv_ram_bytes(vm), dropped = least(comm->cache_dropped, ram), used = least(comm->ram_used, ram);
	f->head = (struct qm_frozen){.version = QM_VERSION,
				     .ring = comm->ring,
				     .ram_bytes = ram,
				     .ram_used = least(used + dropped, ram),
				     .cache_dropped = dropped,
				     .state_bytes = qv_state_size(),
				     .recipes_bytes = (uint64_t)r};
	return 0;
}

static void unfreeze(struct frozen *f)
{
	if (f->state)
		munmap(f->state, qv_state_size());
	if (f->recipes)
		munmap(f->recipes, RECIPES_MAX);
}

/* false: the storer has gone. */
static bool send_all(int sock, const void *data, size_t n)
{
	for (const char *p = data; n;) {
		ssize_t r = write(sock, p, n); /* SIGPIPE is ignored */
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return false;
		p += r;
		n -= (size_t)r;
	}
	return true;
}

static bool receive_all(int sock, void *data, size_t n)
{
	for (char *p = data; n;) {
		ssize_t r = read(sock, p, n);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return false;
		p += r;
		n -= (size_t)r;
	}
	return true;
}

struct pages {
	struct qv_page_run *runs;
	int64_t count;
};

static bool answer_scan(struct qv *vm, int sock, bool private_only, struct pages *p)
{
	struct qv_scan_stats stats = {0};
	if (!p->runs)
		p->runs = fresh(RUNS_MAX * sizeof(*p->runs));
	p->count = p->runs ? qv_scan(vm, private_only, p->runs, RUNS_MAX, &stats) : -ENOMEM;
	size_t bytes = p->count > 0 ? (size_t)p->count * sizeof(*p->runs) : 0;
	return send_all(sock, &p->count, sizeof(p->count)) &&
	       (p->count < 0 || (send_all(sock, &stats, sizeof(stats)) && send_all(sock, p->runs, bytes)));
}

static bool answer_pages(struct qv *vm, int sock, const struct pages *p)
{
	int64_t n = 0;
	for (int64_t i = 0; i < p->count; i++)
		n += p->runs[i].pages;
	bool there = send_all(sock, &n, sizeof(n));
	for (int64_t i = 0; there && i < p->count; i++)
		there = send_all(sock, qv_ram(vm) + p->runs[i].gfn * PAGE, (size_t)p->runs[i].pages * PAGE);
	return there;
}

static bool answer_handle(struct qv *vm, int sock, uint32_t index)
{
	int fd = qv_handle_fd(vm, index);
	int64_t r = fd < 0 ? fd : 0;
	return qc_send(sock, &r, sizeof(r), &fd, fd >= 0) == 0;
}

/* Until the storer has what it wants. */
static void serve(struct qv *vm, int sock, struct frozen *f)
{
	f->head.pause_ns = clock_ns() - f->started_ns; /* the fork included */
	struct pages p = {0};
	struct qm_ask ask;
	bool there = send_all(sock, &f->head, sizeof(f->head)) && send_all(sock, f->state, f->head.state_bytes) &&
		     send_all(sock, f->recipes, f->head.recipes_bytes);
	while (there && receive_all(sock, &ask, sizeof(ask))) {
		if (ask.op == QM_SCAN)
			there = answer_scan(vm, sock, ask.arg, &p);
		else if (ask.op == QM_HANDLE)
			there = answer_handle(vm, sock, ask.arg);
		else
			there = ask.op == QM_PAGES && answer_pages(vm, sock, &p);
	}
}

/* In the fork. Its parent's end is its own; should that have come already, the storer's is. */
static _Noreturn void serve_alone(struct qv *vm, int sock, struct frozen *f)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int fd = 0; fd < 3; fd++)
		close(fd); /* whoever reads the guest's output is not to wait for this process */
	control_close();
	qv_descriptors_at("/none/"); /* they are its parent's there */
	serve(vm, sock, f);
	_exit(0);
}

void capture_wait(void)
{
	if (child > 0)
		waitpid(child, NULL, 0);
	child = 0;
}

void capture_serve(struct qv *vm, int sock, bool once)
{
	struct frozen f = {0};
	capture_wait(); /* one at a time */
	/* A storer that is told nothing knows that it came to nothing. */
	if (freeze(vm, &f) == 0) {
		if (once)
			serve(vm, sock, &f);
		else if ((child = fork()) == 0)
			serve_alone(vm, sock, &f);
	}
	close(sock);
	unfreeze(&f);
}
