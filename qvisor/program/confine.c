/* Confines this process: in two steps, ahead of its request (what the host can take away from any process that has a machine), and when all has been
 * opened that the request names. docs/threat-model.md says what each part is against. */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CAPABILITY(c) (1u << (c))
/* Those by which root uses files of others; all are below 32. */
#define FILE_CAPABILITIES \
	(CAPABILITY(CAP_CHOWN) | CAPABILITY(CAP_DAC_OVERRIDE) | CAPABILITY(CAP_DAC_READ_SEARCH) | CAPABILITY(CAP_FOWNER) | CAPABILITY(CAP_FSETID))
/* Until the request says whose files it uses (user.c). */
#define USER_CAPABILITIES (CAPABILITY(CAP_SETUID) | CAPABILITY(CAP_SETGID))
#define NOTHING_SPECIAL (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)
/* Without these, and one of the two ways to keep to files beneath the roots, the word is not kept. */
#define NEEDED (QM_BY_CAPABILITIES | QM_BY_PRIVILEGES | QM_BY_NAMESPACES | QM_BY_NETWORK | QM_BY_ROOT | QM_BY_LIMITS | QM_BY_SYSCALLS)
#define FILES (QM_BY_LANDLOCK | QM_BY_MOUNTS)

unsigned confined_by;

static bool note(bool done, unsigned part)
{
	confined_by |= done ? part : 0;
	return done;
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (fd >= 0)
		close(fd);
	return done;
}

/* A namespace of users in which this user is the only one: where no others can be had without. Everybody else's files show an owner that nobody is. */
static bool enter_user_namespace(void)
{
	char users[64], groups[64];
	snprintf(users, sizeof(users), "%u %u 1", geteuid(), geteuid());
	snprintf(groups, sizeof(groups), "%u %u 1", getegid(), getegid());
	return unshare(CLONE_NEWUSER) == 0 && write_file("/proc/self/setgroups", "deny") && write_file("/proc/self/uid_map", users) &&
	       write_file("/proc/self/gid_map", groups);
}

/* Into those that were made ahead, or one each of its own. A network namespace is the dearest: 0.5 ms, and work for the kernel at its end. */
static void enter_namespaces(const struct qm_machine *host, const struct descriptors *fds)
{
	static const int types[] = {CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP};
	bool done = unshare(CLONE_NEWNS) == 0, network = true;
	if (!done && (host->flags & QM_USERS || !landlock_is_there()))
		done = enter_user_namespace() && unshare(CLONE_NEWNS) == 0;
	for (size_t i = 0; done && i < sizeof(types) / sizeof(*types); i++) {
		int fd = descriptor_or_none(fds, host->namespaces[i], "a namespace");
		bool entered = (fd < 0 ? unshare(types[i]) : setns(fd, types[i])) == 0;
		if (types[i] == CLONE_NEWNET)
			network = entered;
		else
			done = entered;
		if (fd >= 0)
			close(fd);
	}
	note(done, QM_BY_NAMESPACES);
	note(done && network, QM_BY_NETWORK);
}

/* An empty tmpfs that nobody can write to, as a mount without a place. */
static int empty_mount(void)
{
	int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC), mount = -1;
	if (fs < 0)
		return -1;
	if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "mode", "0555", 0) == 0 &&
	    syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		mount = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, NOTHING_SPECIAL);
	close(fs);
	return mount;
}

/* Of /proc only this process's own descriptors stay, as the working directory: a mount of its own, out of which nothing leads. */
static bool empty_root(void)
{
	struct mount_attr attr = {.attr_set = NOTHING_SPECIAL};
	int root = empty_mount(), fds = (int)syscall(SYS_open_tree, AT_FDCWD, "/proc/self/fd", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	bool done = root >= 0 && fds >= 0 && syscall(SYS_mount_setattr, fds, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0 &&
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		    syscall(SYS_move_mount, root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) == 0 && fchdir(root) == 0 &&
		    /* pivot_root(2), NOTES: the old root lies above the new one then. Where the root is the first RAM disk it cannot be exchanged. */
		    (syscall(SYS_pivot_root, ".", ".") == 0 ? umount2(".", MNT_DETACH) == 0 : chroot(".") == 0) && chdir("/") == 0 &&
		    fchdir(fds) == 0;
	if (root >= 0)
		close(root);
	if (fds >= 0)
		close(fds);
	if (done)
		qv_descriptors_at("");
	return done;
}

/* Keeps no others than these, in no set. */
static bool keep_capabilities(uint32_t kept)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct now[_LINUX_CAPABILITY_U32S_3], then[_LINUX_CAPABILITY_U32S_3] = {0};
	if (syscall(SYS_capget, &head, now))
		return false;
	then[0].permitted = then[0].effective = now[0].permitted & kept;
	return syscall(SYS_capset, &head, then) == 0;
}

static void drop_bounding_set(void)
{
	for (unsigned long c = 0; prctl(PR_CAPBSET_DROP, c, 0, 0, 0) == 0; c++) {}
}

static bool set_limits(void)
{
	static const int none[] = {RLIMIT_CORE, RLIMIT_MEMLOCK, RLIMIT_MSGQUEUE, RLIMIT_RTPRIO};
	struct rlimit l = {0};
	bool done = true;
	for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++)
		done = setrlimit(none[i], &l) == 0 && done;
	/* As many files as a guest can have (qv_create), for good. */
	return getrlimit(RLIMIT_NOFILE, &l) == 0 && setrlimit(RLIMIT_NOFILE, &(struct rlimit){l.rlim_cur, l.rlim_cur}) == 0 && done;
}

