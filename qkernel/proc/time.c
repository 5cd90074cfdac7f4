/* Clocks: the TSC against a sample of the host's clocks; what a restore does to each of them. */
#include "ktime.h"
#include "arch.h"
#include "proc.h"
#include "qcall.h"
#include <linux/time.h>

#define RESYNC_NS 30000000000ul  /* the host's clocks are steered (NTP): look again now and then */
#define CLOCK_ERROR_NS 1000000ul /* a sample taken through an exit is no better than this */

#define CLOCK_JUMP_NS 50000000ul

bool clocks_jumped;
static struct {
	u64 tsc, mult;
	u64 mono, real, boot; /* guest clocks at tsc */
	u64 host_mono;        /* host CLOCK_MONOTONIC at tsc */
} base;

static u64 time_ticks_to_ns(u64 ticks)
{
	return (u64)(((unsigned __int128)ticks * base.mult) >> 32);
}

static u64 time_since_base(void)
{
	u64 t = rdtsc();
	return t > base.tsc ? time_ticks_to_ns(t - base.tsc) : 0;
}

static void time_sample(void)
{
	const struct qk_clock *c = &vcpu()->clock;
	seg_begin();
	u64 before = rdtsc();
	qcall(QC_CLOCK, 0, before, 0, 0, 0, 0, 0);
	u64 after = rdtsc();
	/* The host's TSC is this one, too, on software KVM; hardware KVM gives the guest an offset, and the sample lies somewhere in between. */
	base.tsc = c->tsc >= before && c->tsc <= after ? c->tsc : before + (after - before) / 2;
	base.mult = c->mult;
	base.real = c->real_ns;
	base.host_mono = c->mono_ns;
}

void time_init(void)
{
	time_sample();
	base.mono = base.host_mono;
	base.boot = vcpu()->clock.boot_ns;
	vdso_update();
}

/* By more than a clock is steered between two samples: somebody set it, or this is a clone. */
static bool time_differ(u64 a, u64 b)
{
	return (a > b ? a - b : b - a) > CLOCK_JUMP_NS;
}

void time_resync(bool restored)
{
	u64 real_ahead = base.real - base.mono, boot_ahead = base.boot - base.mono;
	/* A clone's TSC may be another machine's: what the clocks showed comes from the base, at the moment of the capture. */
	u64 mono = base.mono, real = base.real, boot = base.boot, host = base.host_mono, tsc = base.tsc;
	time_sample();
	if (restored) {
		base.mono = mono;
		base.boot = boot + (base.real > real ? base.real - real : 0);
	} else {
		u64 shown = mono + time_ticks_to_ns(base.tsc - tsc); /* what the clock has come to by itself: it never goes back */
		base.mono = mono + (base.host_mono > host ? base.host_mono - host : 0);
		if (shown > base.mono && shown - base.mono < CLOCK_ERROR_NS)
			base.mono = shown;
		base.boot = boot + (base.host_mono > host ? base.host_mono - host : 0);
	}
	clocks_jumped |= time_differ(base.real - base.mono, real_ahead) || time_differ(base.boot - base.mono, boot_ahead);
	vdso_update();
}

void time_freeze(void)
{
	time_resync(false);
}

static u64 time_age(void)
{
	u64 d = time_since_base();
	if (d > RESYNC_NS) {
		time_resync(false);
		d = time_since_base();
	}
	return d;
}

u64 mono_ns(void)
{
	u64 d = time_age();
	return base.mono + d;
}

u64 real_ns(void)
{
	u64 d = time_age();
	return base.real + d;
}

u64 boot_ns(void)
{
	u64 d = time_age();
	return base.boot + d;
}

u64 mono_to_host(u64 guest)
{
	return guest - base.mono + base.host_mono;
}

void clock_base(u64 out[5])
{
	out[0] = base.tsc;
	out[1] = base.mult;
	out[2] = base.mono;
	out[3] = base.real;
	out[4] = base.boot;
}

bool clock_is_wall(s32 clock)
{
	return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_ALARM || clock == CLOCK_TAI;
}

u64 clock_now(s32 clock)
{
	return clock_is_wall(clock) ? real_ns() : clock == CLOCK_BOOTTIME || clock == CLOCK_BOOTTIME_ALARM ? boot_ns() : mono_ns();
}

u64 clock_to_mono(s32 clock, u64 when)
{
	u64 now = clock_now(clock), left = when > now ? when - now : 0;
	return deadline_of_ns(left);
}

/* ---- User formats */
int timespec_from_user(uptr p, u64 *ns)
{
	struct {
		s64 sec, nsec;
	} t;
	if (copy_from_user(&t, p, sizeof(t)))
		return -EFAULT;
	if (t.sec < 0 || (u64)t.nsec >= 1000000000ul)
		return -EINVAL;
	*ns = t.sec > 9000000000l ? UINT64_MAX / 2 : (u64)t.sec * 1000000000ul + (u64)t.nsec;
	return 0;
}

int timespec_to_user(uptr p, u64 ns)
{
	u64 t[2] = {ns / 1000000000ul, ns % 1000000000ul};
	return copy_to_user(p, t, sizeof(t));
}

int timeval_to_user(uptr p, u64 ns)
{
	u64 t[2] = {ns / 1000000000ul, ns % 1000000000ul / 1000};
	return copy_to_user(p, t, sizeof(t));
}

u64 task_cpu_ns(const struct task *t)
{
	return t->utime_ns + t->stime_ns + sched_uncharged(t);
}

u64 process_cpu_ns(const struct process *p)
{
	return p->utime_ns + p->stime_ns + (current && current->proc == p ? sched_uncharged(current) : 0);
}

