/* Page faults and software access: anonymous memory, copy on write, file pages, stack growth, all with fault-around. */
#include "arch.h"
#include "qcall.h"
#include "vma.h"
#include <linux/mman.h>

#define AROUND 64u      /* pages of a file mapping */
#define COPY_AROUND 16u /* pages copied around the first write to a private file page, where faults are dear */
#define AROUND_ANON 32u /* pages of anonymous memory: frames never used before cost the host nothing until they are touched */
#define AHEAD_ANON 256u /* at most, when memory is touched in order */
#define AHEAD_FILE 512u /* pages of a new file mapping */
#define STACK_GUARD (256ul << 12)

static bool fault_allowed(const struct vma *v, u32 access)
{
	if (access & PF_WRITE)
		return v->prot & PROT_WRITE;
	if (access & PF_INSTR)
		return v->prot & PROT_EXEC;
	return v->prot & (PROT_READ | PROT_WRITE | PROT_EXEC);
}

static bool fault_is_shared(const struct vma *v)
{
	return v->flags & MAP_SHARED;
}

static int fault_map_anonymous(struct mm *mm, struct vma *v, vaddr_t va)
{
	vaddr_t from = va & ~((vaddr_t)AROUND_ANON * PAGE_SIZE - 1), to = from + AROUND_ANON * PAGE_SIZE;
	bool stream = va == mm->touch_next;
	if (stream) {
		mm->touch_pages = MIN(mm->touch_pages * 2, AHEAD_ANON);
		from = va;
		to = va + mm->touch_pages * PAGE_SIZE;
	} else {
		mm->touch_pages = AROUND_ANON;
	}
	to = mm->touch_next = MIN(to, v->end);
	from = MAX(from, v->start);
	if (frames_free() < 2 * AHEAD_ANON) {
		from = va;
		to = va + PAGE_SIZE;
	}
	for (vaddr_t at = from; at < to; at += PAGE_SIZE) {
		u64 *e = pte_make(mm, at);
		if (!e)
			return at > va ? 0 : -ENOMEM;
		if (*e)
			continue;
		paddr_t p = frame_alloc(FRAME_ZERO);
		if (!p)
			return at > va ? 0 : -ENOMEM;
		/* Without the dirty flag fork can tell what nobody has touched. Who touches page after page will touch these: KVM's shadow of entries without it
		 * is read-only, and each costs a fault in the host; of others it makes eight at once (paging_tmpl.h, protect_clean_gpte and pte_prefetch). */
		*e = p | (at == va || stream ? pte_flags(v->prot) | PTE_D : pte_flags(v->prot) & ~PTE_D);
		mm->pages++;
	}
	return 0;
}

static int fault_map_file(struct mm *mm, struct vma *v, vaddr_t va, bool write)
{
	u64 index = v->pgoff + ((va - v->start) >> PAGE_SHIFT);
	u64 *e = pte_make(mm, va);
	paddr_t p;
	if (!e)
		return -ENOMEM;
	bool own = false;
	int r = fault_is_shared(v) ? filemap->shared(v->file, index, write, &p, &own) : filemap->page(v->file, index, false, &p);
	if (r)
		return r;
	u64 flags = pte_flags(v->prot), around = (own ? flags : flags & ~PTE_W) & ~PTE_D; /* what is written gets the flag: msync looks for it */
	if (fault_is_shared(v)) {
		*e = p | (write ? flags : around);
	} else if (write) {
		paddr_t copy = frame_alloc(0);
		if (!copy) {
			frame_put(p);
			return -ENOMEM;
		}
		memcpy(phys_to_virt(copy), phys_to_virt(p), PAGE_SIZE);
		frame_put(p);
		*e = copy | flags;
	} else {
		*e = p | (flags & ~(PTE_W | PTE_D));
	}
	mm->pages++;
	/* Neighbours that are at hand, read-only where others may not see them written. */
	vaddr_t from = MAX(va & ~((vaddr_t)AROUND * PAGE_SIZE - 1), v->start);
	vaddr_t to = MIN((va & ~((vaddr_t)AROUND * PAGE_SIZE - 1)) + AROUND * PAGE_SIZE, v->end);
	paddr_t frames[AROUND];
	u32 n = (u32)((to - from) >> PAGE_SHIFT);
	if (fault_is_shared(v))
		filemap->shared_around(v->file, v->pgoff + ((from - v->start) >> PAGE_SHIFT), n, frames);
	else
		filemap->around(v->file, v->pgoff + ((from - v->start) >> PAGE_SHIFT), n, frames);
	for (u32 i = 0; i < n; i++) {
		if (!frames[i])
			continue;
		u64 *pte = pte_make(mm, from + i * PAGE_SIZE);
		if (pte && !*pte) {
			*pte = frames[i] | around;
			mm->pages++;
		} else {
			frame_put(frames[i]);
		}
	}
	return 0;
}

