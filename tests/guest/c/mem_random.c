/* Random mmap, munmap, mprotect, mremap, madvise and stores against a model of every page: mem_random SEED STEPS. */
#include "fault.h"
#include <stdint.h>
#include <sys/mman.h>

#define PAGE 4096L
#define PAGES 512
static char *arena;

/* What the model knows of a page of the arena. */
static struct page {
	unsigned char mapped, readable, writable, value; /* value: the byte the page is filled with */
} model[PAGES];

static uint64_t state;
static unsigned next(unsigned below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(state >> 33) % below;
}

static char *at(int page)
{
	return arena + page * PAGE;
}

static void reserve(int from, int n)
{
	for (int i = from; i < from + n; i++)
		model[i] = (struct page){0, 0, 0, 0};
}

static int all_mapped(int from, int n)
{
	for (int i = from; i < from + n; i++)
		if (!model[i].mapped)
			return 0;
	return 1;
}

/* 0 when the page behaves as the model says. */
static int wrong(int i)
{
	struct page *p = &model[i];
	int code = p->mapped ? SEGV_ACCERR : SEGV_MAPERR;
	if (!p->readable)
		return !read_faults(at(i) + i * 7 % PAGE, code);
	unsigned char first = (unsigned char)at(i)[0], last = (unsigned char)at(i)[PAGE - 1], middle = (unsigned char)at(i)[i * 7 % PAGE];
	if (first != p->value || last != p->value || middle != p->value)
		return 1;
	return p->writable ? 0 : !write_faults(at(i) + 5, code);
}

static void step(void)
{
	int from = (int)next(PAGES), n = 1 + (int)next(next(4) ? 8 : 100), to;
	if (from + n > PAGES)
		n = PAGES - from;
	static const int protections[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE};
	int protection = protections[next(4)], readable = protection != PROT_NONE, writable = (protection & PROT_WRITE) != 0;
	long result;
	switch (next(8)) {
	case 0:
		REQUIRE(mmap(at(from), (size_t)(n * PAGE), protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at(from));
		for (int i = from; i < from + n; i++)
			model[i] = (struct page){1, (unsigned char)readable, (unsigned char)writable, 0};
		break;
	case 1:
		REQUIRE(munmap(at(from), (size_t)(n * PAGE)) == 0);
		reserve(from, n);
		break;
	case 2:
		result = mprotect(at(from), (size_t)(n * PAGE), protection);
		REQUIRE((result == 0) == all_mapped(from, n));
		for (int i = from; i < from + n && model[i].mapped; i++) { /* stops at the first hole, as Linux does */
			model[i].readable = (unsigned char)readable;
			model[i].writable = (unsigned char)writable;
		}
		break;
	case 3:
		result = madvise(at(from), (size_t)(n * PAGE), MADV_DONTNEED);
		REQUIRE((result == 0) == all_mapped(from, n));
		for (int i = from; i < from + n; i++)
			model[i].value = 0;
		break;
	case 4: /* move one page range that has one protection (mremap wants a single area) */
		to = (int)next(PAGES);
		n = 1;
		if (!model[from].mapped || to == from)
			break;
		REQUIRE(mremap(at(from), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at(to)) == at(to));
		model[to] = model[from];
		reserve(from, 1);
		break;
	default:
		for (int i = from; i < from + n; i++)
			if (model[i].writable) {
				model[i].value = (unsigned char)next(256);
				memset(at(i), model[i].value, PAGE);
			}
	}
}

int main(int argc, char **argv)
{
	state = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	long steps = argc > 2 ? atol(argv[2]) : 3000, bad = 0;
	/* The arena sits in the middle of a larger reservation, so nothing else is ever placed into its holes: holes are
	 * refilled only by this program, which makes no other mapping while it runs. */
	char *around = mmap(NULL, (PAGES + 512) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	REQUIRE(around != MAP_FAILED);
	arena = around + 256 * PAGE;
	REQUIRE(munmap(arena, PAGES * PAGE) == 0);
	for (long i = 1; i <= steps && !bad; i++) {
		step();
		bad += wrong((int)next(PAGES));
		if (i % 500 == 0) {
			unsigned hash = 0;
			for (int j = 0; j < PAGES; j++) {
				bad += wrong(j);
				hash = hash * 31 + model[j].mapped + 2u * model[j].readable + 4u * model[j].writable + 8u * model[j].value;
			}
			show("step %ld model %08x wrong %ld", i, hash, bad);
		}
	}
	CHECK_EQ("model_agrees", bad, 0);
	return check_done();
}
