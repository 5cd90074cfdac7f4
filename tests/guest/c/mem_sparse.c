/* Address space is cheap: 64 GB reserved, pages touched far apart, guard layouts as JITs and garbage collectors make them. */
#include "fault.h"
#include <sys/mman.h>

#define GB (1UL << 30)
#define RW (PROT_READ | PROT_WRITE)

int main(void)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	char *big = mmap(NULL, 64 * GB, RW, flags, -1, 0);
	CHECK("reserve.64g", big != MAP_FAILED);
	for (unsigned long i = 0; i < 64; i++)
		big[i * GB + i * 4096] = (char)(i + 1);
	long sum = 0;
	for (unsigned long i = 0; i < 64; i++)
		sum += big[i * GB + i * 4096] + big[i * GB + GB / 2];
	CHECK_EQ("reserve.kept", sum, 64 * 65 / 2);
	CHECK_OK("reserve.dontneed_all", madvise(big, 64 * GB, MADV_DONTNEED));
	CHECK("reserve.zeroed", big[5 * GB + 5 * 4096] == 0);
	CHECK_OK("reserve.unmap", munmap(big, 64 * GB));
	CHECK("reserve.gone", read_faults(big + 63 * GB, SEGV_MAPERR));

	char *heap = mmap(NULL, 16 * GB, PROT_NONE, flags, -1, 0);
	CHECK("guarded.reserve", heap != MAP_FAILED);
	for (unsigned long i = 0; i < 200; i++) {
		char *chunk = heap + i * (64UL << 20);
		REQUIRE(mprotect(chunk + 4096, 8192, RW) == 0);
		chunk[4096] = (char)i;
	}
	sum = 0;
	for (unsigned long i = 0; i < 200; i++)
		sum += (unsigned char)heap[i * (64UL << 20) + 4096];
	CHECK_EQ("guarded.kept", sum, 199 * 200 / 2);
	CHECK("guarded.before", read_faults(heap + (64UL << 20) + 4095, SEGV_ACCERR));
	CHECK("guarded.after", read_faults(heap + (64UL << 20) + 12288, SEGV_ACCERR));
	CHECK_OK("guarded.reset", mprotect(heap, 16 * GB, PROT_NONE));
	CHECK("guarded.closed", read_faults(heap + 4096, SEGV_ACCERR));
	CHECK_OK("guarded.unmap", munmap(heap, 16 * GB));

	/* every page of a checkerboard is its own area: 2000 areas made and merged again */
	char *board = mmap(NULL, 4000 * 4096, RW, flags, -1, 0);
	for (int i = 0; i < 4000; i += 2)
		REQUIRE(mprotect(board + i * 4096L, 4096, PROT_READ) == 0);
	CHECK("board.odd_writable", writable(board + 3999 * 4096L));
	CHECK("board.even_read_only", write_faults(board + 2000 * 4096L, SEGV_ACCERR));
	CHECK_OK("board.merge", mprotect(board, 4000 * 4096, RW));
	CHECK("board.merged", writable(board + 2000 * 4096L));
	return check_done();
}
