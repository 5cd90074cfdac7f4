/* A file written through a shared mapping has a new mtime at msync and munmap; one that was only read keeps it. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SIZE 16384

static struct timespec before;

static const char *changed(int fd)
{
	struct stat st;
	fstat(fd, &st);
	int is_new = st.st_mtim.tv_sec != before.tv_sec || st.st_mtim.tv_nsec != before.tv_nsec;
	before = st.st_mtim;
	nanosleep(&(struct timespec){0, 20000000}, NULL); /* Linux's file times have the grain of a tick */
	return is_new ? "new" : "same";
}

int main(void)
{
	int fd = open("mtime", O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (ftruncate(fd, SIZE))
		return 1;
	char *m = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	changed(fd);
	int sum = m[0] + m[SIZE - 1];
	msync(m, SIZE, MS_SYNC);
	printf("read: %s %d\n", changed(fd), sum);
	m[0] = 1;
	msync(m, SIZE, MS_SYNC);
	printf("written: %s\n", changed(fd));
	msync(m, SIZE, MS_SYNC);
	printf("nothing more: %s\n", changed(fd));
	m[1] = 2;
	m[SIZE - 1] = 3;
	msync(m, SIZE, MS_SYNC);
	printf("written again: %s\n", changed(fd));
	m[0] = 5;
	mprotect(m, SIZE, PROT_READ);
	msync(m, SIZE, MS_SYNC);
	printf("written, then protected: %s\n", changed(fd));
	mprotect(m, SIZE, PROT_READ | PROT_WRITE);
	sum = m[0];
	msync(m, SIZE, MS_SYNC);
	printf("unprotected: %s %d\n", changed(fd), sum);
	m[2] = 4;
	munmap(m, SIZE);
	printf("unmapped: %s\n", changed(fd));
	unlink("mtime");
	return 0;
}
