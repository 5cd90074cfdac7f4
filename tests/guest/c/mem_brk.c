/* brk: grows, shrinks, reads zero again after a shrink, and refuses without harm. */
#include "fault.h"
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static char *set_break(char *p)
{
	return (char *)syscall(SYS_brk, p);
}

int main(void)
{
	char *start = set_break(NULL);
	CHECK("query", start != NULL && set_break(NULL) == start);
	char *base = (char *)(((uintptr_t)start + 4095) & ~4095UL);
	CHECK("grow", set_break(base + 10 * 4096) == base + 10 * 4096);
	int zero = 1;
	for (int i = 0; i < 10 * 4096; i++)
		zero &= base[i] == 0;
	CHECK("grow.zeroed", zero);
	memset(base, 0x77, 10 * 4096);
	CHECK("end.faults", read_faults(base + 10 * 4096, SEGV_MAPERR));
	CHECK("shrink", set_break(base + 2 * 4096) == base + 2 * 4096);
	CHECK("shrink.faults", read_faults(base + 2 * 4096, SEGV_MAPERR) && base[2 * 4096 - 1] == 0x77);
	CHECK("grow.again", set_break(base + 10 * 4096) == base + 10 * 4096);
	CHECK("grow.again_zeroed", base[2 * 4096] == 0 && base[10 * 4096 - 1] == 0);
	CHECK("grow.unaligned", set_break(base + 10 * 4096 + 5) == base + 10 * 4096 + 5 && writable(base + 10 * 4096 + 4095));
	char *now = set_break(NULL);
	CHECK("refuse.below_start", set_break((char *)4096) == now);
	CHECK("refuse.kernel", set_break((char *)(1UL << 47)) == now);
	CHECK("refuse.top", set_break((char *)-1L) == now);
	CHECK("exec.faults", call_faults(base + 4096, SEGV_ACCERR));
	CHECK("grow.64mb", set_break(now + (64 << 20)) == now + (64 << 20));
	now[(64 << 20) - 1] = 1;
	CHECK("grow.64mb_usable", now[(64 << 20) - 1] == 1 && now[32 << 20] == 0);
	CHECK("back", set_break(start) == start);
	CHECK("sbrk", sbrk(8192) == (void *)start && sbrk(0) == (void *)(start + 8192));
	struct rlimit data = {1 << 20, RLIM_INFINITY};
	REQUIRE(setrlimit(RLIMIT_DATA, &data) == 0);
	CHECK_ERR("rlimit_data", (long)sbrk(64 << 20), ENOMEM);
	return check_done();
}
