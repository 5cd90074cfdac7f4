/* mmap and its family: mapping, unmapping, protection, moving. */
#include "arch.h"
#include "qcall.h"
#include "vma.h"
#include <linux/mman.h>

#define MAP_32BIT_TOP 0x80000000ul /* mmap(2) */
#define MAP_KINDS (MAP_SHARED | MAP_PRIVATE)
#define KEPT_FLAGS (MAP_KINDS | MAP_GROWSDOWN | MAP_NORESERVE | MAP_STACK)

#define LINUX_USER_TOP 0x7ffffffff000ul /* TASK_SIZE of x86-64 with four levels of page tables */

long mm_unmap(struct mm *mm, vaddr_t addr, u64 len)
{
	len = PAGE_ALIGN(len);
	if ((addr & ~PAGE_MASK) || !vma_range_ok(addr, len))
		return -EINVAL;
	if (vma_split(mm, addr) || vma_split(mm, addr + len))
		return -ENOMEM;
	for (struct vma *v = vma_find(mm, addr); v && v->start < addr + len; v = vma_find(mm, addr)) {
		vma_note_writes(mm, v, v->start, v->end);
		vma_remove(mm, v);
		if (v->end > mm->gap_top)
			mm->gap_top = 0;
		pt_clear(mm, v->start, v->end);
		vma_free(v);
	}
	return 0;
}

/* What RLIMIT_DATA counts: private writable memory that is no stack (setrlimit(2)). */
static bool mmap_is_data(u32 prot, u32 flags)
{
	return (prot & PROT_WRITE) && !(flags & (MAP_SHARED | MAP_GROWSDOWN));
}

static bool mmap_data_fits(const struct mm *mm, u64 len)
{
	u64 used = 0;
	for (u32 i = 0; mm->limit_data != ~0ul && i < mm->nvma; i++)
		if (mmap_is_data(mm->vmas[i]->prot, mm->vmas[i]->flags))
			used += mm->vmas[i]->end - mm->vmas[i]->start;
	return used + len <= mm->limit_data;
}

static vaddr_t mmap_place(struct mm *mm, vaddr_t hint, u64 len, u32 flags)
{
	vaddr_t top = flags & MAP_32BIT ? MAP_32BIT_TOP : QK_USER_TOP;
	if (hint && hint >= MMAP_MIN && len <= top && hint <= top - len) {
		hint &= PAGE_MASK;
		struct vma *v = vma_find(mm, hint);
		if (!v || v->start >= hint + len)
			return hint;
	}
	if (flags & MAP_32BIT)
		return vma_find_gap(mm, len, top);
	vaddr_t a = vma_find_gap(mm, len, mm->mmap_top);
	return a ? a : vma_find_gap(mm, len, QK_USER_TOP);
}

long mm_map(struct mm *mm, vaddr_t addr, u64 len, u32 prot, u32 flags, struct file *file, u64 off, const char *name)
{
	if (!len)
		return -EINVAL;
	len = PAGE_ALIGN(len);
	if (!len || len > QK_USER_TOP)
		return -ENOMEM;
	if (mm->total_vm + len > mm->limit_as || (mmap_is_data(prot, flags) && !mmap_data_fits(mm, len)))
		return -ENOMEM;
	/* As Linux by default (overcommit_memory 0): what could never be filled is refused at once. */
	if ((prot & PROT_WRITE) && !(flags & (MAP_NORESERVE | MAP_SHARED)) && len > frames_limit() * PAGE_SIZE)
		return -ENOMEM;
	if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
		if (addr & ~PAGE_MASK)
			return -EINVAL;
		if (!vma_range_ok(addr, len))
			return -ENOMEM;
		struct vma *v = vma_find(mm, addr);
		if (v && v->start < addr + len) {
			if (flags & MAP_FIXED_NOREPLACE)
				return -EEXIST;
			long r = mm_unmap(mm, addr, len);
			if (r)
				return r;
		}
	} else {
		addr = mmap_place(mm, addr, len, flags);
		if (!addr)
			return -ENOMEM;
	}
	struct vma *v = kzalloc(sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->start = addr;
	v->end = addr + len;
	v->prot = prot;
	v->flags = flags & (KEPT_FLAGS | VMA_WIPEONFORK | VMA_DONTFORK | VMA_SPECIAL);
	v->file = file;
	v->pgoff = off >> PAGE_SHIFT;
	v->name = name;
	if (file) {
		int r = filemap->map(v);
		if (r) {
			vma_free(v);
			return r;
		}
	}
	int r = vma_insert(mm, v);
	if (r) {
		vma_free(v);
		return r;
	}
	fault_ahead(mm, v);
	vma_merge(mm, addr, addr + len);
	return (long)addr;
}

int mm_map_frame(struct mm *mm, vaddr_t va, paddr_t frame, u32 prot)
{
	u64 *e = pte_make(mm, va);
	if (!e)
		return -ENOMEM;
	frame_get(frame);
	*e = frame | pte_flags(prot);
	mm->pages++;
	return 0;
}

long sys_munmap(u64 addr, u64 len)
{
	/* User addresses end earlier here than in Linux; programs that unmap up to its end mean everything. */
	len = PAGE_ALIGN(len);
	if (addr < QK_USER_TOP && len > QK_USER_TOP - addr && len <= LINUX_USER_TOP - addr)
		len = QK_USER_TOP - addr;
	return mm_unmap(mm_current(), addr, len);
}

