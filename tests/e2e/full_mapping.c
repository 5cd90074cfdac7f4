/* Shared mappings of files on a file system that becomes full: which pages can be touched, by the program and by system calls. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
#define SIZE (8 << 20)

static sigjmp_buf before;

static void bus(int sig)
{
	siglongjmp(before, sig);
}

static char *map(const char *name, int *fd)
{
	*fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (*fd < 0 || ftruncate(*fd, SIZE))
		return NULL;
	return mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
}

int main(int argc, char **argv)
{
	int fd, ends[2];
	static volatile int touched;
	signal(SIGBUS, bus);
	if (argc != 2 || chdir(argv[1]) || pipe(ends))
		return 1;
	char *m = map("a", &fd);
	if (sigsetjmp(before, 1))
		printf("SIGBUS, some pages touched: %d\n", touched > 0 && touched < SIZE / PAGE);
	else
		for (; touched < SIZE / PAGE; touched++)
			m[touched * PAGE] = 1;
	for (int again = 0; again < 3; again++)
		if (!sigsetjmp(before, 1)) {
			m[(touched + again) * PAGE] = 1;
			puts("no SIGBUS");
		}
	signal(SIGBUS, SIG_DFL);
	write(ends[1], "hello", 5);
	ssize_t n = read(ends[0], m + SIZE - PAGE, 5);
	printf("read into a page without room: %zd %s\n", n, n < 0 ? strerror(errno) : "");
	m[0] = 5;
	printf("a page that is there: %d\n", m[0]);
	ftruncate(fd, PAGE);
	int other;
	char *o = map("b", &other);
	o[SIZE - 1] = 7;
	printf("with room again: %d, in the file: %zd\n", o[SIZE - 1], pread(other, o, 1, SIZE - 1));
	unlink("a");
	unlink("b");
	return 0;
}
