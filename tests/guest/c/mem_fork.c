/* What a child finds in memory: pages written by the program, by the kernel, never written, protected in between; both sides private afterwards. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 600
#define PAGE 4096

static int sum(const char *m)
{
	int s = 0;
	for (int i = 0; i < PAGES; i++)
		s += (i + 1) * m[(size_t)i * PAGE + 77];
	return s;
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	char *m = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	m[77] = 1;
	m[300 * PAGE + 77] = 2;
	int p[2], zero = open("/dev/zero", O_RDONLY);
	if (pipe(p) || write(p[1], "abcdefgh", 8) != 8)
		return 1;
	/* The kernel writes where the program has not been. */
	printf("%zd\n", read(p[0], m + 5 * PAGE + 77, 4));
	printf("%zd\n", read(p[0], m + 310 * PAGE + 74, 4));
	printf("%zd\n", read(zero, m + 311 * PAGE, PAGE));
	mprotect(m + 8 * PAGE, 4 * PAGE, PROT_READ);
	mprotect(m + 8 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE);
	m[9 * PAGE + 77] = 3;
	for (int round = 0; round < 5; round++) {
		printf("parent %d\n", sum(m));
		pid_t c = fork();
		if (!c) {
			printf("child %d\n", sum(m));
			for (int i = 0; i < PAGES; i++)
				m[(size_t)i * PAGE + 77] = 9;
			pid_t g = fork();
			if (!g) {
				printf("grandchild %d\n", sum(m));
				_exit(0);
			}
			waitpid(g, NULL, 0);
			_exit(0);
		}
		waitpid(c, NULL, 0);
		m[(round * 37 % PAGES) * PAGE + 77] = (char)(round + 4);
	}
	return 0;
}
