/* What the files of /proc say of a process or thread. */
#include "fdtable.h"
#include "fsctx.h"
#include "mount.h"
#include "inotify.h"
#include "procfs.h"
#include "../proc/proc.h"
#include <asm/resource.h>
#include "qcall.h"
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/stat.h>

#define TICKS(ns) ((ns) / 10000000ul) /* USER_HZ 100 */
#define KIB(pages) ((pages) * 4)

static void proctext_mounts(struct text *t, const struct subject *s)
{
	struct mount *m;
	list_for_each (m, &all_mounts, node)
		text_add(t, "%s %s %s %s,relatime 0 0\n", m->source, m->point, m->fstype, m->flags & QK_MOUNT_RO ? "ro" : "rw");
}

static void proctext_mountinfo(struct text *t, const struct subject *s)
{
	struct mount *m;
	u32 id = 20;
	list_for_each (m, &all_mounts, node) {
		const char *mode = m->flags & QK_MOUNT_RO ? "ro" : "rw";
		text_add(t, "%u %u 0:%lu / %s %s,relatime - %s %s %s\n", id, id == 20 ? 1 : 20, m->root->dev, m->point, mode, m->fstype, m->source,
			 mode);
		id++;
	}
}

/* ---- of a process or thread */
static const char *proctext_path_name(const struct file *f)
{
	return f->path.str ? f->path.str : "";
}

void text_area(struct text *t, const struct vma *v)
{
	const struct inode *i = v->file ? v->file->inode : NULL;
	text_add(t, "%08lx-%08lx %c%c%c%c %08lx 00:%02lx %lu ", v->start, v->end, v->prot & PROT_READ ? 'r' : '-', v->prot & PROT_WRITE ? 'w' : '-',
		 v->prot & PROT_EXEC ? 'x' : '-', v->flags & MAP_SHARED ? 's' : 'p', i ? v->pgoff << PAGE_SHIFT : 0, i ? i->dev : 0, i ? i->ino : 0);
	const char *name = v->file ? proctext_path_name(v->file) : v->name;
	if (name)
		text_add(t, "                      %s", name);
	text_add(t, "\n");
}

static void proctext_maps(struct text *t, const struct subject *s)
{
	for (u32 k = 0; s->t->mm && k < s->t->mm->nvma; k++)
		text_area(t, vma_at(s->t->mm, k));
}

static char proctext_state_of(const struct subject *s)
{
	if (s->p->zombie)
		return 'Z';
	return s->t == current || s->t->state == TASK_RUNNABLE ? 'R' : s->t->state == TASK_STOPPED ? 'T' : 'S';
}

static s32 proctext_parent_of(const struct process *p)
{
	return p->parent ? p->parent->pid : 0;
}

static sigset proctext_handled(const struct process *p, bool ignored)
{
	sigset set = 0;
	for (int n = 1; p->sighand && n <= SIGNALS; n++) {
		u64 h = p->sighand->action[n - 1].handler;
		if (ignored ? h == 1 : h > 1)
			set |= SIGBIT(n);
	}
	return set;
}

struct sizes {
	u64 data, stack, exe, lib; /* bytes */
};

static struct sizes proctext_sizes_of(struct mm *mm)
{
	struct sizes z = {0};
	for (u32 k = 0; mm && k < mm->nvma; k++) {
		const struct vma *v = vma_at(mm, k);
		u64 n = v->end - v->start;
		if (v->name && !strcmp(v->name, "[stack]"))
			z.stack += n;
		else if (v->prot & PROT_EXEC && v->file)
			*(mm->exe && v->file->inode == mm->exe->inode ? &z.exe : &z.lib) += n;
		else if (v->prot & PROT_WRITE && !(v->flags & MAP_SHARED))
			z.data += n;
	}
	return z;
}

