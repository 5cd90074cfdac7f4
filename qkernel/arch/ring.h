/* What only arch/ knows: ring modes, per-CPU data shared with entry.S, descriptor tables. See docs/architecture.md, "Ring modes".
 *
 * ring0 (hardware KVM): kernel at CPL 0 on supervisor pages, TSS.rsp0 = the running task's kernel stack.
 * ring3 (software KVM): SYSCALL stays at CPL 3 and ring 0 is instruction-emulated, so the kernel runs at CPL 3 too. Exceptions enter a few stub
 * instructions at CPL 0 on a fixed stack, which IRET straight to trap_entry_ring3 on the task's kernel stack; the hardware frame stays readable
 * on the stub stack. CR3, INVLPG and WRMSR go through an INT3 gate (the only software interrupt that software KVM delivers). */
#ifndef RING_H
#define RING_H

#define PC_KSTACK_TOP 0
#define PC_USER_RSP 8
#define PC_CR2 16

#define GATE_CR3 1
#define GATE_INVLPG 2
#define GATE_WRMSR 3

#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_FMASK 0xc0000084

#define RFLAGS_IF 0x200
#define FMASK_ALWAYS 0x44500 /* AC, NT (IRET faults on it), DF, TF */
#define STUB_STACK_SIZE 1024

#ifndef __ASSEMBLER__
#include "arch.h"
#include "quark_abi.h"

/* One vCPU, so one instance at a fixed address: entry.S reaches it RIP-relative in both modes. */
struct percpu {
	u64 kstack_top;
	u64 user_rsp;
	u64 cr2;
};
extern struct percpu percpu;
extern u32 ring_mode; /* enum qk_ring */

struct tss {
	u32 reserved0;
	u64 rsp[3];
	u64 reserved1;
	u64 ist[7];
	u64 reserved2;
	u16 reserved3;
	u16 iomap;
	u8 bitmap[QK_PORT_LAST / 8 + 2];
} __attribute__((packed));
struct gate {
	u16 off0, sel;
	u8 ist, type;
	u16 off1;
	u32 off2, reserved;
};
extern struct tss tss;
extern struct gate idt[256];
extern u8 stub_stack_top[], ist_stack_top[], irq_stack_top[];
extern u64 stub0_table[33], stub3_table[33]; /* vectors 0..31 and QK_IRQ_VECTOR */
void syscall_entry(void);
void gate_op(u64 op, u64 value, u64 msr); /* ring3 mode's privileged operations */
void switch_stacks(u64 *save_rsp, u64 new_rsp);
void ret_from_new_task(void);
noreturn void kmain(u32 ring);
#endif
#endif
