/* /sys and /sys/fs/cgroup: what programs read to count processors, to size themselves by the limits of their control group, and to know their caches. */
#include "mount.h"
#include "procfs.h"
#include "../proc/proc.h"
#include "qcall.h"
#include <linux/magic.h>

#define CACHE_LEAF_INTEL 4u
#define CACHE_LEAF_AMD 0x8000001du
#define AMD_EXTENSIONS 0x80000001u
#define AMD_TOPOLOGY_BIT 22u /* of ECX there: that leaf exists */

/* ---- caches of the processor (CPUID; the same in both vendors' manuals: Intel SDM volume 2 "CPUID", AMD APM volume 3 E.4.15) */
struct cache {
	u32 type, level, line, ways, sets;
};

static bool sysfs_cache_of(u32 index, struct cache *c)
{
	u32 r[4], top[4];
	cpuid(0x80000000, 0, top);
	u32 leaf = CACHE_LEAF_INTEL;
	if (top[0] >= AMD_EXTENSIONS) {
		cpuid(AMD_EXTENSIONS, 0, r);
		if (r[2] >> AMD_TOPOLOGY_BIT & 1)
			leaf = CACHE_LEAF_AMD;
	}
	cpuid(leaf, index, r);
	*c = (struct cache){r[0] & 31, r[0] >> 5 & 7, (r[1] & 0xfff) + 1, (r[1] >> 22) + 1, r[2] + 1};
	return c->type != 0;
}

#define CACHE_DIR "devices/system/cpu/cpu0/cache/index"

/* Which file of which index: the end of the row's name, "indexN/WHAT". */
static void sysfs_cache_text(struct text *t, const struct subject *s)
{
	static const char *const types[] = {"", "Data", "Instruction", "Unified"};
	const char *index = s->self->name + sizeof(CACHE_DIR) - 1, *what = index + 2;
	struct cache c;
	if (!sysfs_cache_of((u32)(*index - '0'), &c) || c.type >= ARRAY_SIZE(types))
		return;
	if (!strcmp(what, "type"))
		text_add(t, "%s\n", types[c.type]);
	else if (!strcmp(what, "level"))
		text_add(t, "%u\n", c.level);
	else if (!strcmp(what, "size"))
		text_add(t, "%luK\n", (u64)c.line * c.ways * c.sets / 1024);
	else if (!strcmp(what, "coherency_line_size"))
		text_add(t, "%u\n", c.line);
	else if (!strcmp(what, "ways_of_associativity"))
		text_add(t, "%u\n", c.ways);
	else if (!strcmp(what, "number_of_sets"))
		text_add(t, "%u\n", c.sets);
}

