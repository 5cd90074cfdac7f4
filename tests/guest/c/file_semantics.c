/* What files do at the edges: size limits, busy programs, set-id bits, holes, names that end in a slash, directories that are gone, deep paths. */
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static char buf[65536];

static int make(const char *name, mode_t mode)
{
	int fd = open(name, O_CREAT | O_RDWR | O_TRUNC, mode);
	REQUIRE(fd >= 0);
	return fd;
}

static int ends_with(pid_t child)
{
	int status;
	REQUIRE(waitpid(child, &status, 0) == child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void size_limit(void)
{
	int fd = make("limited", 0600);
	struct rlimit limit = {10000, RLIM_INFINITY};
	pid_t c = fork();
	if (!c) {
		setrlimit(RLIMIT_FSIZE, &limit);
		signal(SIGXFSZ, SIG_IGN);
		CHECK_EQ("up to the limit", pwrite(fd, buf, 8192, 8192), 1808);
		CHECK_ERR("at the limit", pwrite(fd, buf, 1, 10000), EFBIG);
		CHECK_ERR("beyond", pwrite(fd, buf, 1, 20000), EFBIG);
		CHECK_EQ("nothing", pwrite(fd, buf, 0, 20000), 0);
		CHECK_ERR("truncate", ftruncate(fd, 10001), EFBIG);
		CHECK_OK("to the limit", ftruncate(fd, 10000));
		CHECK_ERR("fallocate", fallocate(fd, 0, 0, 10001), EFBIG);
		CHECK_OK("fallocate without growing", fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 20000));
		int p[2];
		REQUIRE(pipe(p) == 0 && write(p[1], buf, 100) == 100);
		CHECK_ERR("splice", splice(p[0], NULL, fd, (off_t[]){10000}, 100, 0), EFBIG);
		_exit(0);
	}
	REQUIRE(ends_with(c) == 0);
	c = fork();
	if (!c) {
		setrlimit(RLIMIT_FSIZE, &limit);
		pwrite(fd, buf, 1, 20000);
		_exit(0);
	}
	CHECK_EQ("the signal", ends_with(c), 1000 + SIGXFSZ);
	close(fd);
}

static void busy(void)
{
	CHECK_ERR("write to what runs", open("/proc/self/exe", O_WRONLY), ETXTBSY);
	CHECK_ERR("truncate it", truncate("/proc/self/exe", 100), ETXTBSY);
	int in = open("/proc/self/exe", O_RDONLY), out = make("copy", 0755);
	ssize_t n;
	while ((n = read(in, buf, sizeof buf)) > 0)
		REQUIRE(write(out, buf, (size_t)n) == n);
	for (int open_for_writing = 1; open_for_writing >= 0; open_for_writing--) {
		pid_t c = fork();
		if (!c) {
			execl("./copy", "copy", "nothing", NULL);
			_exit(errno);
		}
		CHECK_EQ("run it", ends_with(c), open_for_writing ? ETXTBSY : 0);
		close(out);
	}
	CHECK_OK("write when it has ended", open("copy", O_WRONLY));
}

static void set_id(void)
{
	struct stat s;
	int fd = make("s", 0777);
	fchmod(fd, 06755);
	chown("s", 1000, 1000);
	stat("s", &s);
	CHECK_EQ("chown", s.st_mode & 07777, 0755);
	fchmod(fd, 06777);
	pid_t c = fork();
	if (!c) {
		REQUIRE(setgid(1001) == 0 && setuid(1001) == 0);
		int w = open("s", O_WRONLY);
		_exit(write(w, "x", 1) != 1);
	}
	REQUIRE(ends_with(c) == 0);
	stat("s", &s);
	CHECK_EQ("written by another", s.st_mode & 07777, 0777);
	fchmod(fd, 06777);
	c = fork();
	if (!c) {
		REQUIRE(setgid(1001) == 0 && setuid(1001) == 0);
		_exit(truncate("s", 0) != 0);
	}
	REQUIRE(ends_with(c) == 0);
	stat("s", &s);
	CHECK_EQ("cut by another", s.st_mode & 07777, 0777);
	fchmod(fd, 06777);
	REQUIRE(write(fd, "x", 1) == 1);
	stat("s", &s);
	CHECK_EQ("written by root", s.st_mode & 07777, 06777);
	close(fd);
}

static void holes(void)
{
	int fd = make("sparse", 0600);
	struct stat s;
	REQUIRE(pwrite(fd, "x", 1, 5l << 30) == 1 && pwrite(fd, "y", 1, 1 << 20) == 1);
	fstat(fd, &s);
	CHECK("few blocks", s.st_blocks < 100);
	CHECK_EQ("data", lseek(fd, 0, SEEK_DATA), 1 << 20);
	CHECK_EQ("hole", lseek(fd, 0, SEEK_HOLE), 0);
	CHECK_EQ("hole behind it", lseek(fd, 1 << 20, SEEK_HOLE), (1 << 20) + 4096);
	CHECK_EQ("next data", lseek(fd, 2 << 20, SEEK_DATA), 5l << 30);
	CHECK_EQ("end is a hole", lseek(fd, 5l << 30, SEEK_HOLE), (5l << 30) + 1);
	CHECK_ERR("beyond", lseek(fd, 6l << 30, SEEK_DATA), ENXIO);
	CHECK_OK("punch", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 4096));
	CHECK_EQ("data after it", lseek(fd, 0, SEEK_DATA), 5l << 30);
	CHECK_ERR("too far", lseek(fd, 1l << 62, SEEK_SET), EINVAL);
	struct timespec t[2] = {{-100, 999999999}, {-1, 5}};
	CHECK_OK("before 1970", futimens(fd, t));
	fstat(fd, &s);
	show("%ld.%ld %ld.%ld", s.st_atim.tv_sec, s.st_atim.tv_nsec, s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
	close(fd);
}

static void names(void)
{
	close(make("file", 0600));
	CHECK_ERR("to a name with a slash", rename("file", "new/"), ENOTDIR);
	CHECK_ERR("from one", rename("file/", "new"), ENOTDIR);
	mkdir("dir", 0755);
	CHECK_OK("a directory to one", rename("dir/", "dir2/"));
	int fd = open("dir2", O_RDONLY | O_DIRECTORY);
	rmdir("dir2");
	CHECK_ERR("read a directory that is gone", syscall(SYS_getdents64, fd, buf, sizeof buf), ENOENT);
	CHECK_ERR("make a file in it", openat(fd, "x", O_CREAT | O_WRONLY, 0600), ENOENT);
	fd = open("file", O_RDONLY);
	unlink("file");
	char link[64];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	CHECK_ERR("a name for what has none", linkat(AT_FDCWD, link, AT_FDCWD, "again", AT_SYMLINK_FOLLOW), ENOENT);
	fd = open(".", O_TMPFILE | O_RDWR, 0600);
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	CHECK_OK("but for O_TMPFILE", linkat(AT_FDCWD, link, AT_FDCWD, "again", AT_SYMLINK_FOLLOW));
	fd = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600);
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	CHECK_ERR("not with O_EXCL", linkat(AT_FDCWD, link, AT_FDCWD, "excl", AT_SYMLINK_FOLLOW), ENOENT);
	int top = open(".", O_RDONLY | O_DIRECTORY), depth = 0;
	while (depth < 300 && mkdir("a_directory_name", 0755) == 0 && chdir("a_directory_name") == 0)
		depth++;
	CHECK_EQ("deep", depth, 300);
	CHECK_EQ("longer than PATH_MAX", syscall(SYS_getcwd, buf, sizeof buf) < 0 ? errno : 0, ENAMETOOLONG);
	REQUIRE(fchdir(top) == 0);
	CHECK_EQ("removed", system("rm -rf a_directory_name"), 0);
}

static void full_pipe(void)
{
	int p[2];
	REQUIRE(pipe2(p, O_NONBLOCK) == 0);
	while (write(p[1], buf, 4096) > 0) {}
	REQUIRE(read(p[0], buf, 100) == 100);
	CHECK_ERR("a page that is begun is not free", write(p[1], buf, 100), EAGAIN);
	REQUIRE(read(p[0], buf, 3996) == 3996);
	CHECK_EQ("now it is", write(p[1], buf, 4096), 4096);
	ssize_t n, got = 0;
	while ((n = read(p[0], buf, 1000)) > 0)
		got += n;
	CHECK_EQ("all of it", got, 65536);
	CHECK_EQ("empty again", write(p[1], buf, 65536), 65536);
}

int main(int argc, char **argv)
{
	(void)argv;
	if (argc > 1)
		return 0;
	size_limit();
	busy();
	if (!getuid())
		set_id();
	holes();
	names();
	full_pipe();
	return check_done();
}
