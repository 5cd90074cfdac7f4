/* Processor set-up and the privileged operations of arch.h, in both ring modes. */
#include "arch.h"
#include "klib.h"
#include "qcall.h"
#include "ring.h"

struct cpu_area cpu_areas[QK_VCPUS_MAX];
u32 ring_mode;

#define CR4_FSGSBASE (1ul << 16)
#define CR4_OSXSAVE (1ul << 18)
#define CR4_SMEP (1ul << 20)
#define CR4_SMAP (1ul << 21)

void cpuid(u32 leaf, u32 sub, u32 r[4])
{
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
}

static u64 cpu_read_cr4(void)
{
	u64 v;
	__asm__ volatile("mov %%cr4, %0" : "=r"(v));
	return v;
}

static void write_msr(u32 msr, u64 v)
{
	if (ring_mode == QK_RING_3)
		gate_op(GATE_WRMSR, v, msr);
	else
		__asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

bool arch_ring3(void)
{
	return ring_mode == QK_RING_3;
}

u64 arch_pte_kernel(void)
{
	/* The U bit of the kernel half is decided by its one PML4 entry, so lower levels carry it in both modes. */
	return PTE_U;
}

u64 arch_fault_address(void)
{
	u64 v;
	if (ring_mode == QK_RING_3)
		return this_cpu()->cr2;
	__asm__ volatile("mov %%cr2, %0" : "=r"(v));
	return v;
}

void arch_write_cr3(paddr_t pml4)
{
	this_cpu()->cr3 = pml4;
	if (ring_mode == QK_RING_3)
		gate_op(GATE_CR3, pml4, 0);
	else
		__asm__ volatile("mov %0, %%cr3" : : "r"(pml4) : "memory");
}

void arch_flush_page(vaddr_t va)
{
	if (ring_mode == QK_RING_3)
		gate_op(GATE_INVLPG, va, 0);
	else
		__asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

void arch_flush_all(void)
{
	/* CR3 is never read back: with shadow paging a processor that does not intercept the read (QEMU's) shows the host's. */
	arch_write_cr3(this_cpu()->cr3);
}

void arch_wait(u64 ns)
{
	vcpu()->wait_ns = ns;
	out32(QK_PORT_WAIT, 0);
}

void arch_park(void)
{
	/* User FPU state may be live: it has to be in memory, which is what a snapshot keeps of it. */
	struct arch_task *t = this_cpu()->task;
	if (t) {
		arch_fpu_save(t);
		t->fs_base = arch_get_fs_base();
		t->gs_base = arch_get_gs_base();
	}
	out32(QK_PORT_PARK, 0);
	if (t) {
		arch_fpu_restore(t);
		arch_set_fs_base(t->fs_base);
		arch_set_gs_base(t->gs_base);
	}
}

static void cpu_set_gate(int v, u64 handler, u8 dpl, u8 ist)
{
	idt[v] = (struct gate){.off0 = (u16)handler,
			       .sel = QK_SEL_KCS,
			       .ist = ist,
			       .type = (u8)(0x8e | dpl << 5),
			       .off1 = (u16)(handler >> 16),
			       .off2 = (u32)(handler >> 32)};
}

static void cpu_tables_init(void)
{
	const u64 *stubs = ring_mode == QK_RING_3 ? stub3_table : stub0_table;
	for (int v = 0; v <= QK_IRQ_VECTOR; v++)
		cpu_set_gate(v, stubs[v], v == 3 || v == 4 ? 3 : 0, 0);
	if (ring_mode == QK_RING_3)
		cpu_set_gate(QK_IRQ_VECTOR, stubs[QK_IRQ_VECTOR], 0, 2);
	if (ring_mode == QK_RING_0) /* double fault, NMI and machine check on a stack of their own */
		cpu_set_gate(8, stubs[8], 0, 1), cpu_set_gate(2, stubs[2], 0, 1), cpu_set_gate(18, stubs[18], 0, 1);
}

static void tss_init(const struct cpu *cpu)
{
	struct tss *t = &tss[cpu->index];
	struct cpu_area *area = &cpu_areas[cpu->index];
	t->rsp[0] = (u64)&area->cpu; /* the end of the stub stack */
	t->ist[0] = cpu->trap_stack;
	t->ist[1] = (u64)(area + 1);
	t->iomap = offsetof(struct tss, bitmap);
	memset(t->bitmap, 0xff, sizeof(t->bitmap));
	if (ring_mode == QK_RING_3)
		t->bitmap[QK_PORT_FIRST / 8] = 0;
}

void cpu_boot(u32 index)
{
	struct cpu *cpu = &cpu_areas[index].cpu;
	struct kstack_end *end = kstack_end();
	*cpu = (struct cpu){.index = index, .shared = (struct qk_vcpu *)(QK_COMM_BASE + QK_OFF_VCPU(index)), .cr3 = QK_GPA_PML4};
	cpu->trap_stack = cpu->kstack_top = (u64)end - KSTACK_CPU;
	*end = (struct kstack_end){.cpu = cpu};
}

void arch_fpu_init(void);

void arch_init(void)
{
	u32 r[4];
	cpu_tables_init();
	tss_init(this_cpu());
	if (ring_mode == QK_RING_0) {
		/* Supervisor pages: one entry covers the whole kernel half. */
		u64 *pml4 = phys_to_virt(QK_GPA_PML4);
		pml4[QK_DIRECT_BASE >> 39] &= ~PTE_U;
		arch_write_cr3(QK_GPA_PML4);
		u64 cr4 = cpu_read_cr4() | CR4_OSXSAVE | CR4_FSGSBASE;
		cpuid(7, 0, r);
		if (r[1] & (1u << 7))
			cr4 |= CR4_SMEP;
		if (r[1] & (1u << 20))
			cr4 |= CR4_SMAP; /* uaccess never touches user mappings, so it can stay on */
		__asm__ volatile("mov %0, %%cr4" : : "r"(cr4) : "memory");
	}
	write_msr(MSR_LSTAR, (u64)syscall_entry[this_cpu()->index]);
	if (ring_mode == QK_RING_0)
		write_msr(MSR_FMASK, FMASK_ALWAYS | RFLAGS_IF);
	arch_fpu_init();
}

/* An exception at a kernel address. In ring3 mode a program can have jumped there: kernel code proper runs on the task's kernel stack (or on the boot
 * stack, before there is a task), a program on its own. Returns the program's frame, on the task's kernel stack; a kernel's exception is always our bug. */
struct trapframe *kernel_trap(struct trapframe *tf)
{
	/* One page more below: what ran over is a kernel stack too. */
	const struct cpu *cpu = this_cpu();
	bool kernel_stack = cpu->kstack_top - tf->rsp <= KERNEL_STACK_BYTES + PAGE_SIZE;
	if (ring_mode == QK_RING_3 && cpu->task && !kernel_stack) {
		struct trapframe *own = arch_task_frame(cpu->task);
		*own = *tf;
		return own;
	}
	panic("kernel exception %lu error %lx at %lx, address %lx\n rax %lx rbx %lx rcx %lx rdx %lx rsi %lx rdi %lx\n rbp %lx rsp %lx r8 %lx r9 %lx "
	      "r10 %lx r11 %lx\n r12 %lx r13 %lx r14 %lx r15 %lx",
	      tf->vector, tf->error, tf->rip, arch_fault_address(), tf->rax, tf->rbx, tf->rcx, tf->rdx, tf->rsi, tf->rdi, tf->rbp, tf->rsp, tf->r8,
	      tf->r9, tf->r10, tf->r11, tf->r12, tf->r13, tf->r14, tf->r15);
}
