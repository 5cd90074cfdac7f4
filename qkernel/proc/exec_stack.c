/* What a new program finds on its stack (System V ABI, "Process Initialization"): arguments, environment, auxiliary vector. */
#include "random.h"
#include "exec.h"
#include <linux/auxvec.h>
#include <linux/mman.h>

#define STRINGS_MAX (2ul << 20) /* of argv and envp together, as MAX_ARG_STRLEN times a few: a quarter of the 8 MiB stack */
#define STRING_MAX (128ul << 10)

int exec_strings_add(struct strings *s, const char *str, size_t len)
{
	if (s->len + len + 1 > STRINGS_MAX || s->n >= STRINGS_MAX / 16)
		return -E2BIG;
	if (s->len + len + 1 > s->cap) {
		size_t cap = MAX(s->cap * 2, s->len + len + 256);
		char *b = krealloc(s->buf, cap);
		if (!b)
			return -ENOMEM;
		s->buf = b;
		s->cap = cap;
	}
	if (s->n == s->off_cap) {
		u32 cap = s->off_cap ? s->off_cap * 2 : 64;
		u32 *o = krealloc(s->off, cap * sizeof(u32));
		if (!o)
			return -ENOMEM;
		s->off = o;
		s->off_cap = cap;
	}
	s->off[s->n++] = (u32)s->len;
	memcpy(s->buf + s->len, str, len);
	s->buf[s->len + len] = 0;
	s->len += len + 1;
	return 0;
}

void exec_strings_free(struct strings *s)
{
	kfree(s->buf);
	kfree(s->off);
}

int exec_strings_from_user(struct strings *s, u64 uarray)
{
	char *tmp = kmalloc(STRING_MAX);
	int r = tmp ? 0 : -ENOMEM;
	for (u64 i = 0; !r && uarray; i++) {
		u64 p;
		r = get_user(p, UPTR(uarray + i * 8));
		if (r || !p)
			break;
		long n = strncpy_from_user(tmp, UPTR(p), STRING_MAX);
		r = n == -ENAMETOOLONG ? -E2BIG : n < 0 ? (int)n : exec_strings_add(s, tmp, (size_t)n);
	}
	kfree(tmp);
	return r;
}

static int exec_mm_write(struct mm *mm, vaddr_t va, const void *src, size_t n)
{
	for (size_t done = 0, part; done < n; done += part) {
		paddr_t p = mm_translate(mm, va + done, PF_WRITE);
		if (!p)
			return -ENOMEM;
		part = MIN(n - done, PAGE_SIZE - ((va + done) & (PAGE_SIZE - 1)));
		memcpy(phys_to_virt(p), (const char *)src + done, part);
	}
	return 0;
}

static int exec_push_strings(struct mm *mm, u64 *sp, const struct strings *s)
{
	*sp -= s->len;
	return s->len ? exec_mm_write(mm, *sp, s->buf, s->len) : 0;
}

/* The stack a new program finds: argc, argv, envp, auxiliary vector (System V ABI x86-64, 3.4.1). */
int exec_build_stack(struct mm *mm, const struct strings *argv, const struct strings *envp, const char *execfn, const struct image *img, u64 *rsp)
{
	u64 r;
	u8 rnd[16];
	u32 regs[4];
	random_bytes(&r, sizeof(r));
	u64 top = QK_USER_TOP - PAGE_SIZE - (r & 0x3fff) * PAGE_SIZE;
	u64 size = PAGE_ALIGN(argv->len + envp->len + (argv->n + envp->n) * 8) + (132ul << 10);
	u32 prot = PROT_READ | PROT_WRITE | (img->exec_stack ? PROT_EXEC : 0);
	long at = mm_map(mm, top - size, size, prot, MAP_PRIVATE | MAP_FIXED | MAP_GROWSDOWN | MAP_STACK, NULL, 0, "[stack]");
	if (at < 0)
		return (int)at;
	mm->stack_top = top;
	u64 sp = top - 8;
	size_t fn = strlen(execfn) + 1;
	sp -= fn;
	u64 execfn_at = sp;
	if (exec_mm_write(mm, sp, execfn, fn))
		return -ENOMEM;
	if (exec_push_strings(mm, &sp, envp))
		return -ENOMEM;
	mm->env_start = sp;
	mm->env_end = sp + envp->len;
	if (exec_push_strings(mm, &sp, argv))
		return -ENOMEM;
	mm->arg_start = sp;
	mm->arg_end = sp + argv->len;
	sp = (sp - 16) & ~15ul;
	u64 random_at = sp;
	random_bytes(rnd, sizeof(rnd));
	static const char platform[16] = "x86_64";
	sp -= 16;
	if (exec_mm_write(mm, random_at, rnd, sizeof(rnd)) || exec_mm_write(mm, sp, platform, sizeof(platform)))
		return -ENOMEM;
	const struct process *p = current->proc;
	cpuid(1, 0, regs);
	const u64 aux[] = {
		AT_SYSINFO_EHDR,
		mm->vdso,
		AT_HWCAP,
		regs[3],
		AT_PAGESZ,
		PAGE_SIZE,
		AT_CLKTCK,
		100,
		AT_PHDR,
		img->phdr,
		AT_PHENT,
		56,
		AT_PHNUM,
		img->phnum,
		AT_BASE,
		img->interp_base,
		AT_FLAGS,
		0,
		AT_ENTRY,
		img->prog_entry,
		AT_UID,
		p->uid,
		AT_EUID,
		p->euid,
		AT_GID,
		p->gid,
		AT_EGID,
		p->egid,
		AT_SECURE,
		0,
		AT_RANDOM,
		random_at,
		AT_HWCAP2,
		2 /* FSGSBASE works */,
		AT_EXECFN,
		execfn_at,
		AT_PLATFORM,
		sp,
		51 /* AT_MINSIGSTKSZ */,
		arch_xsave_size() + 1024,
		AT_NULL,
		0,
	};
	_Static_assert(sizeof(aux) <= sizeof(mm->auxv), "auxv");
	memcpy(mm->auxv, aux, sizeof(aux));
	mm->auxv_words = ARRAY_SIZE(aux);
	u64 words = 1 + argv->n + 1 + envp->n + 1 + ARRAY_SIZE(aux);
	sp = (sp - words * 8) & ~15ul;
	*rsp = sp;
	u64 *v = kmalloc(words * 8), n = 0;
	if (!v)
		return -ENOMEM;
	v[n++] = argv->n;
	for (u32 i = 0; i < argv->n; i++)
		v[n++] = mm->arg_start + argv->off[i];
	v[n++] = 0;
	for (u32 i = 0; i < envp->n; i++)
		v[n++] = mm->env_start + envp->off[i];
	v[n++] = 0;
	memcpy(v + n, aux, sizeof(aux));
	int e = exec_mm_write(mm, sp, v, words * 8);
	kfree(v);
	return e;
}
