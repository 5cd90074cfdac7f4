/* Between exec.c, elf.c and start.c. */
#ifndef EXEC_H
#define EXEC_H
#include "fs.h"
#include "proc.h"

/* What the stack needs to know of a loaded ELF program. */
struct image {
	u64 entry;      /* where to start: the interpreter's entry, or the program's */
	u64 prog_entry; /* AT_ENTRY */
	u64 phdr;       /* AT_PHDR */
	u64 phnum;
	u64 interp_base; /* AT_BASE, 0 without interpreter */
	bool exec_stack;
};
/* Maps the program (and its interpreter) into mm. 0 or -errno: -ENOEXEC not an ELF program of this machine; -ENOENT: no such interpreter. */
int elf_load(struct file *f, const u8 *head, size_t head_len, struct mm *mm, struct image *img);
#endif
