/* What of an address space is resident, by kind, and access to it from outside (/proc/PID/smaps, pagemap and mem). */
#include "arch.h"
#include "vma.h"
#include <linux/mman.h>

/* A page of anonymous memory that was mapped ahead of its first use has no dirty flag. It is not there for the program: Linux would map it when touched. */
bool pte_resident(const struct vma *v, u64 e)
{
	bool anonymous = !v->file && !(v->flags & (MAP_SHARED | VMA_SPECIAL));
	return (e & PTE_ADDR) && (!anonymous || (e & PTE_D));
}

/* A private mapping's own copy has the dirty flag: the file's pages are mapped without it. */
static bool usage_is_of_file(const struct vma *v, u64 e)
{
	return v->file && ((v->flags & MAP_SHARED) || !(e & PTE_D));
}

/* In how many places the page is mapped: the page cache holds a reference of its own. */
static u32 usage_mappings(const struct vma *v, u64 e)
{
	u32 refs = frame_refs(e & PTE_ADDR);
	return refs > 1 && usage_is_of_file(v, e) ? refs - 1 : refs;
}

void mm_count(struct mm *mm, const struct vma *v, struct mm_usage *u)
{
	u64 *e;
	bool shmem = v->file && (filemap->traits(v->file) & FILEMAP_SHMEM);
	for (vaddr_t va = v->start; (e = pte_next(mm, &va, v->end)); va += PAGE_SIZE) {
		if (!pte_resident(v, *e))
			continue;
		bool file = usage_is_of_file(v, *e), dirty = !file || (*e & PTE_D);
		u32 n = usage_mappings(v, *e);
		u64 *kind = !file ? &u->anon : shmem ? &u->shmem : &u->file;
		u64 *share = !file ? &u->pss_anon : shmem ? &u->pss_shmem : &u->pss_file;
		++*kind;
		*share += PAGE_SIZE / n;
		if (dirty)
			u->pss_dirty += PAGE_SIZE / n;
		++*(n > 1 ? dirty ? &u->shared_dirty : &u->shared_clean : dirty ? &u->private_dirty : &u->private_clean);
	}
}

struct mm_usage mm_count_all(struct mm *mm)
{
	struct mm_usage u = {0};
	for (u32 k = 0; k < mm->nvma; k++)
		mm_count(mm, mm->vmas[k], &u);
	return u;
}

void mm_pagemap(struct mm *mm, vaddr_t from, u32 n, bool frames, u64 *out)
{
	const struct vma *v = NULL;
	vaddr_t to = from + n * PAGE_SIZE;
	u64 *e;
	memset(out, 0, n * sizeof(*out));
	for (vaddr_t va = from; (e = pte_next(mm, &va, to)); va += PAGE_SIZE) {
		if (!v || va >= v->end)
			v = vma_find(mm, va);
		if (!v || va < v->start || !pte_resident(v, *e))
			continue;
		out[(va - from) >> PAGE_SHIFT] = PAGEMAP_PRESENT | (usage_is_of_file(v, *e) ? PAGEMAP_OF_FILE : 0) |
						 (usage_mappings(v, *e) == 1 ? PAGEMAP_EXCLUSIVE : 0) | (frames ? (*e & PTE_ADDR) >> PAGE_SHIFT : 0);
	}
}

/* The page for somebody who may see and change what the program itself may not (FOLL_FORCE of Linux): in private memory. */
static paddr_t usage_force(struct mm *mm, struct vma *v, vaddr_t va, u32 lacking, u32 access)
{
	if ((v->flags & VMA_SPECIAL) || ((access & PF_WRITE) && (v->flags & MAP_SHARED)))
		return 0;
	u32 prot = v->prot;
	v->prot |= lacking;
	paddr_t p = mm_translate(mm, va, access);
	v->prot = prot;
	pt_protect(mm, v->start, v->end, prot); /* neighbours may have been mapped, too */
	return p;
}

paddr_t mm_translate_forced(struct mm *mm, vaddr_t va, bool write)
{
	struct vma *v = vma_find(mm, va);
	u32 lacking = write ? PROT_READ | PROT_WRITE : PROT_READ, access = write ? PF_WRITE : 0;
	if (!v || va < v->start)
		return 0;
	bool allowed = write ? v->prot & PROT_WRITE : v->prot;
	return allowed ? mm_translate(mm, va, access) : usage_force(mm, v, va, lacking, access);
}
