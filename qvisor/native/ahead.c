/* What a machine that has no request yet does with its working set: the guest touches it, so that the tables of the guest and of the host have it. */
#include <string.h>

#include "vm.h"

static void ahead_mark(const struct qv_page_run *r, uint8_t *maps)
{
	for (uint64_t f = r->gfn; f < QK_AHEAD_BYTES * 8ull && f - r->gfn < r->pages; f++) {
		maps[f / 8] |= (uint8_t)(1u << f % 8);
		if (r->kind == QV_PAGES_WRITTEN)
			maps[QK_AHEAD_BYTES + f / 8] |= (uint8_t)(1u << f % 8);
	}
}

int qv_touch_ahead(struct qv *vm, const struct qv_page_run *runs, size_t n, struct qv_exit *out)
{
	uint8_t *maps = (uint8_t *)vm->comm_area + QK_OFF_DOC;
	for (size_t i = 0; i < n; i++)
		ahead_mark(&runs[i], maps);
	vm->comm->ahead = vm->ahead = true;
	int r = qv_run(vm, out);
	vm->comm->ahead = vm->ahead = false;
	memset(maps, 0, QK_DOC_SIZE);
	return r;
}
