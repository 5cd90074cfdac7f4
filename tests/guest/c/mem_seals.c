/* Seals against writing beside mappings, MAP_32BIT with hints, RLIMIT_DATA, flags that mmap refuses. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define SIZE 8192

static int failed(const void *p)
{
	return p == MAP_FAILED ? errno : 0;
}

static int sealed_file(void)
{
	int fd = memfd_create("seals", MFD_ALLOW_SEALING);
	return ftruncate(fd, SIZE) ? -1 : fd;
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	int fd = sealed_file();
	char *m = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	printf("seal beside a writable mapping: %d\n", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) ? errno : 0);
	mprotect(m, SIZE, PROT_READ);
	printf("beside one that may become writable: %d\n", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) ? errno : 0);
	char *private = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	munmap(m, SIZE);
	printf("beside a private one: %d\n", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) ? errno : 0);
	private[0] = 1;
	printf("map to write: %d\n", failed(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)));

	fd = sealed_file();
	m = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	printf("future: %d\n", fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) ? errno : 0);
	m[0] = 7;
	printf("write: %d\n", write(fd, "x", 1) < 0 ? errno : 0);
	printf("map to write: %d\n", failed(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)));
	char *r = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	printf("map to read: %d, sees %d, mprotect %d\n", failed(r), r[0], mprotect(r, SIZE, PROT_READ | PROT_WRITE) ? errno : 0);

	int anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
	printf("%p\n", mmap((void *)0x50000000, SIZE, PROT_READ, anonymous | MAP_32BIT, -1, 0));
	printf("%d\n", (unsigned long)mmap((void *)0x50000000, SIZE, PROT_READ, anonymous | MAP_32BIT, -1, 0) < 0x80000000);
	printf("%d\n", (unsigned long)mmap((void *)0x7ffff000, SIZE, PROT_READ, anonymous | MAP_32BIT, -1, 0) < 0x7ffff000);
	printf("MAP_SYNC: %d\n", failed(mmap(NULL, SIZE, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0)));

	struct rlimit limit = {64 << 20, 64 << 20};
	setrlimit(RLIMIT_DATA, &limit);
	printf("data: %d", failed(mmap(NULL, 100 << 20, PROT_READ | PROT_WRITE, anonymous, -1, 0)));
	printf(" %d", failed(mmap(NULL, 100 << 20, PROT_READ, anonymous, -1, 0)));
	printf(" %d\n", failed(mmap(NULL, 10 << 20, PROT_READ | PROT_WRITE, anonymous, -1, 0)));
	return 0;
}
