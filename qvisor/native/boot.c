/* Direct long-mode boot: loads the kernel ELF, builds its first page tables, sets the vCPU's registers. docs/abi.md, "Boot". */
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vm.h"

#define PTE_P 1ull
#define PTE_W 2ull
#define PTE_U 4ull
#define PTE_PS 0x80ull
#define PTE_NX (1ull << 63)
#define TABLE (PTE_P | PTE_W | PTE_U)
#define KERNEL_MAX (8ull << 20)

#define CR0_BITS 0x80050033ull  /* PG AM WP NE ET MP PE */
#define CR4_BITS 0x620ull       /* PAE OSFXSR OSXMMEXCPT */
#define CR4_OPTIONAL 0x50000ull /* FSGSBASE OSXSAVE: refused when the CPUID of this KVM lacks them */
#define EFER_BITS 0xd01ull      /* NXE LMA LME SCE */

static uint64_t index_at(uint64_t va, int level)
{
	return va >> (12 + 9 * level) & 511;
}

/* One PDPT for the kernel half, a PD each for direct map and kernel image, PD and page tables for the comm area. */
static void build_tables(struct qv *vm)
{
	uint64_t pml4 = QK_GPA_PML4, pdpt = 0x2000, pd_direct = 0x3000, pd_kernel = 0x4000, pd_comm = 0x5000, pt_comm = 0x6000;
	uint64_t *t = (uint64_t *)vm->ram;
#define ENTRY(table, i) t[(table) / 8 + (i)]
	ENTRY(pml4, index_at(QK_DIRECT_BASE, 3)) = pdpt | TABLE;
	ENTRY(pdpt, index_at(QK_DIRECT_BASE, 2)) = pd_direct | TABLE;
	ENTRY(pdpt, index_at(QK_KERNEL_BASE, 2)) = pd_kernel | TABLE;
	ENTRY(pdpt, index_at(QK_COMM_BASE, 2)) = pd_comm | TABLE;
	for (uint64_t a = 0; a < vm->ram_bytes; a += 2ull << 20)
		ENTRY(pd_direct, a >> 21) = a | TABLE | PTE_PS | PTE_NX;
	for (uint64_t a = 0; a < KERNEL_MAX; a += 2ull << 20)
		ENTRY(pd_kernel, a >> 21) = (QK_GPA_KERNEL + a) | TABLE | PTE_PS;
	for (uint64_t a = 0; a < QK_COMM_SIZE(vm->nvcpus); a += 2ull << 20)
		ENTRY(pd_comm, a >> 21) = (pt_comm + (a >> 21) * 4096) | TABLE;
	for (uint64_t a = 0; a < QK_COMM_SIZE(vm->nvcpus); a += 4096)
		ENTRY(pt_comm, a >> 12) = (QK_COMM_GPA + a) | TABLE | PTE_NX;
#undef ENTRY
}

static int load_elf(struct qv *vm, const unsigned char *elf, size_t n, uint64_t *entry)
{
	Elf64_Ehdr eh;
	if (n < sizeof(eh))
		return -ENOEXEC;
	memcpy(&eh, elf, sizeof(eh));
	if (memcmp(eh.e_ident, ELFMAG, SELFMAG) || eh.e_machine != EM_X86_64 || eh.e_phentsize != sizeof(Elf64_Phdr) || eh.e_phoff > n ||
	    (uint64_t)eh.e_phnum * sizeof(Elf64_Phdr) > n - eh.e_phoff)
		return -ENOEXEC;
	for (int i = 0; i < eh.e_phnum; i++) {
		Elf64_Phdr ph;
		memcpy(&ph, elf + eh.e_phoff + (size_t)i * sizeof(ph), sizeof(ph));
		if (ph.p_type != PT_LOAD)
			continue;
		if (ph.p_vaddr < QK_KERNEL_BASE || ph.p_memsz > KERNEL_MAX || ph.p_vaddr - QK_KERNEL_BASE > KERNEL_MAX - ph.p_memsz ||
		    ph.p_offset > n || ph.p_filesz > n - ph.p_offset || ph.p_filesz > ph.p_memsz)
			return -ENOEXEC;
		memcpy(vm->ram + QK_GPA_KERNEL + (ph.p_vaddr - QK_KERNEL_BASE), elf + ph.p_offset, ph.p_filesz);
	}
	*entry = eh.e_entry;
	return 0;
}

/* At the kernel's entry, with the number of the vCPU in RDI. */
static int set_entry(const struct qv_vcpu *v, uint64_t entry)
{
	struct kvm_regs regs = {.rflags = 2, .rip = entry, .rdi = v->index};
	struct kvm_sregs s;
	if (ioctl(v->fd, KVM_GET_SREGS, &s))
		return -errno;
	struct kvm_segment cs = {.limit = 0xffffffff, .selector = QK_SEL_KCS, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
	struct kvm_segment ss = {.limit = 0xffffffff, .selector = QK_SEL_KDS, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
	struct kvm_segment ds = {.limit = 0xffffffff, .selector = QK_SEL_UDS, .type = 3, .present = 1, .dpl = 3, .db = 1, .s = 1, .g = 1};
	struct kvm_segment tr = {.base = QK_KERNEL_BASE + QK_KOFF_TSS + v->index * QK_TSS_STRIDE,
				 .limit = QK_TSS_LIMIT,
				 .selector = QK_SEL_TSS,
				 .type = 11,
				 .present = 1};
	s.cs = cs;
	s.ss = ss;
	s.ds = s.es = s.fs = s.gs = ds;
	s.tr = tr;
	s.gdt = (struct kvm_dtable){.base = QK_KERNEL_BASE + QK_KOFF_GDT, .limit = QK_GDT_LIMIT};
	s.idt = (struct kvm_dtable){.base = QK_KERNEL_BASE + QK_KOFF_IDT, .limit = QK_IDT_LIMIT};
	s.cr0 = CR0_BITS;
	s.cr3 = QK_GPA_PML4;
	s.efer = EFER_BITS;
	s.cr4 = CR4_BITS | CR4_OPTIONAL;
	if (ioctl(v->fd, KVM_SET_SREGS, &s)) {
		s.cr4 = CR4_BITS;
		if (ioctl(v->fd, KVM_SET_SREGS, &s))
			return -errno;
	}
	return ioctl(v->fd, KVM_SET_REGS, &regs) ? -errno : 0;
}

int qv_boot(struct qv *vm, const void *elf, size_t n)
{
	uint64_t entry;
	int r = load_elf(vm, elf, n, &entry);
	if (r)
		return r;
	build_tables(vm);
	for (uint32_t i = 0; i < vm->nvcpus && !r; i++)
		r = set_entry(&vm->vcpus[i], entry);
	if (r)
		return r;
	vm->comm->boot.ram_bytes = vm->ram_bytes;
	vm->comm->boot.ram_limit = vm->ram_limit;
	return 0;
}
