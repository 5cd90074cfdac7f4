/* Many closes of one handle at once, and opens that follow each other without waiting: a handle is closed once. */
#include "border.h"

int main(void)
{
	int twice = 0;
	for (int round = 0; round < 1000; round++) {
		int64_t handle = call_named(QC_OPEN, "closes", 0, O_RDONLY, 0);
		if (handle < 0) {
			printf("open %ld\n", (long)handle);
			return 1;
		}
		wake_poller();
		submit(QC_CLOSE, 0, 0, (uint64_t)handle, 0, 0);
		for (int spin = 0; spin < round % 100; spin++)
			_mm_pause();
		submit(QC_CLOSE, 0, 0, (uint64_t)handle, 0, 0);
		out32(QK_PORT_CALL, 0);
		taken();
		twice += call(QC_CLOSE, 0, 0, (uint64_t)handle, 0, 0) == 0;
	}
	printf("closed again %d\n", twice);
	return 0;
}
