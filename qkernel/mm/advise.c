/* Advice about memory and what is resident: madvise, mincore, msync, mlock. */
#include "arch.h"
#include "uaccess.h"
#include "qcall.h"
#include "vma.h"
#include <linux/mman.h>

/* Files in guest memory that were written through a shared mapping have a new mtime at msync and munmap (mmap(2)). Host files get theirs on the host. */
bool vma_note_writes(struct mm *mm, const struct vma *v, vaddr_t from, vaddr_t to)
{
	bool written = false;
	u64 *e;
	if (!(v->flags & MAP_SHARED) || !v->file || !(filemap->traits(v->file) & FILEMAP_TIMES))
		return false;
	for (vaddr_t va = from; (e = pte_next(mm, &va, to)); va += PAGE_SIZE)
		if (*e & PTE_D) {
			*e &= ~PTE_D;
			written = true;
		}
	if (written)
		filemap->written(v->file);
	return written;
}

int mm_populate(struct mm *mm, vaddr_t from, vaddr_t to, bool write)
{
	const struct vma *v = vma_find(mm, from);
	for (vaddr_t va = from; v && va < to; va += PAGE_SIZE) {
		if (!mm_translate(mm, va, write ? PF_WRITE : 0))
			return -EFAULT;
		if (!v->file) /* one that was mapped ahead counts from now on */
			*pte_lookup(mm, va) |= PTE_D;
	}
	return 0;
}

/* MADV_REMOVE: a hole in the file behind a shared mapping. */
static int advise_remove_range(struct vma *v, vaddr_t from, vaddr_t to)
{
	if (!(v->flags & MAP_SHARED) || !v->file)
		return -EINVAL;
	return v->prot & PROT_WRITE ? filemap->punch(v->file, (v->pgoff << PAGE_SHIFT) + (from - v->start), to - from) : -EACCES;
}

static int advise(struct mm *mm, struct vma *v, vaddr_t from, vaddr_t to, int advice)
{
	switch (advice) {
	case MADV_DONTNEED:
	case MADV_FREE:
	case MADV_DONTNEED_LOCKED:
		if (advice == MADV_FREE && (v->file || (v->flags & MAP_SHARED)))
			return -EINVAL;
		if (!(v->flags & VMA_SPECIAL))
			pt_clear(mm, from, to);
		return 0;
	case MADV_WIPEONFORK:
		if (v->file || (v->flags & MAP_SHARED))
			return -EINVAL;
		v->flags |= VMA_WIPEONFORK;
		return 0;
	case MADV_KEEPONFORK:
		v->flags &= ~VMA_WIPEONFORK;
		return 0;
	case MADV_DONTFORK:
		v->flags |= VMA_DONTFORK;
		return 0;
	case MADV_DOFORK:
		v->flags &= ~VMA_DONTFORK;
		return 0;
	case MADV_DONTDUMP:
		v->flags |= VMA_DONTDUMP;
		return 0;
	case MADV_DODUMP:
		if (v->flags & VMA_SPECIAL)
			return -EINVAL;
		v->flags &= ~VMA_DONTDUMP;
		return 0;
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		if (!(v->prot & (advice == MADV_POPULATE_WRITE ? PROT_WRITE : PROT_READ | PROT_WRITE | PROT_EXEC)))
			return -EINVAL;
		return mm_populate(mm, from, to, advice == MADV_POPULATE_WRITE);
	case MADV_REMOVE:
		return advise_remove_range(v, from, to);
	default:
		return 0;
	}
}

static bool advise_known_advice(int a)
{
	return (a >= MADV_NORMAL && a <= MADV_DONTNEED) || (a >= MADV_FREE && a <= MADV_COLLAPSE);
}

