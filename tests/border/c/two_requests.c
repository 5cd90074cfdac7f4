/* A request is submitted by an exit while the poller is inside another: it has to wait for that one. /big: 64 MiB, the last page not zero.
 * Output: `rounds N overlaps M`, of N requests that the poller had taken M were overtaken. */
#include "border.h"

#define ROUNDS 20
#define BIG QK_SLOT_SIZE
#define PAGE QK_PAGE_SIZE

int main(void)
{
	int64_t handle = call_named(QC_OPEN, "big", 0, O_RDONLY, 0);
	if (handle < 0 || call(QC_GROW, 0, 0, 0, 0, 0)) {
		printf("no file or no memory\n");
		return 1;
	}
	uint64_t room = VCPU->call.out[0];
	int rounds = 0, overlaps = 0;
	for (int tries = 0; tries < 50 * ROUNDS && rounds < ROUNDS; tries++) {
		if (!wake_poller())
			continue;
		RAM(SPARE)[0] = 0;
		SEGS[0].gpa = room;
		SEGS[0].len = BIG - PAGE;
		SEGS[1].gpa = SPARE;
		SEGS[1].len = PAGE;
		submit(QC_PREAD, 0, 2, (uint64_t)handle, 0, 0);
		if (!taken()) {
			out32(QK_PORT_CALL, 0);
			continue;
		}
		if (call_state() == QK_CALL_DONE)
			continue;
		submit(QC_CLOCK, 0, 0, 0, 0, 0);
		out32(QK_PORT_CALL, 0);
		rounds++;
		int early = !RAM(SPARE)[0];
		for (uint64_t until = __rdtsc() + PATIENCE; !RAM(SPARE)[0] && __rdtsc() < until;)
			_mm_pause();
		overlaps += early && RAM(SPARE)[0]; /* else the second was written over the first before the poller had read that */
	}
	printf("rounds %d overlaps %d\n", rounds, overlaps);
	return 0;
}
