/* Guest side of QCall: the one request of each vCPU, its segments, the event ring. */
#include "arch.h"
#include "errno.h"
#include "qcall.h"

/* How long to spin for a host thread that says it watches before falling back to an exit, in TSC ticks (about 100 us). */
#define POLL_TICKS 300000ul

bool capture_requested;
void (*qcall_before)(void);

static struct qk_seg *vcpu_segs(void)
{
	return (struct qk_seg *)((char *)vcpu() + QK_VCPU_SEGS);
}

static struct qk_closes *vcpu_closes(void)
{
	return (struct qk_closes *)((char *)vcpu() + QK_VCPU_CLOSE);
}

void seg_begin(void)
{
	this_cpu()->nseg = 0;
}

int seg_add(paddr_t gpa, u64 len)
{
	struct qk_seg *segs = vcpu_segs();
	u32 *n = &this_cpu()->nseg;
	if (*n && segs[*n - 1].gpa + segs[*n - 1].len == gpa) {
		segs[*n - 1].len += len;
		return 0;
	}
	if (*n == QK_SEG_MAX)
		return -E2BIG;
	segs[(*n)++] = (struct qk_seg){gpa, len};
	return 0;
}

static s64 qcall_issue(enum qk_op op, u32 data_len, u32 n, const u64 a[6])
{
	struct qk_vcpu *v = vcpu();
	struct qk_call *q = &v->call;
	q->op = op;
	q->data_len = data_len;
	q->nseg = n;
	for (int i = 0; i < 6; i++)
		q->arg[i] = a[i];
	v->stats.qcalls++;
	__atomic_store_n(&q->state, QK_CALL_SUBMITTED, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&v->poller_awake, __ATOMIC_SEQ_CST)) {
		u64 until = rdtsc() + POLL_TICKS;
		while (rdtsc() < until) {
			if (__atomic_load_n(&q->state, __ATOMIC_ACQUIRE) == QK_CALL_DONE)
				return q->ret;
			cpu_relax();
		}
	}
	/* QVisor takes a request once: when the poller got there first the exit finds nothing to do, and waits for it. */
	while (__atomic_load_n(&q->state, __ATOMIC_ACQUIRE) != QK_CALL_DONE)
		out32(QK_PORT_CALL, op);
	return q->ret;
}

s64 qcall_aside(enum qk_op op, u64 a0, u64 a1, paddr_t gpa, u64 len)
{
	u64 a[6] = {a0, a1};
	struct qk_seg *segs = vcpu_segs(), kept = segs[0];
	segs[0] = (struct qk_seg){gpa, len};
	s64 r = qcall_issue(op, 0, len ? 1 : 0, a);
	segs[0] = kept;
	return r;
}

s64 qcall(enum qk_op op, u32 data_len, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5)
{
	if (qcall_before)
		qcall_before();
	u64 a[6] = {a0, a1, a2, a3, a4, a5};
	u32 n = this_cpu()->nseg;
	this_cpu()->nseg = 0;
	return qcall_issue(op, data_len, n, a);
}

u32 qcall_data_len(void)
{
	return vcpu()->call.data_len;
}

u64 qcall_out(int i)
{
	return vcpu()->call.out[i];
}

void qcall_flush_closes(void)
{
	static const u64 none[6];
	if (vcpu_closes()->count)
		qcall_issue(QC_NONE, 0, 0, none);
}

void qcall_close_later(int handle)
{
	struct qk_closes *c = vcpu_closes();
	u32 n = c->count;
	if (n >= QK_CLOSE_MAX) {
		qcall_flush_closes();
		n = 0;
	}
	c->handle[n] = (u32)handle;
	__atomic_store_n(&c->count, n + 1, __ATOMIC_RELEASE);
}

struct qk_stats stats_sum(void)
{
	struct qk_stats sum = {0};
	for (u32 i = 0; i < comm()->nvcpus; i++) {
		const struct qk_stats *s = &((const struct qk_vcpu *)(QK_COMM_BASE + QK_OFF_VCPU(i)))->stats;
		sum.syscalls += s->syscalls;
		sum.faults += s->faults;
		sum.qcalls += s->qcalls;
		sum.switches += s->switches;
	}
	return sum;
}

#define SIGNALS_NOTED 64 /* bits of missed_signals */

static const struct event_sink *sink;

void events_set_sink(const struct event_sink *s)
{
	sink = s;
}

void events_poll(void)
{
	struct qk_comm *c = comm();
	if (events_pending())
		sink->contact(true);
	const struct qk_event *ring = (const struct qk_event *)(QK_COMM_BASE + QK_OFF_EVENTS);
	while (__atomic_load_n(&c->event_head, __ATOMIC_ACQUIRE) != c->event_tail) {
		struct qk_event e = ring[c->event_tail % QK_EVENT_MAX];
		__atomic_store_n(&c->event_tail, c->event_tail + 1, __ATOMIC_RELEASE);
		if (e.handle == QK_EV_CAPTURE)
			capture_requested = true;
		else if (e.handle == QK_EV_CUT)
			sink->cut(e.events);
		else if (e.handle != QK_EV_TICK)
			sink->event(e.handle, e.events);
	}
	if (!events_missed())
		return;
	u64 signals = __atomic_exchange_n(&c->missed_signals, 0, __ATOMIC_SEQ_CST);
	u32 missed = __atomic_exchange_n(&c->missed, 0, __ATOMIC_SEQ_CST);
	for (u32 sig = 1; sig <= SIGNALS_NOTED; sig++)
		if (signals >> (sig - 1) & 1)
			sink->event(QK_EV_SIGNAL, sig);
	if (missed & QK_MISSED_CAPTURE)
		capture_requested = true;
	if (missed)
		sink->cut(0);
	if (missed & QK_MISSED_HANDLES)
		sink->look_again();
}
