/* The frame of a signal handler on the user stack, in the layout of Linux x86-64 (arch/x86/include/asm/sigframe.h), and the way back. */
#include "arch.h"
#include "proc.h"
#include <asm/signal.h>

#define SS_ONSTACK 1
#define SS_DISABLE 2
#define SS_AUTODISARM (1u << 31)
#define XSTATE_MAGIC1 0x46505853u
#define XSTATE_MAGIC2 0x46505845u

struct uc_stack {
	u64 sp;
	s32 flags, pad;
	u64 size;
};
struct mcontext {
	u64 r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
	u16 cs, gs, fs, ss;
	u64 err, trapno, oldmask, cr2, fpstate, reserved[8];
};
struct frame_user {
	u64 pretcode;
	u64 uc_flags, uc_link;
	struct uc_stack stack;
	struct mcontext m;
	sigset mask;
	struct siginfo info;
};
struct xstate_sw {
	u32 magic1, extended_size;
	u64 xfeatures;
	u32 xstate_size, pad[7];
};

static bool sigframe_on_altstack(const struct task *t, u64 sp)
{
	return !(t->altstack.flags & SS_AUTODISARM) && sp > t->altstack.sp && sp - t->altstack.sp <= t->altstack.size;
}

static int sigframe_put_fpu(struct task *t, u64 at)
{
	size_t n = arch_xsave_size();
	arch_fpu_save(&t->arch);
	u8 *x = t->arch.xsave;
	struct xstate_sw sw = {XSTATE_MAGIC1, (u32)n + 4, arch_xfeatures(), (u32)n, {0}};
	memcpy(x + 464, &sw, sizeof(sw));
	u32 magic2 = XSTATE_MAGIC2;
	return copy_to_user(UPTR(at), x, n) || put_user(magic2, UPTR(at + n)) ? -EFAULT : 0;
}

int sigframe_setup(struct trapframe *tf, int sig, const struct siginfo *info, const struct ksigaction *sa, sigset mask)
{
	struct task *t = current;
	u64 sp = tf->rsp - 128; /* red zone */
	if ((sa->flags & SA_ONSTACK) && !(t->altstack.flags & SS_DISABLE) && !sigframe_on_altstack(t, tf->rsp))
		sp = t->altstack.sp + t->altstack.size;
	u64 fp = (sp - arch_xsave_size() - 4) & ~63ul;
	u64 at = ((fp - sizeof(struct frame_user)) & ~15ul) - 8;
	if (sp >= QK_USER_TOP || at >= sp || !(sa->flags & 0x04000000ul) || sa->handler >= QK_USER_TOP)
		return -EFAULT;
	struct frame_user f = {
		.pretcode = sa->restorer,
		.uc_flags = 1 | 2 | 4, /* UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS */
		.stack = {t->altstack.sp,
			  (s32)(t->altstack.flags & SS_DISABLE     ? SS_DISABLE
				: sigframe_on_altstack(t, tf->rsp) ? SS_ONSTACK
								   : 0),
			  0, t->altstack.size},
		.mask = mask,
		.info = *info,
	};
	f.m = (struct mcontext){
		tf->r8,  tf->r9,     tf->r10,        tf->r11,         tf->r12, tf->r13,       tf->r14, tf->r15,    tf->rdi,    tf->rsi,
		tf->rbp, tf->rbx,    tf->rdx,        tf->rax,         tf->rcx, tf->rsp,       tf->rip, tf->rflags, QK_SEL_UCS, 0,
		0,       QK_SEL_UDS, t->fault.error, t->fault.trapno, mask,    t->fault.addr, fp,      {0},
	};
	if (sigframe_put_fpu(t, fp) || copy_to_user(UPTR(at), &f, sizeof(f)))
		return -EFAULT;
	arch_fpu_reset(&t->arch);
	arch_fpu_restore(&t->arch); /* a handler begins with default control words */
	if (t->altstack.flags & SS_AUTODISARM)
		t->altstack.flags = SS_DISABLE;
	tf->rdi = (u64)sig;
	tf->rsi = at + offsetof(struct frame_user, info);
	tf->rdx = at + offsetof(struct frame_user, uc_flags);
	tf->rax = 0;
	tf->rip = sa->handler;
	tf->rsp = at;
	tf->rflags &= ~0x50500ul; /* DF, TF, RF, as a new function expects */
	return 0;
}

