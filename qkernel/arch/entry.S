/* Entry and exit paths: boot and ring probe, SYSCALL, exceptions and interrupts in both ring modes, context switch. */
#include "ring.h"
#define QK_IRQ 0x20
#define SEL_KCS 0x10
#define SEL_UDS 0x2b
#define SEL_UCS 0x33
#define TF_SYSCALL 256
#define QK_VCPUS_MAX 16
#define KERNEL_HI 0x7f80 /* bits 32..63 of the lowest kernel address */

/* ---- Descriptor tables (offsets fixed by quark_abi.h) */
	.section .arch_tables, "aw"
	.globl gdt, idt, tss
gdt:	.quad 0, 0
	.quad 0x00af9b000000ffff /* 0x10 kernel code */
	.quad 0x00cf93000000ffff /* 0x18 kernel data */
	.quad 0x00cffb000000ffff /* 0x20 user code, 32-bit */
	.quad 0x00cff3000000ffff /* 0x28 user data */
	.quad 0x00affb000000ffff /* 0x30 user code */
	.quad 0
	.quad 0, 0               /* 0x40 TSS: TR is loaded by QVisor */
	.org 0x1000
idt:	.skip 4096
tss:	.skip 8192 /* one every QK_TSS_STRIDE */

	.bss
	.balign 16384 /* KERNEL_STACK_BYTES: struct kstack_end is found from RSP */
	.skip 16384
boot_stack_end:
#define BOOT_STACK_TOP (boot_stack_end - 16 - KSTACK_CPU)

	.data
	.balign 8
trap_entry3_ptr: .quad trap_entry_ring3
kernel_trap3_ptr: .quad kernel_trap_ring3
boot_stack_ptr: .quad BOOT_STACK_TOP

	.text
/* ---- Boot. CPL 0 (emulated on software KVM: keep it short). Goes to CPL 3, executes SYSCALL, and sees at LSTAR where it landed. */
	.globl _start
_start:
	mov boot_stack_ptr(%rip), %rsp
	mov $MSR_STAR, %ecx
	xor %eax, %eax
	mov $((0x23 << 16) | SEL_KCS), %edx
	wrmsr
	mov $MSR_FMASK, %ecx
	xor %edx, %edx
	mov $FMASK_ALWAYS, %eax /* not IF: POPF at CPL 3 could not set it again */
	wrmsr
	mov $MSR_LSTAR, %ecx
	lea syscall_probe(%rip), %rax
	mov %rax, %rdx
	shr $32, %rdx
	wrmsr
	push $SEL_UDS
	push boot_stack_ptr(%rip)
	push $0x202
	push $SEL_UCS
	lea 1f(%rip), %rax
	push %rax
	iretq
1:	syscall
syscall_probe:
	mov boot_stack_ptr(%rip), %rsp
	mov %cs, %eax
	test $3, %al
	jnz 2f
	cli
	mov $1, %edi
	jmp kmain
2:	mov $2, %edi
	jmp kmain

.macro PUSH_REGS /* below orig_rax: struct trapframe */
	push %rdi
	push %rsi
	push %rdx
	push %rcx
	push %rax
	push %r8
	push %r9
	push %r10
	push %r11
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
.endm

/* ---- SYSCALL, both modes. There is no register to find the vCPU by: each has a stub of its own. */
	.globl syscall_entry
	.balign SYSCALL_STUB
syscall_entry:
	.set area, 0
	.rept QK_VCPUS_MAX
	.balign SYSCALL_STUB
	mov %rsp, cpu_areas+area+CPU_STUB_STACK+CPU_USER_RSP(%rip)
	mov cpu_areas+area+CPU_STUB_STACK+CPU_KSTACK_TOP(%rip), %rsp
	push $SEL_UDS
	push cpu_areas+area+CPU_STUB_STACK+CPU_USER_RSP(%rip)
	jmp syscall_on_stack
	.set area, area+CPU_AREA
	.endr
syscall_on_stack:
	push %r11
	push $SEL_UCS
	push %rcx
	push $0
	push $TF_SYSCALL
	push %rax
	PUSH_REGS
	mov %rsp, %rdi
	cld
	call syscall_dispatch
	.globl ret_from_new_task
ret_from_new_task:
	mov %rsp, %rdi
	call return_to_user_work
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rax
	pop %rcx
	pop %rdx
	pop %rsi
	pop %rdi
	add $24, %rsp
	iretq /* CPL 0 -> 3, or 3 -> 3, which hardware allows as well */

/* ---- Exceptions and interrupts, ring0 mode: the frame is already on the task's kernel stack. */
common0:
	push $-1
	PUSH_REGS
	mov %rsp, %rdi
	cld
	testb $3, 18*8+8(%rsp) /* CS in the frame */
	jz 1f
	call trap_dispatch
	jmp ret_from_new_task
1:	call kernel_trap

/* ---- Ring3 mode. On the stub stack of the vCPU: vector, error, RIP, CS, RFLAGS, RSP, SS. struct cpu begins where the stack does. Every instruction here
 * costs 0.85 us. */
#define STUB_FRAME 56
pf3:
	push %rax
	mov %cr2, %rax
	mov %rax, STUB_FRAME+8+CPU_CR2(%rsp)
	pop %rax
common3:
	cmpl $KERNEL_HI, 20(%rsp)
	jae 1f /* kernel code, or a program that jumped here: kernel_trap finds out */
	push $SEL_UDS
	push STUB_FRAME+8+CPU_KSTACK_TOP(%rsp)
	push $0x202
	push $SEL_UCS
	push trap_entry3_ptr(%rip)
	iretq
