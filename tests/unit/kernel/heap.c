/* Drives the kernel heap. Input: commands; output of each: an object's offset in RAM, then the count of free frames. What an object holds is checked here.
 * before: guest_memory.h
 * sources: mm/slab.c mm/frame.c */
#include <string.h>

#include "guest_ram.h"

enum { ALLOC, ALLOC_ZERO, RESIZE, FREE };
struct command {
	u32 kind, which, size;
};
struct object {
	u8 *at;
	u32 size;
	u8 mark;
};
static struct object live[1000];
static size_t nlive;

void seg_begin(void)
{
}
s64 qcall(enum qk_op op, u32 data_len, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5)
{
	(void)op, (void)data_len, (void)a0, (void)a1, (void)a2, (void)a3, (void)a4, (void)a5;
	return 0;
}
u64 arch_pte_kernel(void)
{
	return PTE_U;
}

static void check(const u8 *at, u32 size, u8 mark)
{
	for (u32 i = 0; i < size; i++)
		if (at[i] != mark)
			panic("byte %u of the object at %p is %02x, not %02x", i, (const void *)at, at[i], mark);
}

static u64 keep(u8 *at, u32 size, u8 mark)
{
	if (!at)
		return 0;
	memset(at, mark, size);
	live[nlive++] = (struct object){at, size, mark};
	return virt_to_phys(at);
}

static struct object take(u32 which)
{
	struct object *slot = &live[which % nlive], o = *slot;
	check(o.at, o.size, o.mark);
	*slot = live[nlive - 1];
	nlive--;
	return o;
}

static u64 resize(u32 which, u32 size, u8 mark)
{
	struct object o = take(which);
	u8 *at = krealloc(o.at, size);
	if (!at)
		return keep(o.at, o.size, o.mark), 0;
	check(at, MIN(o.size, size), o.mark);
	return keep(at, size, mark);
}

int main(void)
{
	struct command c;
	u8 mark = 0;
	ram_boot(QK_SLOT_SIZE, 2 * QK_SLOT_SIZE);
	put_number(frames_free());
	while (fread(&c, sizeof(c), 1, stdin) == 1 && nlive < ARRAY_SIZE(live)) {
		u64 at = 0;
		mark++;
		if (c.kind == ALLOC) {
			at = keep(kmalloc(c.size), c.size, mark);
		} else if (c.kind == ALLOC_ZERO) {
			u8 *p = kzalloc(c.size);
			if (p)
				check(p, c.size, 0);
			at = keep(p, c.size, mark);
		} else if (c.kind == RESIZE && nlive) {
			at = resize(c.which, c.size, mark);
		} else if (c.kind == FREE && nlive) {
			struct object o = take(c.which);
			memset(o.at, 0xff, o.size);
			kfree(o.at);
			at = virt_to_phys(o.at);
		}
		put_number(at);
		put_number(frames_free());
		put_number(frames_total());
	}
	return 0;
}
