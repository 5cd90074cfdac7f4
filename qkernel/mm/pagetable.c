/* Page tables of user space: four levels of 4 KiB pages. Entries go from absent to present without a flush; everything else is collected and flushed once. */
#include "arch.h"
#include "vma.h"
#include <linux/mman.h>

static void pt_flush(struct mm *mm, vaddr_t va, u64 changed)
{
	if (!changed || mm != mm_current())
		return;
	if (changed == 1)
		arch_flush_page(va);
	else
		arch_flush_all();
}

u64 pte_flags(u32 prot)
{
	u64 f = PTE_U | PTE_A;
	if (prot & (PROT_READ | PROT_WRITE | PROT_EXEC))
		f |= PTE_P;
	if (prot & PROT_WRITE)
		f |= PTE_W | PTE_D;
	if (!(prot & PROT_EXEC))
		f |= PTE_NX;
	return f;
}

u64 *pte_lookup(struct mm *mm, vaddr_t va)
{
	u64 *t = phys_to_virt(mm->pml4);
	for (int level = 3; level > 0; level--) {
		u64 e = t[va >> (12 + 9 * level) & 511];
		if (!(e & PTE_P))
			return NULL;
		t = phys_to_virt(e & PTE_ADDR);
	}
	return &t[va >> 12 & 511];
}

u64 *pte_make(struct mm *mm, vaddr_t va)
{
	u64 *t = phys_to_virt(mm->pml4);
	for (int level = 3; level > 0; level--) {
		u64 *e = &t[va >> (12 + 9 * level) & 511];
		if (!(*e & PTE_P)) {
			paddr_t p = frame_alloc(FRAME_ZERO);
			if (!p)
				return NULL;
			*e = p | PTE_P | PTE_W | PTE_U | PTE_A;
		}
		t = phys_to_virt(*e & PTE_ADDR);
	}
	return &t[va >> 12 & 511];
}

/* An entry whose frame is mapped but not accessible (PROT_NONE) keeps PTE_SW2 set and P clear. */
static bool pt_holds_frame(u64 e)
{
	return e & (PTE_P | PTE_SW2);
}

u64 *pte_next(struct mm *mm, vaddr_t *va, vaddr_t to)
{
	while (*va < to) {
		u64 *t = phys_to_virt(mm->pml4), *e;
		int level = 3;
		for (; level > 0; level--) {
			e = &t[*va >> (12 + 9 * level) & 511];
			if (!(*e & PTE_P))
				break;
			t = phys_to_virt(*e & PTE_ADDR);
		}
		e = &t[*va >> 12 & 511];
		if (level == 0 && pt_holds_frame(*e))
			return e;
		/* On to the next page, or past all that the missing table would have held. */
		u64 span = 1ul << (12 + 9 * level);
		*va = (*va & ~(span - 1)) + span;
	}
	return NULL;
}

void pt_clear(struct mm *mm, vaddr_t from, vaddr_t to)
{
	u64 changed = 0;
	vaddr_t first = 0;
	/* Frames are put after the flush: until then the processor may still use them. */
	paddr_t batch[64];
	u32 n = 0;
	u64 *e;
	mm->pages_peak = MAX(mm->pages_peak, mm->pages);
	for (vaddr_t va = from; (e = pte_next(mm, &va, to)); va += PAGE_SIZE) {
		if (n == ARRAY_SIZE(batch)) {
			pt_flush(mm, first, changed);
			while (n)
				frame_put(batch[--n]);
			changed = 0;
		}
		batch[n++] = *e & PTE_ADDR;
		if (*e & PTE_P) {
			first = va;
			changed++;
		}
		*e = 0;
		mm->pages--;
	}
	pt_flush(mm, first, changed);
	while (n)
		frame_put(batch[--n]);
}

void pt_protect(struct mm *mm, vaddr_t from, vaddr_t to, u32 prot)
{
	u64 changed = 0;
	vaddr_t first = 0;
	u64 *e;
	for (vaddr_t va = from; (e = pte_next(mm, &va, to)); va += PAGE_SIZE) {
		u64 f = pte_flags(prot), old = *e;
		if (!(f & PTE_P))
			f = PTE_SW2 | PTE_U | PTE_NX;
		/* Write permission comes back by a fault: the frame may be shared. */
		*e = (old & (PTE_ADDR | PTE_D)) | (f & ~(PTE_W | PTE_D)) | (old & f & PTE_W); /* what was written stays known */
		if ((old & PTE_P) && *e != old) {
			first = va;
			changed++;
		}
	}
	pt_flush(mm, first, changed);
}

void pt_move(struct mm *mm, vaddr_t from, vaddr_t to, u64 len)
{
	u64 changed = 0;
	for (u64 at = 0; at < len; at += PAGE_SIZE) {
		u64 *e = pte_lookup(mm, from + at);
		if (!e || !pt_holds_frame(*e))
			continue;
		u64 *d = pte_make(mm, to + at);
		if (!d) {
			frame_put(*e & PTE_ADDR);
			mm->pages--;
		} else {
			if (pt_holds_frame(*d)) { /* the new place came with the pages at hand (fault_ahead) */
				frame_put(*d & PTE_ADDR);
				mm->pages--;
			}
			*d = *e;
		}
		*e = 0;
		changed += 2;
	}
	pt_flush(mm, from, changed);
}

/* Frames of the tables below `t`, put if `put`. */
static u32 pt_tables_below(u64 *t, int level, u32 entries, bool put)
{
	u32 n = 0;
	for (u32 i = 0; i < entries; i++) {
		if (!(t[i] & PTE_P))
			continue;
		n++;
		if (level > 1)
			n += pt_tables_below(phys_to_virt(t[i] & PTE_ADDR), level - 1, 512, put);
		if (put)
			frame_put(t[i] & PTE_ADDR);
	}
	return n;
}

/* Empty tables of address spaces that have ended. Where KVM shadows them, a table that becomes ordinary memory is written by way of the host, the top
 * one at nearly a millisecond; and the next child of the same parent needs the very same tables. */
#define SPARES 8u
#define SPARE_TABLES 24u /* of one address space at most: some 100 KiB */
static paddr_t spare[SPARES];
static u32 nspare;

/* The top table of an empty user space; 0: out of memory. */
paddr_t pt_new(void)
{
	if (nspare)
		return spare[--nspare];
	paddr_t p = frame_alloc(FRAME_ZERO);
	u64 slot = QK_DIRECT_BASE >> 39;
	if (p)
		((u64 *)phys_to_virt(p))[slot] = ((u64 *)phys_to_virt(QK_GPA_PML4))[slot];
	return p;
}

/* The user half has no page any more. */
void pt_free(struct mm *mm)
{
	u64 *top = phys_to_virt(mm->pml4);
	if (nspare < SPARES && pt_tables_below(top, 3, QK_USER_TOP >> 39, false) <= SPARE_TABLES) {
		spare[nspare++] = mm->pml4;
		return;
	}
	pt_tables_below(top, 3, QK_USER_TOP >> 39, true);
	frame_put(mm->pml4);
}

/* Memory runs out: the spare tables go back. Returns frames freed. */
u64 pt_shrink(void)
{
	u64 n = 0;
	while (nspare) {
		paddr_t p = spare[--nspare];
		n += 1 + pt_tables_below(phys_to_virt(p), 3, QK_USER_TOP >> 39, true);
		frame_put(p);
	}
	return n;
}
