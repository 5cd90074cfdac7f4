/* Write-behind of the standard streams that are pipes: small writes that follow each other closely collect here and go to the host in one request.
 *
 * To whoever reads it is a pipe that is a little larger: nothing is late or out of order that could be seen. What is held back goes out before any other
 * request to the host, when nothing can run, after HOLD_NS, and at the end; once the pipe is full the writer waits as it does without this. As with
 * what is in a pipe (pipe(7)), the writer does not hear when the reader leaves without having read it: its next write does. */
#include "file.h"
#include "ktime.h"
#include "qcall.h"
#include "behind.h"
#include <linux/fcntl.h>

#define HELD_ORDER 7u
#define HELD_MAX (PAGE_SIZE << HELD_ORDER)
#define SMALL_MAX 32768u  /* a larger write is worth a request of its own */
#define CLOSE_NS 200000ul /* between two writes of a program that writes a lot */
#define HOLD_NS 1000000ul

static struct held {
	char *buf;     /* HELD_MAX bytes, NULL: none yet */
	u32 from, end; /* what is held back */
	u64 last;      /* mono_ns of the last write */
	u64 since;     /* mono_ns of the first byte held back */
} held[STREAMS];
static u32 holding; /* bit n: held[n] is not empty */
static struct ktimer hold;
static bool hurry; /* a signal that ends programs came */

static void held_drop(int handle)
{
	held[handle].from = held[handle].end = 0;
	holding &= ~(1u << handle);
}

static void held_flush_all(void)
{
	for (int h = 0; h < STREAMS; h++)
		if (holding >> h & 1)
			behind_flush(h);
	qcall_before = holding ? held_flush_all : NULL;
}

int behind_flush(int handle)
{
	struct held *b = &held[handle];
	while (holding >> handle & 1) {
		s64 r = qcall_aside(QC_WRITE, (u64)handle, 0, virt_to_phys(b->buf + b->from), b->end - b->from);
		if (r == -EAGAIN) {
			r = qcall_aside(QC_POLL, (u64)handle, POLL_OUT, 0, 0);
			if (r == 0)
				return -EAGAIN;
			if (r > 0)
				continue;
		}
		if (r >= 0 && (b->from += (u32)r) < b->end)
			continue;
		held_drop(handle);
		if (r < 0)
			return (int)r;
	}
	return 0;
}

static void held_expires(struct ktimer *t)
{
	u64 now = mono_ns(), first = UINT64_MAX;
	for (int h = 0; h < STREAMS; h++) {
		if (!(holding >> h & 1))
			continue;
		if (held[h].since + HOLD_NS <= now)
			behind_flush(h);
		else
			first = MIN(first, held[h].since + HOLD_NS);
	}
	if (first != UINT64_MAX)
		ktimer_arm(t, first);
}

static bool held_room(struct held *b)
{
	if (!b->buf) {
		paddr_t p = frame_alloc_order(HELD_ORDER, 0);
		b->buf = p ? phys_to_virt(p) : NULL;
	}
	return b->buf && b->end < HELD_MAX;
}

ssize_t behind_take(int handle, struct uio *u)
{
	struct held *b = &held[handle];
	u64 now = mono_ns(), before = b->last;
	b->last = now;
	if (u->resid > SMALL_MAX || now - before > CLOSE_NS || !held_room(b))
		return 0;
	ssize_t n = uio_read(u, b->buf + b->end, MIN(u->resid, HELD_MAX - b->end));
	if (n <= 0)
		return n;
	b->end += (u32)n;
	if (!(holding >> handle & 1)) {
		holding |= 1u << handle;
		b->since = now;
		qcall_before = held_flush_all;
		hold.fn = held_expires;
		/* One that is armed already looks at this stream, too. */
		if (!hold.node.queued)
			ktimer_arm(&hold, now + HOLD_NS);
	}
	return n;
}

bool behind_holds(int handle)
{
	return holding >> handle & 1;
}

void behind_forget(void)
{
	for (int h = 0; h < STREAMS; h++)
		held_drop(h);
}

void behind_park(void)
{
	held_flush_all();
	for (int h = 0; h < STREAMS; h++) {
		struct held *b = &held[h];
		if ((holding >> h & 1) || !b->buf)
			continue;
		frame_free_order(virt_to_phys(b->buf), HELD_ORDER);
		b->buf = NULL;
	}
}

void behind_hurry(void)
{
	hurry = true;
}

void behind_end(bool wait)
{
	hurry = false;
	held_flush_all();
	while (holding && wait && !hurry) {
		arch_wait(UINT64_MAX);
		events_poll();
		held_flush_all();
	}
}
