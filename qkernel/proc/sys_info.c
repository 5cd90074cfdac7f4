/* Information and limits: uname, sysinfo, rusage, times, rlimits, hostname. */
#include "ktime.h"
#include "task.h"
#include "uaccess.h"
#include "proc.h"
#include <asm/signal.h>
#include <linux/capability.h>
#include <linux/reboot.h>
#include <linux/resource.h>
#include <linux/sysinfo.h>
#include <linux/utsname.h>

#define KERNEL_RELEASE "6.1.0-quark"

static char hostname[65] = "quark", domainname[65] = "(none)";

void set_hostname(const char *s)
{
	strlcpy(hostname, s, sizeof(hostname));
}

const char *get_hostname(void)
{
	return hostname;
}

long sys_uname(u64 u)
{
	struct new_utsname n = {.sysname = "Linux", .release = KERNEL_RELEASE, .version = "#1 SMP QKernel", .machine = "x86_64"};
	strlcpy(n.nodename, hostname, sizeof(n.nodename));
	strlcpy(n.domainname, domainname, sizeof(n.domainname));
	return copy_to_user(UPTR(u), &n, sizeof(n));
}

static long info_set_name(char *dst, u64 u, u64 len)
{
	char name[65] = {0};
	if (current->proc->euid)
		return -EPERM;
	if (len > 64)
		return -EINVAL;
	if (copy_from_user(name, UPTR(u), len))
		return -EFAULT;
	memcpy(dst, name, sizeof(name));
	return 0;
}

long sys_sethostname(u64 u, u64 len)
{
	return info_set_name(hostname, u, len);
}

long sys_setdomainname(u64 u, u64 len)
{
	return info_set_name(domainname, u, len);
}

long sys_sysinfo(u64 u)
{
	struct sysinfo s = {
		.uptime = (long)(boot_ns() / 1000000000ul),
		.totalram = frames_limit() * PAGE_SIZE,
		.freeram = (frames_limit() - frames_total() + frames_free()) * PAGE_SIZE,
		.procs = (u16)MIN(ntasks, 65535u),
		.mem_unit = 1,
	};
	return copy_to_user(UPTR(u), &s, sizeof(s));
}

int rusage_to_user(uptr p, const struct rusage_times *t)
{
	struct rusage r = {0};
	r.ru_utime.tv_sec = (long)(t->utime_ns / 1000000000ul);
	r.ru_utime.tv_usec = (long)(t->utime_ns % 1000000000ul / 1000);
	r.ru_stime.tv_sec = (long)(t->stime_ns / 1000000000ul);
	r.ru_stime.tv_usec = (long)(t->stime_ns % 1000000000ul / 1000);
	r.ru_maxrss = (long)(t->max_pages * (PAGE_SIZE / 1024));
	if (current->mm)
		r.ru_minflt = (long)current->mm->faults;
	return copy_to_user(p, &r, sizeof(r));
}

long sys_getrusage(u64 who, u64 u)
{
	struct process *p = current->proc;
	struct rusage_times t = {0};
	switch ((s32)who) {
	case RUSAGE_SELF:
		t.utime_ns = process_cpu_ns(p);
		t.max_pages = MAX(p->max_pages, mm_peak_pages(current->mm));
		break;
	case RUSAGE_CHILDREN:
		t.utime_ns = p->cutime_ns;
		t.stime_ns = p->cstime_ns;
		t.max_pages = p->children_max_pages;
		break;
	case 1: /* RUSAGE_THREAD */
		t.utime_ns = task_cpu_ns(current);
		t.max_pages = MAX(p->max_pages, mm_peak_pages(current->mm));
		break;
	default:
		return -EINVAL;
	}
	return rusage_to_user(UPTR(u), &t);
}

long sys_times(u64 u)
{
	const u64 tick = 10000000;
	struct process *p = current->proc;
	u64 v[4] = {process_cpu_ns(p) / tick, 0, p->cutime_ns / tick, p->cstime_ns / tick};
	if (u && copy_to_user(UPTR(u), v, sizeof(v)))
		return -EFAULT;
	return (long)(mono_ns() / tick);
}

static void info_apply(struct process *p, unsigned which)
{
	struct task *t;
	list_for_each (t, &p->tasks, group) {
		if (!t->mm)
			continue;
		t->mm->limit_stack = p->rlim[RLIMIT_STACK].cur;
		t->mm->limit_data = p->rlim[RLIMIT_DATA].cur;
		t->mm->limit_as = p->rlim[RLIMIT_AS].cur;
	}
}

long sys_prlimit64(u64 pid, u64 which, u64 unew, u64 uold)
{
	struct process *p = (s32)pid ? process_find((s32)pid) : current->proc;
	struct rlim n, old;
	if (which >= ARRAY_SIZE(p->rlim))
		return -EINVAL;
	if (unew && copy_from_user(&n, UPTR(unew), sizeof(n)))
		return -EFAULT;
	if (!p)
		return -ESRCH;
	if (p != current->proc && current->proc->euid && current->proc->uid != p->uid)
		return -EPERM;
	old = p->rlim[which];
	if (unew) {
		if (n.cur > n.max)
			return -EINVAL;
		if (n.max > old.max && current->proc->euid)
			return -EPERM;
		if (which == RLIMIT_NOFILE && n.max > 1ul << 20)
			return -EPERM;
		p->rlim[which] = n;
		if (which == RLIMIT_CPU && !n.cur)
			p->rlim[which].cur = 1; /* setrlimit(2): as Linux reads it */
		info_apply(p, (unsigned)which);
		cpu_timers_changed(p);
	}
	return uold && copy_to_user(UPTR(uold), &old, sizeof(old)) ? -EFAULT : 0;
}

long sys_getrlimit(u64 which, u64 u)
{
	return sys_prlimit64(0, which, 0, u);
}

long sys_setrlimit(u64 which, u64 u)
{
	return u ? sys_prlimit64(0, which, u, 0) : -EFAULT;
}

/* syslog(2): nobody but the host reads the kernel's log. */
long sys_syslog(u64 type, u64 ubuf, u64 len)
{
	return current->proc->euid ? -EPERM : type == 10 ? 1 << 17 : type == 9 ? 0 : type > 10 ? -EINVAL : 0;
}

/* As in a process namespace (reboot(2)): the sandbox's first program is killed, and with it the sandbox ends. */
long sys_reboot(u64 magic1, u64 magic2, u64 command)
{
	u32 m2 = (u32)magic2;
	if (!(current->proc->cap_eff >> CAP_SYS_BOOT & 1))
		return -EPERM;
	if ((u32)magic1 != LINUX_REBOOT_MAGIC1 ||
	    (m2 != LINUX_REBOOT_MAGIC2 && m2 != LINUX_REBOOT_MAGIC2A && m2 != LINUX_REBOOT_MAGIC2B && m2 != LINUX_REBOOT_MAGIC2C))
		return -EINVAL;
	switch ((u32)command) {
	case LINUX_REBOOT_CMD_RESTART:
	case LINUX_REBOOT_CMD_RESTART2:
	case LINUX_REBOOT_CMD_HALT:
	case LINUX_REBOOT_CMD_POWER_OFF:
		send_signal(init_process, SIGKILL, NULL);
		return 0;
	default:
		return -EINVAL;
	}
}
