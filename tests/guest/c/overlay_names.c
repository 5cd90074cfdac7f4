/* Removing and renaming entries of the lower tree: whiteouts, opaque directories, merged listings, moved directories. */
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

static int put(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && close(fd) == 0;
}

static int holds(const char *name, const char *want)
{
	char text[100];
	int fd = open(name, O_RDONLY);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof text);
	close(fd);
	return n == (ssize_t)strlen(want) && memcmp(text, want, strlen(want)) == 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Prints the sorted names of a directory: the union of both layers less the whiteouts. */
static void list(const char *path)
{
	DIR *dir = opendir(path);
	char *names[200], line[400] = "";
	int n = 0;
	REQUIRE(dir != NULL);
	for (struct dirent *e; (e = readdir(dir)) && n < 200;)
		names[n++] = strdup(e->d_name);
	closedir(dir);
	qsort(names, (size_t)n, sizeof *names, compare);
	for (int i = 0; i < n; i++) {
		strcat(line, " ");
		strcat(line, names[i]);
		free(names[i]);
	}
	show("%s:%s", path, line);
}

int main(void)
{
	struct stat st;
	list("lower");
	CHECK_OK("unlink", unlink("lower/a.txt"));
	CHECK_ERR("unlink.gone", access("lower/a.txt", F_OK), ENOENT);
	CHECK_ERR("unlink.again", unlink("lower/a.txt"), ENOENT);
	CHECK_ERR("unlink.open", open("lower/a.txt", O_RDONLY), ENOENT);
	CHECK("recreate", put("lower/a.txt", "new a") && holds("lower/a.txt", "new a"));
	CHECK_OK("recreate.unlink", unlink("lower/a.txt"));
	CHECK_ERR("recreate.gone", stat("lower/a.txt", &st), ENOENT);
	int fd = open("lower/b.txt", O_RDONLY);
	REQUIRE(unlink("lower/b.txt") == 0);
	char text[20];
	CHECK("unlinked.open_reads", read(fd, text, 7) == 7 && memcmp(text, "content", 7) == 0);
	CHECK("put_beside", put("lower/added.txt", "x"));
	list("lower");

	CHECK_OK("rename.lower_file", rename("lower/c.txt", "lower/c-renamed.txt"));
	CHECK("rename.content", holds("lower/c-renamed.txt", "content of c\n") && access("lower/c.txt", F_OK) == -1);
	CHECK_OK("rename.over_lower", rename("lower/d.txt", "lower/e.txt"));
	CHECK("rename.over_content", holds("lower/e.txt", "content of d\n") && access("lower/d.txt", F_OK) == -1);
	CHECK("rename.upper_over_lower", put("lower/fresh", "fresh") && rename("lower/fresh", "lower/f.txt") == 0 && holds("lower/f.txt", "fresh"));
	CHECK_OK("rename.out", rename("lower/g.txt", "outside.txt"));
	CHECK("rename.out_content", holds("outside.txt", "content of g\n"));
	CHECK("rename.in", put("inside", "in") && rename("inside", "lower/sub/in.txt") == 0 && holds("lower/sub/in.txt", "in"));
	list("lower/sub");

	CHECK_ERR("rmdir.lower_full", rmdir("lower/sub"), ENOTEMPTY);
	CHECK_OK("rmdir.lower_empty", rmdir("lower/empty"));
	CHECK_OK("mkdir.again", mkdir("lower/empty", 0755));
	list("lower/empty");
	/* remove a lower directory with content, then make it anew: nothing of the old may shine through */
	REQUIRE(unlink("lower/sub2/one") == 0 && unlink("lower/sub2/two") == 0);
	CHECK_OK("rmdir.emptied", rmdir("lower/sub2"));
	CHECK_ERR("rmdir.gone", access("lower/sub2/one", F_OK), ENOENT);
	CHECK_OK("opaque.mkdir", mkdir("lower/sub2", 0755));
	list("lower/sub2");
	CHECK_ERR("opaque.hides", access("lower/sub2/one", F_OK), ENOENT);
	CHECK("opaque.put", put("lower/sub2/one", "again") && holds("lower/sub2/one", "again"));
	list("lower/sub2");
	/* a directory becomes a file and back */
	REQUIRE(unlink("lower/sub3/x") == 0 && rmdir("lower/sub3") == 0);
	CHECK("directory_to_file", put("lower/sub3", "file now") && holds("lower/sub3", "file now"));
	REQUIRE(unlink("lower/sub3") == 0 && mkdir("lower/sub3", 0755) == 0);
	list("lower/sub3");

	/* Linux's overlayfs may refuse to rename a lower directory (EXDEV); one file system, and this sandbox, may not */
	CHECK_OK("rename.lower_directory", rename("lower/sub", "lower/moved"));
	CHECK("rename.directory_content", holds("lower/moved/deeper/k.txt", "content of k\n") && holds("lower/moved/in.txt", "in"));
	CHECK_ERR("rename.directory_old", access("lower/sub/deeper/k.txt", F_OK), ENOENT);
	list("lower/moved");
	list("lower/moved/deeper");
	CHECK("rename.directory_writable", put("lower/moved/deeper/k.txt", "k") && holds("lower/moved/deeper/k.txt", "k"));

	int many = 0;
	DIR *dir = opendir("lower/many");
	for (struct dirent *e; (e = readdir(dir));)
		if (e->d_name[0] != '.' && atoi(e->d_name) % 2 == 0)
			many += unlinkat(dirfd(dir), e->d_name, 0) == 0;
	CHECK_EQ("many.removed_half", many, 150);
	rewinddir(dir);
	many = 0;
	for (struct dirent *e; (e = readdir(dir));)
		many += e->d_name[0] != '.';
	CHECK_EQ("many.left", many, 150);
	closedir(dir);
	list("lower");
	return check_done();
}
