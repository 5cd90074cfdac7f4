/* The limit of what files in guest memory may hold (fs/disk.c). */
#ifndef DISK_H
#define DISK_H
#include "types.h"

/* Bytes that files in guest memory may hold (0: half of the memory limit); that limit, and what is left of it, in pages. */
void disk_set_limit(u64 bytes);
u64 disk_total(void), disk_free(void);
/* Bytes of names, attributes and inodes of those files: kernel memory that counts as well. A charge always succeeds: ask for room first. */
void disk_charge(s64 bytes);
bool disk_has_room(u64 bytes);

#endif
