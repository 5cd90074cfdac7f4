/* /proc/sys: what can be said of the kernel's parameters. Those that can be set are set here, too. */
#include "fdtable.h"
#include "pagecache.h"
#include "random.h"
#include "procfs.h"
#include "../proc/proc.h"
#include "qcall.h"
#include <linux/magic.h>

#define CORE_PATTERN_MAX 128 /* CORENAME_MAX_SIZE */

static void sysctl_uuid(struct text *t, const u8 b[16])
{
	for (int k = 0; k < 16; k++)
		text_add(t, "%s%02x", k == 4 || k == 6 || k == 8 || k == 10 ? "-" : "", b[k]);
	text_add(t, "\n");
}

static void sysctl_random_uuid(struct text *t, const struct subject *s)
{
	u8 b[16];
	random_bytes(b, sizeof(b));
	b[6] = (b[6] & 15) | 0x40;
	b[8] = (b[8] & 63) | 0x80;
	sysctl_uuid(t, b);
}

static void sysctl_boot_id(struct text *t, const struct subject *s)
{
	sysctl_uuid(t, comm()->generation);
}

static void sysctl_hostname(struct text *t, const struct subject *s)
{
	text_add(t, "%s\n", get_hostname());
}

static int sysctl_hostname_store(const struct subject *s, char *data)
{
	if (strlen(data) > 64)
		return -EINVAL;
	set_hostname(data);
	return 0;
}

/* Data for who asks: no core file is ever written (docs/syscalls.md, core). */
static char core_pattern[CORE_PATTERN_MAX] = "core";

static void sysctl_core_pattern_show(struct text *t, const struct subject *s)
{
	text_add(t, "%s\n", core_pattern);
}

static int sysctl_core_pattern_store(const struct subject *s, char *data)
{
	strlcpy(core_pattern, data, sizeof(core_pattern));
	return 0;
}

static void sysctl_tasks_max(struct text *t, const struct subject *s)
{
	text_add(t, "%u\n", (u32)TASKS_MAX);
}

static void sysctl_pid_max(struct text *t, const struct subject *s)
{
	text_add(t, "%u\n", (u32)PID_MAX);
}

static void sysctl_file_nr(struct text *t, const struct subject *s)
{
	const struct process *p;
	u64 open = 0;
	list_for_each (p, &all_processes, all)
		for (u32 fd = 0; p->leader && p->leader->files && fd < p->leader->files->cap; fd++)
			open += p->leader->files->fd[fd] != NULL;
	text_add(t, "%lu\t0\t1048576\n", open);
}

/* Writing "3" gives back what can be read again from the host. */
static int sysctl_drop_caches(const struct subject *s, char *data)
{
	if (data[0] < '1' || data[0] > '4' || data[1])
		return -EINVAL;
	pagecache_shrink(UINT64_MAX);
	return 0;
}

static void sysctl_nothing(struct text *t, const struct subject *s)
{
	text_add(t, "0\n");
}

static const struct proc_text sysctl_texts[] = {
	{"fs/aio-max-nr", .fixed = "65536\n"},
	{"fs/aio-nr", .fixed = "0\n"},
	{"fs/epoll/max_user_watches", .fixed = "1048576\n"},
	{"fs/file-max", .fixed = "1048576\n"},
	{"fs/file-nr", .fn = sysctl_file_nr},
	{"fs/inotify/max_queued_events", .fn = proc_inotify_events},
	{"fs/inotify/max_user_instances", .fn = proc_inotify_instances},
	{"fs/inotify/max_user_watches", .fn = proc_inotify_watches},
	{"fs/lease-break-time", .fixed = "45\n"},
	{"fs/nr_open", .fixed = "1048576\n"},
	{"fs/overflowgid", .fixed = "65534\n"},
	{"fs/overflowuid", .fixed = "65534\n"},
	{"fs/pipe-max-size", .fixed = "1048576\n"},
	{"fs/pipe-user-pages-hard", .fixed = "0\n"},
	{"fs/pipe-user-pages-soft", .fixed = "16384\n"},
	{"fs/protected_hardlinks", .fixed = "0\n"},
	{"fs/protected_symlinks", .fixed = "0\n"},
	{"fs/suid_dumpable", .fixed = "0\n"},
	{"kernel/cap_last_cap", .fixed = "40\n"},
	{"kernel/core_pattern", .fn = sysctl_core_pattern_show, .write = sysctl_core_pattern_store},
	{"kernel/core_uses_pid", .fixed = "0\n"},
	{"kernel/domainname", .fixed = "(none)\n"},
	{"kernel/hostname", .fn = sysctl_hostname, .write = sysctl_hostname_store},
	{"kernel/msgmax", .fn = proc_limits_msgmax},
	{"kernel/msgmnb", .fn = proc_limits_msgmnb},
	{"kernel/msgmni", .fn = proc_limits_msgmni},
	{"kernel/ngroups_max", .fixed = "65536\n"},
	{"kernel/osrelease", .fixed = "6.1.0-quark\n"},
	{"kernel/ostype", .fixed = "Linux\n"},
	{"kernel/overflowgid", .fixed = "65534\n"},
	{"kernel/overflowuid", .fixed = "65534\n"},
	{"kernel/perf_event_paranoid", .fixed = "3\n"}, /* not at all */
	{"kernel/pid_max", .fn = sysctl_pid_max},
	{"kernel/printk", .fixed = "4\t4\t1\t7\n"},
	{"kernel/random/boot_id", .fn = sysctl_boot_id},
	{"kernel/random/entropy_avail", .fixed = "256\n"},
	{"kernel/random/poolsize", .fixed = "256\n"},
	{"kernel/random/uuid", .fn = sysctl_random_uuid},
	{"kernel/randomize_va_space", .fixed = "2\n"},
	{"kernel/sem", .fn = proc_limits_sem},
	{"kernel/shmall", .fn = proc_limits_shmmax},
	{"kernel/shmmax", .fn = proc_limits_shmmax},
	{"kernel/shmmni", .fn = proc_limits_shmmni},
	{"kernel/tainted", .fixed = "0\n"},
	{"kernel/threads-max", .fn = sysctl_tasks_max},
	{"kernel/version", .fixed = "#1 SMP QKernel\n"},
	{"kernel/yama/ptrace_scope", .fixed = "1\n"},
	{"net/core/rmem_default", .fixed = "212992\n"},
	{"net/core/rmem_max", .fixed = "212992\n"},
	{"net/core/somaxconn", .fixed = "4096\n"},
	{"net/core/wmem_default", .fixed = "212992\n"},
	{"net/core/wmem_max", .fixed = "212992\n"},
	{"net/unix/max_dgram_qlen", .fixed = "512\n"},
	{"vm/drop_caches", .fn = sysctl_nothing, .write = sysctl_drop_caches},
	{"vm/max_map_count", .fixed = "65530\n"},
	{"vm/min_free_kbytes", .fixed = "0\n"},
	{"vm/mmap_min_addr", .fixed = "65536\n"},
	{"vm/nr_hugepages", .fixed = "0\n"},
	{"vm/nr_overcommit_hugepages", .fixed = "0\n"},
	{"vm/overcommit_memory", .fixed = "1\n"}, /* memory is counted when it is touched */
	{"vm/overcommit_ratio", .fixed = "50\n"},
	{"vm/swappiness", .fixed = "0\n"},
	{.name = NULL},
};
struct text_tree sysctl_tree = {.texts = sysctl_texts, .magic = PROC_SUPER_MAGIC};
