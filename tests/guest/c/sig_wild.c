/* Wild jumps and wild stack pointers, each in a child: the child dies by SIGSEGV (or another fault of its own), its parent goes on. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where QKernel has its direct map, image, comm area and nothing, Linux's own kernel, and no canonical address. */
static const unsigned long targets[] = {
	0x7f8000000000, 0x7f8000200010, 0x7fc000000000, 0x7fc000003000,     0x7fc000003001,     0x7fc000004321,     0x7fc0000051f7, 0x7fc00000f00d,
	0x7fd000000000, 0x7fe000000000, 0x7ffffffff000, 0xffffffff81000000, 0xffff800000000000, 0x4141414141414141, 0x800000000000, 0x10,
};

static void report(const char *what, unsigned long at, pid_t pid)
{
	int st;
	waitpid(pid, &st, 0);
	/* Which fault it is depends on what lies there; in QKernel's image there may even be code that returns. */
	int sig = WIFSIGNALED(st) ? WTERMSIG(st) : 0;
	int own = sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGTRAP || sig == SIGFPE || sig == SIGALRM;
	printf("%s %lx: %s\n", what, at, at >> 32 == 0x7fc0 ? "ended" : own ? "killed" : "survived");
	fflush(stdout);
}

static void handler(int sig)
{
	_exit(sig);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned i = 0; i < sizeof(targets) / sizeof(*targets); i++) {
		unsigned long at = targets[i];
		pid_t p = fork();
		if (!p) {
			alarm(5); /* code that spins is found by an interrupt */
			((void (*)(void))at)();
			_exit(0);
		}
		report("jump", at, p);
		p = fork();
		if (!p) { /* a system call and a signal with a wild stack pointer */
			signal(SIGUSR1, handler);
			__asm__ volatile("mov %0, %%rsp\n mov $39, %%eax\n syscall\n mov %%eax, %%edi\n mov $10, %%esi\n mov $62, %%eax\n syscall\n"
					 "mov $60, %%eax\n xor %%edi, %%edi\n syscall"
					 :
					 : "r"(at)
					 : "rax", "rcx", "rdi", "rsi", "r11", "memory");
		}
		report("stack", at, p);
		p = fork();
		if (!p) { /* the way back from a signal handler, to anywhere */
			unsigned long frame[128];
			memset(frame, 0, sizeof(frame));
			for (unsigned k = 5; k < 28; k++)
				frame[k] = at;
			__asm__ volatile("mov %0, %%rsp\n mov $15, %%eax\n syscall" : : "r"(frame) : "rax", "rcx", "r11", "memory");
		}
		report("sigreturn", at, p);
	}
	/* IRET faults while this flag is set. */
	__asm__ volatile("pushfq\n orq $0x4000, (%%rsp)\n popfq\n mov $39, %%eax\n syscall\n pushfq\n andq $~0x4000, (%%rsp)\n popfq"
			 :
			 :
			 : "rax", "rcx", "r11", "memory", "cc");
	puts("NT survived");
	return 0;
}
