/* The vDSO of every program: shared code pages of the kernel image and the clock page below them. */
#include "../vdso/vvar.h"
#include "arch.h"
#include "proc.h"
#include <linux/mman.h>

extern char vdso_image[], vdso_image_end[];
static struct vvar *vvar;

void vdso_update(void)
{
	u64 c[5];
	if (!vvar) {
		paddr_t p = frame_alloc(FRAME_ZERO);
		BUG_ON(!p);
		vvar = phys_to_virt(p);
	}
	clock_base(c);
	__atomic_store_n(&vvar->seq, vvar->seq + 1, __ATOMIC_RELEASE);
	vvar->tsc = c[0];
	vvar->mult = c[1];
	vvar->mono = c[2];
	vvar->real = c[3];
	vvar->boot = c[4];
	__atomic_store_n(&vvar->seq, vvar->seq + 1, __ATOMIC_RELEASE);
}

vaddr_t vdso_map(struct mm *mm)
{
	u64 code = PAGE_ALIGN((u64)vdso_image_end - (u64)vdso_image);
	/* Map the place as a whole, then the clock page and the code in it. */
	long at = mm_map(mm, 0, PAGE_SIZE + code, PROT_NONE, MAP_PRIVATE, NULL, 0, NULL);
	if (at < 0)
		return 0;
	vaddr_t base = (vaddr_t)at;
	if (mm_map(mm, base, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_FIXED | VMA_SPECIAL, NULL, 0, "[vvar]") < 0 ||
	    mm_map(mm, base + PAGE_SIZE, code, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED | VMA_SPECIAL, NULL, 0, "[vdso]") < 0)
		return 0;
	/* The frames are the kernel's own: an extra reference keeps them when the program ends. */
	frame_get(virt_to_phys(vvar));
	if (mm_map_frame(mm, base, virt_to_phys(vvar), PROT_READ))
		return 0;
	for (u64 off = 0; off < code; off += PAGE_SIZE) {
		frame_get(virt_to_phys(vdso_image + off));
		if (mm_map_frame(mm, base + PAGE_SIZE + off, virt_to_phys(vdso_image + off), PROT_READ | PROT_EXEC))
			return 0;
	}
	mm->vdso = base + PAGE_SIZE;
	return mm->vdso;
}
