/* Extended attributes: kinds, flags, sizes, every call, and that they go with a file. Only lines that file systems with them agree on. */
#include "check.h"
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

static char big[70000], buf[70000];
static void *volatile bad = (void *)8;

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list(const char *path)
{
	char names[4096], *sorted[100], line[400] = "";
	ssize_t n = listxattr(path, names, sizeof names);
	int count = 0;
	for (char *at = names; n > 0 && at < names + n; at += strlen(at) + 1)
		if (!strncmp(at, "user.", 5))
			sorted[count++] = at;
	qsort(sorted, (size_t)count, sizeof *sorted, compare);
	for (int k = 0; k < count; k++) {
		strcat(line, " ");
		strcat(line, sorted[k]);
	}
	show("%s:%s", path, n < 0 ? errno_name(errno) : line);
}

static void calls(void)
{
	int fd = open("f", O_CREAT | O_RDWR, 0644);
	REQUIRE(fd >= 0);
	CHECK_ERR("none yet", getxattr("f", "user.a", buf, sizeof buf), ENODATA);
	list("f");
	CHECK_OK("set", setxattr("f", "user.a", "value", 5, 0));
	CHECK_EQ("get", getxattr("f", "user.a", buf, sizeof buf), 5);
	CHECK("as set", !memcmp(buf, "value", 5));
	CHECK_EQ("only ask", getxattr("f", "user.a", NULL, 0), 5);
	CHECK_ERR("small buffer", getxattr("f", "user.a", buf, 4), ERANGE);
	CHECK_ERR("create again", setxattr("f", "user.a", "x", 1, XATTR_CREATE), EEXIST);
	CHECK_OK("replace", setxattr("f", "user.a", "other", 5, XATTR_REPLACE));
	CHECK_ERR("replace what is not there", setxattr("f", "user.b", "x", 1, XATTR_REPLACE), ENODATA);
	CHECK_OK("by descriptor, empty", fsetxattr(fd, "user.empty", "", 0, XATTR_CREATE));
	CHECK_EQ("empty", fgetxattr(fd, "user.empty", buf, sizeof buf), 0);
	list("f");
	CHECK_ERR("small list", listxattr("f", buf, 3), ERANGE);
	CHECK_OK("remove", removexattr("f", "user.a"));
	CHECK_ERR("twice", fremovexattr(fd, "user.a"), ENODATA);
	list("f");
	CHECK_ERR("bad flags", setxattr("f", "user.a", "x", 1, 4), EINVAL);
	CHECK_ERR("no kind", setxattr("f", "a", "x", 1, 0), EOPNOTSUPP);
	CHECK_ERR("unknown kind", setxattr("f", "other.a", "x", 1, 0), EOPNOTSUPP);
	CHECK_ERR("no name", setxattr("f", "user.", "x", 1, 0), EINVAL);
	CHECK_ERR("empty name", setxattr("f", "", "x", 1, 0), ERANGE);
	memset(big, 'n', 300);
	memcpy(big, "user.", 5);
	big[300] = 0;
	CHECK_ERR("long name", setxattr("f", big, "x", 1, 0), ERANGE);
	CHECK_ERR("large value", setxattr("f", "user.a", big, 65537, 0), E2BIG);
	CHECK_ERR("no file", setxattr("nothing", "user.a", "x", 1, 0), ENOENT);
	CHECK_ERR("bad descriptor", fsetxattr(-1, "user.a", "x", 1, 0), EBADF);
	CHECK_ERR("bad value", setxattr("f", "user.a", bad, 10, 0), EFAULT);
	CHECK_ERR("bad path", setxattr(bad, "user.a", "x", 1, 0), EFAULT);
	int o = open("f", O_PATH);
	CHECK_ERR("O_PATH", fgetxattr(o, "user.a", buf, 10), EBADF);
	close(o);
	close(fd);
}

static void kinds_of_files(void)
{
	mkdir("d", 0755);
	symlink("f", "l");
	mkfifo("p", 0600);
	CHECK_OK("directory", setxattr("d", "user.d", "1", 1, 0));
	CHECK_OK("through a link", setxattr("l", "user.through", "1", 1, 0));
	CHECK_ERR("a link itself", lsetxattr("l", "user.link", "1", 1, 0), EPERM);
	CHECK_ERR("asked for", lgetxattr("l", "user.link", buf, 10), ENODATA);
	CHECK_ERR("a fifo", setxattr("p", "user.p", "1", 1, 0), EPERM);
	list("f");
	list("d");
}

static void with_the_file(void)
{
	rename("f", "g");
	link("g", "h");
	list("h");
	int fd = open("g", O_WRONLY | O_TRUNC);
	list("g");
	unlink("g");
	unlink("h");
	CHECK_EQ("without a name", fgetxattr(fd, "user.through", buf, sizeof buf), 1);
	close(fd);
	int in = inotify_init1(IN_NONBLOCK);
	close(open("n", O_CREAT | O_WRONLY, 0644));
	inotify_add_watch(in, "n", IN_ATTRIB);
	setxattr("n", "user.a", "1", 1, 0);
	CHECK_EQ("is told", read(in, buf, sizeof buf), 16);
}

static void others(void)
{
	int status;
	close(open("mine", O_CREAT | O_WRONLY, 0600));
	close(open("theirs", O_CREAT | O_WRONLY, 0644));
	setxattr("theirs", "user.a", "1", 1, 0);
	CHECK_OK("trusted", setxattr("theirs", "trusted.t", "1", 1, 0));
	CHECK_EQ("trusted", getxattr("theirs", "trusted.t", buf, 10), 1);
	pid_t c = fork();
	if (!c) {
		REQUIRE(setgid(1234) == 0 && setuid(1234) == 0);
		CHECK_ERR("read", getxattr("mine", "user.a", buf, 10), EACCES);
		CHECK_ERR("write", setxattr("theirs", "user.a", "2", 1, 0), EACCES);
		CHECK_EQ("may read", getxattr("theirs", "user.a", buf, 10), 1);
		CHECK_ERR("trusted is hidden", getxattr("theirs", "trusted.t", buf, 10), ENODATA);
		CHECK_ERR("and not settable", setxattr("theirs", "trusted.t", "2", 1, 0), EPERM);
		CHECK_EQ("nor listed", listxattr("theirs", buf, sizeof buf), sizeof "user.a");
		_exit(0);
	}
	REQUIRE(waitpid(c, &status, 0) == c);
}

int main(int argc, char **argv)
{
	(void)argv;
	calls();
	kinds_of_files();
	with_the_file();
	if (!getuid() && argc < 2)
		others();
	return check_done();
}
