/* Handlers, masks, pending sets, ignored and default actions, flags RESETHAND and NODEFER, sigsuspend, nested handlers. */
#include "check.h"
#include <signal.h>

static volatile int count, inner, order[8], ordered, blocked_inside;

static void counts(int signal)
{
	count += signal == SIGUSR1 ? 1 : 100;
}
static void records(int signal)
{
	order[ordered++] = signal;
}

static void nests(int signal)
{
	(void)signal;
	if (++inner < 4)
		raise(SIGUSR1);
}

static void looks_at_mask(int signal)
{
	sigset_t now;
	sigprocmask(SIG_BLOCK, NULL, &now);
	blocked_inside = sigismember(&now, signal) + 2 * sigismember(&now, SIGUSR2) + 4 * sigismember(&now, SIGHUP);
}

static void sends_and_records(int signal)
{
	order[ordered++] = -signal;
	raise(SIGUSR2); /* blocked by sa_mask: runs after this handler */
	order[ordered++] = signal;
}

static void set(int signal, void (*handler)(int), int flags, int masked)
{
	struct sigaction act = {.sa_handler = handler, .sa_flags = flags};
	sigemptyset(&act.sa_mask);
	if (masked)
		sigaddset(&act.sa_mask, masked);
	REQUIRE(sigaction(signal, &act, NULL) == 0);
}

static int handler_is(int signal, void (*handler)(int))
{
	struct sigaction act;
	REQUIRE(sigaction(signal, NULL, &act) == 0);
	return act.sa_handler == handler;
}

int main(void)
{
	sigset_t some, old, pending;
	set(SIGUSR1, counts, 0, 0);
	REQUIRE(raise(SIGUSR1) == 0);
	CHECK_EQ("raise.before_return", count, 1);
	REQUIRE(kill(getpid(), SIGUSR1) == 0);
	CHECK_EQ("kill_self.before_return", count, 2);

	sigemptyset(&some);
	sigaddset(&some, SIGUSR1);
	sigaddset(&some, SIGKILL); /* cannot be blocked, silently left out */
	CHECK_OK("block", sigprocmask(SIG_BLOCK, &some, &old));
	raise(SIGUSR1);
	raise(SIGUSR1);
	raise(SIGUSR1);
	CHECK_EQ("block.held", count, 2);
	REQUIRE(sigpending(&pending) == 0);
	CHECK("pending", sigismember(&pending, SIGUSR1) && !sigismember(&pending, SIGUSR2));
	REQUIRE(sigprocmask(SIG_BLOCK, NULL, &some) == 0);
	CHECK("block.never_kill", !sigismember(&some, SIGKILL));
	REQUIRE(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
	CHECK_EQ("unblock.once", count, 3);
	REQUIRE(sigpending(&pending) == 0);
	CHECK("unblock.not_pending", !sigismember(&pending, SIGUSR1));

	set(SIGUSR1, looks_at_mask, 0, SIGUSR2);
	raise(SIGUSR1);
	CHECK_EQ("mask.inside_handler", blocked_inside, 3);
	set(SIGUSR1, looks_at_mask, SA_NODEFER, 0);
	raise(SIGUSR1);
	CHECK_EQ("nodefer.mask", blocked_inside, 0);
	REQUIRE(sigprocmask(SIG_BLOCK, NULL, &some) == 0);
	CHECK("mask.restored", !sigismember(&some, SIGUSR1) && !sigismember(&some, SIGUSR2));

	set(SIGUSR1, nests, SA_NODEFER, 0);
	raise(SIGUSR1);
	CHECK_EQ("nodefer.nested", inner, 4);
	set(SIGUSR1, sends_and_records, 0, SIGUSR2);
	set(SIGUSR2, records, 0, 0);
	raise(SIGUSR1);
	CHECK("sa_mask.defers", ordered == 3 && order[0] == -SIGUSR1 && order[1] == SIGUSR1 && order[2] == SIGUSR2);

	set(SIGUSR1, counts, (int)SA_RESETHAND, 0);
	raise(SIGUSR1);
	CHECK("resethand", handler_is(SIGUSR1, SIG_DFL));
	set(SIGUSR1, SIG_IGN, 0, 0);
	CHECK("ignored", raise(SIGUSR1) == 0);
	CHECK("default_ignored", raise(SIGCHLD) == 0 && raise(SIGURG) == 0 && raise(SIGWINCH) == 0 && raise(SIGCONT) == 0);

	/* a blocked signal that becomes ignored is dropped */
	set(SIGUSR2, counts, 0, 0);
	sigemptyset(&some);
	sigaddset(&some, SIGUSR2);
	REQUIRE(sigprocmask(SIG_BLOCK, &some, NULL) == 0 && raise(SIGUSR2) == 0);
	set(SIGUSR2, SIG_IGN, 0, 0);
	REQUIRE(sigpending(&pending) == 0);
	CHECK("ignored.drops_pending", !sigismember(&pending, SIGUSR2));

	/* sigsuspend opens the mask for the wait alone; several pending signals are all delivered, lowest first run last */
	ordered = 0;
	set(SIGUSR1, records, 0, 0);
	set(SIGUSR2, records, 0, 0);
	set(SIGHUP, records, 0, 0);
	sigaddset(&some, SIGUSR1);
	sigaddset(&some, SIGHUP);
	REQUIRE(sigprocmask(SIG_BLOCK, &some, NULL) == 0);
	raise(SIGUSR2);
	raise(SIGHUP);
	raise(SIGUSR1);
	sigset_t none;
	sigemptyset(&none);
	CHECK_ERR("sigsuspend", sigsuspend(&none), EINTR);
	CHECK_EQ("sigsuspend.all_ran", ordered, 3);
	show("order %d %d %d", order[0], order[1], order[2]);
	REQUIRE(sigprocmask(SIG_BLOCK, NULL, &old) == 0);
	CHECK("sigsuspend.mask_back", sigismember(&old, SIGUSR1) && sigismember(&old, SIGHUP));

	CHECK_ERR("error.kill_handler", (long)signal(SIGKILL, counts), EINVAL);
	CHECK_ERR("error.stop_handler", (long)signal(SIGSTOP, SIG_IGN), EINVAL);
	CHECK_ERR("error.signal0", sigaction(0, NULL, NULL), EINVAL);
	CHECK_ERR("error.signal65", (long)signal(65, counts), EINVAL);
	CHECK_ERR("error.how", sigprocmask(17, &none, NULL), EINVAL);
	CHECK_ERR("kill.bad_signal", kill(getpid(), 65), EINVAL);
	CHECK_OK("kill.signal0", kill(getpid(), 0));
	CHECK_ERR("kill.no_process", kill(0x3ffffff, 0), ESRCH);
	return check_done();
}
