/* Drives address spaces: mapping, protection, moving, faults, fork. Input: commands; output of each: its result and the areas of the current one.
 * What cannot be seen from outside is checked here: page tables against areas, and translations that the processor still has.
 * before: guest_memory.h
 * sources: mm/frame.c mm/vma.c mm/mmap.c mm/pagetable.c mm/mm.c mm/fault.c mm/advise.c mm/usage.c fs/sys_mmap.c */
#include "areas.h"

#include "../../../qkernel/mm/vma.h"
#include <linux/mman.h>

#define WINDOW 0x10000000ul
#define WINDOW_PAGES 64u
#define BRK_PAGE 80u
#define FAULT (~0ul)

long sys_mmap(u64 addr, u64 len, u64 prot, u64 flags, u64 fd, u64 off);
long sys_munmap(u64 addr, u64 len);
long sys_mprotect(u64 addr, u64 len, u64 prot);
long sys_mremap(u64 addr, u64 old_len, u64 new_len, u64 flags, u64 new_addr);
long sys_madvise(u64 addr, u64 len, u64 advice);
long sys_brk(u64 brk);

enum { MAP, UNMAP, PROTECT, REMAP, ADVISE, READ, WRITE, FORK, SWITCH, BRK, CUT };
struct command {
	u64 kind, arg[6];
};

static u64 touch(vaddr_t va, u32 access, u64 value)
{
	paddr_t p = mm_translate(current->mm, va, access);
	if (!p)
		return FAULT;
	u64 *word = phys_to_virt(p), *e = pte_lookup(current->mm, va);
	if (access & PF_WRITE)
		*word = value;
	arch_flush_page(va);
	if (ntlb < ARRAY_SIZE(tlb)) {
		tlb[ntlb].va = va;
		tlb[ntlb++].entry = *e;
	}
	return *word;
}

static struct mm *new_mm(void)
{
	struct mm *mm = mm_create();
	mm->mmap_top = WINDOW + WINDOW_PAGES * PAGE_SIZE;
	mm->brk = mm->brk_start = WINDOW + BRK_PAGE * PAGE_SIZE;
	return mm;
}

static void switch_to(u64 n)
{
	current = &task[n];
	if (!current->mm)
		current->mm = new_mm();
	mm_activate(current->mm);
}

static long fork_to(u64 n)
{
	if (current == &task[n])
		return -EINVAL;
	if (task[n].mm)
		mm_put(task[n].mm);
	task[n].mm = mm_clone(current->mm);
	return 0;
}

static long cut_file(u64 pages)
{
	u64 was = named[1].pages;
	named[1].pages = (u32)pages;
	if (pages < was) {
		drop_pages(&named[1], (u32)pages);
		mm_unmap_file(&named[1].inode, pages);
	}
	return 0;
}

static long run(const struct command *c)
{
	const u64 *a = c->arg;
	switch (c->kind) {
	case MAP:
		return sys_mmap(a[0], a[1], a[2], a[3], a[4], a[5]);
	case UNMAP:
		return sys_munmap(a[0], a[1]);
	case PROTECT:
		return sys_mprotect(a[0], a[1], a[2]);
	case REMAP:
		return sys_mremap(a[0], a[1], a[2], a[3], a[4]);
	case ADVISE:
		return sys_madvise(a[0], a[1], a[2]);
	case READ:
		return (long)touch(a[0], 0, 0);
	case WRITE:
		return (long)touch(a[0], PF_WRITE, a[1]);
	case FORK:
		return fork_to(a[0]);
	case SWITCH:
		switch_to(a[0]);
		return 0;
	case BRK:
		return sys_brk(a[0]);
	default:
		return cut_file(a[0]);
	}
}

static void check_tables(struct mm *mm)
{
	u64 resident = 0, *e;
	for (vaddr_t va = 0; (e = pte_next(mm, &va, QK_USER_TOP)); va += PAGE_SIZE) {
		struct vma *v = vma_find(mm, va);
		if (!v || v->start > va)
			panic("page %lx is mapped and in no area", va);
		if ((*e & PTE_W) && !(v->prot & PROT_WRITE))
			panic("page %lx is writable and its area is not", va);
		if ((*e & PTE_W) && !(v->flags & MAP_SHARED) && frame_refs(*e & PTE_ADDR) != 1)
			panic("page %lx is private, writable and not alone on its frame", va);
		resident++;
	}
	if (resident != mm->pages)
		panic("%lu pages are mapped and %lu counted", resident, mm->pages);
	for (size_t i = 0; mm == current->mm && i < ntlb; i++) {
		e = pte_lookup(mm, tlb[i].va);
		u64 was = tlb[i].entry, now = e ? *e : 0;
		if (!(now & PTE_P) || (now & PTE_ADDR) != (was & PTE_ADDR) || ((was & PTE_W) && !(now & PTE_W)) ||
		    (!(was & PTE_NX) && (now & PTE_NX)))
			panic("the processor still has %lx for %lx, which is %lx now", was, tlb[i].va, now);
	}
}

static void report(long result)
{
	const struct mm *mm = current->mm;
	put_number((u64)result);
	put_number(mm->total_vm);
	put_number(mm->nvma);
	for (u32 i = 0; i < mm->nvma; i++) {
		const struct vma *v = mm->vmas[i];
		put_number(v->start);
		put_number(v->end);
		put_number(v->prot);
		put_number(v->flags & ~VMA_NOWRITE); /* which follows from the file */
		put_number(v->file ? backing_of(v->file)->id : FAULT);
		put_number(v->file ? v->pgoff : 0);
		put_number(v->name != NULL);
	}
}

int main(void)
{
	struct command c;
	ram_boot(QK_SLOT_SIZE, QK_SLOT_SIZE);
	u64 before = frames_free();
	backing_init(&named[0], 0, FILE_PAGES, O_RDONLY);
	backing_init(&named[1], 1, FILE_PAGES, O_RDWR);
	mm_set_filemap(&backing_ops);
	mm_set_exhausted(exhausted);
	switch_to(0);
	while (fread(&c, sizeof(c), 1, stdin) == 1) {
		report(run(&c));
		for (int i = 0; i < MMS; i++)
			if (task[i].mm)
				check_tables(task[i].mm);
	}
	for (int i = 0; i < MMS; i++)
		if (task[i].mm)
			mm_put(task[i].mm);
	file_put(&named[0].file);
	file_put(&named[1].file);
	pt_shrink(); /* tables that are kept for the next process */
	if (frames_free() != before || shared_alive)
		panic("%lu frames and %d files are still there", before - frames_free(), shared_alive);
	return 0;
}
