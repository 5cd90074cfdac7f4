/* clone(2) itself with thread flags: own stack, CLONE_SETTLS, PARENT_SETTID, CHILD_CLEARTID, flag errors. */
#include "check.h"
#include <linux/futex.h>
#include <sched.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define STACK (64 << 10)
#define THREAD (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)

static int parent_tid, child_tid, cleared;
static volatile int ran, same_pid, seen_child_tid;
static volatile long tls_read;
static int descriptor;
static unsigned long fake_tls[16];

/* Runs on a bare stack with a fake TLS block: raw system calls only, no libc. */
static long raw(long number, long a, long b)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(0) : "rcx", "r11", "memory");
	return result;
}

__attribute__((noreturn, optimize("no-stack-protector"))) static void child(void)
{
	__asm__ volatile("mov %%fs:24, %0" : "=r"(tls_read));
	seen_child_tid = child_tid;
	same_pid = raw(SYS_getpid, 0, 0) != raw(SYS_gettid, 0, 0);
	raw(SYS_close, descriptor, 0);
	ran = 1;
	raw(SYS_exit, 5, 0);
	__builtin_unreachable();
}

static long start(unsigned long flags, char *stack, void *tls)
{
	/* On return in the child the stack is new: go straight to child(). */
	register int *ctid __asm__("r10") = &child_tid;
	register void *r8 __asm__("r8") = tls;
	long result;
	__asm__ volatile("syscall\n test %%rax, %%rax\n jnz 1f\n xor %%ebp, %%ebp\n call *%[entry]\n 1:"
			 : "=a"(result)
			 : "a"(SYS_clone), "D"(flags), "S"(stack), "d"(&parent_tid), "r"(ctid), "r"(r8), [entry] "b"(child)
			 : "rcx", "r11", "memory");
	return result;
}

int main(void)
{
	char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	fake_tls[3] = 0xfeed;
	descriptor = dup(1);
	child_tid = -1;
	long tid = start(THREAD | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID, stack + STACK, fake_tls);
	REQUIRE(tid > 0);
	CHECK("parent_settid", parent_tid == tid);
	while ((cleared = __atomic_load_n(&child_tid, __ATOMIC_SEQ_CST)) != 0)
		syscall(SYS_futex, &child_tid, FUTEX_WAIT, cleared, NULL, NULL, 0);
	CHECK_EQ("ran", ran, 1);
	CHECK("child_settid", seen_child_tid == tid);
	CHECK("same_process", same_pid);
	CHECK("settls", tls_read == 0xfeed);
	CHECK_ERR("files_shared", fcntl(descriptor, F_GETFD), EBADF);
	CHECK_ERR("thread_is_no_child", waitpid((pid_t)tid, NULL, 0), ECHILD);

	CHECK_EQ("error.thread_without_sighand", start(CLONE_VM | CLONE_THREAD, stack + STACK, NULL), -EINVAL);
	CHECK_EQ("error.sighand_without_vm", start(CLONE_SIGHAND | CLONE_THREAD, stack + STACK, NULL), -EINVAL);
	CHECK_EQ("error.bad_tls", start(THREAD | CLONE_SETTLS, stack + STACK, (void *)(1UL << 63)), -EPERM);
	return check_done();
}