static void proctext_status(struct text *t, const struct subject *s)
{
	const struct process *p = s->p;
	const struct mm *mm = s->t->mm;
	char c = proctext_state_of(s);
	text_add(t, "Name:\t%s\nUmask:\t%04o\nState:\t%c (%s)\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t0\n", s->t->comm,
		 s->t->fs ? s->t->fs->umask : 0, c,
		 c == 'R'   ? "running"
		 : c == 'Z' ? "zombie"
		 : c == 'T' ? "stopped"
			    : "sleeping",
		 p->pid, s->t->tid, proctext_parent_of(p));
	text_add(t, "Uid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\nFDSize:\t%u\nGroups:\t", p->uid, p->euid, p->suid, p->fsuid, p->gid, p->egid,
		 p->sgid, p->fsgid, s->t->files ? s->t->files->cap : 0);
	for (u32 k = 0; k < p->ngroups; k++)
		text_add(t, "%u ", p->groups[k]);
	text_add(t, "\nNStgid:\t%d\nNSpid:\t%d\nNSpgid:\t%d\nNSsid:\t%d\n", p->pid, s->t->tid, p->pgid, p->sid);
	if (mm) {
		struct mm_usage u = mm_count_all(s->t->mm);
		u64 vm = mm->total_vm / 1024, rss = KIB(u.anon + u.file + u.shmem), peak = MAX(rss, KIB(mm_peak_pages(mm)));
		struct sizes z = proctext_sizes_of(s->t->mm);
		text_add(t, "VmPeak:\t%8lu kB\nVmSize:\t%8lu kB\nVmLck:\t       0 kB\nVmPin:\t       0 kB\nVmHWM:\t%8lu kB\nVmRSS:\t%8lu kB\n",
			 MAX(mm->vm_peak, mm->total_vm) / 1024, vm, peak, rss);
		text_add(t, "RssAnon:\t%8lu kB\nRssFile:\t%8lu kB\nRssShmem:\t%8lu kB\n", KIB(u.anon), KIB(u.file), KIB(u.shmem));
		text_add(t, "VmData:\t%8lu kB\nVmStk:\t%8lu kB\nVmExe:\t%8lu kB\nVmLib:\t%8lu kB\nVmSwap:\t       0 kB\nHugetlbPages:\t       0 kB\n",
			 z.data / 1024, z.stack / 1024, z.exe / 1024, z.lib / 1024);
		text_add(t, "CoreDumping:\t0\nTHP_enabled:\t0\n");
	}
	text_add(t, "Threads:\t%u\n", p->ntasks);
	text_add(t, "SigQ:\t%lu/%lu\nSigPnd:\t%016lx\nShdPnd:\t%016lx\nSigBlk:\t%016lx\nSigIgn:\t%016lx\nSigCgt:\t%016lx\n", signal_user_count(p),
		 p->rlim[RLIMIT_SIGPENDING].cur, s->t->pending.set, p->pending.set, s->t->blocked, proctext_handled(p, true),
		 proctext_handled(p, false));
	text_add(t, "CapInh:\t%016lx\nCapPrm:\t%016lx\nCapEff:\t%016lx\nCapBnd:\t%016lx\nCapAmb:\t0000000000000000\nNoNewPrivs:\t%d\nSeccomp:\t0\n",
		 p->cap_inh, p->cap_perm, p->cap_eff, p->cap_bset, p->no_new_privs);
	text_add(t, "Seccomp_filters:\t0\nSpeculation_Store_Bypass:\tunknown\nSpeculationIndirectBranch:\tunknown\n");
	text_add(t, "Cpus_allowed:\t1\nCpus_allowed_list:\t0\nMems_allowed:\t1\nMems_allowed_list:\t0\nvoluntary_ctxt_switches:\t0\n");
	text_add(t, "nonvoluntary_ctxt_switches:\t0\n");
}

