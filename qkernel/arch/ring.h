/* What only arch/ knows: ring modes, per-CPU data shared with entry.S, descriptor tables. See docs/architecture.md, "Ring modes".
 *
 * ring0 (hardware KVM): kernel at CPL 0 on supervisor pages, TSS.rsp0 = the running task's kernel stack.
 * ring3 (software KVM): SYSCALL stays at CPL 3 and ring 0 is instruction-emulated, so the kernel runs at CPL 3 too. Exceptions enter a few stub
 * instructions at CPL 0 on a stack of the vCPU, which IRET straight to trap_entry_ring3 on the task's kernel stack; the hardware frame stays readable
 * on the stub stack. CR3, INVLPG and WRMSR go through an INT3 gate (the only software interrupt that software KVM delivers). */
#ifndef RING_H
#define RING_H

/* struct cpu */
#define CPU_KSTACK_TOP 0
#define CPU_USER_RSP 8
#define CPU_CR2 16
#define CPU_TRAP_STACK 24

/* struct cpu_area: what a vCPU reaches by a fixed distance from its stacks */
#define CPU_AREA 1024
#define CPU_STUB_STACK 384 /* bytes of ring3 mode's stub stack; struct cpu begins where it ends */
#define CPU_IRQ_STACK 640  /* offset of the stack of ring3 mode's interrupts, to the end of the area */
#define SYSCALL_STUB 32    /* bytes of one of syscall_entry's stubs */

#define FRAME_SIZE 184 /* struct trapframe */
#define KSTACK_CPU 8   /* from the top of a kernel stack (which is 16-byte aligned after a frame) to struct kstack_end */

#define GATE_CR3 1
#define GATE_INVLPG 2
#define GATE_WRMSR 3

#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_FMASK 0xc0000084

#define RFLAGS_IF 0x200
#define FMASK_ALWAYS 0x44500 /* AC, NT (IRET faults on it), DF, TF */

#ifndef __ASSEMBLER__
#include "arch.h"
#include "quark_abi.h"

struct cpu_area {
	u8 stub_stack[CPU_STUB_STACK];
	union {
		struct cpu cpu;
		u8 room[CPU_IRQ_STACK - CPU_STUB_STACK];
	};
	u8 irq_stack[CPU_AREA - CPU_IRQ_STACK];
} __attribute__((aligned(CPU_AREA)));
_Static_assert(sizeof(struct cpu_area) == CPU_AREA, "CPU_AREA");
_Static_assert(offsetof(struct cpu, trap_stack) == CPU_TRAP_STACK && offsetof(struct cpu, cr2) == CPU_CR2, "struct cpu");
_Static_assert(sizeof(struct trapframe) == FRAME_SIZE && sizeof(struct kstack_end) == 16, "kernel stacks");
extern struct cpu_area cpu_areas[QK_VCPUS_MAX];
void cpu_boot(u32 index); /* on the stack that vCPU `index` boots on */
extern u32 ring_mode;     /* enum qk_ring */

struct tss {
	u32 reserved0;
	u64 rsp[3];
	u64 reserved1;
	u64 ist[7];
	u64 reserved2;
	u16 reserved3;
	u16 iomap;
	u8 bitmap[QK_PORT_LAST / 8 + 2];
} __attribute__((packed, aligned(QK_TSS_STRIDE)));
_Static_assert(sizeof(struct tss) == QK_TSS_STRIDE, "QK_TSS_STRIDE");
struct gate {
	u16 off0, sel;
	u8 ist, type;
	u16 off1;
	u32 off2, reserved;
};
extern struct tss tss[QK_VCPUS_MAX];
extern struct gate idt[256];
extern u64 stub0_table[33], stub3_table[33];         /* vectors 0..31 and QK_IRQ_VECTOR */
extern u8 syscall_entry[QK_VCPUS_MAX][SYSCALL_STUB]; /* a stub for each vCPU */
void gate_op(u64 op, u64 value, u64 msr);            /* ring3 mode's privileged operations */
void switch_stacks(u64 *save_rsp, u64 new_rsp);
void ret_from_new_task(void);
noreturn void kmain(u32 ring);
#endif
#endif
