/* What the files of /proc say. */
#include "inotify.h"
#include "../proc/proc.h"
#include "qcall.h"
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/stat.h>

void cpuid(u32 leaf, u32 sub, u32 r[4]);

void text_bytes(struct text *t, const char *p, size_t n)
{
	if (t->failed)
		return;
	if (t->len + n + 1 > t->cap) {
		size_t cap = MAX(t->cap * 2, t->len + n + 1024);
		char *grown = krealloc(t->buf, cap);
		if (!grown) {
			t->failed = true;
			return;
		}
		t->buf = grown;
		t->cap = cap;
	}
	memcpy(t->buf + t->len, p, n);
	t->len += n;
}

void text_add(struct text *t, const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	text_bytes(t, line, (size_t)MIN(n, (int)sizeof(line) - 1));
}

#define TICKS(ns) ((ns) / 10000000ul) /* USER_HZ 100 */
#define KIB(pages) ((pages) * 4)

/* ---- of the system */
static void cpuinfo(struct text *t, const struct subject *s)
{
	static const struct {
		u8 leaf, reg, bit;
		const char *name;
	} flags[] = {
		{1, 3, 0, "fpu"},       {1, 3, 4, "tsc"},     {1, 3, 8, "cx8"},       {1, 3, 15, "cmov"},     {1, 3, 19, "clflush"},
		{1, 3, 23, "mmx"},      {1, 3, 24, "fxsr"},   {1, 3, 25, "sse"},      {1, 3, 26, "sse2"},     {1, 2, 0, "pni"},
		{1, 2, 1, "pclmulqdq"}, {1, 2, 9, "ssse3"},   {1, 2, 12, "fma"},      {1, 2, 13, "cx16"},     {1, 2, 19, "sse4_1"},
		{1, 2, 20, "sse4_2"},   {1, 2, 22, "movbe"},  {1, 2, 23, "popcnt"},   {1, 2, 25, "aes"},      {1, 2, 26, "xsave"},
		{1, 2, 28, "avx"},      {1, 2, 29, "f16c"},   {1, 2, 30, "rdrand"},   {7, 1, 3, "bmi1"},      {7, 1, 5, "avx2"},
		{7, 1, 8, "bmi2"},      {7, 1, 9, "erms"},    {7, 1, 16, "avx512f"},  {7, 1, 17, "avx512dq"}, {7, 1, 18, "rdseed"},
		{7, 1, 19, "adx"},      {7, 1, 29, "sha_ni"}, {7, 1, 30, "avx512bw"}, {7, 1, 31, "avx512vl"},
	};
	u32 r[4], v[4], brand[13] = {0}, l1[4], l7[4] = {0};
	cpuid(0, 0, v);
	u32 vendor[4] = {v[1], v[3], v[2], 0}, max = v[0];
	cpuid(1, 0, l1);
	if (max >= 7)
		cpuid(7, 0, l7);
	cpuid(0x80000000, 0, r);
	for (u32 k = 0; r[0] >= 0x80000004 && k < 3; k++)
		cpuid(0x80000002 + k, 0, brand + 4 * k);
	u32 family = l1[0] >> 8 & 15, model = l1[0] >> 4 & 15;
	if (family == 6 || family == 15)
		model += (l1[0] >> 16 & 15) << 4;
	if (family == 15)
		family += l1[0] >> 20 & 255;
	u64 base[5];
	clock_base(base);
	u64 khz = base[1] ? (1000000ul << 32) / base[1] : 0;
	text_add(t, "processor\t: 0\nvendor_id\t: %s\ncpu family\t: %u\nmodel\t\t: %u\nmodel name\t: %s\nstepping\t: %u\n", (char *)vendor, family,
		 model, (char *)brand, l1[0] & 15);
	text_add(t, "cpu MHz\t\t: %lu.%03lu\nphysical id\t: 0\nsiblings\t: 1\ncore id\t\t: 0\ncpu cores\t: 1\nfpu\t\t: yes\nflags\t\t:", khz / 1000,
		 khz % 1000);
	for (unsigned k = 0; k < ARRAY_SIZE(flags); k++)
		if ((flags[k].leaf == 1 ? l1 : l7)[flags[k].reg] >> flags[k].bit & 1)
			text_add(t, " %s", flags[k].name);
	text_add(t, " syscall nx lm\nclflush size\t: 64\ncache_alignment\t: 64\n\n");
}

static void meminfo(struct text *t, const struct subject *s)
{
	u64 total = frames_limit(), used = frames_total() - frames_free();
	text_add(t,
		 "MemTotal:       %8lu kB\nMemFree:        %8lu kB\nMemAvailable:   %8lu kB\nBuffers:               0 kB\nCached:                0 "
		 "kB\n",
		 KIB(total), KIB(total - used), KIB(total - used));
	text_add(t, "SwapTotal:             0 kB\nSwapFree:              0 kB\n");
}

