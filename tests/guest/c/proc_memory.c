/* /proc/self/{smaps,smaps_rollup,pagemap,mem}, the sizes in status, mincore and the kinds of advice: what they say of memory in known states. */
#include "check.h"
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define PAGE 4096L
#define PAGES 16
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define PRESENT (1ull << 63)
#define OF_FILE (1ull << 61)

/* Value in KiB of a field of the area that begins at p; -1: no such line. The file's first area where p is NULL. */
static long field(const char *file, const void *p, const char *name)
{
	char line[1024], begin[40];
	snprintf(begin, sizeof begin, "%08lx-", (unsigned long)p);
	FILE *f = fopen(file, "r");
	long value = -1;
	int inside = !p;
	REQUIRE(f);
	while (value < 0 && fgets(line, sizeof line, f)) {
		if (p && strncmp(line, begin, strlen(begin)) == 0)
			inside = 1;
		else if (inside && strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
			value = strtol(line + strlen(name) + 1, NULL, 10);
	}
	fclose(f);
	return value;
}

static int has_flag(const void *p, const char *flag)
{
	char line[1024], begin[40];
	snprintf(begin, sizeof begin, "%08lx-", (unsigned long)p);
	FILE *f = fopen("/proc/self/smaps", "r");
	int inside = 0, found = 0;
	REQUIRE(f);
	while (fgets(line, sizeof line, f)) {
		if (strncmp(line, begin, strlen(begin)) == 0)
			inside = 1;
		if (inside && strncmp(line, "VmFlags:", 8) == 0) {
			found = strstr(line, flag) != NULL;
			break;
		}
	}
	fclose(f);
	return found;
}

/* Pages of [p, p + n pages) whose entry has these bits. */
static int pages_with(const char *p, int n, uint64_t bits)
{
	uint64_t e[64];
	int fd = open("/proc/self/pagemap", O_RDONLY), count = 0;
	REQUIRE(fd >= 0);
	REQUIRE(pread(fd, e, (size_t)n * 8, (off_t)((uintptr_t)p / PAGE * 8)) == n * 8);
	close(fd);
	for (int i = 0; i < n; i++)
		count += (e[i] & bits) == bits;
	return count;
}

static int resident(char *p, int pages)
{
	unsigned char v[64];
	int count = 0;
	REQUIRE(mincore(p, (size_t)(pages * PAGE), v) == 0);
	for (int i = 0; i < pages; i++)
		count += v[i] & 1;
	return count;
}

#define SMAPS(p, name) field("/proc/self/smaps", p, name)

/* An area of its own, with pages without access around it. */
static char *area(int flags, int fd)
{
	char *p = mmap(NULL, (PAGES + 2) * PAGE, PROT_NONE, ANON, -1, 0);
	REQUIRE(p != MAP_FAILED);
	REQUIRE(mmap(p + PAGE, PAGES * PAGE, RW, flags | MAP_FIXED, fd, 0) == p + PAGE);
	madvise(p + PAGE, PAGES * PAGE, MADV_NOHUGEPAGE);
	return p + PAGE;
}

static void anonymous(void)
{
	char *p = area(ANON, -1);
	CHECK_EQ("anon.size", SMAPS(p, "Size"), PAGES * 4);
	CHECK_EQ("anon.rss_untouched", SMAPS(p, "Rss"), 0);
	CHECK_EQ("anon.pagemap_untouched", pages_with(p, PAGES, PRESENT), 0);
	for (int i = 0; i < 5; i++)
		p[2 * i * PAGE] = 1;
	CHECK_EQ("anon.rss", SMAPS(p, "Rss"), 20);
	CHECK_EQ("anon.pss", SMAPS(p, "Pss"), 20);
	CHECK_EQ("anon.anonymous", SMAPS(p, "Anonymous"), 20);
	CHECK_EQ("anon.private_dirty", SMAPS(p, "Private_Dirty"), 20);
	CHECK_EQ("anon.pagemap", pages_with(p, PAGES, PRESENT), 5);
	CHECK_EQ("anon.pagemap_not_file", pages_with(p, PAGES, PRESENT | OF_FILE), 0);
	CHECK_EQ("anon.mincore", resident(p, PAGES), 5);
	int to[2], back[2];
	char c = 0;
	REQUIRE(pipe(to) == 0 && pipe(back) == 0);
	pid_t child = fork();
	if (child == 0) {
		c = p[0];
		if (write(back[1], &c, 1) != 1 || read(to[0], &c, 1) != 1)
			_exit(1);
		_exit(0);
	}
	REQUIRE(read(back[0], &c, 1) == 1);
	p[0] = 2;
	CHECK_EQ("fork.rss", SMAPS(p, "Rss"), 20);
	CHECK_EQ("fork.anonymous", SMAPS(p, "Anonymous"), 20);
	CHECK("fork.private", SMAPS(p, "Private_Dirty") >= 4);
	CHECK_EQ("fork.all", SMAPS(p, "Private_Dirty") + SMAPS(p, "Shared_Dirty"), 20);
	CHECK("fork.pss", SMAPS(p, "Pss") <= 20 && SMAPS(p, "Pss") >= 12);
	REQUIRE(write(to[1], &c, 1) == 1);
	REQUIRE(waitpid(child, NULL, 0) == child);
	CHECK_EQ("forked.pss", SMAPS(p, "Pss"), 20);
	REQUIRE(madvise(p, 2 * PAGE, MADV_DONTNEED) == 0);
	CHECK_EQ("dontneed.rss", SMAPS(p, "Rss"), 16);
	REQUIRE(mprotect(p, PAGES * PAGE, PROT_READ) == 0);
	CHECK_EQ("protected.pagemap", pages_with(p, PAGES, PRESENT), 4);
}

static void files(void)
{
	int fd = open("proc_memory.dat", O_RDWR | O_CREAT | O_TRUNC, 0600);
	char buf[PAGE];
	memset(buf, 'f', sizeof buf);
	for (int i = 0; i < PAGES; i++)
		REQUIRE(write(fd, buf, PAGE) == PAGE);
	char *p = area(MAP_PRIVATE, fd);
	CHECK_EQ("file.mincore_cached", resident(p, PAGES), PAGES);
	p[3 * PAGE] = 'x';
	CHECK_EQ("file.anonymous", SMAPS(p, "Anonymous"), 4);
	CHECK("file.pagemap_copy", pages_with(p + 3 * PAGE, 1, PRESENT) == 1 && pages_with(p + 3 * PAGE, 1, OF_FILE) == 0);
	REQUIRE(p[5 * PAGE] == 'f');
	CHECK_EQ("file.pagemap_read", pages_with(p + 5 * PAGE, 1, PRESENT | OF_FILE), 1);
	char *s = area(MAP_SHARED, fd);
	s[0] = 's';
	CHECK_EQ("shared.anonymous", SMAPS(s, "Anonymous"), 0);
	CHECK_EQ("shared.pagemap", pages_with(s, 1, PRESENT | OF_FILE), 1);
	CHECK("shared.flag", has_flag(s, " sh") && !has_flag(p, " sh"));
	char *m = area(MAP_SHARED | MAP_ANONYMOUS, -1);
	long before = field("/proc/self/status", NULL, "RssShmem");
	CHECK_OK("shmem.populate", madvise(m, PAGES * PAGE, MADV_POPULATE_WRITE));
	CHECK_EQ("shmem.rss", SMAPS(m, "Rss"), PAGES * 4);
	CHECK_EQ("shmem.status", field("/proc/self/status", NULL, "RssShmem") - before, PAGES * 4);
	close(fd);
	unlink("proc_memory.dat");
}

static void whole(void)
{
	enum { MANY = 600 };
	long before = field("/proc/self/status", NULL, "RssAnon"), rollup = field("/proc/self/smaps_rollup", NULL, "Anonymous");
	char *p = mmap(NULL, MANY * PAGE, RW, ANON, -1, 0);
	madvise(p, MANY * PAGE, MADV_NOHUGEPAGE);
	memset(p, 1, MANY * PAGE);
	long grown = field("/proc/self/status", NULL, "RssAnon") - before;
	CHECK("status.rss_anon", grown >= MANY * 4 - 512 && grown <= MANY * 4 + 512); /* Linux counts in batches */
	grown = field("/proc/self/smaps_rollup", NULL, "Anonymous") - rollup;
	CHECK("rollup.anonymous", grown >= MANY * 4 && grown <= MANY * 4 + 64);
	CHECK("rollup.pss", field("/proc/self/smaps_rollup", NULL, "Pss_Anon") >= MANY * 4);
	long rss = field("/proc/self/status", NULL, "VmRSS");
	CHECK_EQ("status.sum", rss,
		 field("/proc/self/status", NULL, "RssAnon") + field("/proc/self/status", NULL, "RssFile") +
			 field("/proc/self/status", NULL, "RssShmem"));
	munmap(p, MANY * PAGE);
}

static void memory(void)
{
	int fd = open("/proc/self/mem", O_RDWR);
	char text[16] = "before", got[16] = "";
	off_t at = (off_t)(uintptr_t)text;
	CHECK("mem.open", fd >= 0);
	CHECK_EQ("mem.read", pread(fd, got, sizeof got, at), sizeof got);
	CHECK("mem.content", strcmp(got, "before") == 0);
	CHECK_EQ("mem.write", pwrite(fd, "after", 6, at), 6);
	CHECK("mem.written", strcmp(text, "after") == 0);
	CHECK_EQ("mem.seek", lseek(fd, at, SEEK_SET), at);
	CHECK_EQ("mem.read_at_position", read(fd, got, 6), 6);
	CHECK_EQ("mem.position", lseek(fd, 0, SEEK_CUR), at + 6);
	CHECK_ERR("mem.seek_end", lseek(fd, 0, SEEK_END), EINVAL);
	CHECK_ERR("mem.nothing_there", pread(fd, got, 1, 4096), EIO);
	char *p = area(ANON, -1);
	p[0] = 'p';
	REQUIRE(munmap(p + PAGE, PAGE) == 0);
	char two[2 * PAGE];
	CHECK_EQ("mem.to_the_hole", pread(fd, two, sizeof two, (off_t)(uintptr_t)p), PAGE);
	REQUIRE(mprotect(p, PAGE, PROT_READ) == 0);
	CHECK_EQ("mem.write_protected", pwrite(fd, "w", 1, (off_t)(uintptr_t)p), 1);
	CHECK("mem.protected_written", p[0] == 'w');
	REQUIRE(mprotect(p, PAGE, PROT_NONE) == 0);
	got[0] = 0;
	CHECK_EQ("mem.read_no_access", pread(fd, got, 1, (off_t)(uintptr_t)p), 1);
	CHECK_EQ("mem.no_access_content", got[0], 'w');
	CHECK_EQ("mem.own_buffer", pread(fd, two, PAGE, (off_t)(uintptr_t)two + 1), PAGE);
	close(fd);

	int ends[2];
	REQUIRE(pipe(ends) == 0);
	pid_t child = fork();
	if (child == 0) {
		strcpy(text, "child");
		if (write(ends[1], "r", 1) != 1)
			_exit(1);
		while (((volatile char *)text)[0] != 'X')
			sleep_ms(1);
		_exit(text[1] == 'Y' ? 7 : 8);
	}
	REQUIRE(read(ends[0], got, 1) == 1);
	char name[40];
	snprintf(name, sizeof name, "/proc/%d/mem", (int)child);
	fd = open(name, O_RDWR);
	CHECK("other.open", fd >= 0);
	CHECK_EQ("other.read", pread(fd, got, 6, at), 6);
	CHECK("other.content", strcmp(got, "child") == 0 && strcmp(text, "after") == 0);
	CHECK_EQ("other.write", pwrite(fd, "XY", 2, at), 2);
	int status = 0;
	REQUIRE(waitpid(child, &status, 0) == child);
	CHECK("other.saw", WIFEXITED(status) && WEXITSTATUS(status) == 7);
	CHECK_EQ("other.gone", pread(fd, got, 1, at), 0);
	close(fd);

	REQUIRE(pipe(ends) == 0);
	child = fork();
	if (child == 0) {
		REQUIRE(setresuid(1000, 1000, 1000) == 0);
		int own = open("/proc/self/pagemap", O_RDONLY);
		snprintf(name, sizeof name, "/proc/%d/mem", (int)getppid());
		_exit(open(name, O_RDONLY) == -1 && errno == EACCES ? 9 : own);
	}
	REQUIRE(waitpid(child, &status, 0) == child);
	CHECK("stranger.refused", WIFEXITED(status) && WEXITSTATUS(status) == 9);
}

static void advice(void)
{
	char *p = area(ANON, -1);
	CHECK_OK("populate_read", madvise(p, 4 * PAGE, MADV_POPULATE_READ));
	CHECK_EQ("populate_read.pagemap", pages_with(p, PAGES, PRESENT), 4);
	CHECK_OK("populate_write", madvise(p, 8 * PAGE, MADV_POPULATE_WRITE));
	CHECK_EQ("populate_write.rss", SMAPS(p, "Rss"), 32);
	p[0] = 7;
	CHECK_OK("cold", madvise(p, 8 * PAGE, MADV_COLD));
	CHECK_OK("pageout", madvise(p, 8 * PAGE, MADV_PAGEOUT));
	CHECK_EQ("pageout.kept", p[0], 7);
	CHECK("dump", !has_flag(p, " dd"));
	CHECK_OK("dontdump", madvise(p, PAGES * PAGE, MADV_DONTDUMP));
	CHECK("dontdump.flag", has_flag(p, " dd"));
	CHECK_OK("dodump", madvise(p, PAGES * PAGE, MADV_DODUMP));
	CHECK("dodump.flag", !has_flag(p, " dd"));
	REQUIRE(mprotect(p, PAGE, PROT_READ) == 0);
	CHECK_ERR("populate.read_only", madvise(p, PAGE, MADV_POPULATE_WRITE), EINVAL);
	REQUIRE(mprotect(p, PAGE, PROT_NONE) == 0);
	CHECK_ERR("populate.no_access", madvise(p, PAGE, MADV_POPULATE_READ), EINVAL);
	REQUIRE(munmap(p + 4 * PAGE, PAGE) == 0);
	CHECK_ERR("populate.hole", madvise(p + PAGE, 8 * PAGE, MADV_POPULATE_READ), ENOMEM);
	uint64_t e;
	int fd = open("/proc/self/pagemap", O_RDONLY);
	CHECK_ERR("pagemap.odd_position", pread(fd, &e, 8, 4), EINVAL);
	CHECK_ERR("pagemap.odd_count", pread(fd, &e, 7, 0), EINVAL);
	CHECK_EQ("pagemap.beyond", pread(fd, &e, 8, (off_t)1 << 60), 0);
}

int main(void)
{
	anonymous();
	files();
	whole();
	memory();
	advice();
	return check_done();
}
