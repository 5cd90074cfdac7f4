/* The processor: trap frames, context switch and every privileged operation. The only header that knows of ring modes is
 * arch/ring.h; the rest of the kernel calls these functions and never asks which mode it is in.
 *
 * Execution model (both modes): one kernel stack a task; the kernel is not preemptible and takes no interrupt while it runs (ring0: IF=0; ring3: the
 * interrupt stub returns at once when it interrupted kernel code); the kernel never faults on user memory (uaccess walks the page tables). */
#ifndef ARCH_H
#define ARCH_H

#include "quark_abi.h"
#include "types.h"

/* All user registers, at the top of the task's kernel stack. The order is that of entry.S. */
struct trapframe {
	u64 r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
	u64 orig_rax; /* syscall number, or ~0 for an exception */
	u64 vector;   /* exception or interrupt vector; TF_SYSCALL for a syscall */
	u64 error;
	u64 rip, cs, rflags, rsp, ss;
};
#define TF_SYSCALL 256

#define KSTACK_ORDER 2 /* 16 KiB */
#define KERNEL_STACK_BYTES (PAGE_SIZE << KSTACK_ORDER)

struct task;
struct mm;
struct qk_vcpu;

/* Saved kernel context of a task that does not run: its stack pointer; callee-saved registers are on the stack. */
struct arch_task {
	u64 krsp;
	u64 kstack_top;
	u64 fs_base, gs_base;
	void *xsave; /* arch_xsave_size() bytes, 64-byte aligned */
};

/* What there is once for each vCPU. entry.S knows the first four. */
struct cpu {
	u64 kstack_top; /* of the task that runs */
	u64 user_rsp;
	u64 cr2;
	u64 trap_stack; /* top of the stack for exceptions of the kernel itself: the one it has booted on */
	struct qk_vcpu *shared;
	u32 index;
	u32 nseg;               /* of the request in the making: arch/qcall.c */
	struct arch_task *task; /* whose registers are live; NULL: none yet */
	struct mm *mm;          /* whose page tables are in force; NULL: those of the boot. Written by mm/mm.c */
	paddr_t cr3;
};

/* The end of every kernel stack: where kernel code finds its task and its vCPU, in both ring modes. Not the base, which is seldom touched otherwise. */
struct kstack_end {
	struct cpu *cpu;
	struct task *task; /* NULL: none */
};
#ifdef HOST_TEST /* a program of the tests, whose stack has no such end */
extern struct kstack_end host_stack;
#define KSTACK_END (&host_stack)
#else
static inline struct kstack_end *kstack_end(void)
{
	u64 sp;
	__asm__("mov %%rsp, %0" : "=r"(sp));
	return (struct kstack_end *)((sp | (KERNEL_STACK_BYTES - 1)) + 1) - 1;
}
#define KSTACK_END kstack_end()
#endif
static inline struct cpu *this_cpu(void) { return KSTACK_END->cpu; }

void arch_init(void);
void cpuid(u32 leaf, u32 sub, u32 r[4]); /* EAX, EBX, ECX, EDX of a leaf and subleaf */
size_t arch_xsave_size(void);
u64 arch_xfeatures(void);                                                               /* XCR0 bits that are saved */
void arch_task_init(struct arch_task *t, void *stack, void *xsave, struct task *owner); /* stack: KERNEL_STACK_BYTES, aligned to that */
void *arch_task_stack(const struct arch_task *t);                                       /* as it was given */
/* Prepares `t` so that its first switch returns to user mode with `tf` (copied to the top of its kernel stack). */
void arch_task_setup(struct arch_task *t, const struct trapframe *tf);
struct trapframe *arch_task_frame(struct arch_task *t);
/* Switches FPU state, FS/GS base, kernel stack. The caller has already switched the address space. */
void arch_switch(struct arch_task *prev, struct arch_task *next);
noreturn void arch_start(struct arch_task *first); /* leaves the boot for the first task */
void arch_fpu_save(struct arch_task *t);           /* live registers -> t->xsave (for signal frames, fork) */
void arch_fpu_restore(struct arch_task *t);        /* t->xsave -> live registers */
void arch_fpu_reset(struct arch_task *t);          /* fresh state, as after execve */
bool arch_xsave_valid(const void *area, size_t n); /* would XRSTOR accept it (header checks, MXCSR)? */
u64 arch_get_fs_base(void);
void arch_set_fs_base(u64 v);
u64 arch_get_gs_base(void);
void arch_set_gs_base(u64 v);

/* Address translation. The kernel reaches RAM through the direct map, itself through its image. */
static inline void *phys_to_virt(paddr_t p) { return (void *)(QK_DIRECT_BASE + p); }
static inline paddr_t virt_to_phys(const void *v)
{
	u64 a = (u64)v;
	return a >= QK_KERNEL_BASE ? a - QK_KERNEL_BASE + QK_GPA_KERNEL : a - QK_DIRECT_BASE;
}
void arch_write_cr3(paddr_t pml4);
void arch_flush_page(vaddr_t va); /* current address space */
void arch_flush_all(void);
bool arch_ring3(void); /* for klog and /proc only */
/* Page table entry bits. PTE_KERNEL adds the bits that kernel mappings need in the mode in force. */
#define PTE_P 1ul
#define PTE_W 2ul
#define PTE_U 4ul
#define PTE_A 0x20ul
#define PTE_D 0x40ul
#define PTE_PS 0x80ul
#define PTE_SW2 0x400ul /* free for mm */
#define PTE_NX (1ul << 63)
#define PTE_ADDR 0x000ffffffffff000ul
u64 arch_pte_kernel(void); /* PTE_U in ring3 mode, 0 in ring0 mode */

static inline u64 rdtsc(void)
{
	u32 lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return ((u64)hi << 32) | lo;
}
static inline void out32(u16 port, u32 v) { __asm__ volatile("outl %0, %1" : : "a"(v), "d"(port) : "memory"); }
static inline void cpu_relax(void) { __asm__ volatile("pause" : : : "memory"); }
#define barrier() __asm__ volatile("" : : : "memory")

/* Exits. wait: until an event or at most ns. park: every task's state is in memory; returns in the original and in every clone. */
void arch_wait(u64 ns);
void arch_park(void);

/* Called by entry.S / ring code, implemented in proc/: */
void syscall_dispatch(struct trapframe *tf);    /* proc/syscall.c */
void trap_dispatch(struct trapframe *tf);       /* proc/trap.c: exceptions and QK_IRQ_VECTOR from user mode */
void return_to_user_work(struct trapframe *tf); /* proc/trap.c: events, rescheduling, signals; called before every return to user mode */

/* What a page fault was (error code bits of the processor). */
#define PF_WRITE 2u
#define PF_USER 4u
#define PF_INSTR 16u
u64 arch_fault_address(void); /* CR2 of the exception being dispatched */

#endif
