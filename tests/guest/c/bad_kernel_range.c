/* Addresses where a guest kernel could live: system calls given pointers into them say EFAULT, mappings there are refused.
 * Natively some of them may be ordinary memory; what /proc/self/maps lists is left out, so the output is the same. */
#include "check.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static int mapped(unsigned long address)
{
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");
	int found = 0;
	REQUIRE(maps != NULL);
	while (!found && fgets(line, sizeof line, maps)) {
		unsigned long from, to;
		found = sscanf(line, "%lx-%lx", &from, &to) == 2 && address + 16 > from && address < to;
	}
	fclose(maps);
	return found;
}

int main(void)
{
	int ends[2], wrong_read = 0, wrong_write = 0, wrong_path = 0, zero = open("/dev/zero", O_RDONLY);
	REQUIRE(pipe(ends) == 0);
	for (unsigned long base = 0x7f8000000000; base < 0x800000000000; base += 0x40000000 * 3UL + 0x1000)
		for (unsigned long offset = 0; offset < 0x3000; offset += 0x800) {
			unsigned long address = base + offset;
			if (mapped(address))
				continue;
			wrong_write += !(write(ends[1], (void *)address, 8) == -1 && errno == EFAULT);
			wrong_read += !(read(zero, (void *)address, 8) == -1 && errno == EFAULT);
			wrong_path += !(syscall(SYS_open, address, O_RDONLY) == -1 && errno == EFAULT);
		}
	CHECK_EQ("write_from", wrong_write, 0);
	CHECK_EQ("read_into", wrong_read, 0);
	CHECK_EQ("path", wrong_path, 0);
	static const unsigned long far[] = {0x7ffffffff000,     0x800000000000,     0xffff800000000000,
					    0xffffffff81000000, 0xffffffffff600000, 0xfffffffffffff000};
	for (int i = 0; i < 6; i++) {
		CHECK_ERR("far.write", write(ends[1], (void *)far[i], 8), EFAULT);
		CHECK_ERR("far.read", read(zero, (void *)far[i], 8), EFAULT);
	}
	CHECK_ERR("wraps.read", read(zero, (void *)-8L, 16), EFAULT);
	CHECK_ERR("wraps.length", syscall(SYS_write, ends[1], 0x10000, -1L), EFAULT);
	/* buffers that begin in user memory and reach into the forbidden half */
	CHECK_ERR("reaches.write", syscall(SYS_write, ends[1], 0x7fffffffeff0, 0x2000), EFAULT);
	CHECK("map_fixed", mmap((void *)0x7ffffffff000, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED);
	CHECK("mprotect", mprotect((void *)0x7ffffffff000, 4096, PROT_READ | PROT_WRITE) == -1);
	CHECK("munmap", munmap((void *)0x800000000000, 4096) == -1);
	CHECK("madvise", madvise((void *)0x7ffffffff000, 4096, MADV_DONTNEED) == -1);
	return check_done();
}
