/* siglongjmp out of handlers, deep handler nesting, handlers that start where a system call is being restarted. */
#include "check.h"
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>
#include <ucontext.h>

static sigjmp_buf escape;
static volatile int depth, unwound;

static void jumps(int signal)
{
	siglongjmp(escape, signal);
}

static void nests(int signal)
{
	if (++depth < 50)
		raise(signal);
	unwound++;
}

static ucontext_t here, there;
static volatile int visited;
static char context_stack[65536];
static void coroutine(void)
{
	for (int i = 0; i < 5; i++) {
		visited += i;
		swapcontext(&there, &here);
	}
}

static volatile int ticks;
static void on_tick(int signal)
{
	ticks += signal == SIGALRM;
}

static long fibonacci(int n)
{
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

int main(void)
{
	sigset_t mask;
	volatile int rounds = 0;
	REQUIRE(signal(SIGUSR1, jumps) != SIG_ERR);
	for (rounds = 0; rounds < 1000; rounds++) {
		int came = sigsetjmp(escape, 1);
		if (came == 0) {
			raise(SIGUSR1);
			show("raise returned FAIL");
		}
		if (came != 0 && came != SIGUSR1)
			break;
	}
	CHECK_EQ("jump.thousand", rounds, 1000);
	REQUIRE(sigprocmask(SIG_BLOCK, NULL, &mask) == 0);
	CHECK("jump.mask_restored", !sigismember(&mask, SIGUSR1));
	if (sigsetjmp(escape, 0) == 0)
		raise(SIGUSR1);
	REQUIRE(sigprocmask(SIG_BLOCK, NULL, &mask) == 0);
	CHECK("jump.mask_left_without_save", sigismember(&mask, SIGUSR1));

	struct sigaction act = {.sa_handler = nests, .sa_flags = SA_NODEFER};
	REQUIRE(sigaction(SIGUSR2, &act, NULL) == 0);
	raise(SIGUSR2);
	CHECK("nested.fifty", depth == 50 && unwound == 50);

	REQUIRE(getcontext(&there) == 0);
	there.uc_stack.ss_sp = context_stack;
	there.uc_stack.ss_size = sizeof context_stack;
	there.uc_link = &here;
	makecontext(&there, coroutine, 0);
	for (int i = 0; i < 5; i++)
		swapcontext(&here, &there);
	CHECK_EQ("swapcontext", visited, 10);

	/* a tick every millisecond through a pure computation: the result must not change */
	REQUIRE(signal(SIGALRM, on_tick) != SIG_ERR);
	struct itimerval each = {{0, 1000}, {0, 1000}}, off = {{0, 0}, {0, 0}};
	REQUIRE(setitimer(ITIMER_REAL, &each, NULL) == 0);
	long value = 0;
	for (int i = 0; ticks < 10 && i < 2000; i++) {
		long again = fibonacci(20);
		if (i > 0 && again != value)
			value = -1;
		else
			value = again;
	}
	REQUIRE(setitimer(ITIMER_REAL, &off, NULL) == 0);
	CHECK_EQ("ticked_computation", value, 6765);
	CHECK("ticked", ticks >= 10);
	return check_done();
}
