/* The guest's side of QCall: pieces of a transfer are joined, a request arrives as it was made, closes are gathered, events come out once and in order.
 * before: guest_memory.h
 * sources: arch/qcall.c */
#include <assert.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "qcall.h"
#include <errno.h>

char comm_area[QK_COMM_SIZE(1)];
static struct cpu host_cpu = {.shared = (struct qk_vcpu *)(comm_area + QK_OFF_VCPU(0))};
struct kstack_end host_stack = {.cpu = &host_cpu};
char _kernel_end[1];

static unsigned requests, events_seen;
static struct qk_call last;
static struct qk_event seen[2 * QK_EVENT_MAX];

static unsigned contacts, cuts, lost, looks;
static u64 contact_mode;

static void host_contact(bool input)
{
	contacts++;
	contact_mode = input;
}
static void window_lost(u32 why)
{
	cuts++;
	lost = why;
}
static void hoststreams_look_again(void)
{
	looks++;
}
static void host_event(int handle, u32 events)
{
	seen[events_seen++] = (struct qk_event){handle, events};
}

/* An OUT faults here as it exits there: this is QVisor. */
static void exit_of_the_guest(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info;
	greg_t *rip = &((ucontext_t *)context)->uc_mcontext.gregs[16 /* RIP, whose name is an extension */];
	if (*(const u8 *)*rip != 0xef || vcpu()->call.state != QK_CALL_SUBMITTED)
		_Exit(1);
	last = vcpu()->call;
	requests++;
	vcpu()->call.ret = 100 + requests;
	((struct qk_closes *)((char *)vcpu() + QK_VCPU_CLOSE))->count = 0;
	vcpu()->call.state = QK_CALL_DONE;
	++*rip;
}

static void check_segments(void)
{
	const struct qk_seg *segs = (const struct qk_seg *)((char *)vcpu() + QK_VCPU_SEGS);
	seg_begin();
	assert(!seg_add(0x1000, 0x800) && !seg_add(0x1800, 0x800) && !seg_add(0x5000, 1) && !seg_add(0x4fff, 1));
	assert(qcall(QC_PREAD, 7, 1, 2, 3, 4, 5, 6) == 101);
	assert(last.op == QC_PREAD && last.data_len == 7 && last.nseg == 3 && last.arg[0] == 1 && last.arg[5] == 6);
	assert(segs[0].gpa == 0x1000 && segs[0].len == 0x1000 && segs[1].gpa == 0x5000 && segs[2].gpa == 0x4fff);
	assert(qcall(QC_CLOCK, 0, 0, 0, 0, 0, 0, 0) == 102 && last.nseg == 0); /* segments belong to one request */
	seg_begin();
	for (u64 i = 0; i < QK_SEG_MAX; i++)
		assert(!seg_add(i * 0x2000, 0x1000));
	assert(!seg_add((QK_SEG_MAX - 1) * 0x2000 + 0x1000, 0x1000)); /* joins the last one */
	assert(seg_add(0, 1) == -E2BIG && segs[QK_SEG_MAX].gpa == 0);
	seg_begin();
}

static void check_closes(void)
{
	unsigned before = requests;
	struct qk_closes *noted = (struct qk_closes *)((char *)vcpu() + QK_VCPU_CLOSE);
	for (int i = 0; i < 64; i++)
		qcall_close_later(10 + i);
	/* They wait for the next request, which takes them along. */
	assert(requests == before && noted->count == 64 && noted->handle[0] == 10 && noted->handle[63] == 73);
	qcall_flush_closes();
	assert(requests == before + 1 && last.op == QC_NONE && !noted->count);
	qcall_flush_closes();
	assert(requests == before + 1);
	for (unsigned i = 0; i <= QK_CLOSE_MAX; i++)
		qcall_close_later((int)i);
	assert(requests == before + 2 && noted->count == 1 && noted->handle[0] == QK_CLOSE_MAX);
}

static void push(struct qk_event e)
{
	struct qk_event *ring = (struct qk_event *)(comm_area + QK_OFF_EVENTS);
	ring[comm()->event_head++ % QK_EVENT_MAX] = e;
}

static void check_events(u32 start)
{
	comm()->event_head = comm()->event_tail = start;
	events_seen = 0;
	capture_requested = false;
	events_poll();
	assert(!events_seen);
	for (u32 i = 0; i < QK_EVENT_MAX - 2; i++)
		push((struct qk_event){(int)i, i * 3});
	push((struct qk_event){QK_EV_TICK, 0});
	push((struct qk_event){QK_EV_CAPTURE, 0});
	assert(events_pending());
	events_poll();
	assert(!events_pending() && capture_requested && events_seen == QK_EVENT_MAX - 2);
	for (u32 i = 0; i < events_seen; i++)
		assert(seen[i].handle == (int)i && seen[i].events == i * 3);
	assert(contacts && contact_mode && !cuts && !looks);
	push((struct qk_event){QK_EV_CUT, QK_LOST_FULL});
	events_poll();
	assert(cuts == 1 && lost == QK_LOST_FULL);
	cuts = 0;
}

/* What found no room in the ring is not lost: signals by number, and everybody who waits for a handle looks again. */
static void check_missed(void)
{
	events_seen = cuts = looks = 0;
	capture_requested = false;
	comm()->missed_signals = 1u << 1 | 1u << 14 /* SIGINT, SIGTERM */;
	comm()->missed = QK_MISSED_HANDLES | QK_MISSED_CAPTURE;
	events_poll();
	assert(events_seen == 2 && seen[0].handle == QK_EV_SIGNAL && seen[0].events == 2 && seen[1].events == 15);
	assert(capture_requested && looks == 1 && cuts == 1 && !lost && !comm()->missed && !comm()->missed_signals);
	events_poll();
	assert(events_seen == 2 && looks == 1);
}

int main(void)
{
	static const struct event_sink sink = {
		.contact = host_contact, .event = host_event, .cut = window_lost, .look_again = hoststreams_look_again};
	events_set_sink(&sink);
	sigaction(SIGSEGV, &(struct sigaction){.sa_sigaction = exit_of_the_guest, .sa_flags = SA_SIGINFO}, NULL);
	check_segments();
	check_closes();
	check_events(0);
	check_events(QK_EVENT_MAX - 3);
	check_events(UINT32_MAX - 5); /* the counters run free */
	check_missed();
	return 0;
}