1:	push $SEL_UDS
	push STUB_FRAME+8+CPU_TRAP_STACK(%rsp)
	push $0x202
	push $SEL_UCS
	push kernel_trap3_ptr(%rip)
	iretq

irq3:	/* On a stack of its own (IST): it may interrupt trap_entry_ring3 while that reads the stub frame. Interrupted kernel code goes on at once: it looks
	 * at the event ring before it returns to user mode. From user mode the frame moves to the stub stack. Kernel code runs on a kernel stack, but for
	 * the first instructions of syscall_entry: anywhere else it is a program that jumped here, and it must not keep the processor. */
#define IRQ_DISTANCE (CPU_AREA - CPU_STUB_STACK) /* between the tops of the two stacks */
	cmpl $KERNEL_HI, 4(%rsp)
	jae 1f
2:	lea 40-IRQ_DISTANCE(%rsp), %rsp
	.rept 5 /* SS, RSP, RFLAGS, CS, RIP: each is as far from where it goes */
	push IRQ_DISTANCE-8(%rsp)
	.endr
	push $0
	push $QK_IRQ
	jmp common3
1:	cmpl $KERNEL_HI, 28(%rsp)
	jae 3f
	push %rax
	lea syscall_on_stack(%rip), %rax
	sub 8(%rsp), %rax
	cmp $(syscall_on_stack - syscall_entry), %rax
	pop %rax
	ja 2b
3:	iretq

bp3:	/* INT3: the gate for privileged operations when it comes from a kernel stack */
	cmpl $KERNEL_HI, 28(%rsp)
	jb 9f
	cmp $GATE_INVLPG, %edi
	je 2f
	cmp $GATE_CR3, %edi
	jne 3f
	mov %rsi, %cr3
	iretq
2:	invlpg (%rsi)
	iretq
3:	cmp $GATE_WRMSR, %edi
	jne 9f
	wrmsr
	iretq
9:	push $0
	push $3
	jmp common3

/* CPL 3, at the top of a kernel stack: makes a struct trapframe of the registers and of the frame on the stub stack. */
.macro TRAP_FRAME3
	sub $STUB_FRAME, %rsp
	push $-1
	PUSH_REGS
	mov FRAME_SIZE+KSTACK_CPU(%rsp), %rbx
	.set word, 0
	.rept STUB_FRAME / 8
	mov word-STUB_FRAME(%rbx), %rax
	mov %rax, FRAME_SIZE-STUB_FRAME+word(%rsp)
	.set word, word+8
	.endr
	mov %rsp, %rdi
	cld
.endm
trap_entry_ring3:
	TRAP_FRAME3
	call trap_dispatch
	jmp ret_from_new_task
kernel_trap_ring3:
	TRAP_FRAME3
	call kernel_trap /* comes back for a program's own fault, with its frame on the task's kernel stack */
	mov %rax, %rsp
	mov %rax, %rdi
	call trap_dispatch
	jmp ret_from_new_task

/* void gate_op(op rdi, value rsi, msr rdx) */
	.globl gate_op
gate_op:
	mov %rdx, %rcx
	mov %rsi, %rax
	mov %rsi, %rdx
	shr $32, %rdx
	int3
	ret

/* ---- Stubs of the vectors 0..31 and QK_IRQ_VECTOR */
.macro STUB0 v
stub0_\v:
	.if (\v != 8) && (\v != 10) && (\v != 11) && (\v != 12) && (\v != 13) && (\v != 14) && (\v != 17) && (\v != 21) && (\v != 29) && (\v != 30)
	push $0
	.endif
	push $\v
	jmp common0
.endm
.macro STUB3 v
stub3_\v:
	.if (\v != 8) && (\v != 10) && (\v != 11) && (\v != 12) && (\v != 13) && (\v != 14) && (\v != 17) && (\v != 21) && (\v != 29) && (\v != 30)
	push $0
	.endif
	push $\v
	.if \v == 14
	jmp pf3
	.else
	jmp common3
	.endif
.endm
	.altmacro
.macro STUBS0 from, to
	STUB0 %\from
	.if \to - \from
	STUBS0 (\from + 1), \to
	.endif
.endm
.macro STUBS3 from, to
	STUB3 %\from
	.if \to - \from
	STUBS3 (\from + 1), \to
	.endif
.endm
	STUBS0 0, 32
	STUBS3 0, 31
.macro ENTRY0 v
	.quad stub0_\v
.endm
.macro ENTRY3 v
	.quad stub3_\v
.endm
.macro ENTRIES0 from, to
	ENTRY0 %\from
	.if \to - \from
	ENTRIES0 (\from + 1), \to
	.endif
.endm
.macro ENTRIES3 from, to
	ENTRY3 %\from
	.if \to - \from
	ENTRIES3 (\from + 1), \to
	.endif
.endm
	.section .rodata
	.balign 8
	.globl stub0_table, stub3_table
stub0_table:
	ENTRIES0 0, 32
stub3_table:
	ENTRIES3 0, 2
	.quad bp3
	ENTRIES3 4, 31
	.quad irq3

/* ---- void switch_stacks(u64 *save_rsp, u64 new_rsp) */
	.text
	.globl switch_stacks
switch_stacks:
	push %rbp
	push %rbx
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, (%rdi)
	mov %rsi, %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbx
	pop %rbp
	ret
	.section .note.GNU-stack, "", @progbits
