/* The main stack grows on demand to its limit, overflow is SIGSEGV handled on the alternate stack, recursion is deep. */
#include "fault.h"
#include <stdint.h>
#include <sys/resource.h>

static char alternate[65536];
static volatile long depth;
static char *volatile deepest;
static sigjmp_buf escape;
static volatile int on_alternate, code, near_stack;

static long recurse(long n)
{
	volatile char frame[256];
	frame[0] = (char)n;
	if (n == 0)
		return 0;
	return recurse(n - 1) + 1 + (frame[0] != (char)n);
}

__attribute__((noinline)) static void overflow(void)
{
	volatile char frame[4000];
	frame[0] = 1;
	deepest = (char *)frame;
	if (depth++ < 1L << 40)
		overflow();
	frame[1] = frame[0]; /* keeps the call from becoming a jump */
}

static void on_overflow(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	char here;
	on_alternate = &here >= alternate && &here < alternate + sizeof alternate;
	code = info->si_code;
	near_stack = (char *)info->si_addr < (char *)deepest && (char *)info->si_addr > (char *)deepest - 65536;
	siglongjmp(escape, 1);
}

int main(void)
{
	struct rlimit limit;
	REQUIRE(getrlimit(RLIMIT_STACK, &limit) == 0);
	limit.rlim_cur = 8 << 20;
	CHECK_OK("rlimit.stack_8mb", setrlimit(RLIMIT_STACK, &limit));

	char local;
	volatile char *volatile far = &local; /* doubly volatile: hidden from the compiler */
	far -= 2 << 20;
	*far = 1;
	CHECK("grow.2mb_jump", *far == 1);
	CHECK("grow.fresh_zero", far[-8192] == 0);
	CHECK_EQ("recursion.20000", recurse(20000), 20000);

	stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
	CHECK_OK("sigaltstack", sigaltstack(&stack, NULL));
	struct sigaction act = {.sa_sigaction = on_overflow, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	REQUIRE(sigaction(SIGSEGV, &act, NULL) == 0);
	for (int round = 0; round < 3; round++) {
		depth = 0;
		if (sigsetjmp(escape, 1) == 0)
			overflow();
		CHECK("overflow.caught", depth > 1500 && depth < 2200);
		CHECK("overflow.on_alternate", on_alternate);
		CHECK("overflow.near_stack", near_stack);
		CHECK_EQ("overflow.code", code, SEGV_MAPERR);
	}
	CHECK_EQ("recursion.after", recurse(20000), 20000);
	return check_done();
}