static int sigframe_get_fpu(struct task *t, u64 at)
{
	size_t n = arch_xsave_size();
	u8 *x = t->arch.xsave;
	struct xstate_sw sw;
	if (!at) {
		arch_fpu_reset(&t->arch);
		return 0;
	}
	if ((at & 63) || copy_from_user(x, UPTR(at), 512))
		return -EFAULT;
	memcpy(&sw, x + 464, sizeof(sw));
	u32 magic2 = 0;
	bool extended = sw.magic1 == XSTATE_MAGIC1 && sw.xstate_size == n && get_user(magic2, UPTR(at + n)) == 0 && magic2 == XSTATE_MAGIC2;
	if (extended) {
		if (copy_from_user(x, UPTR(at), n))
			return -EFAULT;
	} else {
		memset(x + 512, 0, n - 512);
		*(u64 *)(x + 512) = 3; /* x87 and SSE only */
	}
	return arch_xsave_valid(x, n) ? 0 : -EFAULT;
}

long sys_rt_sigreturn(void)
{
	struct task *t = current;
	struct trapframe *tf = arch_task_frame(&t->arch);
	struct frame_user f;
	/* A user area that XRSTOR would refuse must not stay in the task's own. */
	if (copy_from_user(&f, UPTR(tf->rsp - 8), sizeof(f)) || f.m.rip >= QK_USER_TOP)
		goto bad;
	arch_fpu_save(&t->arch);
	if (sigframe_get_fpu(t, f.m.fpstate))
		goto bad;
	arch_fpu_restore(&t->arch);
	t->blocked = f.mask & ~(SIGBIT(SIGKILL) | SIGBIT(SIGSTOP));
	if (!sigframe_on_altstack(t, f.m.rsp) && !(f.stack.flags & SS_DISABLE)) {
		t->altstack.sp = f.stack.sp;
		t->altstack.size = f.stack.size;
		t->altstack.flags = (u32)f.stack.flags & ~SS_ONSTACK;
	}
	*tf = (struct trapframe){
		.r15 = f.m.r15,
		.r14 = f.m.r14,
		.r13 = f.m.r13,
		.r12 = f.m.r12,
		.rbp = f.m.rbp,
		.rbx = f.m.rbx,
		.r11 = f.m.r11,
		.r10 = f.m.r10,
		.r9 = f.m.r9,
		.r8 = f.m.r8,
		.rax = f.m.rax,
		.rcx = f.m.rcx,
		.rdx = f.m.rdx,
		.rsi = f.m.rsi,
		.rdi = f.m.rdi,
		.orig_rax = ~0ul,
		.rip = f.m.rip,
		.cs = QK_SEL_UCS,
		.ss = QK_SEL_UDS,
		.rsp = f.m.rsp,
		.rflags = (f.m.rflags & 0x40dd5ul) | 0x202,
	};
	return 0;
bad:
	arch_fpu_reset(&t->arch);
	arch_fpu_restore(&t->arch);
	tf->vector = 0;
	force_signal(SIGSEGV, SI_KERNEL, 0, 0, 0);
	return 0;
}

long sys_sigaltstack(u64 unew, u64 uold)
{
	struct task *t = current;
	u64 sp = arch_task_frame(&t->arch)->rsp;
	bool busy = !(t->altstack.flags & SS_DISABLE) && sigframe_on_altstack(t, sp);
	struct uc_stack old = {t->altstack.sp, (s32)(busy ? SS_ONSTACK : t->altstack.flags), 0, t->altstack.size}, n;
	if (unew) {
		if (copy_from_user(&n, UPTR(unew), sizeof(n)))
			return -EFAULT;
		if (busy)
			return -EPERM;
		u32 mode = (u32)n.flags & ~SS_AUTODISARM;
		if (mode != 0 && mode != SS_DISABLE && mode != SS_ONSTACK)
			return -EINVAL;
		if (mode == SS_DISABLE) {
			n.sp = n.size = 0;
		} else if (n.size < MAX(2048ul, arch_xsave_size() + sizeof(struct frame_user) + 256)) {
			return -ENOMEM;
		}
		t->altstack.sp = n.sp;
		t->altstack.size = n.size;
		t->altstack.flags = mode == SS_DISABLE ? SS_DISABLE : (u32)n.flags & SS_AUTODISARM;
	}
	return uold && copy_to_user(UPTR(uold), &old, sizeof(old)) ? -EFAULT : 0;
}
