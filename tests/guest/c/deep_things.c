/* Deep and long things: each ends as on Linux, and the kernel lives. */
#include "check.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

static char buf[1 << 16];

static int ends_with(pid_t child)
{
	int status;
	REQUIRE(waitpid(child, &status, 0) == child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void directories(void)
{
	int top = open(".", O_RDONLY | O_DIRECTORY), depth = 0;
	while (depth < 300 && mkdir("d", 0755) == 0 && chdir("d") == 0)
		depth++;
	CHECK_EQ("directories", depth, 300);
	CHECK_OK("a file at the end", open("f", O_CREAT | O_WRONLY, 0600));
	CHECK_ERR("its own parent", rename("../../d", "x"), EINVAL);
	REQUIRE(unlink("f") == 0);
	while (depth && chdir("..") == 0 && rmdir("d") == 0)
		depth--;
	CHECK_EQ("removed", depth, 0);
	REQUIRE(fchdir(top) == 0);
	mkdir("a", 0755);
	for (int k = 0; k < 2040; k++)
		memcpy(buf + 2 * k, "./", 2);
	strcpy(buf + 4080, "a");
	CHECK_OK("a path of 2,041 parts", access(buf, F_OK));
	for (int k = 0; k < 1360; k++)
		memcpy(buf + 3 * k, "../", 3);
	buf[4080] = 0;
	CHECK_OK("up and up", access(buf, F_OK));
	memset(buf, '/', 4095);
	buf[4095] = 0;
	CHECK_OK("slashes", access(buf, F_OK));
}

static void links(void)
{
	char from[32], to[32];
	close(open("l0", O_CREAT | O_WRONLY, 0600));
	for (int k = 1; k <= 50; k++) {
		snprintf(from, sizeof from, "l%d", k - 1);
		snprintf(to, sizeof to, "l%d", k);
		REQUIRE(symlink(from, to) == 0);
	}
	CHECK_OK("40 links", access("l40", F_OK));
	CHECK_ERR("41 links", access("l41", F_OK), ELOOP);
	symlink("loop", "loop");
	CHECK_ERR("itself", open("loop", O_RDONLY), ELOOP);
	CHECK_ERR("made through itself", open("loop", O_CREAT | O_WRONLY, 0600), ELOOP);
	symlink("wide/wide/wide/wide/wide/wide", "wide");
	CHECK_ERR("a growing one", access("wide", F_OK), ELOOP);
	memset(buf, 'x', 4096);
	buf[4096] = 0;
	CHECK_ERR("a long text", symlink(buf, "long"), ENAMETOOLONG);
}

static void processes(void)
{
	pid_t c = fork();
	if (!c) {
		for (int k = 0; k < 500; k++) {
			pid_t n = fork();
			REQUIRE(n >= 0);
			if (n)
				_exit(ends_with(n));
		}
		_exit(7);
	}
	CHECK_EQ("500 generations", ends_with(c), 7);
	c = fork();
	if (!c) {
		REQUIRE(setpgid(0, 0) == 0);
		for (int k = 0; k < 300; k++) {
			pid_t n = fork();
			REQUIRE(n >= 0);
			if (n) {
				pause();
				_exit(1);
			}
		}
		kill(0, SIGKILL);
		_exit(1);
	}
	CHECK_EQ("a tree that is killed", ends_with(c), 1000 + SIGKILL);
}

static void arguments(void)
{
	static char *argv[300001];
	static char word[200001];
	memset(word, 'a', sizeof word - 1);
	argv[0] = "true";
	argv[1] = word;
	CHECK_ERR("a long argument", execv("/bin/true", argv), E2BIG);
	word[100] = 0;
	for (int k = 1; k < 300000; k++)
		argv[k] = word;
	CHECK_ERR("many arguments", execv("/bin/true", argv), E2BIG);
	FILE *f = fopen("self", "w");
	fprintf(f, "#!%s\n", realpath("self", buf));
	fclose(f);
	chmod("self", 0755);
	char *one[] = {"self", NULL};
	CHECK_ERR("a script that is its own interpreter", execv("./self", one), ELOOP);
}

static void vectors(void)
{
	static struct iovec v[1025];
	int fd = open("v", O_CREAT | O_RDWR, 0600), p[2];
	for (int k = 0; k < 1025; k++)
		v[k] = (struct iovec){buf, sizeof buf};
	CHECK_ERR("1,025 pieces", writev(fd, v, 1025), EINVAL);
	CHECK_EQ("1,024 pieces", writev(fd, v, 1024), 1024L * (long)sizeof buf);
	REQUIRE(ftruncate(fd, 0) == 0);
	REQUIRE(pipe2(p, O_NONBLOCK) == 0);
	CHECK_EQ("into a pipe", writev(p[1], v, 1024), 65536);
	v[3].iov_len = (size_t)-1;
	CHECK_ERR("a negative length", writev(fd, v, 10), EINVAL);
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 1025};
	int s[2];
	REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM, 0, s) == 0);
	CHECK_ERR("of a message", sendmsg(s[0], &m, 0), EMSGSIZE);
}

static void many_locks(void)
{
	int fd = open("locks", O_CREAT | O_RDWR, 0600), n = 0;
	for (; n < 3000; n++) {
		struct flock l = {.l_type = F_WRLCK, .l_start = 2 * n, .l_len = 1};
		if (fcntl(fd, F_SETLK, &l))
			break;
	}
	CHECK_EQ("locks", n, 3000);
	close(fd);
}

int main(void)
{
	directories();
	links();
	processes();
	arguments();
	vectors();
	many_locks();
	return check_done();
}