static void proctext_stat(struct text *t, const struct subject *s)
{
	const struct process *p = s->p;
	const struct mm *mm = s->t->mm;
	u64 ns = s->of_thread ? task_cpu_ns(s->t) : process_cpu_ns(s->p), ut = TICKS(ns), st = 0; /* all of it is counted as the user's */
	text_add(t, "%d (%s) %c %d %d %d %d %d 0 %lu 0 0 0 %lu %lu %lu %lu 20 %d %u 0 %lu %lu %lu %lu ", s->t->tid, s->t->comm, proctext_state_of(s),
		 proctext_parent_of(p), p->pgid, p->sid, comm()->boot.flags & QK_BOOT_TTY ? 34816 : 0, p->pgid, mm ? mm->faults : 0, ut, st,
		 TICKS(p->cutime_ns), TICKS(p->cstime_ns), s->t->nice, p->ntasks, TICKS(p->start_ns), mm ? mm->total_vm : 0, mm ? mm->pages : 0,
		 p->rlim[RLIMIT_RSS].cur);
	text_add(t, "0 0 %lu 0 0 %lu %lu %lu %lu 0 0 0 %d 0 0 0 0 0 0 0 0 %lu %lu %lu %lu %lu %d\n", mm ? mm->stack_top : 0, s->t->pending.set,
		 s->t->blocked, proctext_handled(p, true), proctext_handled(p, false), p->exit_signal, mm ? mm->brk_start : 0, mm ? mm->arg_start : 0,
		 mm ? mm->arg_end : 0, mm ? mm->env_start : 0, mm ? mm->env_end : 0, p->exit_status);
}

static void proctext_statm(struct text *t, const struct subject *s)
{
	const struct mm *mm = s->t->mm;
	struct sizes z = proctext_sizes_of(s->t->mm);
	struct mm_usage u = {0};
	if (mm)
		u = mm_count_all(s->t->mm);
	text_add(t, "%lu %lu %lu %lu 0 %lu 0\n", mm ? mm->total_vm >> PAGE_SHIFT : 0, u.anon + u.file + u.shmem, u.file + u.shmem,
		 z.exe >> PAGE_SHIFT, (z.data + z.stack) >> PAGE_SHIFT);
}

static void proctext_range(struct text *t, struct mm *mm, vaddr_t from, vaddr_t to)
{
	while (mm && from < to) {
		u64 n = MIN(to - from, PAGE_SIZE - (from & (PAGE_SIZE - 1)));
		paddr_t p = mm_translate(mm, from, 0);
		if (!p)
			return;
		text_bytes(t, phys_to_virt(p), n);
		from += n;
	}
}

static void proctext_cmdline(struct text *t, const struct subject *s)
{
	if (s->t->mm)
		proctext_range(t, s->t->mm, s->t->mm->arg_start, s->t->mm->arg_end);
}

static void proctext_environ(struct text *t, const struct subject *s)
{
	if (s->t->mm)
		proctext_range(t, s->t->mm, s->t->mm->env_start, s->t->mm->env_end);
}

static void proctext_auxv(struct text *t, const struct subject *s)
{
	if (s->t->mm)
		text_bytes(t, (const char *)s->t->mm->auxv, s->t->mm->auxv_words * 8ul);
}