void confine(struct qv *vm, const struct qm_machine *host, const struct descriptors *fds)
{
	int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (!(host->flags & QM_UNCONFINED)) {
		enter_namespaces(host, fds);
		if (confined_by & QM_BY_NAMESPACES)
			note(empty_root(), QM_BY_ROOT);
		note(set_limits(), QM_BY_LIMITS);
		drop_bounding_set();
		note(keep_capabilities(FILE_CAPABILITIES | USER_CAPABILITIES), QM_BY_CAPABILITIES);
	}
	if (!(confined_by & QM_BY_ROOT))
		check(chdir("/") ? -errno : 0, "leave the working directory");
	check(qv_open_pagemap(vm, self), "see which memory is used");
	close(self);
	if (host->flags & QM_UNCONFINED)
		return;
	note(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, QM_BY_PRIVILEGES);
	note(seccomp_confine(IN_PREPARE | IN_RUN | IN_VOLUME | IN_CAPTURE) == 0, QM_BY_SYSCALLS);
}

/* The names of these QM_BY_*, each behind a space. */
static const char *names_of(unsigned parts)
{
	static const char *const names[] = {"capabilities", "no-new-privileges", "namespaces", "network",   "empty-root",
					    "limits",       "system-calls",      "landlock",   "own-mounts"}; /* in the order of their bits */
	static char text[256];
	size_t n = 0;
	text[0] = 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (parts >> i & 1)
			n += (size_t)snprintf(text + n, sizeof(text) - n, " %s", names[i]);
	return text;
}

void confine_report(void)
{
	dprintf(2, "quark: confined by:%s\n", names_of(confined_by));
	dprintf(2, "quark: not confined by:%s\n", names_of(~confined_by));
}

static bool is_writable(const struct qm_assign *a)
{
	for (uint32_t i = 1; i < a->nroots; i++)
		if (!(a->root_flags[i] & QK_MOUNT_RO))
			return true;
	return false;
}

void confine_run(const struct qm_machine *host, const struct qm_assign *a, const struct descriptors *fds)
{
	struct confined_root roots[QM_ROOTS_MAX];
	if (a->flags & QM_AS_USER)
		user_take(host, a);
	if (host->flags & QM_UNCONFINED)
		return;
	for (uint32_t i = 0; i < a->nroots; i++)
		roots[i] = (struct confined_root){.fd = descriptor(fds, a->roots[i], "a root"),
						  .file = a->root_flags[i] & QK_MOUNT_FILE,
						  .writable = i && !(a->root_flags[i] & QK_MOUNT_RO)};
	note(landlock_confine(roots, a->nroots) == 0, QM_BY_LANDLOCK);
	note(a->flags & QM_MOUNTS, QM_BY_MOUNTS);
	if (!keep_capabilities((a->flags & (QM_ANY_OWNER | QM_AS_USER)) == QM_ANY_OWNER ? FILE_CAPABILITIES : 0))
		confined_by &= ~QM_BY_CAPABILITIES;
	if (seccomp_confine(IN_RUN | (is_writable(a) ? IN_VOLUME : 0) | (control_is_open() ? IN_CAPTURE : 0)))
		confined_by &= ~QM_BY_SYSCALLS;
	unsigned missing = NEEDED & ~confined_by;
	if (!(confined_by & FILES))
		missing |= FILES;
	if (a->flags & QM_STRICT && missing)
		fail(FAIL_CONFINEMENT, "the sandbox is required to be confined, and this host has not:%s; see quark doctor", names_of(missing));
}
