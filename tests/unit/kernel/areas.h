/* What the memory manager asks the rest of the kernel for, in areas.c: files whose pages are frames, a heap, and a processor that keeps translations. */
#ifndef AREAS_H
#define AREAS_H
#define HAS_PAGE_TABLES
#include "guest_ram.h"

#include "fdtable.h"
#include "ktime.h"
#include <linux/fcntl.h>
#include <linux/mman.h>

#define FILE_PAGES 16u
#define MMS 3

/* ---- files: two, and one for each shared anonymous mapping */
struct backing {
	struct file file;
	struct inode inode;
	u64 id;
	u32 pages; /* its size */
	paddr_t frame[64];
};
static struct backing named[2];
static u64 shared_made;
static int shared_alive;

static inline struct backing *backing_of(const struct file *f)
{
	return f->priv;
}

static inline void drop_pages(struct backing *b, u32 from)
{
	for (u32 i = from; i < ARRAY_SIZE(b->frame); i++) {
		if (b->frame[i])
			frame_put(b->frame[i]);
		b->frame[i] = 0;
	}
}

static inline void backing_init(struct backing *b, u64 id, u32 pages, u32 flags)
{
	*b = (struct backing){.id = id, .pages = pages};
	b->file = (struct file){.refs = 1, .flags = flags, .inode = &b->inode, .priv = b};
}

struct file *shmem_file_new(u64 size)
{
	struct backing *b = malloc(sizeof(*b));
	backing_init(b, 2 + shared_made++, (u32)(size / PAGE_SIZE), O_RDWR);
	shared_alive++;
	return &b->file;
}

void file_get(struct file *f)
{
	f->refs++;
}
void file_put(struct file *f)
{
	struct backing *b = backing_of(f);
	if (--f->refs)
		return;
	drop_pages(b, 0);
	if (b->id >= 2) {
		free(b);
		shared_alive--;
	}
}
struct file *fd_get(int fd)
{
	if (fd < 0 || fd >= 2)
		return NULL;
	file_get(&named[fd].file);
	return &named[fd].file;
}

static int backing_page(struct file *f, u64 index, bool write, paddr_t *out)
{
	struct backing *b = backing_of(f);
	(void)write;
	if (index >= b->pages)
		return -EIO;
	if (!b->frame[index]) {
		b->frame[index] = frame_alloc(FRAME_ZERO);
		if (b->id < 2)
			*(u64 *)phys_to_virt(b->frame[index]) = 1000 + b->id * 100 + index;
	}
	frame_get(b->frame[index]);
	*out = b->frame[index];
	return 0;
}
static unsigned backing_around(struct file *f, u64 index, unsigned max, paddr_t *out)
{
	const struct backing *b = backing_of(f);
	unsigned n = 0;
	for (unsigned i = 0; i < max; i++) {
		out[i] = index + i < b->pages ? b->frame[index + i] : 0;
		if (out[i])
			frame_get(out[i]), n++;
	}
	return n;
}
static int backing_shared(struct file *f, u64 index, bool write, paddr_t *out, bool *own)
{
	*own = false;
	return backing_page(f, index, write, out);
}
static bool backing_in_memory(struct file *f, u64 index)
{
	const struct backing *b = backing_of(f);
	return index < b->pages && b->frame[index];
}
static int backing_map(struct vma *v)
{
	file_get(v->file);
	if ((v->flags & MAP_SHARED) && (v->file->flags & O_ACCMODE) != O_RDWR)
		v->flags |= VMA_NOWRITE;
	return 0;
}
static const struct inode *backing_inode(const struct file *f)
{
	return f->inode;
}
static u32 backing_traits(const struct file *f)
{
	return f == &named[0].file ? FILEMAP_STABLE : 0;
}
static int backing_sync(struct file *f)
{
	(void)f;
	return 0;
}
static int backing_punch(struct file *f, u64 offset, u64 bytes)
{
	(void)f, (void)offset, (void)bytes;
	return -EINVAL;
}
static const struct filemap_ops backing_ops = {
	.map = backing_map,
	.copy = file_get,
	.drop = file_put,
	.inode = backing_inode,
	.traits = backing_traits,
	.page = backing_page,
	.around = backing_around,
	.shared = backing_shared,
	.shared_around = backing_around,
	.in_memory = backing_in_memory,
	.punch = backing_punch,
	.sync = backing_sync,
};
/* There is no process to kill: running short is not what is tested here. */
static inline void exhausted(void)
{
	panic("out of memory");
}

/* ---- the heap: the C library's, for the sanitizer */
void *kmalloc(size_t n)
{
	return malloc(n);
}
void *kzalloc(size_t n)
{
	return calloc(1, n);
}
void *krealloc(void *p, size_t n)
{
	return realloc(p, n);
}
void kfree(void *p)
{
	free(p);
}

/* ---- tasks and the processor */
static struct task task[MMS];

/* What the processor may still believe: it forgets only what it is told to. */
static struct {
	vaddr_t va;
	u64 entry;
} tlb[1024];
static size_t ntlb;

void arch_flush_all(void)
{
	ntlb = 0;
}
void arch_write_cr3(paddr_t pml4)
{
	(void)pml4;
	ntlb = 0;
}
void arch_flush_page(vaddr_t va)
{
	for (size_t i = 0; i < ntlb; i++)
		if (tlb[i].va == (va & PAGE_MASK))
			tlb[i--] = tlb[--ntlb];
}
bool arch_ring3(void)
{
	return true;
}
u64 arch_pte_kernel(void)
{
	return PTE_U;
}
void seg_begin(void)
{
}
s64 qcall(enum qk_op op, u32 data_len, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5)
{
	(void)op, (void)data_len, (void)a0, (void)a1, (void)a2, (void)a3, (void)a4, (void)a5;
	return -ENOMEM;
}
int copy_to_user(uptr dst, const void *src, size_t n)
{
	(void)dst, (void)src, (void)n;
	return -EFAULT; /* mincore's answers are not looked at */
}
#endif
