/* The system calls that are left to this process (seccomp(2)): a table, and the filter in BPF that is made of it. Any other is the process's end. What the
 * table lets pass is compared with docs/threat-model.md by tests/e2e/test_confinement.py, and tried out by tests/confinement/syscalls.c. */
#include "confine.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
/* fork(3) and pthread_create(3) of the C libraries: glibc, and musl's CLONE_DETACHED. */
#define FORK_FLAGS (CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD)
#define THREAD_FLAGS \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

#define LIST(...) ((const uint32_t[]){__VA_ARGS__, 0})
#define TESTS(...) ((const struct seccomp_test[]){__VA_ARGS__, {.test = END}})
#define NOT_EXECUTABLE TESTS({.test = NO_BITS, .arg = 2, .value = PROT_EXEC})
#define COMMAND(...) TESTS({.test = ONE_OF, .arg = 1, .values = LIST(__VA_ARGS__)})
#define STREAM_COMMAND(...) TESTS({.test = BELOW, .arg = 0, .value = 3}, {.test = ONE_OF, .arg = 1, .values = LIST(__VA_ARGS__)})
#define ADVICE(...) TESTS({.test = ONE_OF, .arg = 2, .values = LIST(__VA_ARGS__)})
#define IN_WORKING_DIRECTORY TESTS({.test = ONE_OF, .arg = 0, .values = LIST((uint32_t)AT_FDCWD)})
#define THIS_PROCESS_ONLY TESTS({.test = THIS_PROCESS, .arg = 0})
#define DEADLY(option, number) TESTS({.test = ONE_OF, .arg = 0, .values = LIST(option)}, {.test = ONE_OF, .arg = 1, .values = LIST(number)})
#define FLAGS(...) TESTS({.test = ONE_OF, .arg = 0, .values = LIST(__VA_ARGS__)})

/* Answered with ENOSYS, which the C library takes for an older kernel: its arguments lie in memory, where no filter sees them. */
const struct seccomp_test seccomp_lacking[1];

