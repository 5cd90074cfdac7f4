/* RAM, comm area and panic for programs that are built with guest_memory.h. */
#ifndef GUEST_RAM_H
#define GUEST_RAM_H
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "arch.h"
#include "mm.h"
#include "qcall.h"

char comm_area[QK_COMM_SIZE(1)];
static struct cpu host_cpu = {.shared = (struct qk_vcpu *)(comm_area + QK_OFF_VCPU(0))};
struct kstack_end host_stack = {.cpu = &host_cpu};
char _kernel_end[1];

#ifndef HAS_PAGE_TABLES
const struct filemap_ops *filemap; /* no file is mapped */
u64 pt_shrink(void)
{
	return 0;
}
#endif

/* Of guests that may grow from `present` to `limit` bytes. */
static inline void ram_boot(u64 present, u64 limit)
{
	void *at =
		mmap((void *)QK_DIRECT_BASE, limit, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (at != (void *)QK_DIRECT_BASE) {
		perror("mmap of guest RAM");
		exit(1);
	}
	comm()->boot.ram_bytes = present;
	comm()->boot.ram_limit = limit;
	/* The direct map's first tables, to which the kernel adds when RAM grows. */
	if (limit > present) {
		u64 *pml4 = phys_to_virt(QK_GPA_PML4), *pdpt = pml4 + 512;
		pml4[QK_DIRECT_BASE >> 39 & 511] = virt_to_phys(pdpt) | PTE_P | PTE_W;
		pdpt[0] = virt_to_phys(pdpt + 512) | PTE_P | PTE_W;
	}
	frame_init();
}

/* Output: one number after the other, as Python's struct reads them. */
static inline void put_number(u64 v)
{
	fwrite(&v, sizeof(v), 1, stdout);
}

void panic(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

#endif
