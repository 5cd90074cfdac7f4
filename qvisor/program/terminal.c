/* The terminal that the guest's standard streams are: left as it was found, however the program in the guest left it. */
#include "program.h"

#include <string.h>
#include <termios.h>
#include <unistd.h>

static int terminal = -1;
static struct termios before;
static pid_t group; /* a process that runs a program stays in its group */

void terminal_remember(void)
{
	for (int fd = 0; fd < 3 && terminal < 0; fd++)
		if (tcgetattr(fd, &before) == 0)
			terminal = fd;
	group = getpgrp();
}

static bool same(const struct termios *a, const struct termios *b)
{
	return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_cflag == b->c_cflag && a->c_lflag == b->c_lflag &&
	       a->c_line == b->c_line && !memcmp(a->c_cc, b->c_cc, sizeof(a->c_cc));
}

_Noreturn void leave(int status)
{
	struct termios now;
	if (terminal >= 0 && tcgetattr(terminal, &now) == 0 && !same(&now, &before)) {
		/* Not from the background: whoever is in the foreground has set the terminal as it likes. */
		pid_t front = tcgetpgrp(terminal);
		if (front < 0 || front == group)
			tcsetattr(terminal, TCSADRAIN, &before);
	}
	_exit(status);
}
