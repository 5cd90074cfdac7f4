/* Page frames: buddy allocator over all RAM slots, low addresses first, with the free-frame bitmap that a capture reads. */
#include "arch.h"
#include "errno.h"
#include "vma.h"
#include "qcall.h"

#define MAX_ORDER 10
#define SLOT_FRAMES (QK_SLOT_SIZE / PAGE_SIZE)
#define FRAME_TOUCHED 1u /* has been handed out before: not known to be zero */

extern char _kernel_end[];

static struct list free_list[MAX_ORDER + 1];
static u64 ram_bytes, ram_limit, nfree, peak; /* peak: bytes in use at most */
static u8 *bitmap;
static u64 bitmap_bytes;

/* The frame array of a slot lies at the slot's own start; slot 0's after the kernel image. */
static paddr_t frame_slot_meta(u64 slot)
{
	return slot ? slot * QK_SLOT_SIZE : PAGE_ALIGN((u64)_kernel_end - QK_KERNEL_BASE) + QK_GPA_KERNEL;
}

static struct frame *frame_of(paddr_t p)
{
	u64 slot = p / QK_SLOT_SIZE;
	return (struct frame *)phys_to_virt(frame_slot_meta(slot)) + p % QK_SLOT_SIZE / PAGE_SIZE;
}

static paddr_t frame_addr(struct frame *f)
{
	u64 slot = virt_to_phys(f) / QK_SLOT_SIZE;
	return slot * QK_SLOT_SIZE + (u64)(f - (struct frame *)phys_to_virt(frame_slot_meta(slot))) * PAGE_SIZE;
}

static void frame_mark(paddr_t p, unsigned order, bool free)
{
	for (u64 i = p / PAGE_SIZE, end = i + (1ul << order); i < end; i++) {
		if (free)
			bitmap[i / 8] |= (u8)(1u << i % 8);
		else
			bitmap[i / 8] &= (u8) ~(1u << i % 8);
	}
}

/* The largest blocks are kept in the order of their addresses, so that memory which was never used is used last. They are few. The lists of smaller
 * blocks, all of which have neighbours in use, are sorted near their heads only: insertion at the head for low addresses, tail for high ones. */
static void frame_list_insert_block(struct frame *f, unsigned order)
{
	struct list *h = &free_list[order], *next = h->next;
	f->order = (u16)(order + 1); /* 0: not the head of a free block */
	if (next != h && frame_addr(f) > frame_addr(list_first(h, struct frame, node))) {
		next = h;
		while (order == MAX_ORDER && frame_addr(list_entry(next->prev, struct frame, node)) > frame_addr(f))
			next = next->prev;
	}
	list_insert(&f->node, next->prev, next);
}

static void frame_add_range(paddr_t from, paddr_t to)
{
	while (from < to) {
		unsigned order = MAX_ORDER;
		while ((from & ((PAGE_SIZE << order) - 1)) || from + (PAGE_SIZE << order) > to)
			order--;
		struct frame *f = frame_of(from);
		f->flags = 0;
		frame_list_insert_block(f, order);
		f->refs = 0;
		frame_mark(from, order, true);
		nfree += 1ul << order;
		from += PAGE_SIZE << order;
	}
}

static void frame_add_slot(u64 slot)
{
	paddr_t meta = frame_slot_meta(slot), first = PAGE_ALIGN(meta + SLOT_FRAMES * sizeof(struct frame));
	for (paddr_t p = slot * QK_SLOT_SIZE; p < first; p += PAGE_SIZE)
		frame_of(p)->refs = 1;
	ram_bytes = (slot + 1) * QK_SLOT_SIZE;
	frame_add_range(first, ram_bytes);
}

/* Tells QVisor where the bitmap is; again after a restore, whose comm area is new. */
void frames_publish(void)
{
	comm()->free_bitmap_gpa = virt_to_phys(bitmap);
	comm()->free_bitmap_len = PAGE_ALIGN(ram_limit / PAGE_SIZE / 8);
	comm()->ram_used = ram_bytes - nfree * PAGE_SIZE;
}