#define RULE(call, stages, tests, reason) {__NR_##call, stages, #call, tests, #tests, reason}
#define ALWAYS (IN_PREPARE | IN_RUN)
const struct seccomp_rule seccomp_rules[] = {
	RULE(ioctl, ALWAYS, COMMAND(KVM_RUN, KVM_INTERRUPT, KVM_GET_REGS, KVM_GET_SREGS, KVM_SET_USER_MEMORY_REGION, TCGETS),
	     "runs the vCPU, interrupts it, describes how it failed, adds memory; sees whether something is a terminal"),
	RULE(ioctl, ALWAYS, STREAM_COMMAND(TCSETS, TCSETSW, TCSETSF, TIOCGWINSZ, TIOCSWINSZ, FIONREAD, TCXONC, TCFLSH, TIOCGPGRP),
	     "the guest's terminal, on the standard streams only"),
	RULE(ioctl, IN_PREPARE | IN_CAPTURE, COMMAND(KVM_GET_XCRS, KVM_GET_VCPU_EVENTS, KVM_GET_DEBUGREGS, KVM_GET_MSR_INDEX_LIST, KVM_GET_MSRS),
	     "reads the vCPU's state for a capture"),
	RULE(ioctl, IN_PREPARE,
	     COMMAND(KVM_SET_REGS, KVM_SET_SREGS, KVM_SET_XCRS, KVM_SET_MSRS, KVM_SET_VCPU_EVENTS, KVM_SET_DEBUGREGS, USERFAULTFD_IOC_NEW, UFFDIO_API,
		     UFFDIO_REGISTER, TIOCSCTTY),
	     "gives the vCPU its state, has the pager answer its faults, takes the terminal"),
	RULE(futex, ALWAYS, NULL, "threads wait for each other"),
	RULE(read, ALWAYS, NULL, "counters of events, signals, what a storer asks"),
	RULE(write, ALWAYS, NULL, "the same in the other direction; the log"),
	RULE(preadv2, ALWAYS, NULL, "reads of streams and files; which pages are in use (pagemap)"),
	RULE(pwritev2, ALWAYS, NULL, "writes to them"),
	RULE(lseek, ALWAYS, NULL, "directories are read from where the guest says; a stream may be a file"),
	RULE(openat2, ALWAYS, NULL, "names beneath the roots, one component at a time"),
	RULE(openat, ALWAYS, IN_WORKING_DIRECTORY, "opens a descriptor's file again, for a lock or a volume of one file"),
	RULE(close, ALWAYS, NULL, "files"),
	RULE(fstat, ALWAYS, NULL, "attributes, as newer C libraries ask for them"),
	RULE(newfstatat, ALWAYS, NULL, "attributes"),
	RULE(fstatfs, ALWAYS, NULL, "statfs of the guest; file systems that are hidden from it"),
	RULE(getdents64, ALWAYS, NULL, "directories"),
	RULE(readlinkat, ALWAYS, NULL, "symbolic links, which the guest kernel follows"),
	RULE(getxattr, ALWAYS, NULL, "user attributes"),
	RULE(listxattr, ALWAYS, NULL, "their names"),
	RULE(ftruncate, ALWAYS, NULL, "a stream may be a file"),
	RULE(fsync, ALWAYS, NULL, "the same"),
	RULE(fcntl, ALWAYS, COMMAND(F_DUPFD_CLOEXEC, F_GETFL, F_GETPIPE_SZ, F_SETPIPE_SZ, F_OFD_GETLK, F_OFD_SETLK),
	     "copies of descriptors, the state of streams, room in pipes, locks on volumes"),
	RULE(ppoll, ALWAYS, NULL, "readiness of streams; short sleeps"),
	RULE(epoll_ctl, ALWAYS, NULL, "events of streams"),
	RULE(epoll_pwait2, ALWAYS, NULL, "waits for them while the guest has nothing to do"),
	RULE(mmap, ALWAYS, NOT_EXECUTABLE, "memory, and shared mappings of volumes; nothing that can be executed"),
	RULE(mprotect, ALWAYS, NOT_EXECUTABLE, "stacks of threads; nothing that can be executed"),
	RULE(munmap, ALWAYS, NULL, "memory"),
	RULE(brk, ALWAYS, NULL, "the heap"),
	RULE(madvise, ALWAYS, ADVICE(MADV_DONTNEED), "gives back memory"),
	RULE(madvise, IN_PREPARE, ADVICE(MADV_POPULATE_READ, MADV_POPULATE_WRITE), "maps the working set"),
	RULE(rt_sigaction, ALWAYS, NULL, "the signal that interrupts the vCPU; Ctrl-Z"),
	RULE(rt_sigprocmask, ALWAYS, NULL, "the same"),
	RULE(rt_sigreturn, ALWAYS, NULL, "the same"),
	RULE(tgkill, ALWAYS, THIS_PROCESS_ONLY, "interrupts the vCPU: signals to threads of this process only"),
	RULE(getpid, ALWAYS, NULL, "the same"),
	RULE(gettid, ALWAYS, NULL, "the same"),
	RULE(clone, ALWAYS, FLAGS(THREAD_FLAGS, THREAD_FLAGS | CLONE_DETACHED),
	     "the two threads beside the vCPU's: ticks, and requests without an exit"),
	RULE(clone3, ALWAYS, seccomp_lacking, "is answered with ENOSYS: its arguments cannot be seen; the C library takes clone"),
	RULE(set_robust_list, ALWAYS, NULL, "every new thread does"),
	RULE(rseq, ALWAYS, NULL, "the same"),
	RULE(prctl, ALWAYS, FLAGS(PR_SET_TIMERSLACK, PR_SET_VMA), "exact ticks; names of stacks"),
	RULE(prctl, ALWAYS, DEADLY(PR_SET_PDEATHSIG, SIGKILL), "the fork of a capture ends with its parent"),
	RULE(clock_gettime, ALWAYS, NULL, "where the vDSO cannot tell the time"),
	RULE(sendmsg, ALWAYS, NULL, "events to the daemon, the working set to the pager"),
	RULE(recvmsg, ALWAYS, NULL, "commands of the daemon"),
	RULE(exit_group, ALWAYS, NULL, "the end"),
	RULE(clone, IN_PREPARE | IN_CAPTURE, FLAGS(FORK_FLAGS), "a fork that stands still while a storer reads it"),
	RULE(wait4, IN_PREPARE | IN_CAPTURE, NULL, "its end"),
	RULE(fdatasync, IN_PREPARE | IN_VOLUME, NULL, "files of volumes"),
	RULE(fallocate, IN_PREPARE | IN_VOLUME, NULL, "the same"),
	RULE(flock, IN_PREPARE | IN_VOLUME, NULL, "the same"),
	RULE(fchmodat, IN_PREPARE | IN_VOLUME, NULL, "the same"),
	RULE(fchownat, IN_PREPARE | IN_VOLUME, NULL, "the same"),
	RULE(utimensat, IN_PREPARE | IN_VOLUME, NULL, "the same"),
	RULE(setxattr, IN_PREPARE | IN_VOLUME, NULL, "the same"),
	RULE(removexattr, IN_PREPARE | IN_VOLUME, NULL, "the same"),
	RULE(mkdirat, IN_PREPARE | IN_VOLUME, NULL, "names in volumes"),
	RULE(mknodat, IN_PREPARE | IN_VOLUME, NULL, "the same: FIFOs and sockets"),
	RULE(linkat, IN_PREPARE | IN_VOLUME, NULL, "the same"),
	RULE(symlinkat, IN_PREPARE | IN_VOLUME, NULL, "the same"),
	RULE(renameat2, IN_PREPARE | IN_VOLUME, NULL, "the same"),
	RULE(unlinkat, IN_PREPARE | IN_VOLUME, NULL, "the same"),
	RULE(pread64, IN_PREPARE, NULL, "the guest kernel, the arguments"),
	RULE(getrandom, IN_PREPARE, NULL, "the guest's entropy"),
	RULE(memfd_create, IN_PREPARE, NULL, "for the working set"),
	RULE(eventfd2, IN_PREPARE, NULL, "counters of events"),
	RULE(signalfd4, IN_PREPARE, NULL, "signals for the guest"),
	RULE(dup2, IN_PREPARE, NULL, "takes the standard streams"),
	RULE(sysinfo, IN_PREPARE, NULL, "qsort(3) of the C library asks how much memory there is"),
	RULE(setgroups, IN_PREPARE, NULL, "the volumes' user"),
	RULE(setfsgid, IN_PREPARE, NULL, "the same"),
	RULE(setfsuid, IN_PREPARE, NULL, "the same"),
	RULE(prctl, IN_PREPARE, FLAGS(PR_SET_DUMPABLE), "the same"),
	RULE(capget, IN_PREPARE, NULL, "the second step of confinement"),
	RULE(capset, IN_PREPARE, NULL, "the same"),
	RULE(landlock_create_ruleset, IN_PREPARE, NULL, "the same"),
	RULE(landlock_add_rule, IN_PREPARE, NULL, "the same"),
	RULE(landlock_restrict_self, IN_PREPARE, NULL, "the same"),
	RULE(seccomp, IN_PREPARE, NULL, "the same"),
};
const size_t seccomp_rule_count = sizeof(seccomp_rules) / sizeof(*seccomp_rules);

