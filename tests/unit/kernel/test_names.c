/* Directory entries: what is set is found, what is deleted is gone, order and cookies hold for readdir.
 * sources: fs/names.c lib/string.c lib/format.c */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../../qkernel/fs/names.h"

void *kmalloc(size_t n)
{
	return malloc(n);
}
void *kzalloc(size_t n)
{
	return calloc(1, n);
}
void kfree(void *p)
{
	free(p);
}
static int puts_seen;
void inode_put(struct inode *i)
{
	if (--i->refs == 0) {
		puts_seen++;
		free(i);
	}
}

static struct inode *node(u64 ino, u32 mode)
{
	struct inode *i = calloc(1, sizeof(*i));
	i->refs = 1;
	i->ino = ino;
	i->mode = mode;
	return i;
}

int main(void)
{
	enum { N = 5000 };
	struct names t;
	char name[32];
	names_init(&t);
	assert(!names_find(&t, "nothing"));
	for (u64 k = 0; k < N; k++) {
		snprintf(name, sizeof(name), "name-%lu", (unsigned long)k);
		struct entry *e = k % 3 ? names_set(&t, name, node(k + 1, 0100644)) : names_set_named(&t, name, k + 1, 4);
		assert(e && e->ino == k + 1 && e->type == (k % 3 ? 8 : 4));
	}
	assert(t.count == N);
	for (u64 k = 0; k < N; k += 2) {
		snprintf(name, sizeof(name), "name-%lu", (unsigned long)k);
		struct entry *e = names_find(&t, name);
		assert(e && e->ino == k + 1);
		if (k % 4)
			names_del(&t, e);
		else
			assert(names_set(&t, name, NULL)->state == ENTRY_GONE);
	}
	u64 last = 0, seen = 0;
	struct entry *e;
	list_for_each (e, &t.order, order) {
		assert(e->cookie > last && e->cookie >= NAMES_FIRST);
		last = e->cookie;
		seen++;
	}
	assert(seen == t.count);
	/* A name that comes again after it was deleted is new: behind every position that a reader may hold. */
	assert(!names_find(&t, "name-2"));
	assert(names_set_named(&t, "name-2", 7, 8)->cookie > last);
	int before = puts_seen;
	struct inode *i = node(9, 040755);
	names_set(&t, "again", i);
	names_set(&t, "again", node(10, 040755));
	assert(puts_seen == before + 1);
	names_free(&t);
	assert(!t.count && !names_find(&t, "again"));
	return 0;
}
