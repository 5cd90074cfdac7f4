/* Between the files of mm/. */
#ifndef VMA_H
#define VMA_H
#include "errno.h"
#include "mm.h"
#define VMA_MAX 65530u
#define MMAP_MIN 0x10000ul
int vma_insert(struct mm *mm, struct vma *v);
void vma_remove(struct mm *mm, struct vma *v);
void vma_free(struct vma *v);
struct vma *vma_copy(const struct vma *v);
int vma_split(struct mm *mm, vaddr_t at);
void vma_merge(struct mm *mm, vaddr_t from, vaddr_t to);
vaddr_t vma_find_gap(struct mm *mm, u64 len, vaddr_t below);
u32 vma_index(struct mm *mm, vaddr_t va);
/* May a mapping lie at [addr, addr + len)? */
static inline bool vma_range_ok(vaddr_t addr, u64 len)
{
	return len && len <= QK_USER_TOP && addr <= QK_USER_TOP - len;
}
extern const struct filemap_ops *filemap; /* mm.c */
/* pagetable.c */
u64 *pte_lookup(struct mm *mm, vaddr_t va); /* NULL when there is no page table */
u64 *pte_make(struct mm *mm, vaddr_t va);   /* NULL: out of memory */
/* The entry of the first page in [*va, to) that holds a frame, and its address in *va; NULL: none. */
u64 *pte_next(struct mm *mm, vaddr_t *va, vaddr_t to);
void pt_clear(struct mm *mm, vaddr_t from, vaddr_t to); /* drops the frames and flushes */
void pt_protect(struct mm *mm, vaddr_t from, vaddr_t to, u32 prot);
void pt_move(struct mm *mm, vaddr_t from, vaddr_t to, u64 len);
void pt_free(struct mm *mm);
paddr_t pt_new(void);
/* advise.c */
bool vma_note_writes(struct mm *mm, const struct vma *v, vaddr_t from, vaddr_t to); /* true: entries lost their dirty flag */
void fault_ahead(struct mm *mm, struct vma *v);
u64 pte_flags(u32 prot);
bool pte_resident(const struct vma *v, u64 e); /* usage.c: does the entry hold a page that the program has used? */
#endif
