/* Hello through stdio: constructors run, the locale and environment work, the buffer is flushed at exit. */
#include "check.h"

static int constructed;
__attribute__((constructor)) static void construct(void)
{
	constructed = 1;
}
static void at_exit_first(void)
{
	puts("atexit first registered, last run");
}
static void at_exit_second(void)
{
	puts("atexit second");
}
__attribute__((destructor)) static void destruct(void)
{
	puts("destructor");
}

int main(void)
{
	printf("hello, world %d %s %.3f\n", 42, "text", 3.14159);
	printf("constructor %s\n", constructed ? "ok" : "FAIL");
	atexit(at_exit_first);
	atexit(at_exit_second);
	fprintf(stderr, "to stderr\n");
	return 3;
}
