/* Program execution: scripts, the initial stack, execve. */
#include "arch.h"
#include "exec.h"
#include <asm/signal.h>
#include <linux/auxvec.h>
#include <linux/fcntl.h>
#include <linux/mman.h>

#define SCRIPT_DEPTH 5
#define STRINGS_MAX (2ul << 20) /* of argv and envp together, as MAX_ARG_STRLEN times a few: a quarter of the 8 MiB stack */
#define STRING_MAX (128ul << 10)

void cpuid(u32 leaf, u32 sub, u32 r[4]);

/* Growing list of strings: one buffer and the offsets into it. */
struct strings {
	char *buf;
	size_t len, cap;
	u32 *off;
	u32 n, off_cap;
};

static int exec_strings_add(struct strings *s, const char *str, size_t len)
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

static void exec_strings_free(struct strings *s)
{
	kfree(s->buf);
	kfree(s->off);
}

static int exec_strings_from_user(struct strings *s, u64 uarray)
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

/* ---- Writing into an address space that is not the current one. */
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
static int exec_build_stack(struct mm *mm, const struct strings *argv, const struct strings *envp, const char *execfn, const struct image *img,
			    u64 *rsp)
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

/* "#! interpreter [argument]": the new argv starts with the interpreter, its argument and the script's path. */
static int exec_script_line(const u8 *head, size_t n, char *interp, char *arg, size_t size)
{
	const char *p = (const char *)head + 2, *end = (const char *)head + n;
	size_t len = 0;
	const char *eol = p;
	while (eol < end && *eol != '\n' && *eol)
		eol++;
	while (p < eol && (*p == ' ' || *p == '\t'))
		p++;
	while (p + len < eol && p[len] != ' ' && p[len] != '\t')
		len++;
	if (!len || len >= size || (eol == end && p + len == end))
		return -ENOEXEC;
	memcpy(interp, p, len);
	interp[len] = 0;
	p += len;
	while (p < eol && (*p == ' ' || *p == '\t'))
		p++;
	while (eol > p && (eol[-1] == ' ' || eol[-1] == '\t'))
		eol--;
	len = MIN((size_t)(eol - p), size - 1);
	memcpy(arg, p, len);
	arg[len] = 0;
	return 0;
}

static int exec_prepend(struct strings *argv, const char *interp, const char *arg, const char *script)
{
	struct strings n = {0};
	int r = exec_strings_add(&n, interp, strlen(interp));
	if (!r && arg[0])
		r = exec_strings_add(&n, arg, strlen(arg));
	if (!r)
		r = exec_strings_add(&n, script, strlen(script));
	for (u32 i = 1; !r && i < argv->n; i++)
		r = exec_strings_add(&n, argv->buf + argv->off[i], strlen(argv->buf + argv->off[i]));
	if (r) {
		exec_strings_free(&n);
		return r;
	}
	exec_strings_free(argv);
	*argv = n;
	return 0;
}

static struct file *exec_open_program(int dirfd, const char *path, bool nofollow, int *err)
{
	struct file *f = file_open(dirfd, path, O_RDONLY | (nofollow ? O_NOFOLLOW : 0), 0, err);
	if (!f)
		return NULL;
	*err = (f->inode->mode & 0170000) != 0100000 ? -EACCES : inode_permission(f->inode, 1);
	if (*err) {
		file_put(f);
		return NULL;
	}
	return f;
}

static int exec_load_image(struct file *f, struct mm *mm, struct strings *argv, const struct strings *envp, const char *path, struct trapframe *tf,
			   char comm[16])
{
	struct image img;
	char *line = kmalloc(1024), *interp = kmalloc(256), *arg = kmalloc(256), *name = kstrdup(path);
	int r = -ENOMEM;
	file_get(f);
	if (!line || !interp || !arg || !name)
		goto out;
	const char *slash = strrchr(path, '/');
	strlcpy(comm, slash ? slash + 1 : path, 16);
	for (int depth = 0;; depth++) {
		ssize_t n = f->inode->writers > 0 ? -ETXTBSY : file_read_kernel(f, line, 512, 0);
		r = n < 0 ? (int)n : -ENOEXEC;
		if (n < 4)
			goto out;
		if (line[0] != '#' || line[1] != '!') {
			r = elf_load(f, (u8 *)line, (size_t)n, mm, &img);
			break;
		}
		r = depth == SCRIPT_DEPTH ? -ELOOP : exec_script_line((u8 *)line, (size_t)n, interp, arg, 256);
		if (!r)
			r = exec_prepend(argv, interp, arg, name);
		if (r)
			goto out;
		struct file *next = exec_open_program(AT_FDCWD, interp, false, &r);
		if (!next)
			goto out;
		file_put(f);
		f = next;
		kfree(name);
		name = kstrdup(interp);
		if (!name) {
			r = -ENOMEM;
			goto out;
		}
	}
	if (r)
		goto out;
	mm->vdso = vdso_map(mm);
	mm->limit_stack = current->proc->rlim[3].cur;
	mm->limit_data = current->proc->rlim[2].cur;
	mm->limit_as = current->proc->rlim[9].cur;
	r = inode_deny_write(f->inode);
	if (r)
		goto out;
	file_get(f);
	mm->exe = f;
	u64 rsp = 0;
	r = exec_build_stack(mm, argv, envp, path, &img, &rsp);
	*tf = (struct trapframe){
		.rip = img.entry,
		.rsp = rsp,
		.cs = QK_SEL_UCS,
		.ss = QK_SEL_UDS,
		.rflags = 0x202,
		.orig_rax = ~0ul,
	};
out:
	file_put(f);
	kfree(line);
	kfree(interp);
	kfree(arg);
	kfree(name);
	return r;
}

