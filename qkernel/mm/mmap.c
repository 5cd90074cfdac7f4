/* mmap and its family: mapping, unmapping, protection, moving. */
#include "arch.h"
#include "fs.h"
#include "qcall.h"
#include "vma.h"
#include <linux/fcntl.h>
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
static bool is_data(u32 prot, u32 flags)
{
	return (prot & PROT_WRITE) && !(flags & (MAP_SHARED | MAP_GROWSDOWN));
}

static bool data_fits(const struct mm *mm, u64 len)
{
	u64 used = 0;
	for (u32 i = 0; mm->limit_data != ~0ul && i < mm->nvma; i++)
		if (is_data(mm->vmas[i]->prot, mm->vmas[i]->flags))
			used += mm->vmas[i]->end - mm->vmas[i]->start;
	return used + len <= mm->limit_data;
}

static vaddr_t place(struct mm *mm, vaddr_t hint, u64 len, u32 flags)
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
	if (mm->total_vm + len > mm->limit_as || (is_data(prot, flags) && !data_fits(mm, len)))
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
		addr = place(mm, addr, len, flags);
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
		file_get(file);
		int r = file->ops->mmap ? file->ops->mmap(file, v) : -ENODEV;
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

long sys_mmap(u64 addr, u64 len, u64 prot, u64 flags, u64 fd, u64 off)
{
	struct file *f = NULL;
	if (off & ~PAGE_MASK)
		return -EINVAL;
	u32 kind = flags & MAP_TYPE;
	if (kind != MAP_SHARED && kind != MAP_PRIVATE && kind != MAP_SHARED_VALIDATE)
		return -EINVAL;
	if (kind == MAP_SHARED_VALIDATE && (flags & MAP_SYNC))
		return -EOPNOTSUPP; /* DAX file systems alone have it */
	if (flags & MAP_HUGETLB)
		return -ENOMEM; /* as where no huge pages are set aside */
	if (kind == MAP_SHARED_VALIDATE)
		flags = (flags & ~(u64)MAP_TYPE) | MAP_SHARED;
	if (!len)
		return -EINVAL;
	if (len > QK_USER_TOP)
		return -ENOMEM;
	if (!(flags & MAP_ANONYMOUS) && (s64)(off + len) < 0)
		return -EOVERFLOW;
	if (!(flags & MAP_ANONYMOUS)) {
		f = fd_get((int)fd);
		if (!f)
			return -EBADF;
		u32 mode = f->flags & O_ACCMODE;
		if (mode == O_WRONLY || ((flags & MAP_SHARED) && (prot & PROT_WRITE) && mode != O_RDWR) || (f->flags & O_PATH)) {
			file_put(f);
			return f->flags & O_PATH ? -EBADF : -EACCES;
		}
	} else {
		off = 0;
		if (flags & MAP_SHARED) {
			f = shmem_file_new(PAGE_ALIGN(len));
			if (!f)
				return -ENOMEM;
		}
	}
	long r = mm_map(current->mm, addr, len, (u32)prot & 7, (u32)flags, f, off, NULL);
	if (f)
		file_put(f);
	if (r > 0 && (flags & (MAP_POPULATE | MAP_LOCKED)) && !(flags & MAP_NONBLOCK))
		(void)mm_populate(current->mm, (vaddr_t)r, (vaddr_t)r + PAGE_ALIGN(len), prot & PROT_WRITE);
	return r;
}

long sys_munmap(u64 addr, u64 len)
{
	/* User addresses end earlier here than in Linux; programs that unmap up to its end mean everything. */
	len = PAGE_ALIGN(len);
	if (addr < QK_USER_TOP && len > QK_USER_TOP - addr && len <= LINUX_USER_TOP - addr)
		len = QK_USER_TOP - addr;
	return mm_unmap(current->mm, addr, len);
}

long sys_mprotect(u64 addr, u64 len, u64 prot)
{
	struct mm *mm = current->mm;
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
		if (v->file && (v->flags & MAP_SHARED) && (prot & PROT_WRITE) &&
		    ((v->file->flags & O_ACCMODE) != O_RDWR || (v->flags & VMA_SEALED))) {
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
	return mm_set_brk(current->mm, brk);
}

long sys_mremap(u64 addr, u64 old_len, u64 new_len, u64 flags, u64 new_addr)
{
	struct mm *mm = current->mm;
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
		file_get(file);
	long to = mm_map(mm, flags & MREMAP_FIXED ? new_addr : 0, new_len, prot,
			 (vflags & ~(u32)MAP_GROWSDOWN) | (flags & MREMAP_FIXED ? MAP_FIXED : 0), file, off, name);
	if (to > 0) {
		pt_move(mm, addr, (vaddr_t)to, MIN(old_len, new_len));
		if (!(flags & MREMAP_DONTUNMAP))
			mm_unmap(mm, addr, old_len);
	}
	if (file)
		file_put(file);
	return to;
}

bool mm_file_writable(const struct inode *i)
{
	struct process *p;
	struct task *t;
	list_for_each (p, &all_processes, all)
		list_for_each (t, &p->tasks, group)
			for (u32 k = 0; t->mm && k < t->mm->nvma; k++) {
				const struct vma *v = vma_at(t->mm, k);
				if (v->file && v->file->inode == i && (v->flags & MAP_SHARED) && !(v->flags & VMA_SEALED) &&
				    (v->file->flags & O_ACCMODE) == O_RDWR)
					return true;
			}
	return false;
}

void mm_unmap_file(struct inode *i, u64 from)
{
	struct process *p;
	struct task *t;
	list_for_each (p, &all_processes, all)
		list_for_each (t, &p->tasks, group) {
			for (u32 k = 0; t->mm && k < t->mm->nvma; k++) {
				const struct vma *v = vma_at(t->mm, k);
				u64 last = v->pgoff + ((v->end - v->start) >> PAGE_SHIFT);
				if (v->file && v->file->inode == i && last > from)
					pt_clear(t->mm, v->start + ((MAX(from, v->pgoff) - v->pgoff) << PAGE_SHIFT), v->end);
			}
		}
}
