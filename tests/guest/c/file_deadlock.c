/* EDEADLK of fcntl(F_SETLKW): two and three processes that wait for each other; not for a queue, and not for locks of open files. */
#include "check.h"
#include <fcntl.h>
#include <sys/wait.h>

static int fd;

static long lock(int type, int byte, int command)
{
	struct flock l = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
	return fcntl(fd, command, &l);
}

/* Process i of n holds byte i and then wants byte i + 1; the last one closes the circle. */
static void circle(int n)
{
	int ready[2], go[8][2], status, deadlocks = 0;
	pid_t pids[8];
	REQUIRE(pipe(ready) == 0);
	for (int i = 0; i < n; i++) {
		REQUIRE(pipe(go[i]) == 0);
		pids[i] = fork();
		if (!pids[i]) {
			char c = 'r';
			REQUIRE(lock(F_WRLCK, i, F_SETLK) == 0 && write(ready[1], &c, 1) == 1 && read(go[i][0], &c, 1) == 1);
			long r = lock(F_WRLCK, (i + 1) % n, F_SETLKW);
			_exit(r == 0 ? 0 : errno == EDEADLK ? 1 : 2);
		}
	}
	for (int i = 0; i < n; i++) {
		char c;
		REQUIRE(read(ready[0], &c, 1) == 1);
	}
	for (int i = 0; i < n; i++) {
		REQUIRE(write(go[i][1], "g", 1) == 1);
		sleep_ms(30);
	}
	for (int i = 0; i < n; i++) {
		REQUIRE(waitpid(pids[i], &status, 0) == pids[i]);
		CHECK("ended", WIFEXITED(status) && WEXITSTATUS(status) <= 1);
		deadlocks += WEXITSTATUS(status);
	}
	CHECK_EQ("one gives up", deadlocks, 1);
}

static void queue(void)
{
	int status;
	REQUIRE(lock(F_WRLCK, 0, F_SETLK) == 0);
	pid_t pid = fork();
	if (!pid)
		_exit(lock(F_WRLCK, 0, F_SETLKW) == 0 ? 0 : 1);
	sleep_ms(30);
	CHECK_OK("unrelated", lock(F_WRLCK, 5, F_SETLKW));
	CHECK_OK("own again", lock(F_RDLCK, 0, F_SETLKW));
	CHECK_OK("let go", lock(F_UNLCK, 0, F_SETLK));
	CHECK("queue", waitpid(pid, &status, 0) == pid && status == 0);
}

int main(void)
{
	fd = open("locked", O_RDWR | O_CREAT, 0600);
	REQUIRE(fd >= 0);
	circle(2);
	circle(3);
	queue();
	return check_done();
}