#define INSTRUCTIONS_MAX 512
struct code {
	struct sock_filter at[INSTRUCTIONS_MAX];
	unsigned short n;
};

static void emit(struct code *c, unsigned short op, unsigned char yes, unsigned char no, uint32_t value)
{
	c->at[c->n++] = (struct sock_filter){op, yes, no, value};
}

static void load(struct code *c, size_t offset)
{
	emit(c, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

/* Jumps over the jump when it holds; returns the place of the jump, which leads out of the rule. Of arguments only the low half counts: none of them is
 * more to the kernel than an int, but for the protections of memory, in which it ignores the high half. */
static unsigned emit_test(struct code *c, const struct seccomp_test *t)
{
	load(c, offsetof(struct seccomp_data, args) + t->arg * sizeof(uint64_t));
	if (t->test == NO_BITS)
		emit(c, BPF_JMP | BPF_JSET | BPF_K, 0, 1, t->value);
	else if (t->test == BELOW)
		emit(c, BPF_JMP | BPF_JGE | BPF_K, 0, 1, t->value);
	else if (t->test == THIS_PROCESS)
		emit(c, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, (uint32_t)getpid());
	else {
		unsigned n = 0;
		while (t->values[n])
			n++;
		for (unsigned i = 0; i < n; i++)
			emit(c, BPF_JMP | BPF_JEQ | BPF_K, (unsigned char)(n - i), 0, t->values[i]);
	}
	emit(c, BPF_JMP | BPF_JA, 0, 0, 0);
	return c->n - 1u;
}

/* Between rules the number is loaded. Few steps for a call that is another: the kernel goes through the filter for each call when it is installed. */
static void emit_rule(struct code *c, const struct seccomp_rule *r)
{
	unsigned failed[4], n = 0;
	if (!r->tests || r->tests == seccomp_lacking) {
		emit(c, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)r->number);
		emit(c, BPF_RET | BPF_K, 0, 0, r->tests ? SECCOMP_RET_ERRNO | ENOSYS : SECCOMP_RET_ALLOW);
		return;
	}
	unsigned begin = c->n;
	emit(c, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, (uint32_t)r->number);
	for (const struct seccomp_test *t = r->tests; t->test != END; t++)
		failed[n++] = emit_test(c, t);
	emit(c, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
	while (n--)
		c->at[failed[n]].k = c->n - failed[n] - 1u;
	load(c, offsetof(struct seccomp_data, nr));
	c->at[begin].jf = (unsigned char)(c->n - begin - 1u);
}

int seccomp_confine(unsigned stages)
{
	static struct code c;
	c.n = 0;
	load(&c, offsetof(struct seccomp_data, arch));
	emit(&c, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
	emit(&c, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS);
	load(&c, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < seccomp_rule_count; i++)
		if (seccomp_rules[i].stages & stages)
			emit_rule(&c, &seccomp_rules[i]);
	emit(&c, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS);
	struct sock_fprog program = {.len = c.n, .filter = c.at};
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) ? -errno : 0;
}
