/* The first process, from what QVisor put into the boot blob. */
#include "fdtable.h"
#include "fsctx.h"
#include "host.h"
#include "arch.h"
#include "exec.h"
#include "qcall.h"
#include <linux/fcntl.h>

static const char *start_next_string(const char **at)
{
	const char *s = *at;
	*at += strlen(s) + 1;
	return s;
}

static noreturn void start_cannot_run(const char *what, int err)
{
	static const struct {
		int err;
		const char *text;
	} texts[] = {
		{ENOENT, "no such file"},
		{EACCES, "it is not an executable file, or permission is denied"},
		{ENOEXEC, "not an x86-64 ELF program and not a script"},
		{ENOTDIR, "a part of the path is not a directory"},
		{ELOOP, "too many levels of symbolic links or scripts"},
		{ENOMEM, "out of guest memory"},
		{ELIBBAD, "its interpreter is not an ELF program"},
		{EISDIR, "it is a directory"},
		{E2BIG, "arguments and environment are too long"},
	};
	const char *text = "error";
	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++)
		if (texts[i].err == -err)
			text = texts[i].text;
	end_unstarted(err == -ENOENT || err == -ENOTDIR ? 127 : 126, "cannot run %s: %s (errno %d)", what, text, -err);
}

/* As execvp(3): a name without a slash is looked for along PATH. */
static int start_load_along_path(const char *name, char *argv[], char *envp[], struct mm *mm, struct trapframe *tf, char comm[16])
{
	const char *path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	if (!*name)
		return -ENOENT;
	if (strchr(name, '/'))
		return exec_load(name, argv, envp, mm, tf, comm);
	for (int i = 0; envp[i]; i++)
		if (!strncmp(envp[i], "PATH=", 5))
			path = envp[i] + 5;
	int result = -ENOENT;
	char *full = kmalloc(PATH_MAX);
	while (full && *path) {
		const char *end = strchr(path, ':');
		int n = end ? (int)(end - path) : (int)strlen(path);
		if (snprintf(full, PATH_MAX, "%.*s%s%s", n, path, n ? "/" : "", name) < PATH_MAX) {
			int r = exec_load(full, argv, envp, mm, tf, comm);
			if (r != -ENOENT && r != -ENOTDIR && r != -EACCES) {
				result = r;
				break;
			}
			if (r == -EACCES)
				result = r;
		}
		path += n + (end != NULL);
	}
	kfree(full);
	return result;
}

noreturn void start_init(void)
{
	const struct qk_boot *b = &comm()->boot;
	const char *at = (const char *)(QK_COMM_BASE + QK_OFF_BOOT);
	const char *cwd = start_next_string(&at);
	set_hostname(start_next_string(&at));
	char **argv = kzalloc((b->argc + 1ul) * sizeof(char *)), **envp = kzalloc((b->envc + 1ul) * sizeof(char *));
	struct process *p = process_new(NULL, NULL);
	struct mm *mm = mm_create();
	struct task *t = p && mm ? task_new(p, mm) : NULL;
	struct sighand *sh = kzalloc(sizeof(*sh));
	if (!argv || !envp || !t || !sh)
		panic("not enough memory for the first process");
	for (u32 i = 0; i < b->argc; i++)
		argv[i] = (char *)start_next_string(&at);
	for (u32 i = 0; i < b->envc; i++)
		envp[i] = (char *)start_next_string(&at);
	sh->refs = 1;
	for (int sig = 1; sig <= SIGNALS; sig++)
		sh->action[sig - 1].handler = b->ignored_signals >> (sig - 1) & 1; /* SIG_IGN or SIG_DFL */
	p->sighand = sh;
	t->tid = pid_alloc();
	if (t->tid < 0)
		panic("not enough memory for the first process");
	p->pid = p->pgid = p->sid = t->tid;
	p->leader = t;
	p->ntasks = 1;
	p->uid = p->euid = p->suid = p->fsuid = b->uid;
	p->gid = p->egid = p->sgid = p->fsgid = b->gid;
	p->cap_bset = (1ul << 41) - 1;
	if (b->uid == 0)
		p->cap_eff = p->cap_perm = p->cap_bset;
	list_add_tail(&t->group, &p->tasks);
	pid_attach(t);
	list_add_tail(&p->all, &all_processes);
	init_process = p;
	current = t; /* until its own stack is in use */
	mm_activate(mm);
	t->fs = fs_ctx_new();
	t->files = files_new();
	if (!t->fs || !t->files)
		panic("not enough memory for the first process");
	if (hoststreams_install())
		panic("cannot open the standard streams");
	struct path dir;
	int err = path_walk(AT_FDCWD, cwd, WALK_FOLLOW | WALK_DIRECTORY, &dir, NULL);
	if (err)
		start_cannot_run("in the working directory asked for by --cwd", err);
	path_put(&t->fs->cwd);
	t->fs->cwd = dir;

	struct trapframe tf;
	err = b->argc ? start_load_along_path(argv[0], argv, envp, mm, &tf, t->comm) : -ENOENT;
	if (err)
		start_cannot_run(b->argc ? argv[0] : "\"\"", err);
	memcpy(p->comm, t->comm, sizeof(p->comm));
	arch_task_setup(&t->arch, &tf);
	kfree(argv);
	kfree(envp);
	t->state = TASK_RUNNABLE;
	sched_start(t);
}
