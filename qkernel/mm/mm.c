/* Address spaces: creation, copy-on-write duplication, activation, end. */
#include "arch.h"
#include "fs.h"
#include "task.h"
#include "vma.h"
#include <linux/mman.h>

static paddr_t active;

void mm_init(void)
{
	active = QK_GPA_PML4;
}

struct mm *mm_current(void)
{
	return current ? current->mm : NULL;
}

struct mm *mm_create(void)
{
	struct mm *mm = kzalloc(sizeof(*mm));
	if (!mm)
		return NULL;
	mm->pml4 = frame_alloc(FRAME_ZERO);
	if (!mm->pml4) {
		kfree(mm);
		return NULL;
	}
	u64 slot = QK_DIRECT_BASE >> 39;
	((u64 *)phys_to_virt(mm->pml4))[slot] = ((u64 *)phys_to_virt(QK_GPA_PML4))[slot];
	mm->refs = 1;
	mm->mmap_top = QK_USER_TOP - (1ul << 30);
	mm->limit_as = mm->limit_data = ~0ul;
	mm->limit_stack = 8ul << 20;
	return mm;
}

void mm_get(struct mm *mm)
{
	mm->refs++;
}

void mm_put(struct mm *mm)
{
	if (--mm->refs)
		return;
	if (active == mm->pml4) {
		arch_write_cr3(QK_GPA_PML4);
		active = QK_GPA_PML4;
	}
	while (mm->nvma) {
		struct vma *v = mm->vmas[mm->nvma - 1];
		vma_remove(mm, v);
		pt_clear(mm, v->start, v->end);
		vma_free(v);
	}
	pt_free(mm);
	if (mm->exe) {
		inode_allow_write(mm->exe->inode);
		file_put(mm->exe);
	}
	kfree(mm->vmas);
	kfree(mm);
}

void mm_activate(struct mm *mm)
{
	if (active == mm->pml4)
		return;
	active = mm->pml4;
	arch_write_cr3(active);
}

static int copy_area(struct mm *dst, struct mm *src, struct vma *v)
{
	if (v->flags & VMA_WIPEONFORK)
		return 0;
	u64 *s;
	for (vaddr_t va = v->start; (s = pte_next(src, &va, v->end)); va += PAGE_SIZE) {
		u64 *d = pte_make(dst, va);
		if (!d)
			return -ENOMEM;
		if (!(v->flags & MAP_SHARED))
			*s &= ~PTE_W;
		*d = *s;
		frame_get(*s & PTE_ADDR);
		dst->pages++;
	}
	return 0;
}

struct mm *mm_clone(struct mm *src)
{
	struct mm *mm = mm_create();
	if (!mm)
		return NULL;
	struct vma **vmas = mm->vmas;
	paddr_t pml4 = mm->pml4;
	*mm = *src;
	mm->vmas = vmas;
	mm->pml4 = pml4;
	mm->refs = 1;
	mm->nvma = mm->vma_cap = 0;
	mm->pages = mm->total_vm = 0;
	if (mm->exe) {
		file_get(mm->exe);
		(void)inode_deny_write(mm->exe->inode); /* the parent's is one already: no writers */
	}
	for (u32 i = 0; i < src->nvma; i++) {
		struct vma *v = src->vmas[i], *n;
		if (v->flags & VMA_DONTFORK)
			continue;
		n = vma_copy(v);
		if (!n || vma_insert(mm, n) || copy_area(mm, src, v)) {
			mm_put(mm);
			return NULL;
		}
	}
	if (src == mm_current())
		arch_flush_all();
	return mm;
}

void mm_wipe_on_restore(struct mm *mm)
{
	for (u32 i = 0; i < mm->nvma; i++)
		if (mm->vmas[i]->flags & VMA_WIPEONFORK)
			pt_clear(mm, mm->vmas[i]->start, mm->vmas[i]->end);
}