/* Clock ids of Linux, negative ones name the CPU time of a process or thread (linux/posix-timers.h). */
int clock_read(s32 id, u64 *ns)
{
	if (id < 0) {
		s32 pid = ~(id >> 3);
		struct task *t = pid ? task_find(pid) : current;
		struct process *p = pid ? process_find(pid) : current->proc;
		if ((id & 3) == 3 || ((id & CLOCK_OF_THREAD) ? !t : !p))
			return -EINVAL;
		*ns = id & CLOCK_OF_THREAD ? task_cpu_ns(t) : process_cpu_ns(p);
		return 0;
	}
	switch (id) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE:
	case CLOCK_REALTIME_ALARM:
	case CLOCK_TAI:
		*ns = real_ns();
		return 0;
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_MONOTONIC_COARSE:
		*ns = mono_ns();
		return 0;
	case CLOCK_BOOTTIME:
	case CLOCK_BOOTTIME_ALARM:
		*ns = boot_ns();
		return 0;
	case CLOCK_PROCESS_CPUTIME_ID:
		*ns = process_cpu_ns(current->proc);
		return 0;
	case CLOCK_THREAD_CPUTIME_ID:
		*ns = task_cpu_ns(current);
		return 0;
	default:
		return -EINVAL;
	}
}

long sys_clock_gettime(u64 id, u64 ut)
{
	u64 ns;
	int r = clock_read((s32)id, &ns);
	return r ? r : timespec_to_user(UPTR(ut), ns);
}

long sys_clock_getres(u64 id, u64 ut)
{
	u64 ns;
	int r = clock_read((s32)id, &ns);
	bool coarse = id == CLOCK_REALTIME_COARSE || id == CLOCK_MONOTONIC_COARSE;
	return r ? r : ut ? timespec_to_user(UPTR(ut), coarse ? 4000000 : 1) : 0;
}

long sys_clock_settime(u64 id, u64 ut)
{
	u64 ns;
	int r = timespec_from_user(UPTR(ut), &ns);
	return r ? r : id == CLOCK_REALTIME ? -EPERM : -EINVAL; /* the clock is the host's */
}

long sys_settimeofday(u64 utv, u64 utz)
{
	return -EPERM;
}

long sys_gettimeofday(u64 utv, u64 utz)
{
	u64 zone = 0;
	if (utv && timeval_to_user(UPTR(utv), real_ns()))
		return -EFAULT;
	return utz ? put_user(zone, UPTR(utz)) : 0;
}

long sys_time(u64 ut)
{
	s64 t = (s64)(real_ns() / 1000000000ul);
	return ut && put_user(t, UPTR(ut)) ? -EFAULT : t;
}

/* ---- Sleeping */
static long time_sleep_until(u64 deadline)
{
	int r;
	do {
		r = task_sleep(deadline);
	} while (r == 0);
	return r == -ETIMEDOUT ? 0 : r;
}

/* Until that clock says so, whatever happens to it meanwhile. */
static long time_sleep_on_clock(s32 clock, u64 when)
{
	current->sleep_clock = clock;
	current->sleep_when = when;
	long r = time_sleep_until(clock_to_mono(clock, when));
	current->sleep_clock = CLOCK_MONOTONIC;
	return r;
}

static long time_restart_sleep(struct task *t);

static long time_interrupted(u64 deadline, u64 urem)
{
	u64 now = mono_ns();
	if (urem && timespec_to_user(UPTR(urem), deadline > now ? deadline - now : 0))
		return -EFAULT;
	current->restart.fn = time_restart_sleep;
	current->restart.arg[0] = deadline;
	current->restart.arg[1] = urem;
	return -ERESTART_RESTARTBLOCK;
}

static long time_restart_sleep(struct task *t)
{
	u64 deadline = t->restart.arg[0], urem = t->restart.arg[1];
	return time_sleep_until(deadline) ? time_interrupted(deadline, urem) : 0;
}

u64 deadline_of_ns(u64 ns)
{
	u64 now = mono_ns();
	return ns >= UINT64_MAX - 1 - now ? UINT64_MAX : now + ns;
}

long sys_nanosleep(u64 ureq, u64 urem)
{
	u64 ns;
	int r = timespec_from_user(UPTR(ureq), &ns);
	if (r)
		return r;
	u64 deadline = deadline_of_ns(ns);
	return time_sleep_until(deadline) ? time_interrupted(deadline, urem) : 0;
}

long sys_clock_nanosleep(u64 id, u64 flags, u64 ureq, u64 urem)
{
	u64 ns, now;
	int r = timespec_from_user(UPTR(ureq), &ns);
	if (r)
		return r;
	if ((s32)id == CLOCK_THREAD_CPUTIME_ID || id == CLOCK_MONOTONIC_RAW || id == CLOCK_REALTIME_COARSE || id == CLOCK_MONOTONIC_COARSE)
		return (s32)id == CLOCK_THREAD_CPUTIME_ID ? -EINVAL : -EOPNOTSUPP;
	r = clock_read((s32)id, &now);
	if (r)
		return r;
	if (!(flags & TIMER_ABSTIME)) {
		u64 deadline = deadline_of_ns(ns);
		return time_sleep_until(deadline) ? time_interrupted(deadline, urem) : 0;
	}
	bool cpu = (s32)id < 0 || id == CLOCK_PROCESS_CPUTIME_ID;
	while (ns > now && r == 0) {
		r = cpu ? (int)time_sleep_until(deadline_of_ns(ns - now)) : (int)time_sleep_on_clock((s32)id, ns);
		(void)clock_read((s32)id, &now);
	}
	return r ? -ERESTARTNOHAND : 0;
}
