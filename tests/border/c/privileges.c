/* On the volume that is root 1: a rename that would leave a device node on the host, a file and a directory with set-id bits, and content for files that
 * have some, at last through memory, of which the host's kernel takes no notice. Output: what each request was answered. */
#include "border.h"

#define CHUNK (QK_WINDOW_CHUNKS - 1ull) /* which nobody else uses */

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
	int64_t reader = call_named(QC_OPEN, "hosts3", 1, O_RDONLY, 0), writer = call(QC_REOPEN, 0, 0, (uint64_t)reader, O_RDWR, 0);
	VCPU->call.arg[3] = 1;
	printf("map %ld\n", (long)call(QC_MAP, 0, 0, (uint64_t)writer, CHUNK, 0));
	SEGS[0].gpa = QK_WINDOW_GPA + CHUNK * QK_WINDOW_CHUNK;
	SEGS[0].len = 4;
	printf("read into it %ld\n", (long)call(QC_PREAD, 0, 1, (uint64_t)file, 0, 0));
	return 0;
}
