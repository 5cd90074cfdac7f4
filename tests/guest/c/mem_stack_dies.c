/* Stack overflow with no alternate stack: the kernel cannot build a frame and kills the program with SIGSEGV. */
#include "check.h"
#include <signal.h>

static void never(int signal)
{
	(void)signal;
	show("handler ran FAIL");
}

__attribute__((noinline)) static int overflow(int n)
{
	volatile char frame[4000];
	frame[n & 1023] = 1;
	return n < 0 ? 0 : overflow(n + 1) + frame[0];
}

int main(void)
{
	REQUIRE(signal(SIGSEGV, never) != SIG_ERR);
	show("overflowing");
	return overflow(0) == 1;
}
