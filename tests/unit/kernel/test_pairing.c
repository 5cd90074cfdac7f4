/* The pairing heap against a plain array: smallest key first, equal keys in the order they came, anything can be removed; a million cost little.
 * sources: lib/heap.c */
#include <assert.h>
#include <stdlib.h>

#include "heap.h"

#define NODES 300
#define STEPS 200000
#define MANY 1000000

static struct heap heap;
static struct heap_node nodes[NODES];

static const struct heap_node *smallest(void)
{
	const struct heap_node *best = NULL;
	for (int i = 0; i < NODES; i++) {
		const struct heap_node *n = &nodes[i];
		if (n->queued && (!best || n->key < best->key || (n->key == best->key && n->order < best->order)))
			best = n;
	}
	return best;
}

static void random_steps(void)
{
	for (int step = 0; step < STEPS; step++) {
		struct heap_node *n = &nodes[rand() % NODES];
		if (!n->queued)
			heap_insert(&heap, n, (u64)rand() % 50);
		else if (rand() % 2)
			heap_remove(&heap, n);
		else
			heap_remove(&heap, heap_first(&heap));
		assert(heap_first(&heap) == smallest());
	}
	while (heap_first(&heap))
		heap_remove(&heap, heap_first(&heap));
	assert(!smallest());
	heap_remove(&heap, &nodes[0]);
}

/* Sorted input is what sleepers with equal timeouts give. */
static void many(void)
{
	struct heap_node *all = calloc(MANY, sizeof(*all));
	assert(all);
	for (u64 i = 0; i < MANY; i++)
		heap_insert(&heap, &all[i], i);
	for (u64 i = 0; i < MANY; i++) {
		assert(heap_first(&heap) == &all[i]);
		heap_remove(&heap, &all[i]);
	}
	free(all);
}

int main(void)
{
	srand(1);
	random_steps();
	many();
	return 0;
}