long sys_madvise(u64 addr, u64 len, u64 advice)
{
	struct mm *mm = mm_current();
	bool hole = false, populates = advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE;
	if ((addr & ~PAGE_MASK) || !advise_known_advice((int)advice))
		return -EINVAL;
	len = PAGE_ALIGN(len);
	if (!len)
		return 0;
	if (!vma_range_ok(addr, len))
		return -EINVAL;
	bool changes = advice == MADV_WIPEONFORK || advice == MADV_KEEPONFORK || advice == MADV_DONTFORK || advice == MADV_DOFORK ||
		       advice == MADV_DONTDUMP || advice == MADV_DODUMP;
	if (changes && (vma_split(mm, addr) || vma_split(mm, addr + len)))
		return -ENOMEM;
	for (vaddr_t at = addr; at < addr + len;) {
		struct vma *v = vma_find(mm, at);
		if (!v || v->start >= addr + len || (v->start > at && populates)) {
			hole = true;
			break;
		}
		if (v->start > at)
			hole = true;
		int r = advise(mm, v, MAX(at, v->start), MIN(addr + len, v->end), (int)advice);
		if (r)
			return r;
		at = v->end;
	}
	return hole ? -ENOMEM : 0;
}

long sys_mincore(u64 addr, u64 len, u64 vec)
{
	if (addr & ~PAGE_MASK)
		return -EINVAL;
	len = PAGE_ALIGN(len);
	if (!access_ok(UPTR(addr), len))
		return -ENOMEM;
	for (u64 i = 0; i < len / PAGE_SIZE; i++) {
		vaddr_t va = addr + i * PAGE_SIZE;
		struct vma *v = vma_find(mm_current(), va);
		if (!v || v->start > va)
			return -ENOMEM;
		const u64 *e = pte_lookup(mm_current(), va);
		bool cached = v->file && filemap->in_memory(v->file, v->pgoff + ((va - v->start) >> PAGE_SHIFT));
		u8 present = cached || (e && pte_resident(v, *e));
		if (put_user(present, UPTR(vec + i)))
			return -EFAULT;
	}
	return 0;
}

static long advise_check_mapped(u64 addr, u64 len)
{
	len = PAGE_ALIGN(len + (addr & ~PAGE_MASK));
	addr &= PAGE_MASK;
	for (vaddr_t at = addr; at < addr + len;) {
		struct vma *v = vma_find(mm_current(), at);
		if (!v || v->start > at)
			return -ENOMEM;
		at = v->end;
	}
	return 0;
}

long sys_msync(u64 addr, u64 len, u64 flags)
{
	if ((addr & ~PAGE_MASK) || (flags & ~7ul) || ((flags & MS_ASYNC) && (flags & MS_SYNC)))
		return -EINVAL;
	if (!vma_range_ok(addr, len))
		return -ENOMEM;
	long r = advise_check_mapped(addr, len);
	bool written = false;
	for (vaddr_t at = addr; !r && at < addr + len;) {
		const struct vma *v = vma_find(mm_current(), at);
		if (!v)
			break;
		written |= vma_note_writes(mm_current(), v, MAX(at, v->start), MIN(addr + PAGE_ALIGN(len), v->end));
		at = v->end;
	}
	if (written) /* or the processor would not set the flags again */
		arch_flush_all();
	for (vaddr_t at = addr; !r && (flags & MS_SYNC) && at < addr + len;) {
		const struct vma *v = vma_find(mm_current(), at);
		if (!v)
			break;
		at = v->end;
		if (v->file && (v->flags & MAP_SHARED))
			r = filemap->sync(v->file);
	}
	return r;
}

/* Guest memory is never swapped, so locking has nothing to do. */
long sys_mlock(u64 addr, u64 len)
{
	return advise_check_mapped(addr, len);
}
long sys_mlock2(u64 addr, u64 len, u64 flags)
{
	return flags & ~1ul ? -EINVAL : advise_check_mapped(addr, len);
}
long sys_munlock(u64 addr, u64 len)
{
	return advise_check_mapped(addr, len);
}
long sys_mlockall(u64 flags)
{
	return !flags || (flags & ~7ul) ? -EINVAL : 0;
}
long sys_munlockall(void)
{
	return 0;
}
