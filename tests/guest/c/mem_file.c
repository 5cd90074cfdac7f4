/* File mappings: private and shared, offsets, past the end (SIGBUS), truncation, descriptors closed, memfd, /dev/shm. */
#include "fault.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE 4096L
#define RW (PROT_READ | PROT_WRITE)

static int make_file(const char *name, long size)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	REQUIRE(fd >= 0);
	for (long i = 0; i < size; i += 16) {
		char text[17];
		snprintf(text, sizeof text, "%015ld\n", i);
		long want = size - i < 16 ? size - i : 16;
		REQUIRE(write(fd, text, (size_t)want) == want);
	}
	return fd;
}

static int offset_at(const char *p)
{
	return atoi(p);
}

static void private_mapping(void)
{
	int fd = make_file("private", 3 * PAGE + 100);
	char *p = mmap(NULL, 4 * PAGE, RW, MAP_PRIVATE, fd, 0);
	CHECK("private.content", offset_at(p) == 0 && offset_at(p + PAGE) == PAGE && offset_at(p + 3 * PAGE) == 3 * PAGE);
	CHECK("private.tail_zeroed", p[3 * PAGE + 100] == 0 && p[4 * PAGE - 1] == 0);
	memcpy(p + PAGE, "changed", 8);
	char text[8];
	CHECK("private.file_kept", pread(fd, text, 8, PAGE) == 8 && memcmp(text, "00000000", 8) == 0);
	REQUIRE(pwrite(fd, "777", 3, 2 * PAGE) == 3);
	CHECK("private.sees_file_write", memcmp(p + 2 * PAGE, "777", 3) == 0);
	CHECK("private.own_page_kept", memcmp(p + PAGE, "changed", 8) == 0);
	char *q = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 2 * PAGE);
	CHECK("private.offset", memcmp(q, "777", 3) == 0);
	REQUIRE(close(fd) == 0 && unlink("private") == 0);
	CHECK("private.after_unlink", offset_at(p + 3 * PAGE) == 3 * PAGE);
	CHECK_ERR("error.offset", (long)mmap(NULL, PAGE, RW, MAP_PRIVATE, 0, 12), EINVAL);
}

static void shared_mapping(int fd, const char *kind)
{
	char name[64];
	char *p = mmap(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0);
	char *q = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, PAGE);
	REQUIRE(p != MAP_FAILED && q != MAP_FAILED);
	memcpy(p + PAGE + 10, "shared", 6);
	snprintf(name, sizeof name, "%s.two_views", kind);
	CHECK(name, memcmp(q + 10, "shared", 6) == 0);
	char text[6];
	snprintf(name, sizeof name, "%s.read_sees_store", kind);
	CHECK(name, pread(fd, text, 6, PAGE + 10) == 6 && memcmp(text, "shared", 6) == 0);
	REQUIRE(pwrite(fd, "wrote", 5, 2 * PAGE) == 5);
	snprintf(name, sizeof name, "%s.store_sees_write", kind);
	CHECK(name, memcmp(p + 2 * PAGE, "wrote", 5) == 0 && memcmp(q + PAGE, "wrote", 5) == 0);
	snprintf(name, sizeof name, "%s.past_end_bus", kind);
	REQUIRE(ftruncate(fd, 3 * PAGE) == 0);
	CHECK(name, fault_is(fault_of(fault_read, p + 3 * PAGE + 8), SIGBUS, BUS_ADRERR, p + 3 * PAGE + 8));
	REQUIRE(ftruncate(fd, PAGE + 12) == 0);
	snprintf(name, sizeof name, "%s.truncated_bus", kind);
	CHECK(name, fault_is(fault_of(fault_read, q + PAGE), SIGBUS, BUS_ADRERR, q + PAGE));
	snprintf(name, sizeof name, "%s.truncated_page_zeroed", kind);
	CHECK(name, p[PAGE + 11] == 'h' && p[PAGE + 12] == 0);
	REQUIRE(ftruncate(fd, 4 * PAGE) == 0);
	snprintf(name, sizeof name, "%s.regrown", kind);
	CHECK(name, p[2 * PAGE] == 0 && writable(p + 4 * PAGE - 1));
	snprintf(name, sizeof name, "%s.msync", kind);
	CHECK_OK(name, msync(p, 4 * PAGE, MS_SYNC));
	snprintf(name, sizeof name, "%s.after_close", kind);
	REQUIRE(close(fd) == 0);
	p[5] = 'z';
	CHECK(name, p[5] == 'z' && munmap(p, 4 * PAGE) == 0 && munmap(q, 2 * PAGE) == 0);
}

static void access_modes(void)
{
	int fd = make_file("modes", PAGE);
	int read_only = open("modes", O_RDONLY), write_only = open("modes", O_WRONLY);
	CHECK_ERR("modes.shared_write_of_rdonly", (long)mmap(NULL, PAGE, RW, MAP_SHARED, read_only, 0), EACCES);
	CHECK_ERR("modes.wronly", (long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, write_only, 0), EACCES);
	char *p = mmap(NULL, PAGE, RW, MAP_PRIVATE, read_only, 0);
	CHECK("modes.private_write_of_rdonly", p != MAP_FAILED && writable(p));
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, read_only, 0);
	CHECK_ERR("modes.mprotect_rdonly", mprotect(p, PAGE, RW), EACCES);
	int directory = open(".", O_RDONLY);
	CHECK_ERR("modes.directory", (long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, directory, 0), ENODEV);
	REQUIRE(close(fd) == 0 && unlink("modes") == 0);
}

int main(void)
{
	private_mapping();
	shared_mapping(make_file("shared", 4 * PAGE), "file");
	int fd = memfd_create("test", MFD_CLOEXEC);
	CHECK_OK("memfd.create", fd);
	REQUIRE(ftruncate(fd, 4 * PAGE) == 0);
	shared_mapping(fd, "memfd");
	fd = shm_open("/quark-guest-test", O_RDWR | O_CREAT | O_EXCL, 0600);
	CHECK_OK("shm.open", fd);
	CHECK_OK("shm.unlink", shm_unlink("/quark-guest-test"));
	REQUIRE(ftruncate(fd, 4 * PAGE) == 0);
	shared_mapping(fd, "shm");
	access_modes();

	char *zero = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE, open("/dev/zero", O_RDWR), 0);
	CHECK("dev_zero", zero != MAP_FAILED && zero[PAGE] == 0 && writable(zero));
	char *shared = mmap(NULL, 3 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK("shared_anonymous", shared[0] == 0 && writable(shared + 2 * PAGE));
	return check_done();
}
