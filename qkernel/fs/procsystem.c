/* What the files of /proc say of the whole system. */
#include "ktime.h"
#include "procfs.h"
#include "../proc/proc.h"
#include "qcall.h"
#include <linux/magic.h>
#include <linux/stat.h>

#define TICKS(ns) ((ns) / 10000000ul) /* USER_HZ 100 */
#define KIB(pages) ((pages) * 4)

static void procsystem_cpuinfo(struct text *t, const struct subject *s)
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

/* Pages that processes have mapped; pages that several have count more than once, but no more than are in use. */
static u64 procsystem_mapped_pages(u64 used)
{
	const struct process *p;
	u64 pages = 0;
	list_for_each (p, &all_processes, all)
		pages += p->leader && p->leader->mm ? p->leader->mm->pages : 0;
	return MIN(pages, used);
}

/* There is no swap and no buffer of a block device; what is not mapped by a process is cached content or the kernel's own. */
static void procsystem_meminfo(struct text *t, const struct subject *s)
{
	u64 total = frames_limit(), used = frames_total() - frames_free(), mapped = procsystem_mapped_pages(used);
	const struct {
		const char *name;
		u64 pages;
	} rows[] = {
		{"MemTotal", total},
		{"MemFree", total - used},
		{"MemAvailable", total - used},
		{"Buffers", 0},
		{"Cached", used - mapped},
		{"SwapCached", 0},
		{"Active", mapped},
		{"Inactive", used - mapped},
		{"Active(anon)", mapped},
		{"Inactive(anon)", 0},
		{"Active(file)", 0},
		{"Inactive(file)", used - mapped},
		{"Unevictable", 0},
		{"Mlocked", 0},
		{"SwapTotal", 0},
		{"SwapFree", 0},
		{"Dirty", 0},
		{"Writeback", 0},
		{"AnonPages", mapped},
		{"Mapped", mapped},
		{"Shmem", 0},
		{"KReclaimable", 0},
		{"Slab", 0},
		{"SReclaimable", 0},
		{"SUnreclaim", 0},
		{"KernelStack", ntasks * (KERNEL_STACK_BYTES / PAGE_SIZE)},
		{"CommitLimit", total},
		{"Committed_AS", mapped},
	};
	for (unsigned k = 0; k < ARRAY_SIZE(rows); k++)
		text_add(t, "%s:%*s%8lu kB\n", rows[k].name, (int)(15 - strlen(rows[k].name)), "", KIB(rows[k].pages));
	text_add(t, "VmallocTotal:   34359738367 kB\nVmallocUsed:           0 kB\nVmallocChunk:          0 kB\n");
	text_add(t, "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\nHugePages_Surp:        0\nHugepagesize:       "
		    "2048 kB\n");
}

static u64 procsystem_busy_ns(u32 *running, u32 *blocked)
{
	struct process *p;
	struct task *t;
	u64 busy = 0;
	*running = *blocked = 0;
	list_for_each (p, &all_processes, all) {
		busy += process_cpu_ns(p);
		list_for_each (t, &p->tasks, group)
			*running += t == current || t->state == TASK_RUNNABLE;
	}
	return busy;
}

static void procsystem_stat_system(struct text *t, const struct subject *s)
{
	u32 running, blocked;
	u64 busy = procsystem_busy_ns(&running, &blocked), up = boot_ns(), idle = up > busy ? up - busy : 0;
	for (int k = 0; k < 2; k++)
		text_add(t, "cpu%s %lu 0 0 %lu 0 0 0 0 0 0\n", k ? "0" : " ", TICKS(busy), TICKS(idle));
	text_add(t, "intr 0\nctxt %lu\nbtime %lu\nprocesses %lu\nprocs_running %u\nprocs_blocked %u\nsoftirq 0\n", stats_sum().switches,
		 (real_ns() - boot_ns()) / 1000000000ul, forks_total, running, blocked);
}

static void procsystem_uptime(struct text *t, const struct subject *s)
{
	u32 running, blocked;
	u64 busy = procsystem_busy_ns(&running, &blocked), up = boot_ns(), idle = up > busy ? up - busy : 0;
	text_add(t, "%lu.%02lu %lu.%02lu\n", up / 1000000000, up / 10000000 % 100, idle / 1000000000, idle / 10000000 % 100);
}

/* Averages as Linux has them (kernel/sched/loadavg.c): of the tasks that run or could, every five seconds, decaying over 1, 5 and 15 minutes. An idle
 * guest is not woken for that: steps that were missed are taken when somebody asks, with the share of time that was used as the number of tasks. */
#define LOAD_STEP_NS 5000000000ul
#define LOAD_ONE 2048ul
#define LOAD_STEPS_MAX 1000ul /* after so many nothing of an old value is left */
static u64 load[3];

static void procsystem_load_update(u32 running, u64 busy)
{
	static const u64 decay[3] = {1884, 2014, 2037};
	static u64 last_ns, last_busy;
	u64 now = boot_ns(), steps = (now - last_ns) / LOAD_STEP_NS;
	if (now < last_ns || !steps)
		return;
	u64 share = (busy - MIN(busy, last_busy)) * LOAD_ONE / (now - last_ns);
	u64 active = share > LOAD_ONE / 2 ? MAX(share, (running - 1) * LOAD_ONE) : share; /* the one that asks runs, too */
	for (u64 i = 0; i < MIN(steps, LOAD_STEPS_MAX); i++)
		for (int k = 0; k < 3; k++)
			load[k] = (load[k] * decay[k] + active * (LOAD_ONE - decay[k])) / LOAD_ONE;
	last_ns = now;
	last_busy = busy;
}

