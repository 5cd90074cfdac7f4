/* Touch memory that may fault and learn which signal, si_code and address came of it. */
#ifndef GUEST_FAULT_H
#define GUEST_FAULT_H

#include "check.h"
#include <setjmp.h>
#include <signal.h>

struct fault {
	int signal; /* 0: the access went well */
	int code;
	char *address;
};

static sigjmp_buf fault_escape;
static volatile struct fault fault_seen;

static void fault_handler(int signal, siginfo_t *info, void *context)
{
	(void)context;
	fault_seen.signal = signal;
	fault_seen.code = info->si_code;
	fault_seen.address = info->si_addr;
	siglongjmp(fault_escape, 1);
}

UNUSED static struct fault fault_of(void (*action)(void *), void *argument)
{
	struct sigaction act = {.sa_sigaction = fault_handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
	struct sigaction old[5];
	for (int i = 0; i < 5; i++)
		REQUIRE(sigaction(signals[i], &act, &old[i]) == 0);
	fault_seen.signal = 0;
	fault_seen.code = 0;
	fault_seen.address = NULL;
	if (sigsetjmp(fault_escape, 1) == 0)
		action(argument);
	for (int i = 0; i < 5; i++)
		REQUIRE(sigaction(signals[i], &old[i], NULL) == 0);
	return (struct fault){fault_seen.signal, fault_seen.code, fault_seen.address};
}

static void fault_read(void *p)
{
	(void)*(volatile char *)p;
}
static void fault_write(void *p)
{
	*(volatile char *)p = 1;
}
static void fault_call(void *p)
{
	((void (*)(void))p)();
}

static int fault_is(struct fault f, int signal, int code, void *address)
{
	if (f.signal == signal && (signal == 0 || (f.code == code && f.address == (char *)address)))
		return 1;
	show("  signal %d code %d, address off by %ld", f.signal, f.code, (long)(f.address - (char *)address));
	return 0;
}

/* A read, write or call at p raises SIGSEGV with this si_code and si_addr == p. */
UNUSED static int read_faults(void *p, int code)
{
	return fault_is(fault_of(fault_read, p), SIGSEGV, code, p);
}
UNUSED static int write_faults(void *p, int code)
{
	return fault_is(fault_of(fault_write, p), SIGSEGV, code, p);
}
UNUSED static int call_faults(void *p, int code)
{
	return fault_is(fault_of(fault_call, p), SIGSEGV, code, p);
}
UNUSED static int readable(void *p)
{
	return fault_is(fault_of(fault_read, p), 0, 0, p);
}
UNUSED static int writable(void *p)
{
	return fault_is(fault_of(fault_write, p), 0, 0, p);
}

#endif
