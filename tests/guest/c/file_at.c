/* The *at calls relative to a directory descriptor, chdir, fchdir, getcwd, and how paths are resolved. */
#include "check.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static int cwd_ends(const char *tail)
{
	char path[4096];
	REQUIRE(getcwd(path, sizeof path) != NULL);
	size_t n = strlen(path), m = strlen(tail);
	return n >= m && strcmp(path + n - m, tail) == 0;
}

int main(void)
{
	char path[4096], small[2];
	REQUIRE(mkdir("base", 0755) == 0 && mkdir("base/in", 0755) == 0 && mkdir("other", 0755) == 0);
	int base = open("base", O_RDONLY | O_DIRECTORY), top = open(".", O_RDONLY | O_DIRECTORY);
	REQUIRE(base >= 0 && top >= 0);

	int fd = openat(base, "file", O_RDWR | O_CREAT, 0600);
	CHECK_OK("openat", fd);
	CHECK_OK("openat.where", access("base/file", F_OK));
	CHECK_OK("openat.parent", close(openat(base, "../base/file", O_RDONLY)));
	CHECK_OK("openat.absolute_ignores_fd", close(openat(-5, "/dev/null", O_RDONLY)));
	CHECK_ERR("openat.badfd", openat(-5, "x", O_RDONLY), EBADF);
	CHECK_ERR("openat.file_fd", openat(fd, "x", O_RDONLY), ENOTDIR);
	CHECK_OK("mkdirat", mkdirat(base, "made", 0700));
	CHECK_OK("unlinkat.directory", unlinkat(base, "made", AT_REMOVEDIR));
	CHECK_ERR("unlinkat.directory_flag_missing", unlinkat(base, "in", 0), EISDIR);
	CHECK_ERR("unlinkat.flags", unlinkat(base, "in", 7), EINVAL);
	CHECK_OK("symlinkat", symlinkat("file", base, "link"));
	CHECK("readlinkat", readlinkat(base, "link", path, sizeof path) == 4 && memcmp(path, "file", 4) == 0);
	CHECK_OK("renameat", renameat(base, "link", top, "moved"));
	CHECK_OK("linkat", linkat(base, "file", top, "hard", 0));
	CHECK_OK("faccessat", faccessat(top, "hard", R_OK, 0));
	CHECK_OK("fchmodat", fchmodat(base, "file", 0640, 0));
	struct stat st;
	CHECK("fstatat", fstatat(top, "hard", &st, 0) == 0 && (st.st_mode & 0777) == 0640 && st.st_nlink == 2);
	CHECK_OK("mknodat.fifo", mkfifoat(base, "fifo", 0600));
	struct {
		unsigned long flags, mode, resolve;
	} how = {O_RDONLY, 0, 8 /* RESOLVE_BENEATH */};
	CHECK_OK("openat2", close((int)syscall(SYS_openat2, base, "in/../file", &how, sizeof how)));
	CHECK_ERR("openat2.beneath", syscall(SYS_openat2, base, "../other", &how, sizeof how), EXDEV);
	CHECK_ERR("openat2.size", syscall(SYS_openat2, base, "file", &how, 8), EINVAL);

	CHECK_OK("chdir", chdir("base/in"));
	CHECK("getcwd", cwd_ends("/base/in"));
	CHECK_OK("relative_up", access("../file", F_OK));
	CHECK_OK("fchdir", fchdir(top));
	CHECK("fchdir.cwd", !cwd_ends("/base/in") && access("base", F_OK) == 0);
	CHECK_ERR("chdir.file", chdir("hard"), ENOTDIR);
	CHECK_ERR("chdir.missing", chdir("absent"), ENOENT);
	CHECK_ERR("fchdir.file", fchdir(fd), ENOTDIR);
	CHECK_ERR("getcwd.small", (long)(getcwd(small, 2) ? 0 : -1), ERANGE);
	CHECK("getcwd.raw_length", syscall(SYS_getcwd, path, sizeof path) == (long)strlen(path) + 1);
	REQUIRE(chdir("base/in") == 0 && rename("../../base", "../../renamed") == 0);
	CHECK("getcwd.follows_rename", cwd_ends("/renamed/in"));
	CHECK_OK("openat.follows_rename", close(openat(base, "file", O_RDONLY)));
	REQUIRE(rmdir("../in") == 0);
	CHECK_ERR("getcwd.removed", syscall(SYS_getcwd, path, sizeof path), ENOENT);
	CHECK_ERR("create_in_removed", open("x", O_CREAT | O_WRONLY, 0600), ENOENT);
	CHECK_OK("dot_in_removed", stat(".", &st));
	REQUIRE(fchdir(top) == 0);

	CHECK_OK("path.dots", access("./renamed/.././renamed//file", F_OK));
	CHECK_OK("path.many_slashes", access("renamed////file", F_OK));
	CHECK_ERR("path.dot_after_file", access("renamed/file/.", F_OK), ENOTDIR);
	CHECK_ERR("path.dotdot_after_file", access("renamed/file/..", F_OK), ENOTDIR);
	CHECK_OK("path.above_root", access("/../../..", F_OK));
	CHECK("path.root_is_own_parent", stat("/..", &st) == 0 && st.st_ino == ({
									  struct stat r;
									  stat("/", &r);
									  r.st_ino;
								  }));
	REQUIRE(symlink("renamed", "to_directory") == 0 && symlink("to_directory/file", "to_file") == 0);
	CHECK_OK("path.link_to_link", access("to_file", F_OK));
	REQUIRE(chdir("to_directory") == 0);
	CHECK("getcwd.link_resolved", cwd_ends("/renamed"));
	REQUIRE(fchdir(top) == 0);
	char name[16], next[16];
	REQUIRE(symlink("renamed/file", "chain0") == 0);
	for (int i = 1; i <= 45; i++) {
		snprintf(name, sizeof name, "chain%d", i);
		snprintf(next, sizeof next, "chain%d", i - 1);
		REQUIRE(symlink(next, name) == 0);
	}
	CHECK_OK("path.40_links", access("chain39", F_OK));
	CHECK_ERR("path.41_links", access("chain40", F_OK), ELOOP);
	CHECK("realpath", realpath("to_file", path) && strcmp(strrchr(path, '/'), "/file") == 0);
	return check_done();
}
