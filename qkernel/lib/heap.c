/* Pairing heap (Fredman, Sedgewick, Sleator, Tarjan 1986). No recursion: the number of siblings is without limit. */
#include "heap.h"

static struct heap_node *heap_meld(struct heap_node *a, struct heap_node *b)
{
	if (!a || !b)
		return a ? a : b;
	if (b->key < a->key || (b->key == a->key && b->order < a->order)) {
		struct heap_node *t = a;
		a = b;
		b = t;
	}
	b->next = a->child;
	if (b->next)
		b->next->prev = b;
	b->prev = a;
	a->child = b;
	return a;
}

/* Melds a list of siblings: in pairs from left to right, then the pairs from right to left. */
static struct heap_node *heap_meld_all(struct heap_node *n)
{
	struct heap_node *pairs = NULL, *root = NULL;
	while (n) {
		struct heap_node *a = n, *b = n->next;
		n = b ? b->next : NULL;
		a->next = NULL;
		if (b)
			b->next = NULL;
		a = heap_meld(a, b);
		a->next = pairs;
		pairs = a;
	}
	while (pairs) {
		struct heap_node *next = pairs->next;
		pairs->next = NULL;
		root = heap_meld(root, pairs);
		pairs = next;
	}
	return root;
}

void heap_insert(struct heap *h, struct heap_node *n, u64 key)
{
	*n = (struct heap_node){.key = key, .order = h->order++, .queued = true};
	h->root = heap_meld(h->root, n);
}

void heap_remove(struct heap *h, struct heap_node *n)
{
	if (!n->queued)
		return;
	struct heap_node *rest = heap_meld_all(n->child);
	if (n == h->root) {
		h->root = rest;
	} else {
		if (n->prev->child == n)
			n->prev->child = n->next;
		else
			n->prev->next = n->next;
		if (n->next)
			n->next->prev = n->prev;
		h->root = heap_meld(h->root, rest);
	}
	n->child = n->next = n->prev = NULL;
	n->queued = false;
}
