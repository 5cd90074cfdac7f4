/* What `quark run --debug` prints when the guest has ended: the tail of the guest kernel's log, and its counters. */
#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NUMBERS 512 /* of system calls: enosys_count */

static void write_all(const char *text, size_t n)
{
	while (n) {
		ssize_t r = write(2, text, n);
		if (r <= 0)
			return;
		text += r;
		n -= (size_t)r;
	}
}

static void log_tail(struct qv *vm, uint64_t end)
{
	uint64_t n = end < QK_TRACE_SIZE ? end : QK_TRACE_SIZE, first = end <= QK_TRACE_SIZE ? 0 : end % QK_TRACE_SIZE;
	const char *ring = qv_comm_area(vm, QK_OFF_TRACE);
	char *text = malloc(n + 1);
	if (!text)
		return;
	memcpy(text, ring + first, n - first);
	memcpy(text + n - first, ring, first);
	printable(text, n);
	write_all(text, n);
	free(text);
}

void counters_report(struct qv *vm)
{
	const struct qk_comm *c = qv_comm(vm);
	struct qk_stats s = qv_stats(vm);
	log_tail(vm, c->trace_pos);
	dprintf(2, "quark: %llu system calls, %llu page faults, %llu host requests, %llu context switches, %llu KiB of guest memory in use\n",
		(unsigned long long)s.syscalls, (unsigned long long)s.faults, (unsigned long long)s.qcalls, (unsigned long long)s.switches,
		(unsigned long long)c->ram_used >> 10);
	const char *before = "quark: system calls that QKernel lacks, by number: ";
	for (int i = 0; i < NUMBERS; i++) {
		uint32_t calls = c->enosys_count[i];
		if (calls) {
			dprintf(2, "%s%d (%ux)", before, i, calls);
			before = ", ";
		}
	}
	if (*before == ',')
		dprintf(2, "\n");
}
