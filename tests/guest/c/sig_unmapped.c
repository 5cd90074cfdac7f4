/* Processes that take their own memory away: SIGSEGV ends each, whether or not there is a handler, a stack for it, or a mask over it. */
#include "check.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void handler(UNUSED int sig)
{
	_exit(3);
}

/* All of it, larger halves first, without a stack or a library in between. */
__attribute__((noinline)) static void unmap_all(void)
{
	for (unsigned long len = ~0xffful; len > 0x1000; len = (len >> 1) & ~0xffful) {
		long r;
		__asm__ volatile("syscall" : "=a"(r) : "a"((long)SYS_munmap), "D"(0ul), "S"(len) : "rcx", "r11", "memory");
	}
}

__attribute__((noinline)) static void unmap_own_code(void)
{
	munmap((void *)((unsigned long)&unmap_own_code & ~0xffful), 4096);
}

__attribute__((noinline)) static void unmap_own_stack(void)
{
	int here;
	unsigned long at = (unsigned long)&here & ~0xffful;
	for (unsigned long len = 64ul << 20; len >= 4096; len /= 2) {
		long r;
		__asm__ volatile("syscall" : "=a"(r) : "a"((long)SYS_munmap), "D"(at - len / 2), "S"(len) : "rcx", "r11", "memory");
	}
	__asm__ volatile("push %%rax; pop %%rax" ::: "memory");
}

static void try(const char *name, void (*take)(void), int how)
{
	int status;
	pid_t child = fork();
	if (!child) {
		struct sigaction sa = {.sa_handler = handler, .sa_flags = how == 2 ? SA_ONSTACK : 0};
		static char stack[16384];
		stack_t ss = {.ss_sp = stack, .ss_size = sizeof stack};
		sigset_t all;
		if (how)
			sigaction(SIGSEGV, &sa, NULL);
		if (how == 2)
			sigaltstack(&ss, NULL);
		sigfillset(&all);
		if (how == 3)
			sigprocmask(SIG_BLOCK, &all, NULL);
		if (how == 4)
			signal(SIGSEGV, SIG_IGN);
		take();
		_exit(4);
	}
	REQUIRE(waitpid(child, &status, 0) == child);
	show("%s, %d: %s %d", name, how, WIFSIGNALED(status) ? "signal" : "status", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

int main(void)
{
	for (int how = 0; how <= 4; how++) {
		try("everything", unmap_all, how);
		try("the code", unmap_own_code, how);
		try("the stack", unmap_own_stack, how);
	}
	return check_done();
}
