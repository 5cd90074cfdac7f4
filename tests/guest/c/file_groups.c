/* Whose group a file may get and whose group's set-id bit it may have: chmod(2), chown(2), open(2) for callers without capabilities. */
#include "check.h"
#include <fcntl.h>
#include <grp.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define USER 65534
#define OWN 65534
#define EXTRA 4000
#define FOREIGN 5000

static long mode_of(const char *path)
{
	struct stat st;
	return stat(path, &st) ? -errno : (long)(st.st_mode & 07777);
}

static long group_of(const char *path)
{
	struct stat st;
	return stat(path, &st) ? -errno : (long)st.st_gid;
}

static void make(const char *path, gid_t group)
{
	int fd = open(path, O_CREAT | O_RDWR, 0755);
	REQUIRE(fd >= 0 && fchown(fd, USER, group) == 0);
	close(fd);
}

static void as_user(void)
{
	gid_t groups[] = {EXTRA};
	REQUIRE(setgroups(1, groups) == 0 && setresgid(OWN, OWN, OWN) == 0 && setresuid(USER, USER, USER) == 0);
	CHECK_OK("set-gid on a file of another's group", chmod("foreign", 06755));
	CHECK_EQ("is left out", mode_of("foreign"), 04755);
	CHECK_OK("set-gid on a file of an extra group", chmod("extra", 06755));
	CHECK_EQ("stays", mode_of("extra"), 06755);
	CHECK_OK("set-gid on a file of the own group", chmod("own", 02755));
	CHECK_EQ("stays", mode_of("own"), 02755);
	CHECK_ERR("a file to another user", chown("own", 0, -1), EPERM);
	CHECK_ERR("a file to a foreign group", chown("own", -1, FOREIGN), EPERM);
	CHECK_OK("a file to an extra group", chown("own", -1, EXTRA));
	CHECK_EQ("it has it", group_of("own"), EXTRA);
	CHECK_OK("a file to where it is", chown("foreign", USER, FOREIGN));
	CHECK_ERR("another's file", chown("root", -1, OWN), EPERM);
	CHECK_ERR("another's file", chmod("root", 0777), EPERM);
	umask(0);
	int fd = open("shared/program", O_CREAT | O_RDWR, 02755);
	CHECK("made in a set-gid directory of a foreign group", fd >= 0);
	CHECK_EQ("its group", group_of("shared/program"), FOREIGN);
	CHECK_EQ("its mode", mode_of("shared/program"), 0755);
	fd = open("shared/locked", O_CREAT | O_RDWR, 02644);
	CHECK("the same without the group's execute bit", fd >= 0);
	CHECK_OK("a directory in it", mkdir("shared/dir", 0755));
	CHECK_EQ("inherits the bit", mode_of("shared/dir"), 02755);
}

int main(void)
{
	if (getuid())
		return 121;
	REQUIRE(chmod(".", 0777) == 0);
	make("foreign", FOREIGN);
	make("extra", EXTRA);
	make("own", OWN);
	make("root", 0);
	REQUIRE(chown("root", 0, 0) == 0);
	REQUIRE(mkdir("shared", 0777) == 0 && chown("shared", 0, FOREIGN) == 0 && chmod("shared", 02777) == 0);
	CHECK_OK("root is not asked", chmod("foreign", 02755));
	CHECK_EQ("the bit stays", mode_of("foreign"), 02755);
	pid_t child = fork();
	if (!child) {
		as_user();
		_exit(check_done());
	}
	int status;
	REQUIRE(waitpid(child, &status, 0) == child);
	setfsuid(USER);
	CHECK_ERR("with another's fsuid", chown("root", USER, -1), EPERM);
	CHECK_ERR("another's file", chown("own", 0, -1), EPERM);
	CHECK_OK("its own", chmod("own", 0700));
	setfsuid(0);
	CHECK_OK("and back", chown("root", USER, -1));
	CHECK_EQ("the user's part", status, 0);
	return check_done();
}
