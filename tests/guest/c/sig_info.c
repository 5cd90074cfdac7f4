/* SA_SIGINFO: si_code and sender, sigqueue values, real-time queues in order, ucontext registers that can be changed. */
#include "check.h"
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>

static volatile int codes[16], values[16], numbers[16], got, sender_ok, low_rip;

static void collects(int signal, siginfo_t *info, void *context)
{
	(void)context;
	numbers[got] = signal - SIGRTMIN;
	codes[got] = info->si_code;
	values[got] = info->si_value.sival_int;
	sender_ok = info->si_pid == getpid() && info->si_uid == getuid() && info->si_signo == signal;
	got++;
}

static void skips_ud2(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	(void)signal;
	low_rip = (char *)info->si_addr == (char *)uc->uc_mcontext.gregs[REG_RIP];
	uc->uc_mcontext.gregs[REG_RIP] += 2;
	uc->uc_mcontext.gregs[REG_RAX] = 0x123456789;
	uc->uc_mcontext.gregs[REG_RBX] += 1;
}

static volatile int mask_saved;
static void blocks_on_return(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	(void)signal;
	(void)info;
	mask_saved = !sigismember(&uc->uc_sigmask, SIGUSR1);
	sigaddset(&uc->uc_sigmask, SIGHUP);
}

static void set(int signal, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction act = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
	REQUIRE(sigaction(signal, &act, NULL) == 0);
}

int main(void)
{
	sigset_t all;
	set(SIGUSR1, collects);
	REQUIRE(kill(getpid(), SIGUSR1) == 0);
	CHECK("kill.code", codes[0] == SI_USER && sender_ok);
	REQUIRE(raise(SIGUSR1) == 0);
	CHECK("tkill.code", codes[1] == SI_TKILL && sender_ok);
	REQUIRE(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 4711}) == 0);
	CHECK("sigqueue.code", codes[2] == SI_QUEUE && values[2] == 4711 && sender_ok);

	for (int i = 0; i < 4; i++)
		set(SIGRTMIN + i, collects);
	sigfillset(&all);
	REQUIRE(sigprocmask(SIG_SETMASK, &all, NULL) == 0);
	got = 0;
	static const int sent[][2] = {{3, 1}, {1, 2}, {1, 3}, {0, 4}, {1, 5}, {3, 6}, {2, 7}};
	for (int i = 0; i < 7; i++)
		REQUIRE(sigqueue(getpid(), SIGRTMIN + sent[i][0], (union sigval){.sival_int = sent[i][1]}) == 0);
	/* each is taken by itself, lowest number first, first sent first */
	siginfo_t info;
	struct timespec zero = {0, 0};
	for (int i = 0; i < 7; i++) {
		int number = sigtimedwait(&all, &info, &zero);
		show("queue %d: rt%d value %d code %d", i, number - SIGRTMIN, info.si_value.sival_int, info.si_code);
	}
	CHECK_ERR("queue.empty", sigtimedwait(&all, &info, &zero), EAGAIN);
	for (int i = 0; i < 3; i++)
		REQUIRE(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i}) == 0);
	sigemptyset(&all);
	REQUIRE(sigprocmask(SIG_SETMASK, &all, NULL) == 0);
	CHECK_EQ("queue.delivered_each", got, 3);
	CHECK("queue.fifo", values[0] == 0 && values[1] == 1 && values[2] == 2);

	set(SIGILL, skips_ud2);
	unsigned long rax = 1, rbx = 41, rcx = 7;
	__asm__ volatile("ud2" : "+a"(rax), "+b"(rbx), "+c"(rcx)::"memory");
	CHECK("ucontext.rip_is_fault", low_rip);
	CHECK("ucontext.registers_written", rax == 0x123456789 && rbx == 42 && rcx == 7);

	set(SIGUSR1, blocks_on_return);
	REQUIRE(raise(SIGUSR1) == 0 && sigprocmask(SIG_BLOCK, NULL, &all) == 0);
	CHECK("ucontext.mask", mask_saved && sigismember(&all, SIGHUP) && !sigismember(&all, SIGUSR1));

	siginfo_t fake = {.si_code = SI_USER};
	CHECK_ERR("rt_sigqueueinfo.impostor_other", syscall(SYS_rt_sigqueueinfo, getppid(), SIGUSR1, &fake), EPERM);
	CHECK_ERR("rt_sigaction.size", syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4), EINVAL);
	CHECK_ERR("rt_sigprocmask.size", syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &all, 16), EINVAL);
	CHECK_ERR("tgkill.bad_group", syscall(SYS_tgkill, getpid() + 1, syscall(SYS_gettid), SIGUSR1), ESRCH);
	CHECK_ERR("tgkill.zero", syscall(SYS_tgkill, 0, 1, SIGUSR1), EINVAL);
	CHECK_OK("tgkill.signal0", syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 0));
	return check_done();
}
