/* Address spaces: creation, copy-on-write duplication, activation, end. */
#include "arch.h"
#include "vma.h"
#include <linux/mman.h>

const struct filemap_ops *filemap;
static u64 last_id;
static struct list all = LIST_INIT(all); /* mm.all */

void mm_set_filemap(const struct filemap_ops *ops)
{
	filemap = ops;
}

struct mm *mm_current(void)
{
	return this_cpu()->mm;
}

struct mm *mm_next(struct mm *mm)
{
	struct list *next = mm ? mm->all.next : all.next;
	return next == &all ? NULL : container_of(next, struct mm, all);
}

struct mm *mm_create(void)
{
	struct mm *mm = kzalloc(sizeof(*mm));
	if (!mm)
		return NULL;
	mm->pml4 = pt_new();
	if (!mm->pml4) {
		kfree(mm);
		return NULL;
	}
	mm->refs = 1;
	mm->id = ++last_id;
	list_add_tail(&mm->all, &all);
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
	if (mm == mm_current()) {
		this_cpu()->mm = NULL;
		arch_write_cr3(QK_GPA_PML4);
	}
	while (mm->nvma) {
		struct vma *v = mm->vmas[mm->nvma - 1];
		vma_note_writes(mm, v, v->start, v->end);
		vma_remove(mm, v);
		pt_clear(mm, v->start, v->end);
		vma_free(v);
	}
	pt_free(mm);
	if (mm->exe)
		filemap->exe(mm->exe, false);
	list_del(&mm->all);
	kfree(mm->vmas);
	kfree(mm);
}

void mm_activate(struct mm *mm)
{
	if (mm == mm_current())
		return;
	this_cpu()->mm = mm;
	arch_write_cr3(mm->pml4);
}

/* Pages that the parent has written since its last fork are written soon again, by both: so many are copied at once, and neither faults on them. */
#define COPY_AT_FORK 48u

/* One page of a private area for the child: shared until written, or a copy. */
static u64 mm_fork_page(u64 *s, u32 *copies)
{
	paddr_t p = *s & PTE_ADDR;
	if (*copies && (*s & PTE_W) && frames_available() > COPY_AT_FORK) {
		paddr_t copy = frame_alloc(0);
		if (copy) {
			memcpy(phys_to_virt(copy), phys_to_virt(p), PAGE_SIZE);
			--*copies;
			return copy | (*s & ~PTE_ADDR);
		}
	}
	if (*s & PTE_W)
		*s &= ~PTE_W;
	frame_get(p);
	return *s;
}

/* copies: how many pages may still be copied. */
static int mm_copy_area(struct mm *dst, struct mm *src, struct vma *v, u32 *copies)
{
	if (v->flags & VMA_WIPEONFORK)
		return 0;
	u64 *s, *d;
	for (vaddr_t va = v->start; (s = pte_next(src, &va, v->end)); va += PAGE_SIZE) {
		if (!pte_resident(v, *s)) /* zeros, as what is not there */
			continue;
		d = pte_make(dst, va);
		if (!d)
			return -ENOMEM;
		if (v->flags & MAP_SHARED) {
			frame_get(*s & PTE_ADDR);
			*d = *s & ~PTE_D; /* only what the child writes itself is news to the file */
		} else {
			*d = mm_fork_page(s, copies);
		}
		dst->pages++;
	}
	return 0;
}

struct mm *mm_clone(struct mm *src)
{
	struct mm *mm = mm_create();
	if (!mm)
		return NULL;
	struct mm own = *mm;
	*mm = *src;
	mm->all = own.all;
	mm->vmas = own.vmas;
	mm->pml4 = own.pml4;
	mm->id = own.id;
	mm->refs = 1;
	mm->nvma = mm->vma_cap = 0;
	mm->pages = mm->total_vm = mm->pages_peak = mm->vm_peak = 0;
	if (mm->exe)
		filemap->exe(mm->exe, true);
	u32 copies = arch_ring3() ? COPY_AT_FORK : 0; /* a fault on hardware costs less than the copy */
	/* From the top: the stack comes first. */
	for (u32 i = src->nvma; i-- > 0;) {
		struct vma *v = src->vmas[i], *n;
		if (v->flags & VMA_DONTFORK)
			continue;
		n = vma_copy(v);
		if (!n || vma_insert(mm, n) || mm_copy_area(mm, src, v, &copies)) {
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

bool mm_file_writable(const struct inode *i)
{
	struct mm *mm;
	list_for_each (mm, &all, all)
		for (u32 k = 0; k < mm->nvma; k++) {
			const struct vma *v = vma_at(mm, k);
			if (v->file && (v->flags & MAP_SHARED) && !(v->flags & VMA_NOWRITE) && filemap->inode(v->file) == i)
				return true;
		}
	return false;
}

void mm_unmap_file(const struct inode *i, u64 from)
{
	struct mm *mm;
	list_for_each (mm, &all, all)
		for (u32 k = 0; k < mm->nvma; k++) {
			const struct vma *v = vma_at(mm, k);
			u64 last = v->pgoff + ((v->end - v->start) >> PAGE_SHIFT);
			if (v->file && last > from && filemap->inode(v->file) == i)
				pt_clear(mm, v->start + ((MAX(from, v->pgoff) - v->pgoff) << PAGE_SHIFT), v->end);
		}
}
