/* Loads an ELF program from memory. Input: length of the program and of the interpreter, then both; output: result, image, and each mapping asked for.
 * A mapping outside of user space, or one that is not made of whole pages, ends the program.
 * sources: proc/elf.c */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* The kernel has its own. */
#undef WIFSIGNALED
#undef WTERMSIG
#undef WEXITSTATUS

#include "../../../qkernel/proc/exec.h"
#include <linux/mman.h>

struct content {
	struct file file;
	u8 *bytes;
	u64 size;
};
static struct content program, interpreter;
static u64 maps, free_top = 0x7f0000000000;
static u64 record[1000][5];

void *kmalloc(size_t n)
{
	return malloc(n);
}
void *kzalloc(size_t n)
{
	return calloc(1, n);
}
void kfree(void *p)
{
	free(p);
}
void random_bytes(void *dst, size_t n)
{
	memset(dst, 0, n);
}
void file_put(struct file *f)
{
	f->refs--;
}
struct file *file_open(int dirfd, const char *path, u32 oflags, u32 mode, int *err)
{
	(void)dirfd, (void)oflags, (void)mode;
	*err = strnlen(path, PATH_MAX) < PATH_MAX && interpreter.size ? 0 : -ENOENT;
	if (*err)
		return NULL;
	interpreter.file.refs++;
	return &interpreter.file;
}
ssize_t file_read_kernel(struct file *f, void *dst, size_t n, u64 off)
{
	const struct content *c = container_of(f, struct content, file);
	if (off >= c->size)
		return 0;
	n = MIN(n, c->size - off);
	memcpy(dst, c->bytes + off, n);
	return (ssize_t)n;
}

static void refused(const char *why, u64 addr, u64 len)
{
	fprintf(stderr, "%s: %lx bytes at %lx\n", why, (unsigned long)len, (unsigned long)addr);
	exit(1);
}

/* As the kernel's for what the loader does: fixed places, or the next lower one. */
long mm_map(struct mm *mm, vaddr_t addr, u64 len, u32 prot, u32 flags, struct file *file, u64 off, const char *name)
{
	(void)mm, (void)name;
	if (!len)
		return -EINVAL;
	len = PAGE_ALIGN(len);
	if (!len || len > QK_USER_TOP)
		return -ENOMEM;
	if (flags & MAP_FIXED) {
		if (addr > QK_USER_TOP - len)
			return -ENOMEM;
	} else {
		if (len > free_top - 0x10000)
			return -ENOMEM;
		addr = free_top -= len;
	}
	if ((addr & ~PAGE_MASK) || (off & ~PAGE_MASK))
		refused("not whole pages", addr, len);
	if (maps == ARRAY_SIZE(record))
		refused("too many mappings", addr, len);
	u64 which = !file ? 0 : file == &program.file ? 1 : 2;
	memcpy(record[maps++], (u64[]){addr, len, prot, which, off}, sizeof(record[0]));
	return (long)addr;
}

/* Only what is mapped can be cleared, and no more than the rest of a page. */
static u8 cleared[PAGE_SIZE];
paddr_t mm_translate(struct mm *mm, vaddr_t va, u32 access)
{
	(void)mm, (void)access;
	for (u64 i = 0; i < maps; i++)
		if (record[i][0] <= va && va < record[i][0] + record[i][1])
			return (u64)cleared + (va & ~PAGE_MASK) - QK_DIRECT_BASE;
	refused("cleared without being mapped", va, 0);
	return 0;
}

static void load_content(struct content *c, u64 size)
{
	c->bytes = malloc(size ? size : 1);
	c->size = size;
	c->file.refs = 1;
	if (fread(c->bytes, 1, size, stdin) != size)
		exit(2);
}

int main(void)
{
	u64 sizes[2];
	struct mm mm = {0};
	struct image img = {0};
	if (fread(sizes, sizeof(sizes), 1, stdin) != 1)
		return 2;
	load_content(&program, sizes[0]);
	load_content(&interpreter, sizes[1]);
	size_t head_len = MIN(sizes[0], 512ul);
	u8 *head = malloc(head_len ? head_len : 1);
	memcpy(head, program.bytes, head_len);
	int r = elf_load(&program.file, head, head_len, &mm, &img);
	if (program.file.refs != 1 || interpreter.file.refs != 1)
		refused("references of files are left", program.file.refs, interpreter.file.refs);
	s64 out[] = {r, (s64)img.entry, (s64)img.prog_entry, (s64)img.phdr, (s64)img.phnum, (s64)img.interp_base, (s64)mm.brk, (s64)maps};
	fwrite(out, sizeof(out), 1, stdout);
	fwrite(record, sizeof(record[0]), maps, stdout);
	free(head);
	free(program.bytes);
	free(interpreter.bytes);
	return 0;
}
