/* The memory areas of an address space: a sorted array of disjoint areas. */
#include "mm.h"
#include "vma.h"

/* Index of the first area that ends above va. */
static u32 vma_index_above(struct mm *mm, vaddr_t va)
{
	u32 lo = 0, hi = mm->nvma;
	while (lo < hi) {
		u32 mid = (lo + hi) / 2;
		if (mm->vmas[mid]->end <= va)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct vma *vma_find(struct mm *mm, vaddr_t va)
{
	u32 i = vma_index_above(mm, va);
	return i < mm->nvma ? mm->vmas[i] : NULL;
}

struct vma *vma_at(struct mm *mm, u32 i)
{
	return i < mm->nvma ? mm->vmas[i] : NULL;
}

u32 vma_index(struct mm *mm, vaddr_t va)
{
	return vma_index_above(mm, va);
}

int vma_insert(struct mm *mm, struct vma *v)
{
	if (mm->nvma == VMA_MAX)
		return -ENOMEM;
	if (mm->nvma == mm->vma_cap) {
		u32 cap = mm->vma_cap ? mm->vma_cap * 2 : 64;
		struct vma **n = krealloc(mm->vmas, cap * sizeof(*n));
		if (!n)
			return -ENOMEM;
		mm->vmas = n;
		mm->vma_cap = cap;
	}
	u32 i = vma_index_above(mm, v->start);
	memmove(&mm->vmas[i + 1], &mm->vmas[i], (mm->nvma - i) * sizeof(struct vma *));
	mm->vmas[i] = v;
	mm->nvma++;
	mm->total_vm += v->end - v->start;
	return 0;
}

void vma_remove(struct mm *mm, struct vma *v)
{
	u32 i = vma_index_above(mm, v->start);
	BUG_ON(mm->vmas[i] != v);
	mm->vm_peak = MAX(mm->vm_peak, mm->total_vm);
	mm->nvma--;
	memmove(&mm->vmas[i], &mm->vmas[i + 1], (mm->nvma - i) * sizeof(struct vma *));
	mm->total_vm -= v->end - v->start;
}

void vma_free(struct vma *v)
{
	if (v->file)
		filemap->drop(v->file);
	kfree(v);
}

struct vma *vma_copy(const struct vma *v)
{
	struct vma *n = kmalloc(sizeof(*n));
	if (n) {
		*n = *v;
		if (n->file)
			filemap->copy(n->file);
	}
	return n;
}

/* Makes `at` a border between areas. */
int vma_split(struct mm *mm, vaddr_t at)
{
	struct vma *v = vma_find(mm, at);
	if (!v || v->start >= at)
		return 0;
	struct vma *n = vma_copy(v);
	if (!n)
		return -ENOMEM;
	n->start = at;
	n->pgoff += (at - v->start) >> PAGE_SHIFT;
	mm->total_vm -= v->end - at;
	v->end = at;
	int r = vma_insert(mm, n);
	if (r) {
		v->end = n->end;
		mm->total_vm += v->end - at;
		vma_free(n);
	}
	return r;
}

static bool vma_mergeable(const struct vma *a, const struct vma *b)
{
	return a->end == b->start && a->prot == b->prot && a->flags == b->flags && a->file == b->file && a->name == b->name &&
	       !(a->flags & VMA_SPECIAL) && (!a->file || a->pgoff + ((a->end - a->start) >> PAGE_SHIFT) == b->pgoff);
}

/* Joins what fits together around [from, to]. */
void vma_merge(struct mm *mm, vaddr_t from, vaddr_t to)
{
	u32 i = vma_index_above(mm, from ? from - 1 : 0);
	while (i + 1 < mm->nvma && mm->vmas[i]->start <= to) {
		struct vma *a = mm->vmas[i], *b = mm->vmas[i + 1];
		if (!vma_mergeable(a, b)) {
			i++;
			continue;
		}
		vaddr_t end = b->end;
		vma_remove(mm, b);
		vma_free(b);
		mm->total_vm += end - a->end;
		a->end = end;
	}
}

/* Highest free range of len below `below`; 0: none. A search from mmap_top remembers how far it came and the largest range that it passed: thousands of
 * thread stacks would make each search as long as their number. */
vaddr_t vma_find_gap(struct mm *mm, u64 len, vaddr_t below)
{
	bool usual = below == mm->mmap_top;
	u64 passed = 0;
	vaddr_t top = below;
	if (usual && mm->gap_top && len > mm->gap_passed) {
		top = mm->gap_top;
		passed = mm->gap_passed;
	}
	u32 i = vma_index_above(mm, top - 1);
	if (i < mm->nvma && mm->vmas[i]->start < top)
		top = mm->vmas[i]->start;
	while (i > 0) {
		struct vma *v = mm->vmas[i - 1];
		if (top >= v->end && top - v->end >= len)
			break;
		if (top > v->end)
			passed = MAX(passed, top - v->end);
		top = MIN(top, v->start);
		i--;
	}
	if (usual && top < below) {
		mm->gap_top = top;
		mm->gap_passed = passed;
	}
	return top >= len + MMAP_MIN ? top - len : 0;
}
