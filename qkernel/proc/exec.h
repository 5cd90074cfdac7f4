/* Between exec.c, exec_stack.c, elf.c and start.c. */
#ifndef EXEC_H
#define EXEC_H
#include "file.h"
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
/* Growing list of strings: one buffer and the offsets into it. */
struct strings {
	char *buf;
	size_t len, cap;
	u32 *off;
	u32 n, off_cap;
};
int exec_strings_add(struct strings *s, const char *str, size_t len);
void exec_strings_free(struct strings *s);
int exec_strings_from_user(struct strings *s, u64 uarray); /* of a NULL-terminated array of pointers */
int exec_build_stack(struct mm *mm, const struct strings *argv, const struct strings *envp, const char *execfn, const struct image *img, u64 *rsp);
#endif
