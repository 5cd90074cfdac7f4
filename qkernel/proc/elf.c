/* The ELF loader: segments, zero-filled ends, interpreter (System V ABI, Linux fs/binfmt_elf.c for the conventions). */
#include "random.h"
#include "arch.h"
#include "exec.h"
#include <linux/elf.h>
#include <linux/fcntl.h>
#include <linux/mman.h>

#define PHDRS_MAX 128u
#define PIE_BASE 0x555555554000ul

static u64 elf_random_pages(u64 n)
{
	u64 r;
	random_bytes(&r, sizeof(r));
	return r % n * PAGE_SIZE;
}

static u32 elf_prot_of(u32 flags)
{
	return (flags & PF_R ? PROT_READ : 0) | (flags & PF_W ? PROT_WRITE : 0) | (flags & PF_X ? PROT_EXEC : 0);
}

static int elf_zero(struct mm *mm, vaddr_t from, vaddr_t to)
{
	paddr_t p = mm_translate(mm, from, PF_WRITE);
	if (!p)
		return -EFAULT;
	memset(phys_to_virt(p), 0, to - from);
	return 0;
}

static int elf_map_segment(struct mm *mm, struct file *f, const struct elf64_phdr *ph, u64 bias)
{
	u64 va = ph->p_vaddr + bias, skew = va & (PAGE_SIZE - 1), start = va - skew;
	u64 file_end = va + ph->p_filesz, mem_end = va + ph->p_memsz, mapped = start;
	u32 prot = elf_prot_of(ph->p_flags);
	if (ph->p_filesz) {
		long r = mm_map(mm, start, PAGE_ALIGN(file_end) - start, prot, MAP_PRIVATE | MAP_FIXED, f, ph->p_offset - skew, NULL);
		if (r < 0)
			return (int)r;
		mapped = PAGE_ALIGN(file_end);
		/* All of the last file page: ld.so takes what is beyond p_memsz as zeroed memory. */
		if (ph->p_memsz > ph->p_filesz && (file_end & (PAGE_SIZE - 1)) && (prot & PROT_WRITE) && elf_zero(mm, file_end, mapped))
			return -EFAULT;
	}
	if (PAGE_ALIGN(mem_end) > mapped) {
		long r = mm_map(mm, mapped, PAGE_ALIGN(mem_end) - mapped, prot, MAP_PRIVATE | MAP_FIXED, NULL, 0, NULL);
		if (r < 0)
			return (int)r;
	}
	return 0;
}

static bool elf_sane(const struct elf64_phdr *ph)
{
	return ph->p_filesz <= ph->p_memsz && ph->p_memsz < QK_USER_TOP && ph->p_vaddr < QK_USER_TOP - ph->p_memsz && ph->p_offset < (1ul << 62) &&
	       (ph->p_vaddr & (PAGE_SIZE - 1)) == (ph->p_offset & (PAGE_SIZE - 1));
}

static int elf_check_header(const struct elf64_hdr *h, size_t len)
{
	if (len < sizeof(*h) || memcmp(h->e_ident, ELFMAG, SELFMAG) || h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_machine != EM_X86_64 ||
	    (h->e_type != ET_EXEC && h->e_type != ET_DYN) || h->e_phentsize != sizeof(struct elf64_phdr) || !h->e_phnum || h->e_phnum > PHDRS_MAX)
		return -ENOEXEC;
	return 0;
}

