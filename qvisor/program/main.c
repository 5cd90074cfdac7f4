/* QVisor, the program: one virtual machine, from the messages that describe it (message.h) to the end of its guest.
 *
 * Usage: qvisor SOCKET, the number of a descriptor. The stages, in this order: acquire what needs rights; confine; prepare the machine as far as the
 * snapshot decides; assign it to a request; run it; end. */
#include "program.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* The working set that a first clone recorded is at most what prepare.c asked for. */
#define RECORDED_MAX (1u << 16)

/* A process that waits for its request tells it then what is wrong with the host. */
static int acquire(struct program *p, int sock)
{
	receive(sock, &p->host, sizeof(p->host), &p->acquired);
	if (p->host.flags & QM_ALONE) {
		fail_in_json(p->host.flags & QM_JSON);
		terminal_remember();
	} else {
		control_open(sock);
	}
	if (p->host.parent) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != p->host.parent)
			leave(1);
		setsid();
	}
	return qv_create(descriptor(&p->acquired, p->host.kvm, "/dev/kvm"), p->host.ram_max, &p->vm);
}

/* Returns the guest's exit status. */
static int run(struct program *p)
{
	static struct qv_exit out;
	bool once = p->assign.flags & QM_ONCE;
	for (;;) {
		check(qv_run(p->vm, &out), "run the virtual machine");
		if (out.reason == QV_STOPPED)
			control_stand_still();
		if (out.reason == QV_PARKED && control_is_open()) {
			int storer = control_storer(once);
			if (storer >= 0)
				capture_serve(p->vm, storer, once);
			if (once)
				return 0;
		}
		if (out.reason != QV_STOPPED && out.reason != QV_PARKED)
			break;
	}
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
		pager_send_working_set(pager, p->recorded, runs, (size_t)n);
	free(runs);
}

/* Why the guest kernel killed the program that ended with this status; empty: it did not. */
static const char *end_reason(struct qv *vm, int status)
{
	static char reason[256];
	if (status == 128 + SIGKILL)
		snprintf(reason, sizeof(reason), "%s", qv_end_reason(vm));
	printable(reason, strlen(reason));
	return reason;
}

static _Noreturn void end_alone(struct program *p, const struct outcome *o)
{
	const struct qm_assign *a = &p->assign;
	if (a->flags & QM_TIMING || a->timing_file >= 0)
		timeline_report(o, a->flags & QM_TIMING, p->host.flags & QM_JSON, descriptor_or_none(&p->request, a->timing_file, "the timing"));
	if (a->flags & QM_DEBUG) {
		counters_report(p->vm);
		confine_report();
	}
	leave(o->status);
}

static _Noreturn void end_told(struct program *p, const struct outcome *o)
{
	static struct fields f;
	capture_wait(); /* none outlives the sandbox's process */
	for (int fd = 0; fd < 3; fd++)
		close(fd); /* whoever reads them need not wait for the end of this process */
	fields_begin(&f, "ended");
	fields_number(&f, (uint64_t)o->status);
	fields_add(&f, end_reason(p->vm, o->status));
	fields_number(&f, o->prefetched);
	fields_number(&f, o->faults);
	fields_number(&f, o->fault_pages);
	if (p->prepare.flags & QM_CLONE)
		timeline_fields(&f);
	control_send(&f);
	leave(o->status);
}

static _Noreturn void end(struct program *p, int status, uint64_t started)
{
	struct outcome o = {.status = status, .prefetched = p->prefetched};
	if (p->prepare.flags & QM_CLONE) {
		int pager = descriptor(&p->machine, p->prepare.pager, "the pager");
		uint64_t first = qv_first_output_ns(p->vm);
		if (first > started)
			timeline_add("run to the first output", (first - started) / 1000);
		hand_in_working_set(p, pager);
		if (!(p->prepare.flags & QM_COMPLETE))
			pager_stats(pager, &o.faults, &o.fault_pages);
	}
	if (control_is_open())
		end_told(p, &o);
	end_alone(p, &o);
}

static void tell_started(const struct qm_assign *a)
{
	char digits[2 * sizeof(a->generation) + 1];
	struct fields f;
	for (size_t i = 0; i < sizeof(a->generation); i++)
		snprintf(digits + 2 * i, 3, "%02x", a->generation[i]);
	fields_begin(&f, "started");
	fields_add(&f, digits);
	fields_number(&f, confined_by);
	control_send(&f);
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
	mallopt(M_ARENA_MAX, 1); /* one heap for all threads */
	/* What the guest writes where nobody reads, or where there is no more room, is an error of its own. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	int sock = socket_of(argc, argv);
	/* What whoever started quark had open is not for it; it is sent what it needs. */
	if (sock > 3)
		close_range(3, (unsigned)sock - 1, 0);
	close_range((unsigned)sock + 1, ~0u, 0);
	timeline_start(started);
	int made = acquire(&p, sock);
	if (p.host.flags & QM_ALONE)
		timeline_mark("create the machine");
	if (made == 0)
		confine(p.vm, &p.host, &p.acquired);
	if (p.host.flags & QM_ALONE)
		timeline_mark("confine");
	receive(sock, &p.prepare, sizeof(p.prepare), &p.machine);
	check(made, "create the virtual machine");
	if (!(p.host.flags & QM_ALONE)) { /* the machine was made ahead */
		started = clock_ns();
		timeline_start(started);
	}
	prepare_machine(&p);
	if (p.prepare.flags & QM_AHEAD)
		control_tell("prepared");
	receive(sock, &p.assign, sizeof(p.assign), &p.request);
	timeline_take(&p.assign, started);
	assign_request(&p);
	confine_run(&p.host, &p.assign, &p.request);
	timeline_mark("confine to the request");
	if (control_is_open())
		tell_started(&p.assign);
	else
		close(sock);
	uint64_t runs = clock_ns();
	end(&p, run(&p), runs);
}
