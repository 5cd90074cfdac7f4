/* What quark run --debug shows of system calls: a line for each when it returns, and a table by name at the end. */
#include "ktime.h"
#include "arch.h"
#include "proc.h"
#include "qcall.h"

#define NUMBERS 512u
#define LINE_MAX 512u
#define ERRNO_MAX 4095 /* as Linux has it: what is below is an address */

static const char *const names[NUMBERS] = {
#define SYSCALL_NAME(nr, name) [nr] = #name,
#include "syscall_table.inc"
};
static struct {
	u64 calls, ns;
} totals[NUMBERS];

static const char *calltrace_name_of(u64 nr)
{
	return nr < NUMBERS && names[nr] ? names[nr] : "?";
}

static void calltrace_emit(int n)
{
	seg_begin();
	qcall(QC_LOG, (u32)MIN(n, (int)LINE_MAX - 1), QK_LOG_DEBUG, 0, 0, 0, 0, 0);
}

u64 calltrace_enter(u64 nr)
{
	if (nr < NUMBERS)
		totals[nr].calls++; /* here: exit does not return */
	return mono_ns();
}

void calltrace_leave(const struct trapframe *tf, u64 nr, long ret, u64 since)
{
	if (nr < NUMBERS)
		totals[nr].ns += mono_ns() - since;
	char *d = comm_data();
	bool failed = ret < 0 && ret >= -ERRNO_MAX;
	int n = snprintf(d, LINE_MAX, "[%d] %s(%lx, %lx, %lx, %lx, %lx, %lx) = ", current->tid, calltrace_name_of(nr), tf->rdi, tf->rsi, tf->rdx,
			 tf->r10, tf->r8, tf->r9);
	calltrace_emit(n + snprintf(d + n, LINE_MAX - (u32)n, failed ? "%ld" : "%lx", ret));
}

/* The most expensive one first. */
void calltrace_summary(void)
{
	calltrace_emit(snprintf(comm_data(), LINE_MAX,
				"quark: peak guest memory %lu KiB\nquark: system calls by time (waiting counts):\n%12s %12s  %s",
				frames_peak() * (PAGE_SIZE / 1024), "calls", "us", "name"));
	for (;;) {
		u32 best = NUMBERS;
		for (u32 nr = 0; nr < NUMBERS; nr++)
			if (totals[nr].calls && (best == NUMBERS || totals[nr].ns > totals[best].ns))
				best = nr;
		if (best == NUMBERS)
			return;
		calltrace_emit(snprintf(comm_data(), LINE_MAX, "%12lu %12lu  %s%s", totals[best].calls, totals[best].ns / 1000,
					calltrace_name_of(best), comm()->enosys_count[best] ? " (not implemented)" : ""));
		totals[best].calls = 0;
	}
}
