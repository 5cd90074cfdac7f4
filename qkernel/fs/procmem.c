/* The memory of a process in /proc: smaps and smaps_rollup are texts; mem and pagemap are files with positions (proc(5)). */
#include "procfs.h"
#include "../proc/proc.h"
#include <linux/capability.h>
#include <linux/mman.h>

#define KIB(pages) ((pages) * 4)
#define ENTRY 8u   /* bytes of one page in pagemap */
#define BATCH 256u /* of its entries */

/* ---- texts */
static void procmem_sizes(struct text *t, const struct mm_usage *u, bool rollup)
{
	u64 rss = u->anon + u->file + u->shmem;
	text_add(t, "Rss:            %8lu kB\nPss:            %8lu kB\nPss_Dirty:      %8lu kB\n", KIB(rss),
		 (u->pss_anon + u->pss_file + u->pss_shmem) / 1024, u->pss_dirty / 1024);
	if (rollup)
		text_add(t, "Pss_Anon:       %8lu kB\nPss_File:       %8lu kB\nPss_Shmem:      %8lu kB\n", u->pss_anon / 1024, u->pss_file / 1024,
			 u->pss_shmem / 1024);
	text_add(t, "Shared_Clean:   %8lu kB\nShared_Dirty:   %8lu kB\nPrivate_Clean:  %8lu kB\nPrivate_Dirty:  %8lu kB\n", KIB(u->shared_clean),
		 KIB(u->shared_dirty), KIB(u->private_clean), KIB(u->private_dirty));
	text_add(t, "Referenced:     %8lu kB\nAnonymous:      %8lu kB\n", KIB(rss), KIB(u->anon));
	/* What this kernel does not do: merging, lazy freeing, huge pages, swap, locking. */
	static const char *const none[] = {"KSM:            ", "LazyFree:       ", "AnonHugePages:  ", "ShmemPmdMapped: ", "FilePmdMapped:  ",
					   "Shared_Hugetlb: ", "Private_Hugetlb:", "Swap:           ", "SwapPss:        ", "Locked:         "};
	for (u32 k = 0; k < ARRAY_SIZE(none); k++)
		text_add(t, "%s       0 kB\n", none[k]);
}

static void procmem_flags(struct text *t, const struct vma *v)
{
	bool shared = v->flags & MAP_SHARED, writable = !v->file || !shared || (v->file->flags & 3) == 2 /* O_RDWR */;
	const struct {
		bool set;
		const char *name;
	} all[] = {
		{v->prot & PROT_READ, "rd"},
		{v->prot & PROT_WRITE, "wr"},
		{v->prot & PROT_EXEC, "ex"},
		{shared, "sh"},
		{true, "mr"},
		{writable, "mw"},
		{true, "me"},
		{shared && writable, "ms"},
		{v->flags & MAP_GROWSDOWN, "gd"},
		{v->flags & VMA_DONTFORK, "dc"},
		{v->flags & VMA_DONTDUMP, "dd"},
		{v->flags & MAP_NORESERVE, "nr"},
		{v->flags & VMA_WIPEONFORK, "wf"},
	};
	text_add(t, "VmFlags:");
	for (u32 k = 0; k < ARRAY_SIZE(all); k++)
		if (all[k].set)
			text_add(t, " %s", all[k].name);
	text_add(t, " \n");
}

void text_smaps(struct text *t, const struct subject *s)
{
	struct mm *mm = s->t->mm;
	for (u32 k = 0; mm && k < mm->nvma && !t->failed; k++) {
		const struct vma *v = vma_at(mm, k);
		struct mm_usage u = {0};
		mm_count(mm, v, &u);
		text_area(t, v);
		text_add(t, "Size:           %8lu kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\n", (v->end - v->start) / 1024);
		procmem_sizes(t, &u, false);
		text_add(t, "THPeligible:           0\n");
		procmem_flags(t, v);
	}
}