/* Loads one ELF file. interp (PATH_MAX bytes, may be NULL) gets the PT_INTERP path or "". *end: end of its highest segment. */
static int elf_load_file(struct file *f, const struct elf64_hdr *h, struct mm *mm, bool is_interp, u64 *bias, u64 *end, char *interp,
			 struct image *img)
{
	size_t bytes = h->e_phnum * sizeof(struct elf64_phdr);
	struct elf64_phdr *ph = kmalloc(bytes);
	u64 lo = UINT64_MAX, hi = 0;
	int r = ph ? -ENOEXEC : -ENOMEM;
	if (!ph || file_read_kernel(f, ph, bytes, h->e_phoff) != (ssize_t)bytes)
		goto out;
	for (u32 i = 0; i < h->e_phnum; i++) {
		if (ph[i].p_type == PT_LOAD) {
			if (!elf_sane(&ph[i]))
				goto out;
			lo = MIN(lo, ph[i].p_vaddr & PAGE_MASK);
			hi = MAX(hi, PAGE_ALIGN(ph[i].p_vaddr + ph[i].p_memsz));
		} else if (ph[i].p_type == PT_INTERP && interp) {
			if (ph[i].p_filesz < 2 || ph[i].p_filesz > PATH_MAX ||
			    file_read_kernel(f, interp, ph[i].p_filesz, ph[i].p_offset) != (ssize_t)ph[i].p_filesz || interp[ph[i].p_filesz - 1])
				goto out;
		} else if (ph[i].p_type == PT_GNU_STACK && img) {
			img->exec_stack = ph[i].p_flags & PF_X;
		}
	}
	if (lo >= hi)
		goto out;
	*bias = 0;
	if (h->e_type == ET_DYN) {
		/* One reservation keeps the segments together; they are mapped over it. A static PIE lies where a PIE does. */
		vaddr_t want = is_interp ? 0 : PIE_BASE + elf_random_pages(1u << 20);
		long at = mm_map(mm, want, hi - lo, PROT_NONE, MAP_PRIVATE | (want ? MAP_FIXED : 0), NULL, 0, NULL);
		r = (int)at;
		if (at < 0)
			goto out;
		*bias = (u64)at - lo;
	} else if (lo < 0x10000) {
		goto out;
	}
	for (u32 i = 0; i < h->e_phnum; i++) {
		if (ph[i].p_type != PT_LOAD || !ph[i].p_memsz)
			continue;
		r = elf_map_segment(mm, f, &ph[i], *bias);
		if (r)
			goto out;
		if (img && h->e_phoff >= ph[i].p_offset && h->e_phoff < ph[i].p_offset + ph[i].p_filesz)
			img->phdr = *bias + ph[i].p_vaddr + (h->e_phoff - ph[i].p_offset);
	}
	*end = hi + *bias;
	r = 0;
out:
	kfree(ph);
	return r;
}

static int elf_load_interp(const char *path, struct mm *mm, struct image *img)
{
	int err;
	struct elf64_hdr h;
	u64 end;
	struct file *f = file_open(AT_FDCWD, path, O_RDONLY, 0, &err);
	if (!f)
		return err;
	ssize_t n = file_read_kernel(f, &h, sizeof(h), 0);
	err = n < 0 ? (int)n : elf_check_header(&h, (size_t)n);
	if (err == -ENOEXEC)
		err = -ELIBBAD;
	if (!err)
		err = elf_load_file(f, &h, mm, true, &img->interp_base, &end, NULL, NULL);
	file_put(f);
	img->entry = img->interp_base + h.e_entry;
	return err;
}

int elf_load(struct file *f, const u8 *head, size_t head_len, struct mm *mm, struct image *img)
{
	struct elf64_hdr h;
	u64 bias, end;
	memcpy(&h, head, MIN(head_len, sizeof(h)));
	int r = elf_check_header(&h, head_len);
	if (r)
		return r;
	char *interp = kzalloc(PATH_MAX);
	if (!interp)
		return -ENOMEM;
	*img = (struct image){.phnum = h.e_phnum};
	r = elf_load_file(f, &h, mm, false, &bias, &end, interp, img);
	if (!r) {
		img->entry = img->prog_entry = h.e_entry + bias;
		mm->brk_start = mm->brk = PAGE_ALIGN(end) + (h.e_type == ET_DYN || interp[0] ? elf_random_pages(8192) : 0);
		if (interp[0])
			r = elf_load_interp(interp, mm, img);
	}
	kfree(interp);
	return !r && img->entry >= QK_USER_TOP ? -ENOEXEC : r;
}