#define CACHE(n) \
	{CACHE_DIR #n "/coherency_line_size", .fn = sysfs_cache_text}, {CACHE_DIR #n "/level", .fn = sysfs_cache_text}, \
		{CACHE_DIR #n "/number_of_sets", .fn = sysfs_cache_text}, {CACHE_DIR #n "/shared_cpu_list", .fixed = "0\n"}, \
		{CACHE_DIR #n "/shared_cpu_map", .fixed = "1\n"}, {CACHE_DIR #n "/size", .fn = sysfs_cache_text}, \
		{CACHE_DIR #n "/type", .fn = sysfs_cache_text}, \
	{ \
		CACHE_DIR #n "/ways_of_associativity", .fn = sysfs_cache_text \
	}

static void sysfs_node_meminfo(struct text *t, const struct subject *s)
{
	u64 used = frames_total() - frames_free();
	text_add(t, "Node 0 MemTotal:       %8lu kB\nNode 0 MemFree:        %8lu kB\nNode 0 MemUsed:        %8lu kB\n", frames_limit() * 4,
		 (frames_limit() - used) * 4, used * 4);
}

/* Of devices there are none: what lists them finds empty directories. */
static const struct proc_text sysfs_texts[] = {
	{"block/", .fixed = ""},
	{"bus/", .fixed = ""},
	{"class/block/", .fixed = ""},
	{"class/net/", .fixed = ""},
	{"class/power_supply/", .fixed = ""},
	{"class/thermal/", .fixed = ""},
	{"dev/block/", .fixed = ""},
	{"dev/char/", .fixed = ""},
	CACHE(0),
	CACHE(1),
	CACHE(2),
	CACHE(3),
	{"devices/system/cpu/cpu0/topology/core_cpus", .fixed = "1\n"},
	{"devices/system/cpu/cpu0/topology/core_cpus_list", .fixed = "0\n"},
	{"devices/system/cpu/cpu0/topology/core_id", .fixed = "0\n"},
	{"devices/system/cpu/cpu0/topology/core_siblings", .fixed = "1\n"},
	{"devices/system/cpu/cpu0/topology/core_siblings_list", .fixed = "0\n"},
	{"devices/system/cpu/cpu0/topology/die_id", .fixed = "0\n"},
	{"devices/system/cpu/cpu0/topology/package_cpus", .fixed = "1\n"},
	{"devices/system/cpu/cpu0/topology/package_cpus_list", .fixed = "0\n"},
	{"devices/system/cpu/cpu0/topology/physical_package_id", .fixed = "0\n"},
	{"devices/system/cpu/cpu0/topology/thread_siblings", .fixed = "1\n"},
	{"devices/system/cpu/cpu0/topology/thread_siblings_list", .fixed = "0\n"},
	{"devices/system/cpu/isolated", .fixed = "\n"},
	{"devices/system/cpu/kernel_max", .fixed = "0\n"},
	{"devices/system/cpu/offline", .fixed = "\n"},
	{"devices/system/cpu/online", .fixed = "0\n"},
	{"devices/system/cpu/possible", .fixed = "0\n"},
	{"devices/system/cpu/present", .fixed = "0\n"},
	{"devices/system/cpu/smt/active", .fixed = "0\n"},
	{"devices/system/cpu/smt/control", .fixed = "notsupported\n"},
	{"devices/system/node/has_cpu", .fixed = "0\n"},
	{"devices/system/node/has_memory", .fixed = "0\n"},
	{"devices/system/node/node0/cpulist", .fixed = "0\n"},
	{"devices/system/node/node0/cpumap", .fixed = "1\n"},
	{"devices/system/node/node0/distance", .fixed = "10\n"},
	{"devices/system/node/node0/meminfo", .fn = sysfs_node_meminfo},
	{"devices/system/node/online", .fixed = "0\n"},
	{"devices/system/node/possible", .fixed = "0\n"},
	{"fs/cgroup/", .fixed = ""}, /* where the control groups are mounted */
	{"kernel/mm/hugepages/", .fixed = ""},
	{"kernel/mm/transparent_hugepage/enabled", .fixed = "always madvise [never]\n"},
	{"kernel/mm/transparent_hugepage/hpage_pmd_size", .fixed = "2097152\n"},
	{"module/", .fixed = ""},
	{.name = NULL},
};
static struct text_tree sysfs_tree = {.texts = sysfs_texts, .magic = SYSFS_MAGIC, .mountpoint = "fs/cgroup/"};

struct inode *sysfs_root(void)
{
	return text_tree_mount(&sysfs_tree);
}

/* ---- the control group of the sandbox: its own limits (Documentation/admin-guide/cgroup-v2.rst) */
static void sysfs_memory_max(struct text *t, const struct subject *s)
{
	text_add(t, "%lu\n", frames_limit() * PAGE_SIZE);
}

static void sysfs_memory_current(struct text *t, const struct subject *s)
{
	text_add(t, "%lu\n", (frames_total() - frames_free()) * PAGE_SIZE);
}

static void sysfs_memory_stat(struct text *t, const struct subject *s)
{
	const struct process *p;
	u64 used = frames_total() - frames_free(), mapped = 0;
	list_for_each (p, &all_processes, all)
		mapped += p->leader && p->leader->mm ? p->leader->mm->pages : 0;
	mapped = MIN(mapped, used);
	text_add(t,
		 "anon %lu\nfile %lu\nkernel_stack %lu\nshmem 0\nfile_mapped 0\nfile_dirty 0\nfile_writeback 0\ninactive_anon 0\nactive_anon %lu\n",
		 mapped * PAGE_SIZE, (used - mapped) * PAGE_SIZE, (u64)ntasks * KERNEL_STACK_BYTES, mapped * PAGE_SIZE);
	text_add(t, "inactive_file %lu\nactive_file 0\nunevictable 0\nslab 0\npgfault %lu\npgmajfault 0\n", (used - mapped) * PAGE_SIZE,
		 stats_sum().faults);
}

static void sysfs_cpu_stat(struct text *t, const struct subject *s)
{
	struct process *p;
	u64 us = 0;
	list_for_each (p, &all_processes, all)
		us += process_cpu_ns(p) / 1000;
	text_add(t, "usage_usec %lu\nuser_usec %lu\nsystem_usec 0\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n", us, us);
}

static void cgroup_procs(struct text *t, const struct subject *s)
{
	const struct process *p;
	list_for_each (p, &all_processes, all)
		text_add(t, "%d\n", p->pid);
}

static void sysfs_pids_current(struct text *t, const struct subject *s)
{
	text_add(t, "%u\n", ntasks);
}

static void sysfs_pids_max(struct text *t, const struct subject *s)
{
	text_add(t, "%u\n", (u32)TASKS_MAX);
}

/* One processor: cpu.max says so, for programs that do not count them. */
static const struct proc_text cgroup_texts[] = {
	{"cgroup.controllers", .fixed = "cpuset cpu io memory pids\n"},
	{"cgroup.events", .fixed = "populated 1\nfrozen 0\n"},
	{"cgroup.procs", .fn = cgroup_procs},
	{"cgroup.stat", .fixed = "nr_descendants 0\nnr_dying_descendants 0\n"},
	{"cgroup.subtree_control", .fixed = "\n"},
	{"cgroup.type", .fixed = "domain\n"},
	{"cpu.max", .fixed = "100000 100000\n"},
	{"cpu.stat", .fn = sysfs_cpu_stat},
	{"cpu.weight", .fixed = "100\n"},
	{"cpuset.cpus", .fixed = "0\n"},
	{"cpuset.cpus.effective", .fixed = "0\n"},
	{"cpuset.mems.effective", .fixed = "0\n"},
	{"io.stat", .fixed = ""},
	{"memory.current", .fn = sysfs_memory_current},
	{"memory.events", .fixed = "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n"},
	{"memory.high", .fixed = "max\n"},
	{"memory.low", .fixed = "0\n"},
	{"memory.max", .fn = sysfs_memory_max},
	{"memory.min", .fixed = "0\n"},
	{"memory.stat", .fn = sysfs_memory_stat},
	{"memory.swap.current", .fixed = "0\n"},
	{"memory.swap.max", .fixed = "0\n"},
	{"pids.current", .fn = sysfs_pids_current},
	{"pids.max", .fn = sysfs_pids_max},
	{.name = NULL},
};
static struct text_tree cgroup_tree = {.texts = cgroup_texts, .magic = CGROUP2_SUPER_MAGIC};

struct inode *cgroup_root(void)
{
	return text_tree_mount(&cgroup_tree);
}
