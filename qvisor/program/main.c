/* QVisor, the program: one virtual machine, from the messages that describe it (message.h) to the end of its guest.
 *
 * Usage: qvisor SOCKET, the number of a descriptor. The stages, in this order: acquire what needs rights; confine; prepare the machine as far as the
 * snapshot decides; assign it to a request; run it; end. */
#include "program.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The working set that a first clone recorded is at most what prepare.c asked for. */
#define RECORDED_MAX (1u << 16)

static void acquire(struct program *p, int sock)
{
	receive(sock, &p->prepare, sizeof(p->prepare), &p->machine);
	fail_in_json(p->prepare.flags & QM_JSON);
	check(qv_create(descriptor(&p->machine, p->prepare.kvm, "/dev/kvm"), p->prepare.ram_max, &p->vm), "create the virtual machine");
	timeline_mark("create the machine");
}

/* Here this process gives up what it does not need from now on. So far: nothing. */
static void confine(void)
{
}

/* Returns the guest's exit status. */
static int run(struct program *p)
{
	static struct qv_exit out;
	do
		check(qv_run(p->vm, &out), "run the virtual machine");
	while (out.reason == QV_PARKED); /* at a capture point that nobody asked for */
	out.text[sizeof(out.text) - 1] = 0;
	if (out.reason == QV_PANIC)
		fail(FAIL_PANIC, "guest kernel panic: %s", out.text);
	if (out.reason != QV_EXITED)
		fail(FAIL_VM, "%s", out.text);
	return out.status;
}

static void hand_in_working_set(struct program *p, int pager)
{
	struct qv_page_run *runs = p->layout.working_set.bytes ? NULL : malloc(RECORDED_MAX * sizeof(*runs));
	int64_t n = runs ? qv_recorded(p->vm, runs, RECORDED_MAX) : 0;
	if (n > 0)
		pager_send_working_set(pager, runs, (size_t)n);
	free(runs);
}

static _Noreturn void end(struct program *p, int status, uint64_t started)
{
	const struct qm_assign *a = &p->assign;
	struct outcome o = {.status = status, .prefetched = p->prefetched};
	if (p->prepare.flags & QM_CLONE) {
		int pager = descriptor(&p->machine, p->prepare.pager, "the pager");
		uint64_t first = qv_first_output_ns(p->vm);
		if (first > started)
			timeline_add("run to the first output", (first - started) / 1000);
		hand_in_working_set(p, pager);
		if (a->flags & QM_TIMING || a->timing_file >= 0) {
			pager_stats(pager, &o.faults, &o.fault_pages);
			timeline_report(&o, a->flags & QM_TIMING, p->prepare.flags & QM_JSON,
					descriptor_or_none(&p->request, a->timing_file, "the timing"));
		}
	}
	if (a->flags & QM_DEBUG)
		counters_report(p->vm);
	leave(status);
}

static int socket_of(int argc, char **argv)
{
	char *rest = NULL;
	long fd = argc == 2 ? strtol(argv[1], &rest, 10) : -1;
	if (fd < 3 || fd > 1 << 20 || *rest)
		fail(FAIL_REQUEST, "qvisor is started by quark, with a socket");
	return (int)fd;
}

int main(int argc, char **argv)
{
	static struct program p;
	uint64_t started = clock_ns();
	terminal_remember();
	mallopt(M_ARENA_MAX, 1); /* one heap for all threads */
	/* What the guest writes where nobody reads, or where there is no more room, is an error of its own. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	int sock = socket_of(argc, argv);
	timeline_start(started);
	acquire(&p, sock);
	confine();
	prepare_machine(&p);
	receive(sock, &p.assign, sizeof(p.assign), &p.request);
	timeline_take(&p.assign, started);
	assign_request(&p);
	close(sock);
	uint64_t runs = clock_ns();
	end(&p, run(&p), runs);
}