void text_smaps_rollup(struct text *t, const struct subject *s)
{
	struct mm *mm = s->t->mm;
	if (!mm || !mm->nvma)
		return;
	struct mm_usage u = mm_count_all(mm);
	text_add(t, "%08lx-%08lx ---p 00000000 00:00 0                          [rollup]\n", vma_at(mm, 0)->start, vma_at(mm, mm->nvma - 1)->end);
	procmem_sizes(t, &u, true);
}

/* ---- files with positions. They are of the address space that was there when they were opened: after an exec there is nothing to read. */
int procmem_open(struct inode *i, struct file *f)
{
	struct subject s;
	if (!procfs_subject(f, &s))
		return -ESRCH;
	if (!procfs_may_look(s.p))
		return -EACCES;
	f->priv = (void *)(s.t->mm ? s.t->mm->id : 0);
	return 0;
}

static struct mm *procmem_opened_mm(struct file *f)
{
	struct subject s;
	struct mm *mm = procfs_subject(f, &s) ? s.t->mm : NULL;
	return mm && mm->id == (u64)f->priv ? mm : NULL;
}

/* By way of a page of the kernel: what is read or written may be the buffer itself. */
static ssize_t mem_copy(struct file *f, struct uio *u, u64 *pos, bool write)
{
	ssize_t done = 0;
	char *page = kmalloc(PAGE_SIZE);
	if (!page)
		return -ENOMEM;
	while (u->resid) {
		u64 part = MIN(u->resid, PAGE_SIZE - (*pos & (PAGE_SIZE - 1)));
		ssize_t n = (ssize_t)part;
		if (write)
			n = uio_read(u, page, part);
		struct mm *mm = n > 0 ? procmem_opened_mm(f) : NULL;
		if (n > 0 && !mm)
			break;
		paddr_t p = n > 0 ? mm_translate_forced(mm, *pos, write) : 0;
		if (n > 0 && !p)
			n = -EIO;
		if (n > 0 && write)
			memcpy(phys_to_virt(p), page, (u64)n);
		if (n > 0 && !write) {
			memcpy(page, phys_to_virt(p), part);
			n = uio_write(u, page, part);
		}
		if (n <= 0) {
			done = done ? done : n;
			break;
		}
		done += n;
		*pos += (u64)n;
		if ((u64)n < part)
			break;
	}
	kfree(page);
	return done;
}

static ssize_t mem_read(struct file *f, struct uio *u, u64 *pos)
{
	return mem_copy(f, u, pos, false);
}

static ssize_t mem_write(struct file *f, struct uio *u, u64 *pos)
{
	return mem_copy(f, u, pos, true);
}

static ssize_t procmem_pagemap_read(struct file *f, struct uio *u, u64 *pos)
{
	u64 entries[BATCH], end = QK_USER_TOP / PAGE_SIZE * ENTRY;
	bool frames = current->proc->cap_eff & 1ul << CAP_SYS_ADMIN; /* as Linux since 4.2 */
	ssize_t done = 0;
	if (*pos % ENTRY || u->resid % ENTRY)
		return -EINVAL;
	while (u->resid && *pos < end) {
		u64 n = MIN(MIN(u->resid, end - *pos) / ENTRY, BATCH);
		struct mm *mm = procmem_opened_mm(f);
		if (!mm)
			break;
		mm_pagemap(mm, *pos / ENTRY * PAGE_SIZE, (u32)n, frames, entries);
		ssize_t r = uio_write(u, entries, n * ENTRY);
		if (r < 0)
			return done ? done : r;
		done += r;
		*pos += (u64)r;
		if ((u64)r < n * ENTRY)
			break;
	}
	return done;
}

const struct file_ops proc_mem_ops = {.read = mem_read, .write = mem_write, .lseek = dir_lseek};
const struct file_ops proc_pagemap_ops = {.read = procmem_pagemap_read, .lseek = dir_lseek};
