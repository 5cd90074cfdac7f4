/* The vDSO: clock_gettime, gettimeofday, time and getcpu in user mode (vdso(7)). Built as a shared object of its own and mapped into every program. */
#include "vvar.h"
#include <linux/errno.h>
#include <linux/time.h>

extern const volatile struct vvar vvar __attribute__((visibility("hidden")));

#define EXPORT __attribute__((visibility("default")))
#define NS 1000000000ul

static long fallback(long nr, long a, long b)
{
	long ret;
	__asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b) : "rcx", "r11", "memory");
	return ret;
}

static unsigned long now(const volatile unsigned long *base)
{
	unsigned seq;
	unsigned long ns;
	do {
		seq = __atomic_load_n(&vvar.seq, __ATOMIC_ACQUIRE);
		unsigned lo, hi;
		__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
		unsigned long tsc = (unsigned long)hi << 32 | lo, d = tsc > vvar.tsc ? tsc - vvar.tsc : 0;
		ns = *base + (unsigned long)(((unsigned __int128)d * vvar.mult) >> 32);
		__asm__ volatile("" : : : "memory");
	} while ((seq & 1) || seq != vvar.seq);
	return ns;
}

EXPORT int __vdso_clock_gettime(int id, struct timespec *t)
{
	unsigned long ns;
	switch (id) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE:
		ns = now(&vvar.real);
		break;
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_MONOTONIC_COARSE:
		ns = now(&vvar.mono);
		break;
	case CLOCK_BOOTTIME:
		ns = now(&vvar.boot);
		break;
	default:
		return (int)fallback(228, id, (long)t);
	}
	t->tv_sec = (long)(ns / NS);
	t->tv_nsec = (long)(ns % NS);
	return 0;
}

EXPORT int __vdso_gettimeofday(struct timeval *tv, struct timezone *tz)
{
	if (tv) {
		unsigned long ns = now(&vvar.real);
		tv->tv_sec = (long)(ns / NS);
		tv->tv_usec = (long)(ns % NS / 1000);
	}
	if (tz)
		*tz = (struct timezone){0, 0};
	return 0;
}

EXPORT long __vdso_time(long *t)
{
	long s = (long)(now(&vvar.real) / NS);
	if (t)
		*t = s;
	return s;
}

EXPORT int __vdso_clock_getres(int id, struct timespec *t)
{
	return (int)fallback(229, id, (long)t);
}

EXPORT long __vdso_getcpu(unsigned *cpu, unsigned *node, void *unused)
{
	(void)unused;
	if (cpu)
		*cpu = 0;
	if (node)
		*node = 0;
	return 0;
}

int clock_gettime(int, struct timespec *) __attribute__((weak, alias("__vdso_clock_gettime"), visibility("default")));
int gettimeofday(struct timeval *, struct timezone *) __attribute__((weak, alias("__vdso_gettimeofday"), visibility("default")));
