/* What of /proc/PID another user may see: ptrace(2), "Ptrace access mode checking". */
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static long open_errno(pid_t pid, const char *name)
{
	char path[64], byte;
	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	int fd = open(path, O_RDONLY);
	long r = fd < 0 || read(fd, &byte, 1) < 0 ? errno : 0;
	if (fd >= 0)
		close(fd);
	return r;
}

static void look(const char *who, pid_t pid)
{
	static const char *const texts[] = {"maps",   "smaps", "smaps_rollup", "environ", "auxv", "io",     "personality", "pagemap",   "mem",
					    "status", "stat",  "statm",        "cmdline", "comm", "limits", "mounts",      "oom_score", "fdinfo/0"};
	static const char *const links[] = {"exe", "cwd", "root", "fd/0", "ns/pid"};
	static const char *const dirs[] = {"fd", "fdinfo", "ns", "task"};
	char path[64], target[256];
	for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
		long r = open_errno(pid, texts[k]);
		show("%s %s: %s", who, texts[k], !strcmp(texts[k], "mem") && r == EIO ? "0" : errno_name((int)r)); /* nothing at address 0 */
	}
	for (size_t k = 0; k < sizeof links / sizeof *links; k++) {
		snprintf(path, sizeof path, "/proc/%d/%s", pid, links[k]);
		show("%s link %s: %s", who, links[k], errno_name(readlink(path, target, sizeof target) < 0 ? errno : 0));
		struct stat st;
		show("%s behind %s: %s", who, links[k], errno_name(stat(path, &st) ? errno : 0));
	}
	for (size_t k = 0; k < sizeof dirs / sizeof *dirs; k++) {
		snprintf(path, sizeof path, "/proc/%d/%s", pid, dirs[k]);
		DIR *d = opendir(path);
		errno = d ? 0 : errno;
		if (d)
			readdir(d);
		show("%s in %s: %s", who, dirs[k], errno_name(errno));
		if (d)
			closedir(d);
	}
}

static void become(int id)
{
	REQUIRE(setresgid(id, id, id) == 0 && setresuid(id, id, id) == 0);
}

/* An idle process of that user; with a program of its own, so that it may be looked into. */
static pid_t idle(int id)
{
	int ready[2];
	REQUIRE(pipe(ready) == 0);
	pid_t pid = fork();
	if (!pid) {
		become(id);
		if (dup2(ready[1], 1) < 0)
			_exit(1);
		execl("/proc/self/exe", "proc_guard", "idle", NULL);
		_exit(1);
	}
	char byte;
	close(ready[1]);
	REQUIRE(read(ready[0], &byte, 1) == 1);
	close(ready[0]);
	return pid;
}

int main(int argc, UNUSED char **argv)
{
	if (argc > 1) {
		if (write(1, "r", 1) == 1)
			pause();
		return 0;
	}
	int status;
	/* The others must be able to run it, wherever it is. */
	pid_t pids[] = {idle(0), idle(65534), idle(4000)};
	for (int user = 0; user < 2; user++) {
		pid_t child = fork();
		if (!child) {
			if (user)
				become(65534);
			look(user ? "user, root's" : "root, root's", pids[0]);
			look(user ? "user, own" : "root, user's", pids[1]);
			look(user ? "user, other's" : "root, other's", pids[2]);
			_exit(0);
		}
		REQUIRE(waitpid(child, &status, 0) == child);
		CHECK_EQ("ended", status, 0);
	}
	for (int k = 0; k < 3; k++)
		kill(pids[k], SIGKILL);
	while (wait(&status) > 0)
		;
	return check_done();
}
