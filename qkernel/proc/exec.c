/* Program execution: scripts, the initial stack, execve. */
#include "fdtable.h"
#include "arch.h"
#include "exec.h"
#include <asm/signal.h>
#include <linux/auxvec.h>
#include <linux/fcntl.h>
#include <linux/mman.h>

#define SCRIPT_DEPTH 5

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
	mm->limit_stack = current->proc->rlim[RLIMIT_STACK].cur;
	mm->limit_data = current->proc->rlim[RLIMIT_DATA].cur;
	mm->limit_as = current->proc->rlim[RLIMIT_AS].cur;
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
