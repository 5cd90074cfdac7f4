/* Writing over files that come with the lower tree: copy-up on every kind of change, links, open descriptors, mappings.
 * The harness lays the tree `lower/` before the run, and checks afterwards that the sandbox left the host's copy alone. */
#include "check.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

static char text[200000];

static int holds(const char *name, const char *want)
{
	int fd = open(name, O_RDONLY);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof text);
	close(fd);
	return n == (ssize_t)strlen(want) && memcmp(text, want, strlen(want)) == 0;
}

static struct stat status(const char *name)
{
	struct stat st;
	REQUIRE(lstat(name, &st) == 0);
	return st;
}

int main(void)
{
	CHECK("lower.read", holds("lower/a.txt", "content of a\n"));
	struct stat before = status("lower/a.txt");
	int early = open("lower/a.txt", O_RDONLY);
	int fd = open("lower/a.txt", O_RDWR);
	CHECK("copyup.write", pwrite(fd, "CHANGED", 7, 0) == 7 && holds("lower/a.txt", "CHANGED of a\n"));
	struct stat after = status("lower/a.txt");
	CHECK("copyup.metadata", after.st_mode == before.st_mode && after.st_uid == before.st_uid && after.st_size == before.st_size);
	CHECK("copyup.other_descriptor", pread(early, text, 7, 0) == 7 && memcmp(text, "CHANGED", 7) == 0);
	CHECK("copyup.same_file", fstat(early, &before) == 0 && fstat(fd, &after) == 0 && before.st_ino == after.st_ino);

	fd = open("lower/b.txt", O_WRONLY | O_APPEND);
	CHECK("copyup.append", write(fd, "more\n", 5) == 5 && holds("lower/b.txt", "content of b\nmore\n"));
	fd = open("lower/c.txt", O_WRONLY | O_TRUNC);
	CHECK("copyup.trunc", fd >= 0 && status("lower/c.txt").st_size == 0);
	CHECK("copyup.truncate", truncate("lower/d.txt", 7) == 0 && holds("lower/d.txt", "content"));
	CHECK("copyup.chmod", chmod("lower/e.txt", 0400) == 0 && (status("lower/e.txt").st_mode & 0777) == 0400);
	CHECK("copyup.chmod_content", holds("lower/e.txt", "content of e\n"));
	struct timespec times[2] = {{111, 0}, {222, 5}};
	CHECK("copyup.utimes", utimensat(AT_FDCWD, "lower/f.txt", times, 0) == 0 && status("lower/f.txt").st_mtim.tv_sec == 222);
	CHECK("copyup.utimes_content", holds("lower/f.txt", "content of f\n"));

	CHECK("large.before", status("lower/large.bin").st_size == 150000);
	fd = open("lower/large.bin", O_RDWR);
	CHECK("large.patch", pwrite(fd, "!", 1, 100000) == 1 && pread(fd, text, 150000, 0) == 150000);
	int wrong = 0;
	for (int i = 0; i < 150000; i++)
		wrong += text[i] != (i == 100000 ? '!' : (char)('a' + i % 23));
	CHECK_EQ("large.rest_kept", wrong, 0);

	fd = open("lower/g.txt", O_RDWR);
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	REQUIRE(map != MAP_FAILED);
	memcpy(map, "MAPPED!", 7);
	CHECK("copyup.shared_map", msync(map, 4096, MS_SYNC) == 0 && holds("lower/g.txt", "MAPPED! of g\n"));
	fd = open("lower/h.txt", O_RDONLY);
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	memcpy(map, "private", 7);
	CHECK("private_map.file_kept", holds("lower/h.txt", "content of h\n"));

	CHECK_OK("link", link("lower/i.txt", "lower/i-link.txt"));
	CHECK("link.same", status("lower/i.txt").st_ino == status("lower/i-link.txt").st_ino && status("lower/i.txt").st_nlink == 2);
	fd = open("lower/i-link.txt", O_WRONLY);
	CHECK("link.write_seen", write(fd, "LINKED!", 7) == 7 && holds("lower/i.txt", "LINKED! of i\n"));
	CHECK("symlink.read", holds("lower/to-j", "content of j\n"));
	fd = open("lower/to-j", O_WRONLY | O_TRUNC);
	CHECK("symlink.write_target", write(fd, "j", 1) == 1 && holds("lower/j.txt", "j") && S_ISLNK(status("lower/to-j").st_mode));
	CHECK("deep.write", (fd = open("lower/sub/deeper/k.txt", O_WRONLY | O_APPEND)) >= 0 && write(fd, "+", 1) == 1);
	CHECK("deep.written", holds("lower/sub/deeper/k.txt", "content of k\n+"));
	CHECK("deep.new", (fd = open("lower/sub/deeper/new", O_WRONLY | O_CREAT | O_EXCL, 0600)) >= 0);
	CHECK("directory.chmod", chmod("lower/sub", 0700) == 0 && (status("lower/sub").st_mode & 07777) == 0700);
	CHECK_ERR("create.excl_on_lower", open("lower/k2.txt", O_CREAT | O_EXCL | O_WRONLY, 0600), EEXIST);
	CHECK("untouched", holds("lower/k2.txt", "content of k2\n"));
	return check_done();
}
