/* mprotect and PROT_NONE: what each protection allows, si_code and si_addr of each fault, split and merged areas. */
#include "fault.h"
#include <sys/mman.h>

#define PAGE 4096L
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static const unsigned char return_5[] = {0xb8, 5, 0, 0, 0, 0xc3}; /* mov $5,%eax; ret */

int main(void)
{
	char *p = mmap(NULL, 8 * PAGE, RW, ANON, -1, 0);
	REQUIRE(p != MAP_FAILED);
	memset(p, 3, 8 * PAGE);

	CHECK_OK("ro", mprotect(p, 8 * PAGE, PROT_READ));
	CHECK("ro.read", readable(p + 100));
	CHECK("ro.write_faults", write_faults(p + 5 * PAGE + 123, SEGV_ACCERR));
	CHECK_OK("rw.middle", mprotect(p + 2 * PAGE, 2 * PAGE, RW));
	CHECK("rw.middle_writable", writable(p + 2 * PAGE) && writable(p + 4 * PAGE - 1));
	CHECK("rw.edges_kept", write_faults(p + 2 * PAGE - 1, SEGV_ACCERR) && write_faults(p + 4 * PAGE, SEGV_ACCERR));
	CHECK_OK("none", mprotect(p + PAGE, PAGE, PROT_NONE));
	CHECK("none.read_faults", read_faults(p + PAGE + 9, SEGV_ACCERR));
	CHECK("none.write_faults", write_faults(p + PAGE + 9, SEGV_ACCERR));
	CHECK_OK("none.back", mprotect(p + PAGE, PAGE, PROT_READ));
	CHECK("none.content_kept", p[PAGE + 9] == 3);
	CHECK_OK("all.back", mprotect(p, 8 * PAGE, RW));
	p[0] = 3;
	CHECK("all.writable", writable(p) && writable(p + 8 * PAGE - 1));

	char *none = mmap(NULL, 4 * PAGE, PROT_NONE, ANON, -1, 0);
	CHECK("mapped_none.read_faults", read_faults(none + 2 * PAGE, SEGV_ACCERR));
	CHECK_OK("mapped_none.open", mprotect(none + PAGE, PAGE, RW));
	CHECK("mapped_none.usable", writable(none + PAGE));
	CHECK("mapped_none.guards", write_faults(none + PAGE - 1, SEGV_ACCERR) && write_faults(none + 2 * PAGE, SEGV_ACCERR));

	/* read first (zero page), then write after becoming writable */
	char *zero = mmap(NULL, PAGE, PROT_READ, ANON, -1, 0);
	CHECK("zero_page.read", zero[17] == 0);
	REQUIRE(mprotect(zero, PAGE, RW) == 0);
	zero[17] = 1;
	char *zero2 = mmap(NULL, PAGE, PROT_READ, ANON, -1, 0);
	CHECK("zero_page.not_shared", zero2[17] == 0 && zero[17] == 1);

	CHECK("null.read", read_faults(NULL, SEGV_MAPERR));
	CHECK("null.write", write_faults((void *)0x10, SEGV_MAPERR));
	CHECK("noncanonical", fault_is(fault_of(fault_read, (void *)0x800000000000f000UL), SIGSEGV, SI_KERNEL, NULL));

	CHECK("exec.data_faults", call_faults(p, SEGV_ACCERR));
	memcpy(p, return_5, sizeof return_5);
	CHECK_OK("exec", mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	CHECK_EQ("exec.runs", ((int (*)(void))p)(), 5);
	CHECK("exec.write_faults", write_faults(p, SEGV_ACCERR));
	CHECK_OK("exec.rwx", mprotect(p, PAGE, RW | PROT_EXEC));
	p[1] = 6;
	CHECK_EQ("exec.modified", ((int (*)(void))p)(), 6);

	static const char constant[] = "constant";
	CHECK("rodata.write_faults", write_faults((void *)constant, SEGV_ACCERR));
	CHECK("text.write_faults", write_faults((void *)main, SEGV_ACCERR));

	REQUIRE(munmap(p + 3 * PAGE, PAGE) == 0);
	CHECK_ERR("error.unmapped_inside", mprotect(p + 2 * PAGE, 3 * PAGE, PROT_READ), ENOMEM);
	CHECK_ERR("error.unmapped", mprotect(p + 3 * PAGE, PAGE, PROT_READ), ENOMEM);
	CHECK_ERR("error.unaligned", mprotect(p + 1, PAGE, PROT_READ), EINVAL);
	CHECK_ERR("error.bits", mprotect(p, PAGE, 0x10000), EINVAL);
	CHECK_OK("length0", mprotect(p, 0, PROT_NONE));
	CHECK("length0.harmless", readable(p));
	return check_done();
}
