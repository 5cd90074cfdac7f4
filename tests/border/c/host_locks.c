/* flock of a file of the rootfs, of a read-only volume (root 1) and of a read-write one (root 2). Output: the answers. */
#include "border.h"

int main(void)
{
	for (uint64_t root = 0; root < 3; root++) {
		int64_t file = call_named(QC_OPEN, root ? "file" : "big", root, O_RDONLY, 0);
		printf("%ld\n", file < 0 ? (long)file : (long)call(QC_FLOCK, 0, 0, (uint64_t)file, 2 /* LOCK_EX */, 0));
	}
	return 0;
}