static void stat_system(struct text *t, const struct subject *s)
{
	struct process *p;
	u64 busy = 0;
	u32 running = 0;
	list_for_each (p, &all_processes, all) {
		busy += process_cpu_ns(p);
		running += !p->zombie;
	}
	u64 up = boot_ns(), idle = up > busy ? up - busy : 0;
	for (int k = 0; k < 2; k++)
		text_add(t, "cpu%s %lu 0 0 %lu 0 0 0 0 0 0\n", k ? "0" : " ", TICKS(busy), TICKS(idle));
	text_add(t, "intr 0\nctxt %lu\nbtime %lu\nprocesses %u\nprocs_running %u\nprocs_blocked 0\n", comm()->stat_switches,
		 (real_ns() - boot_ns()) / 1000000000ul, running, running);
}

static void uptime(struct text *t, const struct subject *s)
{
	u64 cs = boot_ns() / 10000000;
	text_add(t, "%lu.%02lu 0.00\n", cs / 100, cs % 100);
}

static void loadavg(struct text *t, const struct subject *s)
{
	text_add(t, "0.00 0.00 0.00 1/%u %d\n", ntasks, current->proc->pid);
}

static void version(struct text *t, const struct subject *s)
{
	text_add(t, "Linux version 6.1.0-quark (QKernel) #1 SMP QKernel\n");
}

static void filesystems(struct text *t, const struct subject *s)
{
	text_add(t, "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tdevtmpfs\nnodev\toverlay\n");
}

static void mounts(struct text *t, const struct subject *s)
{
	struct mount *m;
	list_for_each (m, &all_mounts, node)
		text_add(t, "%s %s %s %s,relatime 0 0\n", m->source, m->point, m->fstype, m->flags & QK_MOUNT_RO ? "ro" : "rw");
}

static void mountinfo(struct text *t, const struct subject *s)
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

static void uuid(struct text *t, const u8 b[16])
{
	for (int k = 0; k < 16; k++)
		text_add(t, "%s%02x", k == 4 || k == 6 || k == 8 || k == 10 ? "-" : "", b[k]);
	text_add(t, "\n");
}

static void random_uuid(struct text *t, const struct subject *s)
{
	u8 b[16];
	random_bytes(b, sizeof(b));
	b[6] = (b[6] & 15) | 0x40;
	b[8] = (b[8] & 63) | 0x80;
	uuid(t, b);
}

static void boot_id(struct text *t, const struct subject *s)
{
	uuid(t, comm()->generation);
}
static void hostname(struct text *t, const struct subject *s)
{
	text_add(t, "%s\n", get_hostname());
}
static void ostype(struct text *t, const struct subject *s)
{
	text_add(t, "Linux\n");
}
static void osrelease(struct text *t, const struct subject *s)
{
	text_add(t, "6.1.0-quark\n");
}
static void empty(struct text *t, const struct subject *s)
{
}
static void n0(struct text *t, const struct subject *s)
{
	text_add(t, "0\n");
}
static void n1(struct text *t, const struct subject *s)
{
	text_add(t, "1\n");
}
static void n40(struct text *t, const struct subject *s)
{
	text_add(t, "40\n");
}
static void n256(struct text *t, const struct subject *s)
{
	text_add(t, "256\n");
}
static void n4096(struct text *t, const struct subject *s)
{
	text_add(t, "4096\n");
}
static void n65530(struct text *t, const struct subject *s)
{
	text_add(t, "65530\n");
}
static void n65536(struct text *t, const struct subject *s)
{
	text_add(t, "65536\n");
}
static void n32768(struct text *t, const struct subject *s)
{
	text_add(t, "32768\n");
}
static void n1048576(struct text *t, const struct subject *s)
{
	text_add(t, "1048576\n");
}

