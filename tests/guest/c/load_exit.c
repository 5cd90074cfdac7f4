/* Ways to end: the argument says which; exit status or signal is the result (128+n as a shell reports it). */
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

static void *thread_exits_process(void *arg)
{
	(void)arg;
	exit(9);
}

static void *thread_outlives_main(void *arg)
{
	sleep_ms(20);
	show("thread still runs %s", (const char *)arg);
	return NULL;
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "0";
	volatile int zero = 0;
	volatile int *volatile low = (volatile int *)8; /* volatile: hidden from the compiler */
	pthread_t thread;
	show("ending by %s", how);
	if (strcmp(how, "abort") == 0)
		abort();
	if (strcmp(how, "segv") == 0)
		*low = 1;
	if (strcmp(how, "fpe") == 0)
		__asm__ volatile("idivl %0" ::"r"(zero), "a"(1000), "d"(0) : "cc");
	if (strcmp(how, "ill") == 0)
		__builtin_trap();
	if (strcmp(how, "trap") == 0)
		__asm__ volatile("int3");
	if (strcmp(how, "privileged") == 0)
		__asm__ volatile("cli");
	if (strcmp(how, "hlt") == 0)
		__asm__ volatile("hlt");
	if (strcmp(how, "noncanonical") == 0) {
		low = (volatile int *)0x8000000000000000UL;
		*low = 1;
	}
	if (strcmp(how, "kill") == 0)
		kill(getpid(), SIGKILL);
	if (strcmp(how, "term") == 0)
		raise(SIGTERM);
	if (strcmp(how, "pipe") == 0) {
		int fd[2];
		REQUIRE(pipe(fd) == 0 && close(fd[0]) == 0);
		REQUIRE(write(fd[1], "x", 1) == 1);
	}
	if (strcmp(how, "alarm") == 0) {
		ualarm(10000, 0);
		for (;;)
			pause();
	}
	if (strcmp(how, "spin") == 0) {
		ualarm(20000, 0);
		for (;;)
			zero++;
	}
	if (strcmp(how, "_exit") == 0) {
		printf("never flushed");
		_exit(7);
	}
	if (strcmp(how, "exit_group") == 0)
		syscall(SYS_exit_group, 0x1234);
	if (strcmp(how, "thread") == 0) {
		REQUIRE(pthread_create(&thread, NULL, thread_exits_process, NULL) == 0);
		for (;;)
			pause();
	}
	if (strcmp(how, "main_thread_exit") == 0) {
		REQUIRE(pthread_create(&thread, NULL, thread_outlives_main, "after main's") == 0);
		pthread_exit(NULL);
	}
	if (strcmp(how, "return_with_threads") == 0) {
		REQUIRE(pthread_create(&thread, NULL, thread_outlives_main, "FAIL") == 0);
		return 5;
	}
	return atoi(how);
}
