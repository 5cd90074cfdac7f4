/* The limit of --disk: what files that guest memory alone has (the overlay and tmpfs, not memfd and shared memory) may hold. */
#include "disk.h"
#include "pagecache.h"

#define RESERVE 512u /* pages of memory that files leave free: one must not cost a program its life */

static u64 disk_used, disk_limit; /* bytes: pages of content, and what the kernel keeps of the files */

void disk_set_limit(u64 bytes)
{
	disk_limit = bytes ? bytes : frames_limit() / 2 * PAGE_SIZE;
}

u64 disk_total(void)
{
	return disk_limit >> PAGE_SHIFT;
}

u64 disk_free(void)
{
	u64 memory = frames_available();
	memory = memory > RESERVE ? memory - RESERVE : 0;
	return disk_limit > disk_used ? MIN((disk_limit - disk_used) >> PAGE_SHIFT, memory) : 0;
}

void disk_charge(s64 bytes)
{
	disk_used += (u64)bytes;
}

bool disk_has_room(u64 bytes)
{
	u64 pages = bytes >> PAGE_SHIFT;
	return disk_free() > pages || (pagecache_shrink(pages + 1) && disk_free() > pages);
}
