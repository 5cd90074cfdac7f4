/* mremap: shrink, grow in place, move, fixed destination, and its errors. */
#include "fault.h"
#include <sys/mman.h>

#define PAGE 4096L
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static char *map(long pages)
{
	char *p = mmap(NULL, pages * PAGE, RW, ANON, -1, 0);
	REQUIRE(p != MAP_FAILED);
	for (long i = 0; i < pages; i++)
		memset(p + i * PAGE, (int)(i + 1), PAGE);
	return p;
}

static int numbered(char *p, long pages)
{
	for (long i = 0; i < pages; i++)
		if (p[i * PAGE] != i + 1 || p[i * PAGE + PAGE - 1] != i + 1)
			return 0;
	return 1;
}

int main(void)
{
	char *p = map(8);
	CHECK("shrink", mremap(p, 8 * PAGE, 3 * PAGE, 0) == p && numbered(p, 3));
	CHECK("shrink.tail_gone", read_faults(p + 3 * PAGE, SEGV_MAPERR));
	CHECK("same", mremap(p, 3 * PAGE, 3 * PAGE, 0) == p);
	CHECK("grow.in_place", mremap(p, 3 * PAGE, 6 * PAGE, 0) == p && numbered(p, 3));
	CHECK("grow.zeroed", p[3 * PAGE] == 0 && p[6 * PAGE - 1] == 0 && writable(p + 6 * PAGE - 1));

	p = map(4);
	char *wall = mmap(p + 2 * PAGE, 2 * PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0);
	REQUIRE(wall == p + 2 * PAGE);
	CHECK_ERR("grow.blocked", (long)mremap(p, 2 * PAGE, 4 * PAGE, 0), ENOMEM);
	CHECK("grow.blocked_harmless", numbered(p, 2));
	char *moved = mremap(p, 2 * PAGE, 600 * PAGE, MREMAP_MAYMOVE);
	CHECK("move", moved != MAP_FAILED && moved != p && numbered(moved, 2));
	CHECK("move.old_gone", read_faults(p, SEGV_MAPERR) && readable(wall));
	CHECK("move.new_zeroed", moved[599 * PAGE] == 0 && writable(moved + 599 * PAGE));

	char *area = mmap(NULL, 32 * PAGE, PROT_NONE, ANON, -1, 0);
	p = map(3);
	CHECK("fixed", mremap(p, 3 * PAGE, 5 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, area + 4 * PAGE) == area + 4 * PAGE);
	CHECK("fixed.content", numbered(area + 4 * PAGE, 3) && area[8 * PAGE] == 0);
	CHECK("fixed.edges", read_faults(area + 3 * PAGE, SEGV_ACCERR) && read_faults(area + 9 * PAGE, SEGV_ACCERR));

	p = map(6); /* move the middle out: the area splits in three */
	char *middle = mremap(p + 2 * PAGE, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, area + 20 * PAGE);
	CHECK("split", middle == area + 20 * PAGE && middle[0] == 3 && middle[PAGE] == 4);
	CHECK("split.hole", read_faults(p + 2 * PAGE, SEGV_MAPERR) && numbered(p, 2) && p[4 * PAGE] == 5);

	REQUIRE(mprotect(middle, PAGE, PROT_READ) == 0);
	char *read_only = mremap(middle, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, area + 26 * PAGE);
	CHECK("protection_moves", read_only[0] == 3 && write_faults(read_only, SEGV_ACCERR));

	p = map(2);
	CHECK_ERR("error.unaligned", (long)mremap(p + 1, PAGE, PAGE, 0), EINVAL);
	CHECK_ERR("error.length0", (long)mremap(p, 2 * PAGE, 0, 0), EINVAL);
	CHECK_ERR("error.flags", (long)mremap(p, PAGE, PAGE, 64), EINVAL);
	CHECK_ERR("error.fixed_alone", (long)mremap(p, PAGE, PAGE, MREMAP_FIXED, area), EINVAL);
	CHECK_ERR("error.overlap", (long)mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + PAGE), EINVAL);
	REQUIRE(munmap(p, 2 * PAGE) == 0);
	CHECK_ERR("error.unmapped", (long)mremap(p, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EFAULT);
	/* ENOMEM, in newer kernels EINVAL */
	CHECK("error.huge", mremap(area, PAGE, 1UL << 50, MREMAP_MAYMOVE) == MAP_FAILED);

	char *block = malloc(1 << 20); /* glibc grows large blocks by mremap */
	memset(block, 0x5a, 1 << 20);
	for (size_t size = 2 << 20; size <= 32 << 20; size *= 2)
		block = realloc(block, size);
	CHECK("realloc", block[0] == 0x5a && block[(1 << 20) - 1] == 0x5a);
	free(block);
	return check_done();
}
