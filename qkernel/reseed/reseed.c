/* /dev/quark-reseed.so, preloaded into programs that are captured: makes generators that reseed after a fork reseed after a restore, too.
 *
 * OpenSSL and libgcrypt ask getpid() before they give out random numbers: another answer than the last one means a fork, and they fetch
 * fresh entropy, at a moment and under locks of their own choice. A clone has the process ids of its original. This getpid() gives these
 * callers, and nobody else, another number in a clone. That it runs in a clone it learns from a page under MADV_WIPEONFORK, which the
 * guest kernel wipes on a restore. Bash asks, too, whenever $RANDOM is read; it gets a new seed on the spot.
 *
 * It runs under any C library (no DT_NEEDED, system calls of its own), in signal handlers and between vfork and exec. docs/clones.md, ADR 17. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>

#define PAGE 4096

/* Found at load where the program has them. */
#pragma weak _dl_find_object /* glibc 2.35: takes no lock */
#pragma weak dladdr
#pragma weak RAND_poll
#pragma weak brand
#pragma weak sbrand
int RAND_poll(void); /* OpenSSL */
int brand(void);     /* bash, lib/sh/random.c */
void sbrand(unsigned long seed);

/* Zero until the first use after the start, a fork, or a restore. */
struct wiped {
	_Atomic pid_t id; /* what the generators see as the process id */
	_Atomic bool bash_seeded;
};
static struct wiped *wiped;
static _Atomic pid_t owner; /* process that used `wiped` last; unlike it, survives */

enum caller { OTHER, GENERATOR, BASH };

static long system_call(long number, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = -1; /* mmap: no file */
	register long r9 __asm__("r9") = 0;
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return r;
}

__attribute__((constructor)) static void reseed_init(void)
{
	long at = system_call(SYS_mmap, 0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	if (at > 0 && system_call(SYS_madvise, at, PAGE, MADV_WIPEONFORK, 0) == 0)
		wiped = (struct wiped *)at;
}

/* 1 to 2^31 - 1. */
static pid_t fresh_number(void)
{
	unsigned v = 0;
	while (!v) {
		system_call(SYS_getrandom, (long)&v, sizeof(v), 0, 0);
		v &= 0x7fffffff;
	}
	return (pid_t)v;
}

static bool begins(const char *text, const char *with)
{
	while (*with && *text == *with)
		text++, with++;
	return !*with;
}

static const char *base_name(const char *path)
{
	const char *base = path;
	for (; *path; path++)
		if (*path == '/')
			base = path + 1;
	return base;
}

static bool contains(const char *text, const char *part)
{
	for (; *text; text++)
		if (begins(text, part))
			return true;
	return false;
}

/* The functions of OpenSSL 1.1.1 and 3 that look for a fork, and those that the compiler puts them into. */
static bool looks_for_fork(const char *function)
{
	static const char *const names[] = {"ossl_prov_drbg_", "ossl_drbg_", "ossl_rand_drbg_", "openssl_get_fork_id", "RAND_DRBG_", "rand_drbg_"};
	for (size_t k = 0; k < sizeof(names) / sizeof(*names); k++)
		if (begins(function, names[k]))
			return true;
	return false;
}

static enum caller caller_of(void *pc)
{
	struct dl_find_object object;
	Dl_info info = {0};
	const char *file = "";
	if (_dl_find_object) {
		if (_dl_find_object(pc, &object) || !object.dlfo_link_map)
			return OTHER;
		file = object.dlfo_link_map->l_name;
	} else if (dladdr && dladdr(pc, &info) && info.dli_fname) {
		file = info.dli_fname;
	}
	const char *base = base_name(file);
	if (begins(base, "libcrypto") || begins(base, "libgcrypt") || contains(file, "/cryptography/hazmat/bindings/_rust"))
		return GENERATOR;
	if (_dl_find_object && *file)
		return OTHER;
	/* The program itself. node contains OpenSSL, with its symbols. */
	if (sbrand && brand)
		return BASH;
	if (RAND_poll && dladdr && dladdr(pc, &info) && info.dli_sname && looks_for_fork(info.dli_sname))
		return GENERATOR;
	return OTHER;
}

__attribute__((visibility("default"))) pid_t getpid(void)
{
	pid_t pid = (pid_t)system_call(SYS_getpid, 0, 0, 0, 0);
	enum caller caller = wiped ? caller_of(__builtin_return_address(0)) : OTHER;
	if (caller == OTHER)
		return pid;
	pid_t id = atomic_load(&wiped->id);
	if (!id) {
		/* After a fork the process id is another one already. */
		pid_t mine = atomic_load(&owner) == pid ? fresh_number() : pid;
		atomic_compare_exchange_strong(&wiped->id, &id, mine);
		atomic_store(&owner, pid);
		id = atomic_load(&wiped->id);
	}
	if (id == pid || atomic_load(&owner) != pid) /* the latter: a child that shares this memory (vfork) */
		return pid;
	if (caller == GENERATOR)
		return id;
	if (!atomic_exchange(&wiped->bash_seeded, true))
		sbrand((unsigned long)fresh_number());
	return pid;
}
