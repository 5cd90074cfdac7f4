/* The layout of a snapshot: what a clone needs beside the image, as one read-only memfd (snapshotd/layout.py). A snapshot may come from elsewhere. */
#include "program.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define LAYOUT_MAX (1ull << 30) /* bytes */

static const char MAGIC[8] = "QKLAYOUT";

enum { FILES, RUNS, WORKING_SET, CPU_STATE, RECIPES, SPEC, SECTIONS };
struct header {
	char magic[8];
	uint64_t ram_bytes;
	struct {
		uint64_t offset, bytes;
	} section[SECTIONS];
};

void layout_map(int fd, struct layout *layout)
{
	struct stat st;
	struct header h;
	struct section s[SECTIONS];
	if (fstat(fd, &st) || (size_t)st.st_size < sizeof(h) || (uint64_t)st.st_size > LAYOUT_MAX)
		fail(FAIL_REQUEST, "the layout of the snapshot has %lld bytes", (long long)st.st_size);
	uint64_t size = (uint64_t)st.st_size;
	const char *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		fail(FAIL_VM, "could not map the layout of the snapshot: %s", strerror(errno));
	memcpy(&h, map, sizeof(h));
	bool sound = memcmp(h.magic, MAGIC, sizeof(MAGIC)) == 0;
	for (int i = 0; i < SECTIONS; i++) {
		sound = sound && h.section[i].offset <= size && h.section[i].bytes <= size - h.section[i].offset;
		if (sound)
			s[i] = (struct section){map + h.section[i].offset, h.section[i].bytes};
	}
	if (!sound)
		fail(FAIL_REQUEST, "the layout of the snapshot is damaged; run it again");
	*layout = (struct layout){.ram_bytes = h.ram_bytes,
				  .files_at = h.section[FILES].offset,
				  .files_bytes = h.section[FILES].bytes,
				  .runs = s[RUNS],
				  .working_set = s[WORKING_SET],
				  .cpu_state = s[CPU_STATE],
				  .recipes = s[RECIPES]};
}

size_t layout_runs(const struct section *s, const struct qv_page_run **runs)
{
	if (s->bytes % sizeof(**runs) || (uintptr_t)s->at % _Alignof(struct qv_page_run))
		fail(FAIL_REQUEST, "the layout of the snapshot is damaged; run it again");
	*runs = s->at;
	return s->bytes / sizeof(**runs);
}
