/* Writes marks into memory on both sides of 4 GiB, is captured, and reads them in the clone. /marks: one page. */
#include "border.h"

#define GIB (1ull << 30)

static const uint64_t places[] = {GIB, 4 * GIB - QK_PAGE_SIZE, 4 * GIB, 4 * GIB + 20 * QK_PAGE_SIZE, 4 * GIB + QK_SLOT_SIZE - QK_PAGE_SIZE};

int main(void)
{
	int64_t file = call_named(QC_OPEN, "marks", 0, O_RDONLY, 0);
	while (call(QC_GROW, 0, 0, 0, 0, 0) == 0)
		;
	for (unsigned i = 0; i < sizeof(places) / sizeof(*places); i++) {
		SEGS[0].gpa = places[i];
		SEGS[0].len = QK_PAGE_SIZE;
		if (call(QC_PREAD, 0, 1, (uint64_t)file, 0, 0) != QK_PAGE_SIZE)
			return 1;
	}
	int ready = open("/dev/quark", O_RDWR);
	if (write(ready, "ready\n", 6) != 6)
		return 2;
	for (unsigned i = 0; i < sizeof(places) / sizeof(*places); i++) {
		SEGS[0].gpa = places[i];
		SEGS[0].len = 5;
		call(QC_WRITE, 0, 1, 1, 0, 0);
	}
	return 0;
}