long sys_mprotect(u64 addr, u64 len, u64 prot)
{
	struct mm *mm = mm_current();
	if ((addr & ~PAGE_MASK) || (prot & ~(u64)(7 | PROT_GROWSDOWN | PROT_GROWSUP)))
		return -EINVAL;
	prot &= 7;
	len = PAGE_ALIGN(len);
	if (!len)
		return 0;
	if (!vma_range_ok(addr, len))
		return -ENOMEM;
	if (vma_split(mm, addr) || vma_split(mm, addr + len))
		return -ENOMEM;
	long r = 0;
	for (vaddr_t at = addr; at < addr + len;) {
		struct vma *v = vma_find(mm, at);
		if (!v || v->start > at) {
			r = -ENOMEM;
			break;
		}
		if ((prot & PROT_WRITE) && (v->flags & VMA_NOWRITE)) {
			r = -EACCES;
			break;
		}
		if (v->prot != prot) {
			v->prot = (u32)prot;
			pt_protect(mm, v->start, v->end, v->prot);
		}
		at = v->end;
	}
	vma_merge(mm, addr, addr + len); /* also what was split in vain */
	return r;
}

long mm_set_brk(struct mm *mm, vaddr_t brk)
{
	if (brk < mm->brk_start || brk >= QK_USER_TOP)
		return (long)mm->brk;
	vaddr_t old = PAGE_ALIGN(mm->brk), new = PAGE_ALIGN(brk);
	if (new > old) {
		struct vma *v = vma_find(mm, old);
		if (brk - mm->brk_start > mm->limit_data || new >= QK_USER_TOP || (v && v->start < new + PAGE_SIZE))
			return (long)mm->brk;
		if (mm_map(mm, old, new - old, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, NULL, 0, "[heap]") < 0)
			return (long)mm->brk;
	} else if (new < old && mm_unmap(mm, new, old - new)) {
		return (long)mm->brk;
	}
	mm->brk = brk;
	return (long)brk;
}

long sys_brk(u64 brk)
{
	return mm_set_brk(mm_current(), brk);
}

long sys_mremap(u64 addr, u64 old_len, u64 new_len, u64 flags, u64 new_addr)
{
	struct mm *mm = mm_current();
	old_len = PAGE_ALIGN(old_len);
	new_len = PAGE_ALIGN(new_len);
	if ((addr & ~PAGE_MASK) || !new_len || (flags & ~7ul) || ((flags & MREMAP_FIXED) && !(flags & MREMAP_MAYMOVE)))
		return -EINVAL;
	if ((flags & MREMAP_DONTUNMAP) && (!(flags & MREMAP_MAYMOVE) || old_len != new_len))
		return -EINVAL;
	if ((flags & MREMAP_FIXED) &&
	    ((new_addr & ~PAGE_MASK) || !vma_range_ok(new_addr, new_len) || (new_addr < addr + old_len && addr < new_addr + new_len)))
		return -EINVAL;
	struct vma *v = vma_find(mm, addr);
	if (!v || v->start > addr)
		return -EFAULT;
	if (!old_len) /* duplicate a shared mapping */
		return v->flags & MAP_SHARED ? mm_map(mm, flags & MREMAP_FIXED ? new_addr : 0, new_len, v->prot,
						      (v->flags & ~(u32)MAP_GROWSDOWN) | (flags & MREMAP_FIXED ? MAP_FIXED : 0), v->file,
						      (v->pgoff << PAGE_SHIFT) + addr - v->start, v->name)
					     : -EINVAL;
	if (addr + old_len > v->end || addr + old_len < addr)
		return -EFAULT;
	if (!(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))) {
		if (new_len <= old_len) {
			if (new_len < old_len)
				mm_unmap(mm, addr + new_len, old_len - new_len);
			return (long)addr;
		}
		/* In place when the area ends here and what follows is free. */
		struct vma *next = vma_find(mm, v->end);
		if (v->end == addr + old_len && vma_range_ok(addr, new_len) && (!next || next->start >= addr + new_len)) {
			if (mm->total_vm + new_len - old_len > mm->limit_as)
				return -ENOMEM;
			mm->total_vm += new_len - old_len;
			v->end = addr + new_len;
			return (long)addr;
		}
		if (!(flags & MREMAP_MAYMOVE))
			return -ENOMEM;
	}
	if (vma_split(mm, addr) || vma_split(mm, addr + old_len))
		return -ENOMEM;
	v = vma_find(mm, addr);
	u32 prot = v->prot, vflags = v->flags;
	struct file *file = v->file;
	u64 off = v->pgoff << PAGE_SHIFT;
	const char *name = v->name;
	if (file)
		filemap->copy(file); /* the area may be unmapped below */
	long to = mm_map(mm, flags & MREMAP_FIXED ? new_addr : 0, new_len, prot,
			 (vflags & ~(u32)MAP_GROWSDOWN) | (flags & MREMAP_FIXED ? MAP_FIXED : 0), file, off, name);
	if (to > 0) {
		pt_move(mm, addr, (vaddr_t)to, MIN(old_len, new_len));
		if (!(flags & MREMAP_DONTUNMAP))
			mm_unmap(mm, addr, old_len);
	}
	if (file)
		filemap->drop(file);
	return to;
}
