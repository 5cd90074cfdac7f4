/* The capture point: everything in memory, PARK, and what a clone does first. */
#include "disk.h"
#include "host.h"
#include "ktime.h"
#include "pagecache.h"
#include "park.h"
#include "qcall.h"
#include "../fs/behind.h"
#include "proc.h"

static u8 generation[16];

void park_now(void)
{
	capture_requested = false;
	memcpy(generation, comm()->generation, sizeof(generation));
	/* Cached file content that nothing maps can be read again; stored, it would be a sixth of a snapshot. */
	comm()->cache_dropped = pagecache_shrink(~0ul) * PAGE_SIZE;
	behind_park();
	hostfiles_before_park();
	qcall_flush_closes();
	time_freeze();
	arch_park();
	while (comm()->ahead) { /* a clone that is prepared for a request to come */
		mm_touch_ahead();
		arch_park();
	}
	after_park();
}

void after_park(void)
{
	bool restored = memcmp(generation, comm()->generation, sizeof(generation)) != 0;
	capture_requested = false;
	time_resync(restored);
	host_forget_all();
	if (restored) {
		random_reseed();
		frames_set_limit(comm()->boot.ram_limit);
		disk_set_limit((u64)comm()->boot.disk_mib << 20);
		hostfs_after_restore();
		hoststreams_restored();
		locks_after_restore();
		window_after_restore();
		struct process *p;
		struct task *t;
		struct mm *last = NULL;
		list_for_each (p, &all_processes, all)
			list_for_each (t, &p->tasks, group) {
				if (t->mm && t->mm != last)
					mm_wipe_on_restore(t->mm);
				last = t->mm;
			}
	}
	hoststreams_look_again();
	vcpu()->irq_ready = 1;
	frames_publish();
	timers_run();
	sched_cpu()->publish_due = true;
}