int exec_load(const char *path, char *const argv[], char *const envp[], struct mm *mm, struct trapframe *tf, char comm[16])
{
	struct strings a = {0}, e = {0};
	int r = 0;
	for (int i = 0; !r && argv[i]; i++)
		r = exec_strings_add(&a, argv[i], strlen(argv[i]));
	for (int i = 0; !r && envp[i]; i++)
		r = exec_strings_add(&e, envp[i], strlen(envp[i]));
	struct file *f = r ? NULL : exec_open_program(AT_FDCWD, path, false, &r);
	if (f) {
		r = exec_load_image(f, mm, &a, &e, path, tf, comm);
		file_put(f);
	}
	exec_strings_free(&a);
	exec_strings_free(&e);
	return r;
}

/* The other threads of the group end before the new program starts; the caller becomes the leader. */
static int exec_become_single(void)
{
	struct process *p = current->proc;
	while (p->ntasks > 1) {
		if (current->dying)
			return -EINTR; /* another one was first */
		kill_other_threads();
		p->exec_task = current;
		int r = task_sleep_killable(); /* the last of the others wakes us */
		p->exec_task = NULL;
		if (p->exiting || (r && p->ntasks > 1))
			return -EINTR;
	}
	pid_detach_task(current);
	current->tid = p->pid;
	pid_attach(current);
	p->leader = current;
	return 0;
}

/* capabilities(7): no file here brings any; root has all that the bounding set leaves, others none. */
static void caps_at_exec(struct process *p)
{
	p->cap_perm = !p->uid || !p->euid ? p->cap_inh | p->cap_bset : 0;
	p->cap_eff = p->euid ? 0 : p->cap_perm;
	p->keep_caps = false;
}

static void exec_reset_for_new_program(void)
{
	struct task *t = current;
	struct process *p = t->proc;
	if (p->sighand->refs > 1) {
		struct sighand *n = kmalloc(sizeof(*n));
		if (n) {
			*n = *p->sighand;
			n->refs = 1;
			p->sighand->refs--;
			p->sighand = n;
		}
	}
	for (int i = 0; i < SIGNALS; i++)
		p->sighand->action[i] = (struct ksigaction){.handler = p->sighand->action[i].handler == 1};
	posix_timers_free(p);
	t->altstack.flags = 2;
	t->robust_list = t->clear_child_tid = UPTR(0);
	t->restart.fn = NULL;
	p->execed = true;
	p->dumpable = 1;
	if (t->files->refs > 1) {
		struct files *n = files_clone(t->files);
		if (n) {
			files_put(t->files);
			t->files = n;
		}
	}
	files_close_exec(t->files);
	caps_at_exec(p);
	arch_fpu_reset(&t->arch);
	arch_fpu_restore(&t->arch);
	arch_set_fs_base(0);
	arch_set_gs_base(0);
}

static long exec_execute(int dirfd, const char *path, u64 uargv, u64 uenvp, u64 flags)
{
	struct strings argv = {0}, envp = {0};
	struct trapframe tf;
	char comm[16];
	struct file *f = NULL;
	struct mm *mm = NULL;
	int r = exec_strings_from_user(&argv, uargv);
	r = r ? r : exec_strings_from_user(&envp, uenvp);
	if (!r && argv.n == 0)
		r = exec_strings_add(&argv, "", 0);
	if (r)
		goto out;
	if (!path[0] && (flags & AT_EMPTY_PATH)) {
		f = fd_get(dirfd);
		r = f ? inode_permission(f->inode, 1) : -EBADF;
	} else {
		f = exec_open_program(dirfd, path, flags & AT_SYMLINK_NOFOLLOW, &r);
	}
	if (!f || r)
		goto out;
	mm = mm_create();
	r = mm ? exec_load_image(f, mm, &argv, &envp, path[0] ? path : "/dev/fd/exec", &tf, comm) : -ENOMEM;
	r = r ? r : exec_become_single();
	if (r)
		goto out;
	struct task *t = current;
	struct mm *old = t->mm;
	t->proc->max_pages = MAX(t->proc->max_pages, mm_peak_pages(old));
	t->mm = mm;
	mm_activate(mm);
	mm = NULL;
	mm_put(old);
	if (t->vfork_parent) {
		t->vfork_parent->vfork_done = true;
		wake_task(t->vfork_parent, 0);
		t->vfork_parent = NULL;
	}
	exec_reset_for_new_program();
	memcpy(t->comm, comm, sizeof(comm));
	memcpy(t->proc->comm, comm, sizeof(comm));
	*arch_task_frame(&t->arch) = tf;
out:
	if (f)
		file_put(f);
	if (mm)
		mm_put(mm);
	exec_strings_free(&argv);
	exec_strings_free(&envp);
	return r;
}

long sys_execveat(u64 dirfd, u64 upath, u64 uargv, u64 uenvp, u64 flags)
{
	if (flags & ~(u64)(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		return -EINVAL;
	char *path = kmalloc(PATH_MAX);
	if (!path)
		return -ENOMEM;
	long r = copy_path_from_user(path, UPTR(upath));
	if (!r && !path[0] && !(flags & AT_EMPTY_PATH))
		r = -ENOENT;
	if (!r)
		r = exec_execute((int)dirfd, path, uargv, uenvp, flags);
	kfree(path);
	return r;
}

long sys_execve(u64 upath, u64 uargv, u64 uenvp)
{
	return sys_execveat((u64)AT_FDCWD, upath, uargv, uenvp, 0);
}
