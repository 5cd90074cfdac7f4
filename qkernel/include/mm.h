/* Memory: page frames, kernel heap, page tables, address spaces. */
#ifndef MM_H
#define MM_H

#include "arch.h"
#include "klib.h"
#include "quark_abi.h"

/* ---- Page frames (mm/frame.c). A buddy allocator that keeps used frames low and compact and keeps the free-frame bitmap that
 * the capture reads (comm->free_bitmap_gpa: 1 = free). Frames never handed out before are known to be zero: allocating them with
 * FRAME_ZERO touches nothing, so mapping ahead costs no host memory. RAM grows by QC_GROW when it runs short. */
struct frame {
	u32 refs;  /* 0 = free */
	u16 order; /* of the block, head frame only */
	u16 flags;
	struct list node; /* free list, or the owner's */
};
#define FRAME_ZERO 1u
void frame_init(void);                                     /* from comm->boot.ram_bytes; the kernel image and boot tables are reserved */
paddr_t frame_alloc(unsigned flags);                       /* one frame, refs = 1; 0 when out of memory */
paddr_t frame_alloc_order(unsigned order, unsigned flags); /* 2^order contiguous frames, naturally aligned, each refs = 1 */
void frame_free_order(paddr_t p, unsigned order);
void frame_get(paddr_t p);
void frame_put(paddr_t p); /* frees at 0 */
u32 frame_refs(paddr_t p);
u64 frames_peak(void);                     /* most that were in use */
u64 frames_total(void), frames_free(void); /* of the RAM present now */
void frames_publish(void);
void frames_set_limit(u64 limit);
bool frames_map_window(void); /* QK_WINDOW_GPA in the direct map; false: out of memory. Its frames are counted in fs/window.c */
u64 frames_available(void);   /* free ones and those that QC_GROW may bring */
u64 frames_limit(void);       /* of all RAM that QC_GROW may bring */

/* ---- Kernel heap (mm/slab.c): size classes from frames; larger than half a page: whole frames. NULL when out of memory. */
void *kmalloc(size_t n);
void *kzalloc(size_t n);
void *krealloc(void *p, size_t n);
void kfree(void *p);
char *kstrdup(const char *s);

/* ---- Address spaces (mm/mm.c, vma.c, fault.c, mmap.c) */
struct file;
struct inode;
struct vma {
	vaddr_t start, end; /* page aligned, end exclusive */
	u32 prot;           /* PROT_* */
	u32 flags;          /* MAP_SHARED / MAP_PRIVATE / MAP_GROWSDOWN / MAP_STACK | VMA_* */
	struct file *file;  /* referenced; NULL for anonymous */
	u64 pgoff;          /* in pages */
	const char *name;   /* "[heap]", "[stack]", "[vdso]" or NULL; not owned */
};
#define VMA_DONTDUMP 0x04000000u
#define VMA_NOWRITE 0x08000000u /* shared, of a file that is sealed or not open for writing: mprotect does not allow it either */
#define VMA_WIPEONFORK 0x10000000u
#define VMA_DONTFORK 0x20000000u
#define VMA_SPECIAL 0x40000000u /* vdso: fixed frames, never captured as private data */

struct mm {
	struct list all;
	u32 refs; /* tasks sharing it */
	u64 id;   /* no two address spaces of a sandbox have the same */
	paddr_t pml4;
	struct vma **vmas; /* sorted by address */
	u32 nvma, vma_cap;
	vaddr_t brk_start, brk;
	vaddr_t mmap_top; /* search for free ranges goes down from here */
	vaddr_t gap_top;  /* above it and below mmap_top no free range is larger than gap_passed; 0: not known */
	u64 gap_passed;
	vaddr_t stack_top, arg_start, arg_end, env_start, env_end;
	vaddr_t vdso;
	u64 pages; /* resident */
	u64 total_vm;
	u64 pages_peak, vm_peak;               /* the most that either has been before it last fell; those mapped ahead of their use count */
	u64 limit_as, limit_stack, limit_data; /* bytes (RLIMIT_*), ~0 = none */
	u64 faults;
	vaddr_t touch_next; /* where anonymous memory is touched next if that goes on in order */
	u32 touch_pages;    /* mapped by the last such fault */
	struct file *exe;
	u64 auxv[48];
	u32 auxv_words;
};
static inline u64 mm_peak_pages(const struct mm *mm) { return MAX(mm->pages_peak, mm->pages); }
struct mm *mm_create(void);          /* empty user space, kernel half shared; refs = 1; NULL: out of memory */
struct mm *mm_clone(struct mm *src); /* fork: copy-on-write copy; WIPEONFORK regions become zero, DONTFORK are left out */
void mm_get(struct mm *mm);
void mm_put(struct mm *mm);
void mm_activate(struct mm *mm);   /* CR3, when it differs from the one loaded */
struct mm *mm_next(struct mm *mm); /* the one after it, or with NULL the first; NULL: there is no more */
void mm_touch_ahead(void);         /* mm/ahead.c */
struct mm *mm_current(void);       /* that of CR3: the running task's; NULL: none */
/* A restore counts as a fork: wipes VMA_WIPEONFORK regions of mm in place. */
void mm_wipe_on_restore(struct mm *mm);

