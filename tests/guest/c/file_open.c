/* open and openat: flags, O_EXCL, O_TRUNC, O_APPEND, O_NOFOLLOW, O_DIRECTORY, O_PATH, O_TMPFILE, modes and every error. */
#include "check.h"
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

static long size_of(int fd)
{
	struct stat st;
	REQUIRE(fstat(fd, &st) == 0);
	return st.st_size;
}

static int mode_of(const char *name)
{
	struct stat st;
	REQUIRE(lstat(name, &st) == 0);
	return st.st_mode & 07777;
}

int main(void)
{
	char text[16];
	umask(022);
	int fd = open("new", O_RDWR | O_CREAT | O_EXCL, 0666);
	CHECK_OK("create.excl", fd);
	CHECK_EQ("create.mode_umask", mode_of("new"), 0644);
	CHECK("lowest_descriptor", fd == 3);
	CHECK_ERR("create.excl_exists", open("new", O_RDWR | O_CREAT | O_EXCL, 0666), EEXIST);
	REQUIRE(write(fd, "0123456789", 10) == 10);
	int again = open("new", O_RDWR | O_CREAT, 0600);
	CHECK("create.existing_kept", again == 4 && size_of(again) == 10 && mode_of("new") == 0644);
	int append = open("new", O_WRONLY | O_APPEND);
	REQUIRE(lseek(append, 0, SEEK_SET) == 0 && write(append, "AB", 2) == 2);
	CHECK("append.at_end", size_of(fd) == 12 && pread(fd, text, 2, 10) == 2 && memcmp(text, "AB", 2) == 0);
	REQUIRE(write(fd, "+", 1) == 1 && write(append, "C", 1) == 1);
	CHECK("append.still_at_end", size_of(fd) == 13 && pread(fd, text, 3, 10) == 3 && memcmp(text, "+BC", 3) == 0);
	int truncated = open("new", O_WRONLY | O_TRUNC);
	CHECK("truncate", size_of(fd) == 0 && lseek(fd, 0, SEEK_CUR) == 11);
	REQUIRE(close(again) == 0 && close(append) == 0 && close(truncated) == 0);

	CHECK_ERR("missing", open("absent", O_RDONLY), ENOENT);
	CHECK_ERR("missing.directory", open("absent/file", O_RDWR | O_CREAT, 0600), ENOENT);
	CHECK_ERR("empty_path", open("", O_RDONLY), ENOENT);
	CHECK_ERR("through_file", open("new/below", O_RDONLY), ENOTDIR);
	CHECK_ERR("file_with_slash", open("new/", O_RDONLY), ENOTDIR);
	REQUIRE(mkdir("directory", 0755) == 0 && symlink("new", "link") == 0 && symlink("nowhere", "dangling") == 0);
	REQUIRE(symlink("loop2", "loop1") == 0 && symlink("loop1", "loop2") == 0);
	CHECK_ERR("directory.write", open("directory", O_WRONLY), EISDIR);
	CHECK_ERR("directory.create", open("directory", O_RDONLY | O_CREAT, 0600), EISDIR);
	CHECK_ERR("directory.trunc", open("directory", O_RDWR | O_TRUNC), EISDIR);
	CHECK_ERR("create.trailing_slash", open("fresh/", O_RDWR | O_CREAT, 0600), EISDIR);
	CHECK_ERR("o_directory.on_file", open("new", O_RDONLY | O_DIRECTORY), ENOTDIR);
	CHECK_OK("o_directory.on_directory", close(open("directory", O_RDONLY | O_DIRECTORY)));
	CHECK_ERR("nofollow", open("link", O_RDONLY | O_NOFOLLOW), ELOOP);
	CHECK_OK("follow", close(open("link", O_RDONLY)));
	CHECK_ERR("dangling", open("dangling", O_RDONLY), ENOENT);
	CHECK_ERR("dangling.excl", open("dangling", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
	CHECK_OK("dangling.creates_target", close(open("dangling", O_RDWR | O_CREAT, 0600)));
	CHECK_OK("dangling.target_there", access("nowhere", F_OK));
	CHECK_ERR("loop", open("loop1", O_RDONLY), ELOOP);
	CHECK_ERR("loop.through", open("loop1/x", O_RDONLY), ELOOP);
	char name[5000];
	memset(name, 'n', sizeof name);
	name[256] = 0;
	CHECK_ERR("name.256", open(name, O_RDWR | O_CREAT, 0600), ENAMETOOLONG);
	name[255] = 0;
	CHECK_OK("name.255", close(open(name, O_RDWR | O_CREAT, 0600)));
	for (int i = 0; i < 4999; i++)
		name[i] = i % 2 ? '/' : '.';
	name[4999] = 0;
	CHECK_ERR("path.4999", open(name, O_RDONLY), ENAMETOOLONG);
	name[4095] = 0;
	CHECK_OK("path.4095", close(open(name, O_RDONLY)));

	int write_only = open("new", O_WRONLY), read_only = open("new", O_RDONLY);
	CHECK_ERR("wronly.read", read(write_only, text, 1), EBADF);
	CHECK_ERR("rdonly.write", write(read_only, text, 1), EBADF);
	CHECK_ERR("rdonly.ftruncate", ftruncate(read_only, 0), EINVAL);
	int path = open("new", O_PATH);
	CHECK_OK("o_path", path);
	CHECK_ERR("o_path.read", read(path, text, 1), EBADF);
	CHECK_OK("o_path.fstat", fstat(path, &(struct stat){0}));
	int link = open("link", O_PATH | O_NOFOLLOW);
	struct stat st;
	CHECK("o_path.link_itself", fstat(link, &st) == 0 && S_ISLNK(st.st_mode));
	int reopened = open("/proc/self/fd/0", O_RDONLY);
	CHECK_OK("proc_fd.reopen", reopened);

	int temporary = open(".", O_RDWR | O_TMPFILE, 0600);
	CHECK_OK("tmpfile", temporary);
	CHECK("tmpfile.no_link", fstat(temporary, &st) == 0 && st.st_nlink == 0 && write(temporary, "x", 1) == 1);

	REQUIRE(mkdir("locked", 0) == 0 && open("secret", O_RDWR | O_CREAT, 0000) >= 0);
	int root = geteuid() == 0; /* root passes permission checks */
	CHECK_ERR("permission.file", open("secret", O_RDONLY), root ? 0 : EACCES);
	CHECK_ERR("permission.directory", open("locked/x", O_RDONLY), root ? ENOENT : EACCES);

	struct rlimit limit = {20, 20};
	REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	int last = -1, got;
	while ((got = dup(0)) >= 0)
		last = got;
	CHECK("emfile", errno == EMFILE && last == 19);
	CHECK_ERR("emfile.open", open("new", O_RDONLY), EMFILE);
	close(7);
	CHECK_EQ("lowest_free", open("new", O_RDONLY), 7);
	return check_done();
}
