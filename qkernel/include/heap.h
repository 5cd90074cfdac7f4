/* Pairing heap, intrusive: the smallest key first, equal ones in the order they came. Inserting is O(1), removing O(log n) amortized; nothing is allocated. */
#ifndef HEAP_H
#define HEAP_H

#include "types.h"

struct heap_node {
	struct heap_node *child; /* first one */
	struct heap_node *next;  /* sibling to the right */
	struct heap_node *prev;  /* sibling to the left; the parent for a first child */
	u64 key, order;
	bool queued;
};
struct heap {
	struct heap_node *root;
	u64 order;
};

void heap_insert(struct heap *h, struct heap_node *n, u64 key);
void heap_remove(struct heap *h, struct heap_node *n); /* nothing happens when n is not queued */
static inline struct heap_node *heap_first(const struct heap *h) { return h->root; }

#endif
