/* Entry of the hostile kernel: descriptor tables where QVisor loads them from (quark_abi.h), all ports open, and down to CPL 3, where both kinds of KVM run
 * code natively. It takes no interrupts and has no exceptions. */
#define SEL_UCS 0x33
#define SEL_UDS 0x2b
#define TSS_BYTES 104 /* what lies before the I/O bitmap (Intel SDM vol. 3, 8.7) */
#define PORTS_BYTES 161 /* up to port 0x507 */

	.section .arch_tables, "aw"
gdt:	.quad 0, 0
	.quad 0x00af9b000000ffff /* 0x10 kernel code */
	.quad 0x00cf93000000ffff /* 0x18 kernel data */
	.quad 0x00cffb000000ffff /* 0x20 user code, 32-bit */
	.quad 0x00cff3000000ffff /* 0x28 user data */
	.quad 0x00affb000000ffff /* 0x30 user code */
	.quad 0
	.quad 0, 0
	.org 0x1000
	.skip 4096 /* the IDT: an exception is the end */
tss:	.skip 102
	.word TSS_BYTES
	.skip PORTS_BYTES
	.byte 0xff
	.balign 4096

	.bss
	.balign 16
	.skip 65536
stack_end:

	.text
	.globl _start
_start:
	lea stack_end(%rip), %rsp
	push $SEL_UDS
	lea stack_end(%rip), %rax
	push %rax
	push $2
	push $SEL_UCS
	lea 1f(%rip), %rax
	push %rax
	iretq
1:	call hostile_main
	ud2
