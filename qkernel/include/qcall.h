/* Requests to QVisor. Synchronous: the answer is there when the function returns; no call blocks on the host. */
#ifndef QCALL_H
#define QCALL_H

#include "arch.h"
#include "klib.h"
#include "quark_abi.h"

static inline struct qk_comm *comm(void) { return (struct qk_comm *)QK_COMM_BASE; }
/* The block of the vCPU that this runs on. */
static inline struct qk_vcpu *vcpu(void) { return this_cpu()->shared; }
static inline char *comm_data(void) { return (char *)vcpu() + QK_VCPU_DATA; }
struct qk_stats stats_sum(void); /* of all vCPUs */

/* Collects the guest-physical pieces of a transfer. Use: seg_begin; seg_add...; then qcall with segments. */
void seg_begin(void);
int seg_add(paddr_t gpa, u64 len); /* joins adjacent pieces; -E2BIG when full */

/* Issues the vCPU's call with the arguments; returns ret. Segments added since seg_begin go with it. `data_len` bytes of comm_data() are input. */
s64 qcall(enum qk_op op, u32 data_len, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5);
/* The same with at most one piece of memory, from within the making of another request, whose segments and input stay as they are. */
s64 qcall_aside(enum qk_op op, u64 a0, u64 a1, paddr_t gpa, u64 len);
/* NULL, or called before each request but those of qcall_aside. */
extern void (*qcall_before)(void);
/* Length of valid output in comm_data() and out[] of the last call. */
u32 qcall_data_len(void);
u64 qcall_out(int i);
/* Notes a close: nobody waits for its result, so it goes with the next request, or when this vCPU waits. */
void qcall_close_later(int handle);
void qcall_flush_closes(void); /* now: the notes are not part of a snapshot */

/* Who hears what the host says. */
struct event_sink {
	void (*contact)(bool input);           /* something came from the host, or (input) it did something while time passed */
	void (*event)(int handle, u32 events); /* of a handle, or QK_EV_SIGNAL, QK_EV_WINCH */
	void (*cut)(u32 why);                  /* QK_EV_CUT */
	void (*look_again)(void);              /* events of handles were lost */
};
void events_set_sink(const struct event_sink *s);
void events_poll(void);        /* reads the event ring and hands events out */
extern bool capture_requested; /* QK_EV_CAPTURE came: park at the next safe point, then clear */
/* The event ring was full: what came then is in these. */
static inline bool events_missed(void) { return comm()->missed || comm()->missed_signals; }
static inline bool events_pending(void) { return __atomic_load_n(&comm()->event_head, __ATOMIC_ACQUIRE) != comm()->event_tail || events_missed(); }

#endif