/* Data segments are written nearly everywhere soon: where a fault costs 50 us, the neighbours of a first write are copied with it. Only pages that
 * are mapped already, of a file of the rootfs as it is there: later writes to the file cannot be missed. Returns whether translations changed. */
static bool fault_copy_range(struct mm *mm, struct vma *v, vaddr_t from, vaddr_t to, vaddr_t but)
{
	bool changed = false;
	if (!arch_ring3() || !v->file || !(filemap->traits(v->file) & FILEMAP_STABLE) || frames_free() < 512)
		return false;
	for (vaddr_t at = from; at < to; at += PAGE_SIZE) {
		u64 *e = at == but ? NULL : pte_lookup(mm, at);
		if (!e || !(*e & PTE_P) || (*e & PTE_W) || frame_refs(*e & PTE_ADDR) == 1)
			continue;
		paddr_t copy = frame_alloc(0), p = *e & PTE_ADDR;
		if (!copy)
			break;
		memcpy(phys_to_virt(copy), phys_to_virt(p), PAGE_SIZE);
		*e = copy | pte_flags(v->prot);
		frame_put(p);
		changed = true;
	}
	return changed;
}

static bool fault_copy_around(struct mm *mm, struct vma *v, vaddr_t va)
{
	vaddr_t from = va & ~((vaddr_t)COPY_AROUND * PAGE_SIZE - 1);
	return fault_copy_range(mm, v, MAX(from, v->start), MIN(from + COPY_AROUND * PAGE_SIZE, v->end), va);
}

/* The pages of a new private file mapping that are at hand, where faults are dear; those of a small data segment as copies. No entry is there yet. */
void fault_ahead(struct mm *mm, struct vma *v)
{
	u64 pages = MIN((v->end - v->start) >> PAGE_SHIFT, AHEAD_FILE);
	if (!arch_ring3() || !v->file || fault_is_shared(v) || !(filemap->traits(v->file) & FILEMAP_STABLE) || !v->prot ||
	    frames_free() < 2 * AHEAD_FILE)
		return;
	for (u64 at = 0; at < pages; at += AROUND) {
		paddr_t frames[AROUND];
		u32 n = (u32)MIN(pages - at, AROUND);
		filemap->around(v->file, v->pgoff + at, n, frames);
		for (u32 i = 0; i < n; i++) {
			u64 *e = frames[i] ? pte_make(mm, v->start + (at + i) * PAGE_SIZE) : NULL;
			if (e && !*e) {
				*e = frames[i] | (pte_flags(v->prot) & ~(PTE_W | PTE_D));
				mm->pages++;
			} else if (frames[i]) {
				frame_put(frames[i]);
			}
		}
	}
	if ((v->prot & PROT_WRITE) && v->end - v->start <= COPY_AROUND * PAGE_SIZE)
		fault_copy_range(mm, v, v->start, v->end, 0);
}