static void proctext_comm_name(struct text *t, const struct subject *s)
{
	text_add(t, "%s\n", s->t->comm);
}
static void proctext_limits(struct text *t, const struct subject *s)
{
	static const char *const names[16] = {
		"Max cpu time",       "Max file size",     "Max data size",         "Max stack size",
		"Max core file size", "Max resident set",  "Max processes",         "Max open files",
		"Max locked memory",  "Max address space", "Max file locks",        "Max pending signals",
		"Max msgqueue size",  "Max nice priority", "Max realtime priority", "Max realtime timeout",
	};
	static const char *const units[16] = {"seconds", "bytes", "bytes", "bytes",   "bytes", "bytes", "processes", "files",
					      "bytes",   "bytes", "locks", "signals", "bytes", "",      "",          "us"};
	text_add(t, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
	for (int k = 0; k < 16; k++) {
		char v[2][24];
		u64 lim[2] = {s->p->rlim[k].cur, s->p->rlim[k].max};
		for (int j = 0; j < 2; j++) {
			if (lim[j] == ~0ul)
				strlcpy(v[j], "unlimited", sizeof(v[j]));
			else
				snprintf(v[j], sizeof(v[j]), "%lu", lim[j]);
		}
		text_add(t, "%-25s %-20s %-20s %-10s\n", names[k], v[0], v[1], units[k]);
	}
}

static void proctext_uid_map(struct text *t, const struct subject *s)
{
	text_add(t, "         0          0 4294967295\n");
}

/* Storage is the host's: what a process has read and written is counted, not what of it went to a disk. */
static void proctext_io(struct text *t, const struct subject *s)
{
	const struct process *p = s->p;
	text_add(t, "rchar: %lu\nwchar: %lu\nsyscr: %lu\nsyscw: %lu\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n", p->rchar, p->wchar,
		 p->syscr, p->syscw);
}

static int proctext_comm_store(const struct subject *s, char *data)
{
	strlcpy(s->t->comm, data, sizeof(s->t->comm));
	return 0;
}

/* ---- how willingly a process is killed when memory runs out */
#define OOM_MIN (-1000)
#define OOM_MAX 1000

static void proctext_oom_score_adj(struct text *t, const struct subject *s)
{
	text_add(t, "%d\n", s->p->oom_score_adj);
}

static int proctext_oom_score_adj_store(const struct subject *s, char *data)
{
	bool negative = *data == '-';
	s64 n = 0;
	const char *p = data + negative;
	if (!*p)
		return -EINVAL;
	for (; *p >= '0' && *p <= '9' && n <= OOM_MAX; p++)
		n = n * 10 + (*p - '0');
	n = negative ? -n : n;
	if (*p || n < OOM_MIN || n > OOM_MAX)
		return -EINVAL;
	if (n < s->p->oom_score_adj && current->proc->euid)
		return -EACCES;
	s->p->oom_score_adj = (s32)n;
	return 0;
}

/* In thousandths of all memory, plus the adjustment, as Linux has it since 5.10: 667 is that of a small process. */
static void proctext_oom_score(struct text *t, const struct subject *s)
{
	u64 pages = s->t->mm ? s->t->mm->pages : 0;
	s64 points = (s64)(pages * OOM_MAX / MAX(frames_limit(), 1ul)) + s->p->oom_score_adj + OOM_MAX;
	text_add(t, "%ld\n", points < 0 ? 0 : points * 2 / 3);
}

static int proctext_refused(const struct subject *s, char *data)
{
	return -EPERM;
}

void text_fdinfo(struct text *t, const struct subject *s)
{
	const struct files *fs = s->t->files;
	if (!fs || s->fd < 0 || (u32)s->fd >= fs->cap || !fs->fd[s->fd])
		return;
	const struct file *f = fs->fd[s->fd];
	text_add(t, "pos:\t%lu\nflags:\t0%o\nmnt_id:\t20\nino:\t%lu\n", f->pos, f->flags, f->inode->ino);
	inotify_fdinfo(f, t);
	pidfd_fdinfo(f, t);
}

const struct proc_text process_texts[] = {
	{"auxv", .fn = proctext_auxv, .mode = 0400, .guarded = true},
	{"cgroup", .fixed = "0::/\n"},
	{"cmdline", .fn = proctext_cmdline},
	{"comm", .fn = proctext_comm_name, .write = proctext_comm_store},
	{"coredump_filter", .fixed = "00000033\n"},
	{"environ", .fn = proctext_environ, .mode = 0400, .guarded = true},
	{"gid_map", .fn = proctext_uid_map, .write = proctext_refused},
	{"io", .fn = proctext_io, .mode = 0400, .guarded = true},
	{"limits", .fn = proctext_limits},
	{"loginuid", .fixed = "4294967295"},
	{"maps", .fn = proctext_maps, .guarded = true},
	{"mountinfo", .fn = proctext_mountinfo},
	{"mounts", .fn = proctext_mounts},
	{"oom_score", .fn = proctext_oom_score},
	{"oom_score_adj", .fn = proctext_oom_score_adj, .write = proctext_oom_score_adj_store},
	{"personality", .fixed = "00000000\n", .mode = 0400, .guarded = true},
	{"projid_map", .fixed = ""},
	{"schedstat", .fixed = "0 0 0\n"},
	{"sessionid", .fixed = "4294967295"},
	{"setgroups", .fixed = "allow\n"},
	{"smaps", .fn = text_smaps, .guarded = true},
	{"smaps_rollup", .fn = text_smaps_rollup, .guarded = true},
	{"stat", .fn = proctext_stat},
	{"statm", .fn = proctext_statm},
	{"status", .fn = proctext_status},
	{"timerslack_ns", .fixed = "50000\n"},
	{"uid_map", .fn = proctext_uid_map, .write = proctext_refused},
	{"wchan", .fixed = "0"},
	{.name = NULL},
};
