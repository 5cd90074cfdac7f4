/* Drives the frame allocator. Input: commands; output of each: its result, the counts of frames, and the bitmap that a capture would read.
 * before: guest_memory.h
 * sources: mm/frame.c */
#include <string.h>

#include "guest_ram.h"

#define LIMIT (3 * QK_SLOT_SIZE)

enum { ALLOC, ALLOC_ZERO, DROP, SHARE };
struct command {
	u32 kind, number; /* the order to allocate; which of the live blocks */
};
struct block {
	paddr_t at;
	unsigned order;
};
static struct block live[100000];
static size_t nlive;

void seg_begin(void)
{
}
s64 qcall(enum qk_op op, u32 data_len, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5)
{
	(void)data_len, (void)a0, (void)a1, (void)a2, (void)a3, (void)a4, (void)a5;
	return op == QC_GROW ? 0 : -1; /* all of it is there already */
}
u64 arch_pte_kernel(void)
{
	return PTE_U;
}

/* The first and the last word of each page of a block. */
static void fill(struct block b, u64 value)
{
	for (u64 page = b.at; page < b.at + (PAGE_SIZE << b.order); page += PAGE_SIZE) {
		u64 *words = phys_to_virt(page);
		words[0] = words[511] = value;
	}
}

static void check(struct block b, u64 value)
{
	for (u64 page = b.at; page < b.at + (PAGE_SIZE << b.order); page += PAGE_SIZE) {
		u64 *words = phys_to_virt(page);
		if (words[0] != value || words[511] != value)
			panic("frame %lx of the block at %lx, order %u: not what was written there", page, b.at, b.order);
	}
}

static u64 alloc(unsigned order, bool zero)
{
	struct block b = {frame_alloc_order(order, zero ? FRAME_ZERO : 0), order};
	if (!b.at)
		return 0;
	if (zero)
		check(b, 0);
	fill(b, b.at | 1);
	live[nlive++] = b;
	return b.at;
}

static u64 drop(size_t i)
{
	struct block b = live[i];
	check(b, b.at | 1);
	if (b.order)
		frame_free_order(b.at, b.order);
	else
		frame_put(b.at);
	live[i] = live[--nlive];
	return b.at;
}

/* One more reference, which counts as a live block of its own. */
static u64 share(size_t i)
{
	if (live[i].order)
		return 0;
	frame_get(live[i].at);
	live[nlive++] = live[i];
	return live[i].at;
}

static void report(u64 result)
{
	put_number(result);
	put_number(frames_total());
	put_number(frames_free());
	put_number(comm()->ram_used);
	fwrite(phys_to_virt(comm()->free_bitmap_gpa), 1, LIMIT / PAGE_SIZE / 8, stdout);
}

int main(void)
{
	struct command c;
	ram_boot(QK_SLOT_SIZE, LIMIT);
	report(0);
	while (fread(&c, sizeof(c), 1, stdin) == 1) {
		if (c.kind == ALLOC || c.kind == ALLOC_ZERO)
			report(alloc(c.number, c.kind == ALLOC_ZERO));
		else
			report(nlive == 0 ? 0 : c.kind == DROP ? drop(c.number % nlive) : share(c.number % nlive));
	}
	return 0;
}
