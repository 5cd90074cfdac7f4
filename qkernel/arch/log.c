/* Kernel log (a text ring in the comm area, read by QVisor at any time) and panic. */
#include "arch.h"
#include "klib.h"
#include "qcall.h"

static void trace_write(const char *s, size_t n)
{
	char *ring = (char *)(QK_COMM_BASE + QK_OFF_TRACE);
	u64 pos = comm()->trace_pos;
	for (size_t i = 0; i < n; i++)
		ring[(pos + i) % QK_TRACE_SIZE] = s[i];
	__atomic_store_n(&comm()->trace_pos, pos + n, __ATOMIC_RELEASE);
}

void klog(const char *fmt, ...)
{
	char line[256];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	n = MIN(n, (int)sizeof(line) - 2);
	if (n == 0 || line[n - 1] != '\n')
		line[n++] = '\n';
	trace_write(line, (size_t)n);
}

noreturn void panic(const char *fmt, ...)
{
	char *text = comm_data();
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, QK_DATA_SIZE / 2, fmt, ap);
	va_end(ap);
	n = MIN(n, (int)QK_DATA_SIZE / 2 - 1);
	n += snprintf(text + n, QK_DATA_SIZE / 2, "\ncall trace:");
	/* Return addresses by frame pointer would need -fno-omit-frame-pointer; scan the stack for kernel text instead. */
	extern char _text_start[], _text_end[];
	u64 *sp = __builtin_frame_address(0);
	for (int i = 0, found = 0; i < 256 && found < 16 && (((u64)(sp + i) & 0x3fff) != 0 || i == 0); i++)
		if (sp[i] >= (u64)_text_start && sp[i] < (u64)_text_end)
			n += snprintf(text + n, 32, " %lx", sp[i]), found++;
	for (;;)
		qcall(QC_PANIC, (u32)n, 0, 0, 0, 0, 0, 0);
}

noreturn void end_unstarted(int status, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(comm_data(), 1024, fmt, ap);
	va_end(ap);
	seg_begin();
	qcall(QC_LOG, (u32)MIN(n, 1023), QK_LOG_ERROR, 0, 0, 0, 0, 0);
	for (;;)
		qcall(QC_EXIT, 0, (u64)status, 0, 0, 0, 0, 0);
}
