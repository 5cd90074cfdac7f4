/* Microseconds (medians) of fork+exit+wait, vfork+exec of /bin/true, and the first touch of a page of fresh memory. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 60
#define TOUCHES 5
#define SIZE (32ul << 20)
#define PAGE 4096ul

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof(*v), compare);
	return v[n / 2];
}

int main(void)
{
	double t[ROUNDS];
	for (int i = 0; i < ROUNDS; i++) {
		double start = now();
		pid_t p = fork();
		if (!p)
			_exit(0);
		waitpid(p, NULL, 0);
		t[i] = now() - start;
	}
	printf("fork %.1f\n", median(t, ROUNDS));
	for (int i = 0; i < ROUNDS; i++) {
		double start = now();
		pid_t p = vfork();
		if (!p) {
			execl("/bin/true", "true", (char *)NULL);
			_exit(1);
		}
		waitpid(p, NULL, 0);
		t[i] = now() - start;
	}
	printf("exec %.1f\n", median(t, ROUNDS));
	for (int i = 0; i < TOUCHES; i++) {
		char *m = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		madvise(m, SIZE, MADV_NOHUGEPAGE);
		double start = now();
		for (size_t at = 0; at < SIZE; at += PAGE)
			m[at] = 1;
		t[i] = (now() - start) / (double)(SIZE / PAGE);
		if (i % 2)
			munmap(m, SIZE);
	}
	printf("touch %.2f\n", median(t, TOUCHES));
	return 0;
}
