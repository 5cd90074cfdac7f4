/* madvise, mincore, mlock, msync: contents after DONTNEED, advice that is accepted, errors. */
#include "fault.h"
#include <fcntl.h>
#include <sys/mman.h>

#define PAGE 4096L
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static int resident(char *p, int pages)
{
	unsigned char v[64];
	int count = 0;
	REQUIRE(mincore(p, (size_t)(pages * PAGE), v) == 0);
	for (int i = 0; i < pages; i++)
		count += v[i] & 1;
	return count;
}

int main(void)
{
	char *p = mmap(NULL, 16 * PAGE, RW, ANON, -1, 0);
	memset(p, 5, 16 * PAGE);
	CHECK_OK("dontneed", madvise(p + 4 * PAGE, 4 * PAGE, MADV_DONTNEED));
	CHECK("dontneed.zeroed", p[4 * PAGE] == 0 && p[8 * PAGE - 1] == 0);
	CHECK("dontneed.edges_kept", p[4 * PAGE - 1] == 5 && p[8 * PAGE] == 5);
	p[5 * PAGE] = 9;
	CHECK("dontneed.writable", p[5 * PAGE] == 9);

	CHECK_OK("wipeonfork", madvise(p, PAGE, MADV_WIPEONFORK));
	CHECK("wipeonfork.kept_here", p[0] == 5);
	CHECK_OK("keeponfork", madvise(p, PAGE, MADV_KEEPONFORK));
	CHECK_OK("dontfork", madvise(p, PAGE, MADV_DONTFORK));
	CHECK_OK("dofork", madvise(p, PAGE, MADV_DOFORK));
	CHECK_OK("normal", madvise(p, PAGE, MADV_NORMAL));
	CHECK_OK("sequential", madvise(p, PAGE, MADV_SEQUENTIAL));
	CHECK_OK("random", madvise(p, PAGE, MADV_RANDOM));
	CHECK_OK("willneed", madvise(p, PAGE, MADV_WILLNEED));
	CHECK_OK("hugepage", madvise(p, 16 * PAGE, MADV_HUGEPAGE));
	CHECK_OK("nohugepage", madvise(p, 16 * PAGE, MADV_NOHUGEPAGE));
	CHECK_OK("dontdump", madvise(p, PAGE, MADV_DONTDUMP));
	CHECK_OK("free", madvise(p + 10 * PAGE, PAGE, MADV_FREE));
	CHECK("free.old_or_zero", p[10 * PAGE] == 5 || p[10 * PAGE] == 0);
	p[10 * PAGE] = 6;
	CHECK("free.write_keeps", p[10 * PAGE] == 6);
	char *fresh = mmap(NULL, 8 * PAGE, RW, ANON, -1, 0);
	CHECK_EQ("mincore.untouched", resident(fresh, 8), 0);
	CHECK_OK("populate_write", madvise(fresh, 8 * PAGE, MADV_POPULATE_WRITE));
	CHECK_EQ("mincore.populated", resident(fresh, 8), 8);
	REQUIRE(madvise(fresh, 3 * PAGE, MADV_DONTNEED) == 0);
	CHECK_EQ("mincore.after_dontneed", resident(fresh, 8), 5);

	CHECK_ERR("error.unaligned", madvise(p + 1, PAGE, MADV_DONTNEED), EINVAL);
	CHECK_ERR("error.advice", madvise(p, PAGE, 9999), EINVAL);
	CHECK_OK("length0", madvise(p, 0, MADV_DONTNEED));
	REQUIRE(munmap(p + 2 * PAGE, PAGE) == 0);
	CHECK_ERR("error.hole", madvise(p + PAGE, 3 * PAGE, MADV_DONTNEED), ENOMEM);
	CHECK("error.hole_rest_done", p[PAGE] == 0 && p[3 * PAGE] == 0);
	unsigned char v[4];
	CHECK_ERR("mlock.unmapped", mlock(p + 2 * PAGE, PAGE), ENOMEM);
	CHECK_ERR("msync.unmapped", msync(p + 2 * PAGE, PAGE, MS_SYNC), ENOMEM);
	CHECK_ERR("mincore.unmapped", mincore(p + 2 * PAGE, PAGE, v), ENOMEM);
	CHECK_ERR("mincore.unaligned", mincore(p + 1, PAGE, v), EINVAL);

	char *shared = mmap(NULL, 2 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	shared[0] = 4;
	CHECK_OK("shared.dontneed", madvise(shared, 2 * PAGE, MADV_DONTNEED));
	CHECK("shared.dontneed_keeps", shared[0] == 4);
	CHECK_OK("shared.remove", madvise(shared, 2 * PAGE, MADV_REMOVE));
	CHECK("shared.remove_zeroes", shared[0] == 0);
	CHECK_ERR("shared.wipeonfork", madvise(shared, PAGE, MADV_WIPEONFORK), EINVAL);

	int fd = open("advise", O_RDWR | O_CREAT | O_TRUNC, 0600);
	char text[PAGE];
	memset(text, 'f', sizeof text);
	REQUIRE(write(fd, text, sizeof text) == PAGE);
	char *file = mmap(NULL, PAGE, RW, MAP_PRIVATE, fd, 0);
	file[0] = 'x';
	CHECK_OK("file.dontneed", madvise(file, PAGE, MADV_DONTNEED));
	CHECK("file.dontneed_rereads", file[0] == 'f');

	CHECK_OK("mlock", mlock(fresh, 8 * PAGE));
	CHECK_OK("munlock", munlock(fresh, 8 * PAGE));
	CHECK_OK("msync", msync(file, PAGE, MS_SYNC));
	CHECK_ERR("msync.both", msync(file, PAGE, MS_SYNC | MS_ASYNC), EINVAL);
	return check_done();
}
