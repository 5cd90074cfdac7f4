/* System call dispatch: the generated table, counters, restart. */
#include "arch.h"
#include "proc.h"
#include "qcall.h"
#include "syscall.h"
#include <asm/unistd.h>

#define SYSCALL_BYTES 2 /* of the instruction */
#define SYSCALL(nr, name, fn) extern long fn() __attribute__((weak));
#include "syscall_table.inc"
#define SYSCALL(nr, name, fn) [nr] = (syscall_fn)(void *)fn,
static syscall_fn const table[] = {
#include "syscall_table.inc"
};

void syscall_dispatch(struct trapframe *tf)
{
	struct qk_comm *c = comm();
	u64 nr = (u32)tf->orig_rax;
	long ret = -ENOSYS;
	bool traced = unlikely(c->boot.flags & QK_BOOT_TRACE);
	u64 since = traced ? calltrace_enter(nr) : 0;
	vcpu()->stats.syscalls++;
	current->out_of_memory = false;
	if (likely(nr < ARRAY_SIZE(table) && table[nr])) {
		ret = table[nr](tf->rdi, tf->rsi, tf->rdx, tf->r10, tf->r8, tf->r9);
	} else {
		c->stat_enosys++;
		if (nr < ARRAY_SIZE(c->enosys_count))
			c->enosys_count[nr]++;
	}
	if (traced)
		calltrace_leave(tf, nr, ret, since);
	/* Another process has to make room: the call begins again when it has, or this one was chosen and ends before that. */
	if (ret == -EFAULT && current->out_of_memory && tf->vector == TF_SYSCALL) {
		tf->rax = tf->orig_rax;
		tf->rip -= SYSCALL_BYTES;
		return;
	}
	/* execve and rt_sigreturn have replaced the frame: its vector says so. */
	if (tf->vector == TF_SYSCALL)
		tf->rax = (u64)ret;
}

void syscall_restart(struct trapframe *tf, bool handler, u64 sa_flags)
{
	long r = (long)tf->rax;
	if (r > -ERESTARTSYS || r < -ERESTART_RESTARTBLOCK)
		return;
	bool again = r == -ERESTARTNOINTR || !handler || (r == -ERESTARTSYS && (sa_flags & 0x10000000ul));
	if (!again) {
		tf->rax = (u64)-EINTR;
		return;
	}
	tf->rax = r == -ERESTART_RESTARTBLOCK ? __NR_restart_syscall : tf->orig_rax;
	tf->rip -= SYSCALL_BYTES;
}

long sys_restart_syscall(void)
{
	return current->restart.fn ? current->restart.fn(current) : -EINTR;
}
