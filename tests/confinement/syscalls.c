/* Tries the filter of qvisor/program/seccomp.c, which is linked with this. `list`: its rules, a line each. `try STAGES`: every system call of the kernel's
 * in a process of its own under the filter of these stages (IN_*): none may get through but those of the table with the arguments of the table. */
#include <linux/prctl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "confine.h"

#define NUMBERS 1024u /* more than there are */
#define SECONDS 10
/* uretprobe, uprobe: no filter sees them (Linux 6.14, secure_computing), and outside of a probe they do nothing. */
#define UNSEEN(n) ((n) == 335 || (n) == 336)

static int list(void)
{
	for (size_t i = 0; i < seccomp_rule_count; i++) {
		const struct seccomp_rule *r = &seccomp_rules[i];
		printf("%u\t%s\t%s\t%s\n", r->stages, r->name, r->tests ? r->tests_text : "", r->reason);
	}
	return 0;
}

/* The signal that ends a process which makes the call; 0: none, -1: the call is answered with ENOSYS. */
static int outcome(unsigned stages, long number, const long *arg)
{
	int status;
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		long own[6];
		memcpy(own, arg, sizeof(own));
		for (int i = 0; i < 6; i++)
			if (own[i] == -2) /* stands for this process */
				own[i] = getpid();
		alarm(SECONDS);
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || seccomp_confine(stages))
			_exit(99);
		long r = syscall(number, own[0], own[1], own[2], own[3], own[4], own[5]);
		syscall(SYS_exit_group, r == -1 && number == SYS_clone3 ? 98 : 0);
	}
	waitpid(child, &status, 0);
	if (WIFSIGNALED(status))
		return WTERMSIG(status);
	return WEXITSTATUS(status) == 98 ? -1 : WEXITSTATUS(status) == 99 ? SIGABRT : 0;
}

/* Arguments that the rule lets pass, with the i-th value of each list (its last, if it has fewer). */
static void fill(const struct seccomp_rule *r, unsigned i, long *arg)
{
	for (int n = 0; n < 6; n++)
		arg[n] = -1;
	for (const struct seccomp_test *t = r->tests; t && t->test != END; t++) {
		unsigned at = 0;
		while (t->test == ONE_OF && at < i && t->values[at + 1])
			at++;
		arg[t->arg] = t->test == ONE_OF ? (long)t->values[at] : t->test == BELOW ? (long)t->value - 1 : t->test == THIS_PROCESS ? -2 : 0;
	}
}

static unsigned longest(const struct seccomp_rule *r)
{
	unsigned most = 1;
	for (const struct seccomp_test *t = r->tests; t && t->test != END; t++)
		for (unsigned n = 0; t->test == ONE_OF && t->values[n]; n++)
			most = n + 1 > most ? n + 1 : most;
	return most;
}

static int try(unsigned stages)
{
	static bool free_of_tests[NUMBERS];
	int wrong = 0, allowed = 0;
	for (size_t i = 0; i < seccomp_rule_count; i++) {
		const struct seccomp_rule *r = &seccomp_rules[i];
		if (!(r->stages & stages))
			continue;
		free_of_tests[r->number] |= !r->tests || r->tests == seccomp_lacking;
		for (unsigned n = 0; n < longest(r); n++) {
			long arg[6];
			fill(r, n, arg);
			int got = outcome(stages, r->number, arg);
			if (got == SIGSYS || got == SIGABRT || got == SIGALRM || (got < 0) != (r->tests == seccomp_lacking)) {
				printf("%s, value %u: outcome %d\n", r->name, n, got);
				wrong++;
			}
		}
	}
	for (long n = 0; n < (long)NUMBERS; n++) {
		const long none[6] = {-1, -1, -1, -1, -1, -1};
		allowed += free_of_tests[n];
		if (!free_of_tests[n] && !UNSEEN(n) && outcome(stages, n, none) != SIGSYS) {
			printf("system call %ld gets through\n", n);
			wrong++;
		}
		/* The other way to name it, for 32-bit pointers (x32). */
		if (n % 64 == 0 && outcome(stages, n | 0x40000000, none) != SIGSYS) {
			printf("system call %ld of x32 gets through\n", n);
			wrong++;
		}
	}
	return wrong != 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "list"))
		return list();
	return argc == 3 && !strcmp(argv[1], "try") ? try((unsigned)atoi(argv[2])) : 2;
}