void frame_init(void)
{
	for (unsigned i = 0; i <= MAX_ORDER; i++)
		list_init(&free_list[i]);
	/* The bitmap for all RAM there may ever be; a 1 GiB limit needs 32 KiB. */
	ram_limit = comm()->boot.ram_limit;
	u64 bytes = bitmap_bytes = PAGE_ALIGN(ram_limit / PAGE_SIZE / 8);
	paddr_t p = PAGE_ALIGN(frame_slot_meta(0) + SLOT_FRAMES * sizeof(struct frame));
	bitmap = phys_to_virt(p);
	for (paddr_t q = 0; q < p + bytes; q += PAGE_SIZE)
		frame_of(q)->refs = 1;
	ram_bytes = QK_SLOT_SIZE;
	frame_add_range(p + bytes, ram_bytes);
	for (u64 slot = 1; slot < comm()->boot.ram_bytes / QK_SLOT_SIZE; slot++)
		frame_add_slot(slot);
	frames_publish();
}

static void frame_map_direct(paddr_t from, u64 len)
{
	u64 *pml4 = phys_to_virt(QK_GPA_PML4);
	u64 *pdpt = phys_to_virt(pml4[QK_DIRECT_BASE >> 39 & 511] & PTE_ADDR);
	for (paddr_t a = from; a < from + len; a += 2ul << 20) {
		u64 *e = &pdpt[(QK_DIRECT_BASE + a) >> 30 & 511];
		if (!(*e & PTE_P)) {
			paddr_t t = frame_alloc(FRAME_ZERO);
			BUG_ON(!t);
			*e = t | PTE_P | PTE_W | PTE_A | arch_pte_kernel();
		}
		u64 *pd = phys_to_virt(*e & PTE_ADDR);
		pd[a >> 21 & 511] = a | PTE_P | PTE_W | PTE_A | PTE_D | PTE_PS | PTE_NX | arch_pte_kernel();
	}
}

static u64 (*shrinker)(u64 want);

void frames_set_shrinker(u64 (*shrink)(u64 want))
{
	shrinker = shrink;
}

static u64 frames_shrink(u64 want)
{
	return shrinker ? shrinker(want) : 0;
}

bool frames_map_window(void)
{
	static bool mapped;
	if (!mapped && nfree < 8 && !frames_shrink(8))
		return false;
	if (!mapped)
		frame_map_direct(QK_WINDOW_GPA, QK_WINDOW_CHUNKS * QK_WINDOW_CHUNK);
	mapped = true;
	return true;
}

static bool frame_grow(void)
{
	if (ram_bytes + QK_SLOT_SIZE > ram_limit || nfree < 4)
		return false;
	seg_begin();
	if (qcall(QC_GROW, 0, 0, 0, 0, 0, 0, 0) < 0)
		return false;
	frame_map_direct(ram_bytes, QK_SLOT_SIZE);
	frame_add_slot(ram_bytes / QK_SLOT_SIZE);
	return true;
}

