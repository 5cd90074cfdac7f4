/* Anonymous mmap and munmap: zeroed, writable, argument errors, partial unmaps, hints, fixed placement. */
#include "fault.h"
#include <stdint.h>
#include <sys/mman.h>

#define PAGE 4096L
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static char *map(size_t pages)
{
	char *p = mmap(NULL, pages * PAGE, RW, ANON, -1, 0);
	REQUIRE(p != MAP_FAILED);
	return p;
}

static int filled(char *p, size_t n, char value)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != value)
			return 0;
	return 1;
}

static void basics(void)
{
	char *p = map(16);
	CHECK("map.aligned", ((uintptr_t)p & (PAGE - 1)) == 0);
	CHECK("map.zeroed", filled(p, 16 * PAGE, 0));
	memset(p, 7, 16 * PAGE);
	CHECK("map.kept", filled(p, 16 * PAGE, 7));
	CHECK_OK("unmap", munmap(p, 16 * PAGE));
	CHECK("unmap.gone", read_faults(p, SEGV_MAPERR));
	CHECK_OK("unmap.again", munmap(p, 16 * PAGE));
	p = map(1);
	CHECK_OK("unmap.length_rounds_up", munmap(p, 1));
	CHECK("unmap.whole_page", read_faults(p + 4095, SEGV_MAPERR));
}

static void errors(void)
{
	char *p = map(2);
	CHECK_ERR("map.length0", (long)mmap(NULL, 0, RW, ANON, -1, 0), EINVAL);
	CHECK_ERR("map.no_type", (long)mmap(NULL, PAGE, RW, MAP_ANONYMOUS, -1, 0), EINVAL);
	CHECK_ERR("map.badfd", (long)mmap(NULL, PAGE, RW, MAP_PRIVATE, -1, 0), EBADF);
	CHECK_ERR("map.huge", (long)mmap(NULL, 1UL << 50, RW, ANON | MAP_NORESERVE, -1, 0), ENOMEM);
	CHECK_ERR("map.wraps", (long)mmap(NULL, SIZE_MAX - 100, RW, ANON, -1, 0), ENOMEM);
	CHECK_ERR("map.fixed_unaligned", (long)mmap(p + 1, PAGE, RW, ANON | MAP_FIXED, -1, 0), EINVAL);
	CHECK_ERR("map.fixed_kernel", (long)mmap((void *)(1UL << 47), PAGE, RW, ANON | MAP_FIXED, -1, 0), ENOMEM);
	CHECK_ERR("unmap.unaligned", munmap(p + 1, PAGE), EINVAL);
	CHECK_ERR("unmap.length0", munmap(p, 0), EINVAL);
	CHECK_ERR("unmap.kernel", munmap((void *)(1UL << 47), PAGE), EINVAL);
	CHECK("unmap.errors_harmless", writable(p) && writable(p + PAGE));
}

static void partial(void)
{
	char *p = map(9);
	for (int i = 0; i < 9; i++)
		memset(p + i * PAGE, i + 1, PAGE);
	CHECK_OK("partial.middle", munmap(p + 3 * PAGE, 3 * PAGE));
	CHECK("partial.middle_gone", read_faults(p + 3 * PAGE, SEGV_MAPERR) && read_faults(p + 6 * PAGE - 1, SEGV_MAPERR));
	CHECK("partial.left_kept", filled(p + 2 * PAGE, PAGE, 3));
	CHECK("partial.right_kept", filled(p + 6 * PAGE, PAGE, 7));
	CHECK_OK("partial.head", munmap(p, PAGE));
	CHECK_OK("partial.tail", munmap(p + 8 * PAGE, PAGE));
	CHECK("partial.head_gone", read_faults(p, SEGV_MAPERR) && readable(p + PAGE));
	CHECK("partial.tail_gone", read_faults(p + 8 * PAGE, SEGV_MAPERR) && readable(p + 8 * PAGE - 1));
	CHECK_OK("partial.across_holes", munmap(p, 9 * PAGE));
	CHECK("partial.all_gone", read_faults(p + PAGE, SEGV_MAPERR) && read_faults(p + 7 * PAGE, SEGV_MAPERR));
}

static void fixed(void)
{
	char *p = map(5);
	memset(p, 9, 5 * PAGE);
	CHECK("fixed.over", mmap(p + 2 * PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0) == p + 2 * PAGE);
	CHECK("fixed.replaced", filled(p + 2 * PAGE, PAGE, 0));
	CHECK("fixed.neighbours", filled(p, 2 * PAGE, 9) && filled(p + 3 * PAGE, 2 * PAGE, 9));
	CHECK_ERR("noreplace.taken", (long)mmap(p + PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
	CHECK_ERR("noreplace.overlaps", (long)mmap(p - PAGE, 3 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
	CHECK("noreplace.harmless", filled(p + PAGE, PAGE, 9));
	REQUIRE(munmap(p + 3 * PAGE, PAGE) == 0);
	CHECK("noreplace.free", mmap(p + 3 * PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0) == p + 3 * PAGE);
	REQUIRE(munmap(p + PAGE, PAGE) == 0);
	CHECK("hint.free", mmap(p + PAGE, PAGE, RW, ANON, -1, 0) == p + PAGE);
	char *other = mmap(p + PAGE, PAGE, RW, ANON, -1, 0);
	CHECK("hint.taken_moves", other != MAP_FAILED && (other < p || other >= p + 5 * PAGE));
	char *low = mmap((void *)0x20000000, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK("fixed.low", low == (char *)0x20000000 && writable(low));
	char *m32 = mmap(NULL, PAGE, RW, ANON | MAP_32BIT, -1, 0);
	CHECK("map.32bit", m32 != MAP_FAILED && (uintptr_t)m32 < 1UL << 31);
	CHECK("map.populate", filled(mmap(NULL, 8 * PAGE, RW, ANON | MAP_POPULATE, -1, 0), 8 * PAGE, 0));
}

static void many(void)
{
	static char *p[600];
	long sum = 0;
	for (int i = 0; i < 600; i++) {
		p[i] = map(1 + i % 5);
		p[i][0] = (char)i;
	}
	for (int i = 0; i < 600; i += 2)
		REQUIRE(munmap(p[i], (1 + i % 5) * PAGE) == 0);
	for (int i = 1; i < 600; i += 2)
		sum += p[i][0] == (char)i;
	CHECK_EQ("many.kept", sum, 300);
	for (int i = 0; i < 600; i += 2)
		p[i] = map(1 + i % 5);
	for (int i = 0; i < 600; i += 2)
		sum += p[i][0] == 0;
	CHECK_EQ("many.reused_zeroed", sum, 600);
}

int main(void)
{
	basics();
	errors();
	partial();
	fixed();
	many();
	return check_done();
}
