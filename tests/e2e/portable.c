/* Depends on files of its rootfs in every way: its own text, a mapping of which it has touched one page, an open file read to the middle, one that it
 * has closed. Told "again" by its clone's arguments it captures once more. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096

static void show(const char *what, int fd, off_t at)
{
	char text[5] = {0};
	printf("%s %s\n", what, pread(fd, text, 4, at) < 0 ? "error" : text);
}

int main(void)
{
	int library = open("/data/deep/library", O_RDONLY), file = open("/data/open", O_RDONLY), closed = open("/data/closed", O_RDONLY), again;
	volatile char *map = mmap(NULL, 400 * PAGE, PROT_READ, MAP_PRIVATE, library, 0);
	struct stat before, after;
	char text[5] = {0};
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (library < 0 || file < 0 || closed < 0 || map == MAP_FAILED || fstat(library, &before))
		return 9;
	show("closed", closed, 0);
	close(closed);
	for (int round = 0; round < 2; round++) {
		(void)map[0];
		memset(text, 0, sizeof(text));
		if (read(file, text, 4) < 0)
			return 8;
		int q = open("/dev/quark", O_RDWR);
		if (q < 0 || write(q, "ready\n", 6) < 0)
			return 7;
		char document[4096] = {0};
		(void)!read(q, document, sizeof(document) - 1);
		close(q);
		if (strstr(document, "hold") && round == 0) {
			printf("held\n");
			fflush(stdout);
			sleep(60); /* to be captured */
			continue;
		}
		break;
	}
	printf("mapped %.4s %.4s\n", (const char *)map, (const char *)map + 300 * PAGE);
	printf("read %s", text);
	(void)!read(file, text, 4);
	printf(" then %s\n", text);
	again = open("/data/deep/library", O_RDONLY);
	if (again < 0 || fstat(again, &after))
		return 6;
	show("again", again, 399 * PAGE);
	printf("%s file\n", before.st_ino == after.st_ino && before.st_dev == after.st_dev && before.st_mtime == after.st_mtime ? "same" : "other");
	closed = open("/data/closed", O_RDONLY);
	if (closed < 0)
		printf("closed gone\n");
	else
		show("closed", closed, 0);
	return 0;
}
