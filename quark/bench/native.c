/* Small pieces of ordinary work, timed by themselves: natively and in a sandbox (quark/bench/native.py compiles it, static).
 *
 * native pingpong SECONDS   bytes through two pipes between two processes, beside a process that computes: round trips a second
 * native sleep N            nanosleep of 1 ms, N times, beside four processes that compute: the 99th percentile in microseconds
 * native fork N             fork, exec of /bin/true, wait: microseconds each
 * native vfork N            the same with vfork
 * native touch MIB          the first write to each page of so much fresh memory: nanoseconds a page */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HOGS_MAX 4
#define PAGE 4096
#define TOUCH_ROUNDS 5

static pid_t hogs[HOGS_MAX];

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void compute(int n)
{
	for (int i = 0; i < n; i++)
		if (!(hogs[i] = fork()))
			for (volatile unsigned long x = 0;; x++)
				;
}

static void end(void)
{
	for (int i = 0; i < HOGS_MAX; i++)
		if (hogs[i]) {
			kill(hogs[i], SIGKILL);
			waitpid(hogs[i], NULL, 0);
		}
}

static double pingpong(double seconds)
{
	int there[2], back[2];
	char byte = 0;
	long rounds = 0;
	if (pipe(there) || pipe(back))
		exit(1);
	pid_t child = fork();
	if (!child) {
		while (read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1)
			;
		_exit(0);
	}
	compute(1);
	double start = now();
	for (; now() - start < seconds; rounds++)
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			exit(1);
	double each = (double)rounds / (now() - start);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return each;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double sleeper(int n)
{
	double *taken = calloc((size_t)n, sizeof(*taken));
	compute(HOGS_MAX);
	for (int i = 0; i < n; i++) {
		double start = now();
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
		taken[i] = (now() - start) * 1e6;
	}
	qsort(taken, (size_t)n, sizeof(*taken), ascending);
	double found = taken[n * 99 / 100];
	free(taken);
	return found;
}

static double starts(int n, int with_vfork)
{
	double start = now();
	for (int i = 0; i < n; i++) {
		pid_t pid = with_vfork ? vfork() : fork();
		if (!pid) {
			execl("/bin/true", "true", (char *)NULL);
			_exit(1);
		}
		waitpid(pid, NULL, 0);
	}
	return (now() - start) * 1e6 / n;
}

static double touch(size_t bytes)
{
	double best = 1e18;
	for (int round = 0; round < TOUCH_ROUNDS; round++) {
		char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			exit(1);
		madvise(p, bytes, MADV_NOHUGEPAGE);
		double start = now();
		for (size_t at = 0; at < bytes; at += PAGE)
			p[at] = 1;
		double each = (now() - start) * 1e9 * PAGE / (double)bytes;
		best = each < best ? each : best;
		munmap(p, bytes);
	}
	return best;
}

int main(int argc, char **argv)
{
	double found;
	if (argc != 3)
		return 2;
	int n = atoi(argv[2]);
	if (!strcmp(argv[1], "pingpong"))
		found = pingpong(n);
	else if (!strcmp(argv[1], "sleep"))
		found = sleeper(n);
	else if (!strcmp(argv[1], "fork") || !strcmp(argv[1], "vfork"))
		found = starts(n, argv[1][0] == 'v');
	else if (!strcmp(argv[1], "touch"))
		found = touch((size_t)n << 20);
	else
		return 2;
	end();
	printf("%.3f\n", found);
	return 0;
}
