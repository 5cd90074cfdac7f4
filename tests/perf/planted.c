/* A slow step of a clone's way to its first output (planted.py): linked into QVisor in place of the functions that begin and end it. */
#include <string.h>

#include "program.h"

static uint64_t last;

static void spin(uint64_t ns)
{
	uint64_t until = clock_ns() + ns;
	while (clock_ns() < until) {}
}

void __real_timeline_start(uint64_t now_ns);
void __wrap_timeline_start(uint64_t now_ns);
void __wrap_timeline_start(uint64_t now_ns)
{
	last = now_ns;
	__real_timeline_start(now_ns);
}

void __real_timeline_mark(const char *step);
void __wrap_timeline_mark(const char *step);
void __wrap_timeline_mark(const char *step)
{
	if (!strcmp(step, STEP))
		spin((uint64_t)(SHARE * (double)(clock_ns() - last)));
	__real_timeline_mark(step);
	last = clock_ns();
}

/* Before the guest's first output nobody on this side can act: the time goes between the start of the run and the start of the guest. */
int __real_qv_run(struct qv *vm, struct qv_exit *out);
int __wrap_qv_run(struct qv *vm, struct qv_exit *out);
int __wrap_qv_run(struct qv *vm, struct qv_exit *out)
{
	spin(RUN_NS);
	return __real_qv_run(vm, out);
}