static void procsystem_loadavg(struct text *t, const struct subject *s)
{
	u32 running, blocked;
	u64 busy = procsystem_busy_ns(&running, &blocked);
	procsystem_load_update(running, busy);
	for (int k = 0; k < 3; k++)
		text_add(t, "%lu.%02lu ", load[k] / LOAD_ONE, load[k] % LOAD_ONE * 100 / LOAD_ONE);
	text_add(t, "%u/%u %d\n", running, ntasks, current->proc->pid);
}

static void procsystem_vmstat(struct text *t, const struct subject *s)
{
	u64 used = frames_total() - frames_free(), mapped = procsystem_mapped_pages(used);
	text_add(t, "nr_free_pages %lu\nnr_zone_inactive_anon 0\nnr_zone_active_anon %lu\nnr_mlock 0\nnr_anon_pages %lu\nnr_mapped %lu\n",
		 frames_limit() - used, mapped, mapped, mapped);
	text_add(t, "nr_file_pages %lu\nnr_dirty 0\nnr_writeback 0\nnr_slab_reclaimable 0\nnr_slab_unreclaimable 0\nnr_shmem 0\n", used - mapped);
	text_add(t, "pgpgin 0\npgpgout 0\npswpin 0\npswpout 0\npgfault %lu\npgmajfault 0\noom_kill 0\n", stats_sum().faults);
}

static void procsystem_interrupts(struct text *t, const struct subject *s)
{
	text_add(t, "%4s %10s\n", "", "CPU0");
}

static void procsystem_cgroups(struct text *t, const struct subject *s)
{
	static const char *const names[] = {"cpuset", "cpu", "cpuacct", "io", "memory", "pids"};
	text_add(t, "#subsys_name\thierarchy\tnum_cgroups\tenabled\n");
	for (unsigned k = 0; k < ARRAY_SIZE(names); k++)
		text_add(t, "%s\t0\t1\t1\n", names[k]);
}

#define PARTITIONS "major minor  #blocks  name\n\n"
#define DEVICES "Character devices:\n  1 mem\n  4 /dev/vc/0\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n 10 misc\n136 pts\n\nBlock devices:\n"
#define FILESYSTEMS "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tcgroup2\nnodev\tdevtmpfs\nnodev\tdevpts\nnodev\toverlay\n"
#define SWAPS "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
/* Sockets are AF_UNIX: of every other family there is the heading alone. */
#define NET_DEV \
	"Inter-|   Receive                                                |  Transmit\n" \
	" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"
#define NET_IP(width) "  sl  " width "rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
#define NET_ROUTE \
	"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT                                                       " \
	"\n"
#define NET_PROTOCOLS "protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re sp bi br ha uh gp em\n"
#define NET_SOCKSTAT \
	"sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n"
#define PSI_SOME "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
#define PSI_FULL "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"

/* Neither swapping nor disks can keep a task of the guest waiting, so that nobody ever stalls for memory or I/O. */
static const struct proc_text system_texts[] = {
	{"cpuinfo", .fn = procsystem_cpuinfo},
	{"meminfo", .fn = procsystem_meminfo},
	{"stat", .fn = procsystem_stat_system},
	{"uptime", .fn = procsystem_uptime},
	{"loadavg", .fn = procsystem_loadavg},
	{"version", .fixed = "Linux version 6.1.0-quark (QKernel) #1 SMP QKernel\n"},
	{"vmstat", .fn = procsystem_vmstat},
	{"interrupts", .fn = procsystem_interrupts},
	{"cgroups", .fn = procsystem_cgroups},
	{"filesystems", .fixed = FILESYSTEMS},
	{"cmdline", .fixed = "\n"},
	{"modules", .fixed = ""},
	{"swaps", .fixed = SWAPS},
	{"partitions", .fixed = PARTITIONS},
	{"diskstats", .fixed = ""},
	{"devices", .fixed = DEVICES},
	{"misc", .fixed = ""},
	{"net/dev", .fixed = NET_DEV},
	{"net/if_inet6", .fixed = ""},
	{"net/igmp", .fixed = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"},
	{"net/arp", .fixed = "IP address       HW type     Flags       HW address            Mask     Device\n"},
	{"net/packet", .fixed = "sk       RefCnt Type Proto  Iface R Rmem   User   Inode\n"},
	{"net/protocols", .fixed = NET_PROTOCOLS},
	{"net/raw", .fixed = NET_IP("local_address ")},
	{"net/raw6", .fixed = NET_IP("local_address                         ")},
	{"net/route", .fixed = NET_ROUTE},
	{"net/sockstat", .fixed = NET_SOCKSTAT},
	{"net/tcp", .fixed = NET_IP("local_address ")},
	{"net/tcp6", .fixed = NET_IP("local_address                         ")},
	{"net/udp", .fixed = NET_IP("local_address ")},
	{"net/udp6", .fixed = NET_IP("local_address                         ")},
	{"net/unix", .fn = text_unix_sockets},
	{"pressure/io", .fixed = PSI_SOME PSI_FULL},
	{"pressure/memory", .fixed = PSI_SOME PSI_FULL},
	{"sysvipc/msg", .fn = proc_sysvipc_msg},
	{"sysvipc/sem", .fn = proc_sysvipc_sem},
	{"sysvipc/shm", .fn = proc_sysvipc_shm},
	{"tty/drivers",
	 .fixed = "/dev/tty             /dev/tty        5       0 system:/dev/tty\n/dev/console         /dev/console    5       1 system:console\n"
		  "/dev/ptmx            /dev/ptmx       5       2 system\npty_slave            /dev/pts      136 0-1048575 pty:slave\n"},
	{.name = NULL},
};
struct text_tree proc_tree = {.texts = system_texts, .magic = PROC_SUPER_MAGIC};