/* A present page that does not allow the access: copy on write, or rights that mprotect left to be granted by a fault. */
static int fault_upgrade(struct mm *mm, struct vma *v, vaddr_t va, u64 *e, u32 access)
{
	paddr_t p = *e & PTE_ADDR;
	u64 flags = pte_flags(v->prot);
	bool was_present = *e & PTE_P;
	if (!(access & PF_WRITE)) {
		*e = (*e & (PTE_ADDR | PTE_D)) | (flags & ~(PTE_W | PTE_D)) | (v->file ? 0 : PTE_D);
	} else if (fault_is_shared(v)) {
		if (v->file) {
			paddr_t same;
			bool own;
			int r = filemap->shared(v->file, v->pgoff + ((va - v->start) >> PAGE_SHIFT), true, &same, &own);
			if (r)
				return r;
			*e = same | flags;
			frame_put(p);
		} else {
			*e = p | flags;
		}
	} else if (frame_refs(p) == 1) {
		*e = p | flags;
	} else {
		paddr_t copy = frame_alloc(0);
		if (!copy)
			return -ENOMEM;
		memcpy(phys_to_virt(copy), phys_to_virt(p), PAGE_SIZE);
		*e = copy | flags;
		bool more = fault_copy_around(mm, v, va);
		if (more && mm == mm_current())
			arch_flush_all();
		else if (was_present && mm == mm_current())
			arch_flush_page(va);
		frame_put(p);
		return 0;
	}
	/* More rights on the same frame: a stale translation only faults again, and KVM's shadow of it is made anew by that fault. */
	if (was_present && mm == mm_current() && !arch_ring3())
		arch_flush_page(va);
	return 0;
}

static struct vma *fault_grow_stack(struct mm *mm, struct vma *v, vaddr_t va)
{
	if (!v || !(v->flags & MAP_GROWSDOWN) || v->end - va > mm->limit_stack || va < MMAP_MIN)
		return NULL;
	u32 i = vma_index(mm, va);
	if (i > 0 && vma_at(mm, i - 1)->end + STACK_GUARD > va && vma_at(mm, i - 1)->end > va)
		return NULL;
	vaddr_t start = va & ~(16 * PAGE_SIZE - 1);
	if (i > 0 && start < vma_at(mm, i - 1)->end)
		start = va & PAGE_MASK;
	mm->total_vm += v->start - start;
	v->start = start;
	return v;
}

int mm_fault(struct mm *mm, vaddr_t va, u32 access)
{
	if (va >= QK_USER_TOP)
		return -EFAULT;
	va &= PAGE_MASK;
	mm->faults++;
	vcpu()->stats.faults++;
	struct vma *v = vma_find(mm, va);
	if (!v || v->start > va)
		v = fault_grow_stack(mm, v, va);
	if (!v)
		return -EFAULT;
	if (!fault_allowed(v, access))
		return -EACCES;
	u64 *e = pte_lookup(mm, va);
	if (e && *e) {
		u64 need = PTE_P | (access & PF_WRITE ? PTE_W : 0);
		if ((*e & need) == need && !((access & PF_INSTR) && (*e & PTE_NX)))
			return 0;
		return fault_upgrade(mm, v, va, e, access);
	}
	return v->file ? fault_map_file(mm, v, va, access & PF_WRITE) : fault_map_anonymous(mm, v, va);
}

static void (*exhausted)(void);

void mm_set_exhausted(void (*hook)(void))
{
	exhausted = hook;
}

paddr_t mm_translate(struct mm *mm, vaddr_t va, u32 access)
{
	if (va >= QK_USER_TOP)
		return 0;
	u64 need = PTE_P | PTE_U | (access & PF_WRITE ? PTE_W : 0);
	for (int tries = 0; tries < 3; tries++) {
		u64 *e = pte_lookup(mm, va);
		if (e && (*e & need) == need) {
			if ((access & PF_WRITE) && !(*e & PTE_D))
				*e |= PTE_D; /* the write goes past the processor */
			return (*e & PTE_ADDR) | (va & (PAGE_SIZE - 1));
		}
		int r = mm_fault(mm, va, access);
		if (r == -ENOMEM) {
			exhausted();
		}
		if (r)
			return 0;
	}
	return 0;
}
