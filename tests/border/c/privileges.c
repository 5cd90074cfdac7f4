/* On the volume that is root 1: a rename that would leave a device node on the host, a file and a directory with set-id bits, and content for a file that
 * has some. Output: what each request was answered. */
#include "border.h"

int main(void)
{
	int64_t file = call_named(QC_OPEN, "source", 1, O_RDWR | O_CREAT, 06755);
	printf("create %d\n", file >= 0);
	printf("rename %ld\n", (long)call_two_names(QC_RENAME, "source", "target", 1, 4 /* RENAME_WHITEOUT */));
	printf("directory %ld\n", (long)call_named(QC_MKDIR, "directory", 1, 06755, 0));
	printf("chmod %ld\n", (long)call_named(QC_SETATTR, "source", 1, QK_ATTR_MODE, 06755));
	printf("chmod directory %ld\n", (long)call_named(QC_SETATTR, "directory", 1, QK_ATTR_MODE, 06755));
	file = call_named(QC_OPEN, "hosts", 1, O_RDWR, 0);
	SEGS[0].gpa = SPARE;
	SEGS[0].len = 4;
	printf("write %ld\n", (long)call(QC_PWRITE, 0, 1, (uint64_t)file, 0, 0));
	printf("truncate %ld\n", (long)call_named(QC_SETATTR, "hosts2", 1, QK_ATTR_SIZE, 1));
	return 0;
}
