/* The terminal that the guest's standard streams are: left as it was found, however the program in the guest left it. */
#include "program.h"

#include <string.h>
#include <termios.h>
#include <unistd.h>

static int terminal = -1;
static struct termios before;

void terminal_remember(void)
{
	for (int fd = 0; fd < 3 && terminal < 0; fd++)
		if (tcgetattr(fd, &before) == 0)
			terminal = fd;
}

_Noreturn void leave(int status)
{
	struct termios now = {0};
	if (terminal >= 0 && tcgetattr(terminal, &now) == 0 && memcmp(&now, &before, sizeof(now))) {
		/* Not from the background: whoever is in the foreground has set the terminal as it likes. */
		pid_t front = tcgetpgrp(terminal);
		if (front < 0 || front == getpgrp())
			tcsetattr(terminal, TCSADRAIN, &before);
	}
	_exit(status);
}