const struct proc_text system_texts[] = {
	{"cpuinfo", cpuinfo},
	{"meminfo", meminfo},
	{"stat", stat_system},
	{"uptime", uptime},
	{"loadavg", loadavg},
	{"version", version},
	{"filesystems", filesystems},
	{"cmdline", empty},
	{"modules", empty},
	{"swaps", empty},
	{"partitions", empty},
	{"devices", empty},
	{"sysvipc/msg", proc_sysvipc_msg},
	{"sysvipc/sem", proc_sysvipc_sem},
	{"sysvipc/shm", proc_sysvipc_shm},
	{"sys/kernel/ostype", ostype},
	{"sys/kernel/osrelease", osrelease},
	{"sys/kernel/hostname", hostname},
	{"sys/kernel/sem", proc_limits_sem},
	{"sys/kernel/shmmax", proc_limits_shmmax},
	{"sys/kernel/shmall", proc_limits_shmmax},
	{"sys/kernel/shmmni", proc_limits_shmmni},
	{"sys/kernel/msgmax", proc_limits_msgmax},
	{"sys/kernel/msgmnb", proc_limits_msgmnb},
	{"sys/kernel/msgmni", proc_limits_msgmni},
	{"sys/kernel/pid_max", n32768},
	{"sys/kernel/threads-max", n32768},
	{"sys/kernel/ngroups_max", n65536},
	{"sys/kernel/cap_last_cap", n40},
	{"sys/kernel/randomize_va_space", n1},
	{"sys/kernel/random/uuid", random_uuid},
	{"sys/kernel/random/boot_id", boot_id},
	{"sys/kernel/random/entropy_avail", n256},
	{"sys/kernel/core_pattern", empty},
	{"sys/vm/overcommit_memory", n0},
	{"sys/vm/max_map_count", n65530},
	{"sys/vm/mmap_min_addr", n65536},
	{"sys/vm/swappiness", n0},
	{"sys/fs/inotify/max_queued_events", proc_inotify_events},
	{"sys/fs/inotify/max_user_instances", proc_inotify_instances},
	{"sys/fs/inotify/max_user_watches", proc_inotify_watches},
	{"sys/fs/file-max", n1048576},
	{"sys/fs/nr_open", n1048576},
	{"sys/fs/pipe-max-size", n1048576},
	{"sys/net/core/somaxconn", n4096},
	{NULL, NULL},
};

/* ---- of a process or thread */
static const char *path_name(const struct file *f)
{
	return f->path.str ? f->path.str : "";
}

static void maps(struct text *t, const struct subject *s)
{
	struct mm *mm = s->t->mm;
	for (u32 k = 0; mm && k < mm->nvma; k++) {
		const struct vma *v = vma_at(mm, k);
		const struct inode *i = v->file ? v->file->inode : NULL;
		text_add(t, "%08lx-%08lx %c%c%c%c %08lx 00:%02lx %lu ", v->start, v->end, v->prot & PROT_READ ? 'r' : '-',
			 v->prot & PROT_WRITE ? 'w' : '-', v->prot & PROT_EXEC ? 'x' : '-', v->flags & MAP_SHARED ? 's' : 'p',
			 i ? v->pgoff << PAGE_SHIFT : 0, i ? i->dev : 0, i ? i->ino : 0);
		const char *name = v->file ? path_name(v->file) : v->name;
		if (name)
			text_add(t, "                      %s", name);
		text_add(t, "\n");
	}
}

static char state_of(const struct subject *s)
{
	if (s->p->zombie)
		return 'Z';
	return s->t == current || s->t->state == TASK_RUNNABLE ? 'R' : s->t->state == TASK_STOPPED ? 'T' : 'S';
}

static s32 parent_of(const struct process *p)
{
	return p->parent ? p->parent->pid : 0;
}

static sigset handled(const struct process *p, bool ignored)
{
	sigset set = 0;
	for (int n = 1; p->sighand && n <= SIGNALS; n++) {
		u64 h = p->sighand->action[n - 1].handler;
		if (ignored ? h == 1 : h > 1)
			set |= SIGBIT(n);
	}
	return set;
}

static void status(struct text *t, const struct subject *s)
{
	const struct process *p = s->p;
	const struct mm *mm = s->t->mm;
	char c = state_of(s);
	text_add(t, "Name:\t%s\nUmask:\t%04o\nState:\t%c (%s)\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t0\n", s->t->comm,
		 s->t->fs ? s->t->fs->umask : 0, c,
		 c == 'R'   ? "running"
		 : c == 'Z' ? "zombie"
		 : c == 'T' ? "stopped"
			    : "sleeping",
		 p->pid, s->t->tid, parent_of(p));
	text_add(t, "Uid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\nFDSize:\t%u\nGroups:\t", p->uid, p->euid, p->suid, p->fsuid, p->gid, p->egid,
		 p->sgid, p->fsgid, s->t->files ? s->t->files->cap : 0);
	for (u32 k = 0; k < p->ngroups; k++)
		text_add(t, "%u ", p->groups[k]);
	u64 vm = mm ? mm->total_vm / 1024 : 0, rss = mm ? KIB(mm->pages) : 0;
	text_add(t,
		 "\nVmPeak:\t%8lu kB\nVmSize:\t%8lu kB\nVmLck:\t       0 kB\nVmHWM:\t%8lu kB\nVmRSS:\t%8lu kB\nVmSwap:\t       0 kB\nThreads:\t%u\n",
		 vm, vm, rss, rss, p->ntasks);
	text_add(t, "SigQ:\t0/1024\nSigPnd:\t%016lx\nShdPnd:\t%016lx\nSigBlk:\t%016lx\nSigIgn:\t%016lx\nSigCgt:\t%016lx\n", s->t->pending.set,
		 p->pending.set, s->t->blocked, handled(p, true), handled(p, false));
	text_add(t, "CapInh:\t%016lx\nCapPrm:\t%016lx\nCapEff:\t%016lx\nCapBnd:\t%016lx\nCapAmb:\t0000000000000000\nNoNewPrivs:\t%d\nSeccomp:\t0\n",
		 p->cap_inh, p->cap_perm, p->cap_eff, p->cap_bset, p->no_new_privs);
	text_add(t, "Cpus_allowed:\t1\nCpus_allowed_list:\t0\nMems_allowed_list:\t0\nvoluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n");
}

