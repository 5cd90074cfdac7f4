/* Kernel heap: size classes carved from single frames; larger objects are whole blocks. Each object knows its size from its page's header. */
#include "mm.h"

#define CLASSES 8 /* 32 .. 4096-16 */
#define MAGIC 0x51414c53u

struct page_head {
	u32 magic;
	u16 class, order;
	u32 used, pad;
};
struct object {
	struct object *next;
};
static const u16 sizes[CLASSES] = {32, 64, 128, 256, 512, 1008, 2032, 4080};
static struct object *avail[CLASSES];

void *kmalloc(size_t n)
{
	if (n > sizes[CLASSES - 1]) {
		unsigned order = 0;
		if (n > (8ul << 20))
			return NULL;
		while ((PAGE_SIZE << order) < n + sizeof(struct page_head) + 48)
			order++;
		paddr_t p = frame_alloc_order(order, 0);
		if (!p)
			return NULL;
		struct page_head *h = phys_to_virt(p);
		*h = (struct page_head){.magic = MAGIC, .class = CLASSES, .order = (u16)order};
		return (char *)h + 64;
	}
	unsigned c = 0;
	while (sizes[c] < n)
		c++;
	if (!avail[c]) {
		paddr_t p = frame_alloc(0);
		if (!p)
			return NULL;
		struct page_head *h = phys_to_virt(p);
		*h = (struct page_head){.magic = MAGIC, .class = (u16)c};
		for (size_t at = sizeof(*h); at + sizes[c] <= PAGE_SIZE; at += sizes[c]) {
			struct object *o = (struct object *)((char *)h + at);
			o->next = avail[c];
			avail[c] = o;
		}
	}
	struct object *o = avail[c];
	avail[c] = o->next;
	return o;
}

void *kzalloc(size_t n)
{
	void *p = kmalloc(n);
	if (p)
		memset(p, 0, n);
	return p;
}

static struct page_head *slab_head_of(void *p)
{
	return (struct page_head *)((u64)p & PAGE_MASK);
}

void kfree(void *p)
{
	if (!p)
		return;
	struct page_head *h = slab_head_of(p);
	BUG_ON(h->magic != MAGIC);
	if (h->class == CLASSES) {
		h->magic = 0;
		frame_free_order(virt_to_phys(h), h->order);
		return;
	}
	struct object *o = p;
	o->next = avail[h->class];
	avail[h->class] = o;
}

void *krealloc(void *p, size_t n)
{
	if (!p)
		return kmalloc(n);
	struct page_head *h = slab_head_of(p);
	size_t old = h->class == CLASSES ? (PAGE_SIZE << h->order) - 64 : sizes[h->class];
	if (n <= old)
		return p;
	void *q = kmalloc(n);
	if (q) {
		memcpy(q, p, old);
		kfree(p);
	}
	return q;
}

char *kstrdup(const char *s)
{
	size_t n = strlen(s) + 1;
	char *p = kmalloc(n);
	if (p)
		memcpy(p, s, n);
	return p;
}
