/* Ahead of a clone's request: touches what the working set says that it will touch, so that the host's tables have it. */
#include "../arch/ring.h"
#include "qcall.h"
#include "vma.h"

extern char _kernel_end[];

static bool ahead_has(paddr_t p, bool written)
{
	const u8 *map = (const u8 *)(QK_COMM_BASE + QK_OFF_DOC) + (written ? QK_AHEAD_BYTES : 0);
	u64 frame = p / PAGE_SIZE;
	return frame < QK_AHEAD_BYTES * 8ul && (map[frame / 8] >> frame % 8 & 1);
}

static void ahead_touch(vaddr_t va, bool write)
{
	if (write)
		__asm__ volatile("lock orb $0, (%0)" : : "r"(va) : "memory");
	else
		(void)*(volatile u8 *)va;
}

static void ahead_touch_user(struct mm *mm)
{
	u64 *e;
	mm_activate(mm);
	for (vaddr_t va = 0; (e = pte_next(mm, &va, QK_USER_TOP)); va += PAGE_SIZE)
		if (*e & PTE_P && ahead_has(*e & PTE_ADDR, false))
			ahead_touch(va, *e & PTE_W && ahead_has(*e & PTE_ADDR, true));
}

static void ahead_touch_kernel(void)
{
	for (paddr_t p = 0; p < frames_total() * PAGE_SIZE; p += PAGE_SIZE) {
		vaddr_t va = QK_KERNEL_BASE + p - QK_GPA_KERNEL;
		if (!ahead_has(p, false))
			continue;
		if (p >= QK_GPA_KERNEL && va < PAGE_ALIGN((vaddr_t)_kernel_end))
			ahead_touch(va, false);
		else
			ahead_touch((vaddr_t)phys_to_virt(p), ahead_has(p, true));
	}
}

void mm_touch_ahead(void)
{
	struct mm *was = mm_current();
	ahead_touch_kernel();
	/* In ring 0 the host has tables of guest-physical addresses, and user pages cannot be touched from here. */
	if (ring_mode == QK_RING_3 && was) {
		for (struct mm *mm = mm_next(NULL); mm; mm = mm_next(mm))
			ahead_touch_user(mm);
		mm_activate(was);
	}
}