static void stat(struct text *t, const struct subject *s)
{
	const struct process *p = s->p;
	const struct mm *mm = s->t->mm;
	u64 ut = TICKS(p->utime_ns + s->t->utime_ns), st = TICKS(p->stime_ns + s->t->stime_ns);
	text_add(t, "%d (%s) %c %d %d %d %d %d 0 %lu 0 0 0 %lu %lu %lu %lu 20 %d %u 0 %lu %lu %lu %lu ", s->t->tid, s->t->comm, state_of(s),
		 parent_of(p), p->pgid, p->sid, comm()->boot.flags & QK_BOOT_TTY ? 34816 : 0, p->pgid, mm ? mm->faults : 0, ut, st,
		 TICKS(p->cutime_ns), TICKS(p->cstime_ns), s->t->nice, p->ntasks, TICKS(p->start_ns), mm ? mm->total_vm : 0, mm ? mm->pages : 0,
		 p->rlim[5].cur);
	text_add(t, "0 0 %lu 0 0 %lu %lu %lu %lu 0 0 0 %d 0 0 0 0 0 0 0 %lu %lu %lu %lu %lu %d\n", mm ? mm->stack_top : 0, s->t->pending.set,
		 s->t->blocked, handled(p, true), handled(p, false), p->exit_signal, mm ? mm->brk_start : 0, mm ? mm->arg_start : 0,
		 mm ? mm->arg_end : 0, mm ? mm->env_start : 0, mm ? mm->env_end : 0, p->exit_status);
}

static void statm(struct text *t, const struct subject *s)
{
	const struct mm *mm = s->t->mm;
	text_add(t, "%lu %lu 0 0 0 %lu 0\n", mm ? mm->total_vm >> PAGE_SHIFT : 0, mm ? mm->pages : 0, mm ? mm->total_vm >> PAGE_SHIFT : 0);
}

static void range(struct text *t, struct mm *mm, vaddr_t from, vaddr_t to)
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

static void cmdline(struct text *t, const struct subject *s)
{
	if (s->t->mm)
		range(t, s->t->mm, s->t->mm->arg_start, s->t->mm->arg_end);
}

static void environ(struct text *t, const struct subject *s)
{
	if (s->t->mm)
		range(t, s->t->mm, s->t->mm->env_start, s->t->mm->env_end);
}

static void auxv(struct text *t, const struct subject *s)
{
	if (s->t->mm)
		text_bytes(t, (const char *)s->t->mm->auxv, s->t->mm->auxv_words * 8ul);
}

static void comm_name(struct text *t, const struct subject *s)
{
	text_add(t, "%s\n", s->t->comm);
}
static void cgroup(struct text *t, const struct subject *s)
{
	text_add(t, "0::/\n");
}

static void limits(struct text *t, const struct subject *s)
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

static void uid_map(struct text *t, const struct subject *s)
{
	text_add(t, "         0          0 4294967295\n");
}

void text_fdinfo(struct text *t, const struct subject *s)
{
	const struct files *fs = s->t->files;
	if (!fs || s->fd < 0 || (u32)s->fd >= fs->cap || !fs->fd[s->fd])
		return;
	const struct file *f = fs->fd[s->fd];
	text_add(t, "pos:\t%lu\nflags:\t0%o\nmnt_id:\t20\nino:\t%lu\n", f->pos, f->flags, f->inode->ino);
	inotify_fdinfo(f, t);
}

const struct proc_text process_texts[] = {
	{"status", status},       {"stat", stat},     {"statm", statm},      {"maps", maps},     {"cmdline", cmdline},
	{"environ", environ},     {"auxv", auxv},     {"comm", comm_name},   {"limits", limits}, {"mounts", mounts},
	{"mountinfo", mountinfo}, {"cgroup", cgroup}, {"oom_score_adj", n0}, {"oom_score", n0},  {"uid_map", uid_map},
	{"gid_map", uid_map},     {"loginuid", n0},   {"schedstat", empty},  {NULL, NULL},
};
