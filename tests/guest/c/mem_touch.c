/* Touches as many megabytes as the argument says, each page with its own content, and reads all of it back twice. */
#include "check.h"
#include <stdint.h>
#include <sys/mman.h>

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x9e3779b97f4a7c15UL;
	return x ^ x >> 29;
}

int main(int argc, char **argv)
{
	size_t size = (size_t)(argc > 1 ? atol(argv[1]) : 300) << 20;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	REQUIRE(p != MAP_FAILED);
	for (size_t i = 0; i < size; i += 4096) {
		*(uint64_t *)(p + i) = mix(i);
		*(uint64_t *)(p + i + 4088) = ~mix(i);
	}
	for (int round = 0; round < 2; round++) {
		size_t wrong = 0;
		for (size_t i = 0; i < size; i += 4096)
			wrong += *(uint64_t *)(p + i) != mix(i) || *(uint64_t *)(p + i + 4088) != ~mix(i) || p[i + 100] != 0;
		CHECK_EQ("touched.kept", wrong, 0);
	}
	/* give half back and take it again: the frames come back zeroed */
	REQUIRE(madvise(p, size / 2, MADV_DONTNEED) == 0);
	size_t dirty = 0;
	for (size_t i = 0; i < size / 2; i += 4096)
		dirty += *(uint64_t *)(p + i) != 0 || *(uint64_t *)(p + i + 4088) != 0;
	CHECK_EQ("returned.zeroed", dirty, 0);
	return check_done();
}