paddr_t frame_alloc_order(unsigned order, unsigned flags)
{
	static bool growing;
	if (order > MAX_ORDER)
		return 0;
	if (nfree < 64 && !growing) {
		growing = true;
		frame_grow();
		growing = false;
	}
	for (int again = 0; again < 3; again++) {
		unsigned o = order;
		while (o <= MAX_ORDER && list_empty(&free_list[o]))
			o++;
		if (o > MAX_ORDER) {
			if (!frame_grow() && !frames_shrink(1ul << order) && !pt_shrink())
				return 0;
			continue;
		}
		struct frame *f = list_first(&free_list[o], struct frame, node);
		list_del(&f->node);
		f->order = 0;
		paddr_t p = frame_addr(f);
		while (o > order) {
			o--;
			frame_list_insert_block(frame_of(p + (PAGE_SIZE << o)), o);
		}
		nfree -= 1ul << order;
		frame_mark(p, order, false);
		for (u64 i = 0; i < 1ul << order; i++) {
			struct frame *g = frame_of(p + i * PAGE_SIZE);
			g->refs = 1;
			if ((flags & FRAME_ZERO) && (g->flags & FRAME_TOUCHED))
				memset(phys_to_virt(p + i * PAGE_SIZE), 0, PAGE_SIZE);
			g->flags = FRAME_TOUCHED;
		}
		comm()->ram_used = ram_bytes - nfree * PAGE_SIZE;
		peak = MAX(peak, comm()->ram_used);
		return p;
	}
	return 0;
}

paddr_t frame_alloc(unsigned flags)
{
	return frame_alloc_order(0, flags);
}

void frame_free_order(paddr_t p, unsigned order)
{
	nfree += 1ul << order;
	frame_mark(p, order, true);
	for (u64 i = 0; i < 1ul << order; i++)
		frame_of(p + i * PAGE_SIZE)->refs = 0;
	while (order < MAX_ORDER) {
		paddr_t b = p ^ (PAGE_SIZE << order);
		struct frame *f = frame_of(b);
		if (b / QK_SLOT_SIZE != p / QK_SLOT_SIZE || f->refs || f->order != order + 1)
			break;
		list_del(&f->node);
		f->order = 0;
		p = MIN(p, b);
		order++;
	}
	frame_list_insert_block(frame_of(p), order);
	comm()->ram_used = ram_bytes - nfree * PAGE_SIZE;
}

void frame_get(paddr_t p)
{
	if (p >= QK_WINDOW_GPA)
		filemap->count(p, 1);
	else
		frame_of(p)->refs++;
}

void frame_put(paddr_t p)
{
	if (p >= QK_WINDOW_GPA) {
		filemap->count(p, -1);
		return;
	}
	struct frame *f = frame_of(p);
	BUG_ON(!f->refs);
	if (f->refs == 1)
		frame_free_order(p, 0);
	else
		f->refs--;
}

u32 frame_refs(paddr_t p)
{
	return p >= QK_WINDOW_GPA ? 2 : frame_of(p)->refs; /* the host has those of the window, too */
}

u64 frames_peak(void)
{
	return peak / PAGE_SIZE;
}

u64 frames_total(void)
{
	return ram_bytes / PAGE_SIZE;
}

u64 frames_free(void)
{
	return nfree;
}

u64 frames_available(void)
{
	return nfree + (ram_limit > ram_bytes ? ram_limit - ram_bytes : 0) / PAGE_SIZE;
}

/* A clone may have another limit than its original. For a higher one the bitmap has to be a larger one; where there is no room, the limit stays. */
void frames_set_limit(u64 limit)
{
	if (limit < ram_bytes || limit > QK_RAM_MAX || limit % QK_SLOT_SIZE)
		return;
	u64 bytes = PAGE_ALIGN(limit / PAGE_SIZE / 8);
	if (bytes > bitmap_bytes) {
		unsigned order = 0;
		while (PAGE_SIZE << order < bytes)
			order++;
		paddr_t p = frame_alloc_order(order, FRAME_ZERO);
		if (!p)
			return;
		paddr_t old = virt_to_phys(bitmap);
		memcpy(phys_to_virt(p), bitmap, bitmap_bytes);
		bitmap = phys_to_virt(p);
		for (u64 at = 0; at < bitmap_bytes; at += PAGE_SIZE) {
			frame_of(old + at)->flags = FRAME_TOUCHED;
			frame_put(old + at);
		}
		bitmap_bytes = PAGE_SIZE << order;
	}
	ram_limit = limit;
}

u64 frames_limit(void)
{
	return ram_limit / PAGE_SIZE;
}
