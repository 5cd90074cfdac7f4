/* Two requests for the last slot of memory at once. Memory beyond the limit must not be had, whoever serves them. */
#include "border.h"

#define ROUNDS 2000

int main(void)
{
	uint64_t limit = COMM->boot.ram_limit, ram = 0;
	while (ram + QK_SLOT_SIZE < limit) {
		if (call(QC_GROW, 0, 0, 0, 0, 0)) {
			printf("early\n");
			return 1;
		}
		ram = VCPU->call.out[0] + QK_SLOT_SIZE;
	}
	for (int i = 0; i < ROUNDS; i++) {
		if (!wake_poller())
			continue;
		submit(QC_GROW, 0, 0, 0, 0, 0);
		for (int spin = 0; spin < i % 500 && call_state() == QK_CALL_SUBMITTED; spin++)
			_mm_pause();
		submit(QC_GROW, 0, 0, 0, 0, 0);
		out32(QK_PORT_CALL, 0);
		taken();
		SEGS[0].gpa = limit + QK_PAGE_SIZE;
		SEGS[0].len = 0;
		int64_t beyond = call(QC_WRITE, 0, 1, 1, 0, 0);
		if (beyond != -EFAULT) {
			printf("memory beyond the limit: %ld\n", (long)beyond);
			return 1;
		}
	}
	printf("limit kept\n");
	return 0;
}
