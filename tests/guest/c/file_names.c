/* rename, link, symlink, readlink, unlink: what replaces what, what survives unlinking, and the errors between. */
#include "check.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static void put(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	REQUIRE(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && close(fd) == 0);
}

static int holds(const char *name, const char *text)
{
	char got[64] = "";
	int fd = open(name, O_RDONLY);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, got, sizeof got - 1);
	close(fd);
	return n == (ssize_t)strlen(text) && strcmp(got, text) == 0;
}

static struct stat status(const char *name)
{
	struct stat st;
	REQUIRE(lstat(name, &st) == 0);
	return st;
}

int main(void)
{
	char target[64];
	put("a", "a");
	put("b", "b");
	ino_t inode = status("a").st_ino;
	CHECK_OK("rename", rename("a", "c"));
	CHECK("rename.moved", holds("c", "a") && access("a", F_OK) == -1 && status("c").st_ino == inode);
	int open_b = open("b", O_RDWR);
	CHECK_OK("rename.replaces", rename("c", "b"));
	CHECK("rename.replaced", holds("b", "a") && access("c", F_OK) == -1);
	struct stat st;
	CHECK("rename.old_file_open", fstat(open_b, &st) == 0 && st.st_nlink == 0 && pread(open_b, target, 9, 0) == 1 && target[0] == 'b');
	CHECK_OK("rename.same", rename("b", "b"));
	CHECK_ERR("rename.missing", rename("absent", "x"), ENOENT);
	CHECK_ERR("rename.to_missing_directory", rename("b", "absent/x"), ENOENT);

	REQUIRE(mkdir("d1", 0755) == 0 && mkdir("d2", 0755) == 0 && mkdir("d1/sub", 0755) == 0);
	CHECK_ERR("rename.file_over_directory", rename("b", "d2"), EISDIR);
	CHECK_ERR("rename.directory_over_file", rename("d1", "b"), ENOTDIR);
	CHECK_ERR("rename.over_full_directory", rename("d2", "d1"), ENOTEMPTY);
	CHECK_ERR("rename.into_itself", rename("d1", "d1/sub/x"), EINVAL);
	CHECK_OK("rename.over_empty_directory", rename("d1", "d2"));
	CHECK("rename.directory_moved", access("d2/sub", F_OK) == 0 && access("d1", F_OK) == -1);
	CHECK_OK("rename.into_directory", rename("b", "d2/sub/deep"));
	CHECK("rename.deep", holds("d2/sub/deep", "a"));
	CHECK_ERR("rename.dot", rename("d2/.", "x"), EBUSY);
	put("p", "p");
	put("q", "q");
	CHECK_ERR("renameat2.noreplace", renameat2(AT_FDCWD, "p", AT_FDCWD, "q", RENAME_NOREPLACE), EEXIST);
	CHECK_OK("renameat2.exchange", renameat2(AT_FDCWD, "p", AT_FDCWD, "q", RENAME_EXCHANGE));
	CHECK("renameat2.exchanged", holds("p", "q") && holds("q", "p"));
	CHECK_ERR("renameat2.flags", renameat2(AT_FDCWD, "p", AT_FDCWD, "q", 64), EINVAL);

	CHECK_OK("link", link("p", "hard"));
	CHECK("link.same", status("p").st_ino == status("hard").st_ino && status("p").st_nlink == 2);
	put("hard", "through hard");
	CHECK("link.shared_content", holds("p", "through hard"));
	CHECK_ERR("link.exists", link("p", "hard"), EEXIST);
	CHECK_ERR("link.directory", link("d2", "d3"), EPERM);
	CHECK_ERR("link.missing", link("absent", "x"), ENOENT);
	CHECK_OK("rename.onto_own_link", rename("p", "hard"));
	CHECK("rename.onto_own_link_keeps_both", access("p", F_OK) == 0 && access("hard", F_OK) == 0);
	CHECK_OK("unlink", unlink("p"));
	CHECK("unlink.other_link", status("hard").st_nlink == 1 && holds("hard", "through hard"));

	CHECK_OK("symlink", symlink("hard", "soft"));
	CHECK("readlink", readlink("soft", target, sizeof target) == 4 && memcmp(target, "hard", 4) == 0);
	CHECK_EQ("readlink.cut", readlink("soft", target, 2), 2);
	CHECK_ERR("readlink.file", readlink("hard", target, 9), EINVAL);
	CHECK_ERR("readlink.size0", syscall(SYS_readlink, "soft", target, 0), EINVAL);
	CHECK("symlink.lstat", S_ISLNK(status("soft").st_mode) && status("soft").st_size == 4);
	CHECK("symlink.through", holds("soft", "through hard"));
	CHECK_ERR("symlink.exists", symlink("x", "soft"), EEXIST);
	CHECK_ERR("symlink.empty", symlink("", "x"), ENOENT);
	CHECK_OK("symlink.rename_moves_link", rename("soft", "softer"));
	CHECK("symlink.renamed", S_ISLNK(status("softer").st_mode));
	CHECK_OK("symlink.unlink_link_only", unlink("softer"));
	CHECK_OK("symlink.target_kept", access("hard", F_OK));
	REQUIRE(symlink("d2/sub", "way") == 0);
	CHECK("symlink.directory", holds("way/deep", "a") && holds("way/../sub/deep", "a"));
	CHECK_ERR("symlink.slash_unlink", unlink("way/"), ENOTDIR);
	CHECK_OK("linkat.symlink_itself", linkat(AT_FDCWD, "way", AT_FDCWD, "way2", 0));
	CHECK("linkat.is_symlink", S_ISLNK(status("way2").st_mode));

	int fd = open("hard", O_RDWR);
	REQUIRE(unlink("hard") == 0);
	CHECK("unlinked.still_usable", pwrite(fd, "still", 5, 0) == 5 && pread(fd, target, 5, 0) == 5 && memcmp(target, "still", 5) == 0);
	CHECK("unlinked.nlink0", fstat(fd, &st) == 0 && st.st_nlink == 0);
	put("hard", "new file");
	CHECK("unlinked.name_reused", holds("hard", "new file") && pread(fd, target, 5, 0) == 5 && memcmp(target, "still", 5) == 0);
	CHECK_ERR("unlink.missing", unlink("absent"), ENOENT);
	CHECK_ERR("unlink.directory", unlink("d2"), EISDIR);
	CHECK_ERR("unlink.slash", unlink("hard/"), ENOTDIR);
	return check_done();
}
