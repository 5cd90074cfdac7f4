/* sigaltstack: handlers run on it when asked to, nest on it, its errors, AUTODISARM; frames respect the red zone. */
#include "check.h"
#include <pthread.h>
#include <signal.h>

#define SIZE 32768
static char area[SIZE], thread_area[SIZE];
static volatile int where, nested_where, depth, in_use;

static int inside(const char *p, const char *stack)
{
	return p >= stack && p < stack + SIZE;
}

static void locates(int signal)
{
	char here;
	stack_t now;
	(void)signal;
	where = inside(&here, area) + 2 * inside(&here, thread_area);
	sigaltstack(NULL, &now);
	in_use = now.ss_flags & SS_ONSTACK;
}

static void nests(int signal)
{
	char here;
	if (depth++ == 0) {
		where = inside(&here, area);
		raise(signal);
	} else {
		nested_where = inside(&here, area);
	}
}

static volatile int change_errno;
static void changes(int signal)
{
	stack_t other = {.ss_sp = thread_area, .ss_size = SIZE};
	(void)signal;
	change_errno = sigaltstack(&other, NULL) == -1 ? errno : 0;
}

static void set(int signal, void (*handler)(int), int flags)
{
	struct sigaction act = {.sa_handler = handler, .sa_flags = flags};
	REQUIRE(sigaction(signal, &act, NULL) == 0);
}

static void *in_thread(void *arg)
{
	stack_t inherited, mine = {.ss_sp = thread_area, .ss_size = SIZE};
	(void)arg;
	REQUIRE(sigaltstack(NULL, &inherited) == 0);
	CHECK("thread.starts_disabled", inherited.ss_flags & SS_DISABLE);
	REQUIRE(sigaltstack(&mine, NULL) == 0);
	raise(SIGUSR1);
	CHECK_EQ("thread.own_stack", where, 2);
	return NULL;
}

/* Leaf function that keeps a value below the stack pointer while the handler runs. */
__attribute__((noinline)) static long red_zone(long value)
{
	long result;
	long pid = getpid();
	__asm__ volatile("mov %[value], -120(%%rsp)\n mov %[value], -8(%%rsp)\n"
			 "mov $62, %%eax\n mov %[pid], %%rdi\n mov $10, %%esi\n syscall\n" /* kill(self, SIGUSR1) */
			 "mov -120(%%rsp), %[result]\n xor -8(%%rsp), %[result]\n"
			 : [result] "=&r"(result)
			 : [value] "r"(value), [pid] "r"(pid)
			 : "rax", "rdi", "rsi", "rcx", "r11", "memory");
	return result;
}

int main(void)
{
	stack_t stack = {.ss_sp = area, .ss_size = SIZE}, old;
	CHECK_OK("query", sigaltstack(NULL, &old));
	CHECK("starts_disabled", old.ss_flags == SS_DISABLE && old.ss_size == 0);
	CHECK_OK("set", sigaltstack(&stack, &old));
	REQUIRE(sigaltstack(NULL, &old) == 0);
	CHECK("set.seen", old.ss_sp == area && old.ss_size == SIZE && old.ss_flags == 0);

	set(SIGUSR1, locates, 0);
	raise(SIGUSR1);
	CHECK("without_flag.not_used", where == 0 && in_use == 0);
	set(SIGUSR1, locates, SA_ONSTACK);
	raise(SIGUSR1);
	CHECK("with_flag.used", where == 1 && in_use == SS_ONSTACK);
	set(SIGUSR2, nests, SA_ONSTACK | SA_NODEFER);
	raise(SIGUSR2);
	CHECK("nested.stays", where == 1 && nested_where == 1 && depth == 2);
	set(SIGUSR2, changes, SA_ONSTACK);
	raise(SIGUSR2);
	CHECK_EQ("change_while_used", change_errno, EPERM);

	pthread_t thread;
	REQUIRE(pthread_create(&thread, NULL, in_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
	raise(SIGUSR1);
	CHECK_EQ("main.unchanged_by_thread", where, 1);

	set(SIGUSR1, locates, 0);
	CHECK_EQ("red_zone.kept", red_zone(0x1122334455667788), 0);

	stack.ss_flags = (int)(1U << 31); /* SS_AUTODISARM */
	CHECK_OK("autodisarm", sigaltstack(&stack, NULL));
	set(SIGUSR1, locates, SA_ONSTACK);
	raise(SIGUSR1);
	CHECK("autodisarm.inside", where == 1 && in_use == 0);
	REQUIRE(sigaltstack(NULL, &old) == 0);
	CHECK("autodisarm.back", old.ss_sp == area && old.ss_size == SIZE);

	stack.ss_flags = 0;
	stack.ss_size = 1000;
	CHECK_ERR("error.small", sigaltstack(&stack, NULL), ENOMEM);
	stack.ss_flags = 55;
	CHECK_ERR("error.flags", sigaltstack(&stack, NULL), EINVAL);
	stack.ss_flags = SS_DISABLE;
	CHECK_OK("disable", sigaltstack(&stack, NULL));
	set(SIGUSR1, locates, SA_ONSTACK);
	raise(SIGUSR1);
	CHECK_EQ("disable.not_used", where, 0);
	return check_done();
}
