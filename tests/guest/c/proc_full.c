/* More children than there are process numbers: EAGAIN, and all is well again once they are waited for. Those that the first process only inherited and
 * never waits for make room by themselves. Run as the first process of a sandbox. */
#include "check.h"
#include <sys/syscall.h>
#include <sys/wait.h>

static long child(void)
{
	pid_t pid = vfork();
	if (!pid)
		_exit(0);
	return pid;
}

int main(void)
{
	int made = 0, reaped = 0, lost = 0;
	while (made < 100000 && child() > 0)
		made++;
	CHECK_EQ("EAGAIN", errno, EAGAIN);
	CHECK("as many as numbers", made > 30000 && made < 33000);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		reaped++;
	CHECK_EQ("all reaped", reaped, made);
	for (int i = 0; i < 45; i++) {
		pid_t pid = fork();
		if (!pid) {
			for (int k = 0; k < 1000; k++)
				if (child() < 0)
					_exit(1);
			_exit(0);
		}
		int status;
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			lost++;
	}
	CHECK_EQ("inherited zombies make room", lost, 0);
	return check_done();
}