/* Fault or software access at va. access: PF_* bits (PF_WRITE, PF_INSTR, PF_USER). 0: mapped and allowed now; -EFAULT: nothing is mapped there;
 * -EACCES: the mapping does not allow it; -EIO: beyond the end of a mapped file; -ENOMEM.
 * Fault-around: maps the neighbours that are cheap to map too (a guest fault costs 50 us on software KVM). */
int mm_fault(struct mm *mm, vaddr_t va, u32 access);
/* Physical address behind va for the access, faulting it in by mm_fault; 0 when that fails. For uaccess, futex keys, QCall segments. */
paddr_t mm_translate(struct mm *mm, vaddr_t va, u32 access);

struct vma *vma_find(struct mm *mm, vaddr_t va); /* the one containing va or the first above; NULL */
struct vma *vma_at(struct mm *mm, u32 i);        /* i-th by address; NULL: no more */
/* Kernel-side mapping for the ELF loader, the stack and the vdso. Return the address or -errno. off in bytes. */
long mm_map(struct mm *mm, vaddr_t addr, u64 len, u32 prot, u32 flags, struct file *file, u64 off, const char *name);
long mm_unmap(struct mm *mm, vaddr_t addr, u64 len);
int mm_populate(struct mm *mm, vaddr_t from, vaddr_t to, bool write); /* maps all pages of an area's part; -EFAULT: not all can be */
/* Is there a shared mapping through which the file can be written, now or after mprotect? */
bool mm_file_writable(const struct inode *i);
void mm_unmap_file(const struct inode *i, u64 from); /* removes the pages [from, end) of a file from every address space: it has been cut off there */
int mm_map_frame(struct mm *mm, vaddr_t va, paddr_t frame, u32 prot); /* special mappings: vdso pages */
long mm_set_brk(struct mm *mm, vaddr_t brk);

/* What is resident (mm/usage.c): pages by kind and state; the shares in bytes, those of a page divided by how many map it (Pss of proc(5)). */
struct mm_usage {
	u64 anon, file, shmem;
	u64 pss_anon, pss_file, pss_shmem, pss_dirty;
	u64 shared_clean, shared_dirty, private_clean, private_dirty;
};
void mm_count(struct mm *mm, const struct vma *v, struct mm_usage *u); /* adds those of v */
struct mm_usage mm_count_all(struct mm *mm);
/* Entries of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst) of the n pages at `from`; frames: with their numbers. */
#define PAGEMAP_PRESENT (1ul << 63)
#define PAGEMAP_OF_FILE (1ul << 61) /* or shared anonymous */
#define PAGEMAP_EXCLUSIVE (1ul << 56)
void mm_pagemap(struct mm *mm, vaddr_t from, u32 n, bool frames, u64 *out);
/* As mm_translate, whatever the protection; 0: no such page, or a write that others would see and the mapping does not allow. */
paddr_t mm_translate_forced(struct mm *mm, vaddr_t va, bool write);

/* ---- What the layers above give to mm at boot; it calls nobody else. */

/* Where the pages of mapped files come from. */
struct filemap_ops {
	/* A new area that maps v->file: takes a reference, and may refuse the area or change it (VMA_NOWRITE). -errno: drop() follows all the same. */
	int (*map)(struct vma *v);
	void (*copy)(struct file *f); /* one more area maps the file */
	void (*drop)(struct file *f); /* one less */
	/* One more or one less address space whose program it is. */
	void (*exe)(struct file *f, bool more);
	const struct inode *(*inode)(const struct file *f);
	u32 (*traits)(const struct file *f); /* FILEMAP_* */
	/* Frame of page `index` of the content, referenced for the caller; write: the caller will write through a shared mapping. -EIO: beyond the end. */
	int (*page)(struct file *f, u64 index, bool write, paddr_t *out);
	/* Those of the pages [index, index + max) that are in memory already or can be had with one host read: fills out[] (0: not). */
	unsigned (*around)(struct file *f, u64 index, unsigned max, paddr_t *out);
	/* The same for a shared mapping: of a volume the host's own pages. own: they are, and may be written at once. */
	int (*shared)(struct file *f, u64 index, bool write, paddr_t *out, bool *own);
	unsigned (*shared_around)(struct file *f, u64 index, unsigned max, paddr_t *out);
	bool (*in_memory)(struct file *f, u64 index);        /* for mincore(2) */
	void (*written)(struct file *f);                     /* through a shared mapping: FILEMAP_TIMES */
	int (*punch)(struct file *f, u64 offset, u64 bytes); /* a hole; -EINVAL: it cannot have any */
	int (*sync)(struct file *f);
	void (*count)(paddr_t p, int change); /* a page of QK_WINDOW_GPA is mapped once more or once less */
};
#define FILEMAP_STABLE 1u /* its content never changes */
#define FILEMAP_TIMES 2u  /* its mtime has to follow what is written through mappings */
#define FILEMAP_SHMEM 4u  /* anonymous memory */
void mm_set_filemap(const struct filemap_ops *ops);
/* Before memory runs out: give frames back, `want` if possible; returns how many. */
void frames_set_shrinker(u64 (*shrink)(u64 want));
/* It has run out in an access of the running task's: something has to end. */
void mm_set_exhausted(void (*hook)(void));

u64 pt_shrink(void); /* gives spare page tables back; returns frames freed */

#endif
