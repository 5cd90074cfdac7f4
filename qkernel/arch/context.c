/* Task contexts: kernel stacks, FPU state (XSAVE), FS and GS base. */
#include "arch.h"
#include "klib.h"
#include "ring.h"

/* x87, SSE, AVX, AVX-512. Not AMX: 8 KiB a task for state that needs the host's permission anyway. Not PKRU: the kernel does not offer pkeys. */
#define XFEATURES 0xe7ul

static u64 xmask;
static size_t xsize;
static u8 xinit[4096] __attribute__((aligned(64)));

static u64 context_xgetbv(void)
{
	u32 lo, hi;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return ((u64)hi << 32) | lo;
}

void arch_fpu_init(void)
{
	u32 r[4];
	if (ring_mode == QK_RING_0) {
		cpuid(0xd, 0, r);
		xmask = r[0] & XFEATURES;
		__asm__ volatile("xsetbv" : : "c"(0), "a"((u32)xmask), "d"((u32)(xmask >> 32)));
	} else {
		xmask = context_xgetbv() & XFEATURES;
	}
	xsize = 576;
	for (u32 i = 2; i < 63; i++) {
		if (!(xmask & (1ul << i)))
			continue;
		cpuid(0xd, i, r);
		xsize = MAX(xsize, (size_t)r[0] + r[1]);
	}
	BUG_ON(xsize > sizeof(xinit));
	/* The state after FNINIT, as Linux gives a new program. */
	*(u16 *)(xinit + 0) = 0x37f;
	*(u32 *)(xinit + 24) = 0x1f80;
}

u64 arch_xfeatures(void)
{
	return xmask;
}

size_t arch_xsave_size(void)
{
	return xsize;
}

void arch_fpu_save(struct arch_task *t)
{
	__asm__ volatile("xsave64 (%0)" : : "r"(t->xsave), "a"((u32)xmask), "d"((u32)(xmask >> 32)) : "memory");
}

void arch_fpu_restore(struct arch_task *t)
{
	__asm__ volatile("xrstor64 (%0)" : : "r"(t->xsave), "a"((u32)xmask), "d"((u32)(xmask >> 32)) : "memory");
}

void arch_fpu_reset(struct arch_task *t)
{
	memcpy(t->xsave, xinit, xsize);
}

/* XRSTOR raises #GP for what this refuses (Intel SDM volume 1, 13.8). */
bool arch_xsave_valid(const void *area, size_t n)
{
	const u64 *h = (const u64 *)((const u8 *)area + 512);
	if (n < xsize || (h[0] & ~xmask) || h[1])
		return false;
	for (int i = 2; i < 8; i++)
		if (h[i])
			return false;
	u32 mxcsr = *(const u32 *)((const u8 *)area + 24);
	return (mxcsr & ~0xffffu) == 0;
}

u64 arch_get_fs_base(void)
{
	u64 v;
	__asm__ volatile("rdfsbase %0" : "=r"(v));
	return v;
}
void arch_set_fs_base(u64 v)
{
	__asm__ volatile("wrfsbase %0" : : "r"(v));
}
u64 arch_get_gs_base(void)
{
	u64 v;
	__asm__ volatile("rdgsbase %0" : "=r"(v));
	return v;
}
void arch_set_gs_base(u64 v)
{
	__asm__ volatile("wrgsbase %0" : : "r"(v));
}

static struct kstack_end *context_end_of(const struct arch_task *t)
{
	return (struct kstack_end *)(t->kstack_top + KSTACK_CPU);
}

void arch_task_init(struct arch_task *t, void *stack, void *xsave, struct task *owner)
{
	/* The frame is 23 words: KSTACK_CPU bytes off keep the stack 16-byte aligned at every C call (System V ABI 3.2.2). */
	t->kstack_top = (u64)stack + KERNEL_STACK_BYTES - sizeof(struct kstack_end) - KSTACK_CPU;
	t->xsave = xsave;
	*context_end_of(t) = (struct kstack_end){.task = owner};
	arch_fpu_reset(t);
}

void *arch_task_stack(const struct arch_task *t)
{
	return (void *)(t->kstack_top & ~(KERNEL_STACK_BYTES - 1));
}

void arch_task_setup(struct arch_task *t, const struct trapframe *tf)
{
	struct trapframe *f = arch_task_frame(t);
	*f = *tf;
	u64 *sp = (u64 *)f;
	*--sp = (u64)ret_from_new_task;
	for (int i = 0; i < 6; i++)
		*--sp = 0;
	t->krsp = (u64)sp;
}

struct trapframe *arch_task_frame(struct arch_task *t)
{
	return (struct trapframe *)(t->kstack_top - sizeof(struct trapframe));
}

/* From now on `next` is what runs on this vCPU; its registers are loaded. */
static void context_take_over(struct arch_task *next)
{
	struct cpu *cpu = this_cpu();
	arch_fpu_restore(next);
	arch_set_fs_base(next->fs_base);
	arch_set_gs_base(next->gs_base);
	if (context_end_of(next)->cpu != cpu)
		context_end_of(next)->cpu = cpu;
	cpu->task = next;
	cpu->kstack_top = next->kstack_top;
	if (ring_mode == QK_RING_0)
		tss[cpu->index].rsp[0] = next->kstack_top;
}

void arch_switch(struct arch_task *prev, struct arch_task *next)
{
	if (prev == next)
		return;
	arch_fpu_save(prev);
	prev->fs_base = arch_get_fs_base();
	prev->gs_base = arch_get_gs_base();
	context_take_over(next);
	switch_stacks(&prev->krsp, next->krsp);
}

noreturn void arch_start(struct arch_task *first)
{
	u64 left; /* the stack is for exceptions of the kernel from now on: nobody comes back */
	context_take_over(first);
	switch_stacks(&left, first->krsp);
	panic("the boot context came back");
}
