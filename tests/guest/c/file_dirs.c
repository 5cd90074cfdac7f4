/* mkdir, rmdir and reading directories: 1500 entries in pieces, seeking, changes while reading, types, dot entries. */
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define MANY 1500
static int seen[MANY];

static int scan(DIR *dir, int *dots, int *others)
{
	int files = 0;
	memset(seen, 0, sizeof seen);
	*dots = *others = 0;
	for (struct dirent *e; (e = readdir(dir));) {
		int number;
		if (e->d_name[0] == '.')
			(*dots)++;
		else if (sscanf(e->d_name, "entry-with-a-rather-long-name-%d", &number) == 1 && number < MANY)
			files += seen[number]++ == 0;
		else
			(*others)++;
	}
	return files;
}

static void entry_name(char *name, size_t size, int i)
{
	snprintf(name, size, "many/entry-with-a-rather-long-name-%d", i);
}

int main(void)
{
	char name[300];
	int dots, others;
	umask(0);
	CHECK_OK("mkdir", mkdir("d", 0751));
	struct stat st;
	CHECK("mkdir.mode", stat("d", &st) == 0 && st.st_mode == (S_IFDIR | 0751));
	CHECK_ERR("mkdir.exists", mkdir("d", 0755), EEXIST);
	CHECK_ERR("mkdir.missing_parent", mkdir("x/y", 0755), ENOENT);
	CHECK_OK("mkdir.trailing_slash", mkdir("d/sub/", 0755));
	CHECK_ERR("mkdir.dot", mkdir("d/.", 0755), EEXIST);
	CHECK_ERR("mkdir.root", mkdir("/", 0755), EEXIST);
	CHECK_ERR("rmdir.full", rmdir("d"), ENOTEMPTY);
	CHECK_ERR("rmdir.dot", rmdir("d/sub/."), EINVAL);
	CHECK_ERR("rmdir.dotdot", rmdir("d/sub/.."), ENOTEMPTY);
	CHECK_OK("rmdir", rmdir("d/sub"));
	CHECK_ERR("rmdir.missing", rmdir("d/sub"), ENOENT);
	int file = open("d/file", O_WRONLY | O_CREAT, 0600);
	REQUIRE(file >= 0);
	CHECK_ERR("rmdir.file", rmdir("d/file"), ENOTDIR);
	CHECK_ERR("mkdir.below_file", mkdir("d/file/x", 0755), ENOTDIR);

	REQUIRE(mkdir("many", 0755) == 0);
	for (int i = 0; i < MANY; i++) {
		entry_name(name, sizeof name, i);
		int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
		REQUIRE(fd >= 0 && close(fd) == 0);
	}
	DIR *dir = opendir("many");
	REQUIRE(dir != NULL);
	CHECK_EQ("readdir.all", scan(dir, &dots, &others), MANY);
	CHECK("readdir.dots", dots == 2 && others == 0);
	rewinddir(dir);
	CHECK_EQ("readdir.rewind", scan(dir, &dots, &others), MANY);
	rewinddir(dir);
	for (int i = 0; i < 700; i++)
		REQUIRE(readdir(dir) != NULL);
	long place = telldir(dir);
	struct dirent *e = readdir(dir);
	snprintf(name, sizeof name, "%s", e->d_name);
	for (int i = 0; i < 300; i++)
		REQUIRE(readdir(dir) != NULL);
	seekdir(dir, place);
	e = readdir(dir);
	CHECK("readdir.seek", e && strcmp(e->d_name, name) == 0);

	/* removing what was read must lose nothing of the rest: rm -r relies on it */
	rewinddir(dir);
	int removed = 0;
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		REQUIRE(unlinkat(dirfd(dir), e->d_name, 0) == 0);
		removed++;
	}
	CHECK_EQ("readdir.remove_while_reading", removed, MANY);
	closedir(dir);
	CHECK_OK("rmdir.emptied", rmdir("many"));

	REQUIRE(mkdir("types", 0755) == 0 && mkdir("types/dir", 0755) == 0 && symlink("x", "types/link") == 0);
	REQUIRE(mkfifo("types/fifo", 0600) == 0 && close(open("types/file", O_CREAT | O_WRONLY, 0600)) == 0);
	dir = opendir("types");
	int types = 0, inodes = 0;
	while ((e = readdir(dir))) {
		REQUIRE(fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0);
		types += e->d_type == IFTODT(st.st_mode);
		inodes += e->d_name[0] == '.' || e->d_ino == st.st_ino;
	}
	CHECK_EQ("d_type", types, 6);
	CHECK_EQ("d_ino", inodes, 6);
	closedir(dir);

	char small[8];
	int fd = open("types", O_RDONLY | O_DIRECTORY);
	CHECK_ERR("getdents.small_buffer", syscall(SYS_getdents64, fd, small, sizeof small), EINVAL);
	CHECK_ERR("getdents.file", syscall(SYS_getdents64, file, name, sizeof name), ENOTDIR);
	CHECK_ERR("getdents.badfd", syscall(SYS_getdents64, 99, name, sizeof name), EBADF);
	REQUIRE(mkdir("gone", 0755) == 0);
	int gone = open("gone", O_RDONLY | O_DIRECTORY);
	REQUIRE(rmdir("gone") == 0);
	CHECK_ERR("removed.create_in", openat(gone, "x", O_CREAT | O_WRONLY, 0600), ENOENT);
	CHECK("removed.fstat", fstat(gone, &st) == 0 && S_ISDIR(st.st_mode));

	/* 200 directories deep, made and walked with relative names, then removed */
	int here = open(".", O_RDONLY | O_DIRECTORY), depth = 0;
	for (int i = 0; i < 200; i++)
		REQUIRE(mkdir("deep-directory-name", 0755) == 0 && chdir("deep-directory-name") == 0);
	for (int i = 0; i < 200; i++)
		depth += chdir("..") == 0 && rmdir("deep-directory-name") == 0;
	struct stat now;
	CHECK_EQ("deep.removed", depth, 200);
	CHECK("deep.back", fstat(here, &st) == 0 && stat(".", &now) == 0 && st.st_ino == now.st_ino);
	return check_done();
}
