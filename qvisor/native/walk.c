/* Walks names of a host root: one component at a time from the root's descriptor, never through a symlink or "..", so that it cannot leave the root; and
 * never into what is hidden from guests, by whatever mount it is reached: the host kernel's own file systems and quark's state directory. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "vm.h"

#define TMPFS 0x01021994u

/* f_type of file systems that are no files but the host's state and its controls (linux/magic.h; binderfs, efivarfs and the last three: their sources) */
static const uint32_t kernel_interfaces[] = {
	0x00009fa0, /* proc */
	0x62656572, /* sysfs */
	0x00001cd1, /* devpts */
	0x0027e0eb, /* cgroup */
	0x63677270, /* cgroup2 */
	0x73636673, /* securityfs */
	0xf97cff8c, /* selinuxfs */
	0x43415d53, /* smackfs */
	0x64626720, /* debugfs */
	0x74726163, /* tracefs */
	0xcafe4a11, /* bpf */
	0x958458f6, /* hugetlbfs */
	0x6165676c, /* pstore */
	0xde5e81e4, /* efivarfs */
	0x42494e4d, /* binfmt_misc */
	0x6e736673, /* nsfs */
	0x50494446, /* pidfs */
	0x09041934, /* anonymous inodes */
	0x07655821, /* resctrl */
	0x6c6f6f70, /* binderfs */
	0x19800202, /* mqueue */
	0x65735543, /* fusectl */
	0x62656570, /* configfs */
	0xabba1974, /* xenfs */
	0x67596969, /* rpc_pipefs */
	0x6e667364, /* nfsd */
};

static bool is_kernel_interface(const struct statfs *s)
{
	for (size_t i = 0; i < sizeof(kernel_interfaces) / sizeof(*kernel_interfaces); i++)
		if ((uint32_t)s->f_type == kernel_interfaces[i])
			return true;
	return false;
}

static dev_t devtmpfs; /* 0: none is mounted where this process could see it */

/* devtmpfs says that it is a tmpfs: only the list of mounts tells them apart (proc_pid_mountinfo(5)). A host has one such file system. */
void walk_learn_devtmpfs(void)
{
	char line[PATH_MAX * 2];
	FILE *f = fopen("/proc/self/mountinfo", "re");
	while (f && !devtmpfs && fgets(line, sizeof(line), f)) {
		char *colon = strchr(line, ':'), *high = colon; /* the third field is MAJOR:MINOR */
		if (!colon || !strstr(line, " - devtmpfs "))
			continue;
		while (high > line && high[-1] != ' ')
			high--;
		devtmpfs = makedev(strtoul(high, NULL, 10), strtoul(colon + 1, NULL, 10));
	}
	if (f)
		fclose(f);
}

static bool is_devtmpfs(dev_t dev)
{
	return devtmpfs && dev == devtmpfs;
}

static struct qv_system *known_system(struct qv *vm, dev_t dev)
{
	for (size_t i = 0; i < QV_SYSTEMS; i++)
		if (vm->systems[i].known && vm->systems[i].dev == dev)
			return &vm->systems[i];
	return NULL;
}

/* Whether the file system `dev`, which fd is on, is one of the host kernel's. Remembered, because lookups ask for every component. */
static bool is_hidden_system(struct qv *vm, dev_t dev, int fd)
{
	struct statfs s;
	const struct qv_system *known = known_system(vm, dev);
	if (known)
		return known->hidden;
	bool hidden = fstatfs(fd, &s) || is_kernel_interface(&s) || (s.f_type == TMPFS && is_devtmpfs(dev));
	vm->systems[vm->next_system++ % QV_SYSTEMS] = (struct qv_system){.dev = dev, .hidden = hidden, .known = true};
	return hidden;
}

static bool is_state(const struct qv_config *config, const struct stat *st)
{
	return st->st_ino == config->hidden_ino && st->st_dev == config->hidden_dev && config->hidden_ino;
}

bool walk_hidden(struct qv *vm, int fd, const struct stat *st)
{
	struct statfs s;
	/* Asked anew: a device number may have passed to another file system since. */
	return is_state(&vm->config, st) || fstatfs(fd, &s) || is_kernel_interface(&s) || is_hidden_system(vm, st->st_dev, fd);
}

bool walk_hidden_name(struct qv *vm, int dir, const char *name, const struct stat *st)
{
	const struct qv_system *known = known_system(vm, st->st_dev);
	struct stat now;
	if (is_state(&vm->config, st))
		return true;
	if (known)
		return known->hidden;
	int fd = walk_last(dir, name, O_PATH, 0);
	bool hidden = fd < 0 || fstat(fd, &now) || now.st_dev != st->st_dev || is_hidden_system(vm, st->st_dev, fd);
	if (fd >= 0)
		close(fd);
	return hidden;
}

static bool is_component(const char *name)
{
	return *name && strcmp(name, ".") && strcmp(name, "..");
}

/* The directory `name` in `dir`, which is closed. */
static int step(struct qv *vm, int dir, const char *name)
{
	struct stat st;
	int fd = is_component(name) ? walk_last(dir, name, O_PATH | O_DIRECTORY, 0) : -EINVAL, r = 0;
	if (fd < 0)
		r = fd;
	else if (fstat(fd, &st))
		r = -errno;
	else if (is_state(&vm->config, &st) || is_hidden_system(vm, st.st_dev, fd))
		r = -ENOENT;
	close(dir);
	if (r && fd >= 0)
		close(fd);
	return r ? r : fd;
}

int walk_parent(struct qv *vm, int root, const char *name, const char **last)
{
	char part[NAME_MAX + 1];
	int dir = fcntl(root, F_DUPFD_CLOEXEC, 0);
	if (dir < 0)
		return -errno;
	for (const char *slash; (slash = strchr(name, '/')); name = slash + 1) {
		size_t n = (size_t)(slash - name);
		if (n > NAME_MAX) {
			close(dir);
			return -ENAMETOOLONG;
		}
		memcpy(part, name, n);
		part[n] = 0;
		dir = step(vm, dir, part);
		if (dir < 0)
			return dir;
	}
	*last = name;
	if (is_component(name))
		return dir;
	close(dir);
	return -EINVAL;
}

int walk_last(int dir, const char *last, uint64_t flags, uint64_t mode)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC | O_NOFOLLOW, .mode = mode, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS};
	long fd = syscall(SYS_openat2, dir, last, &how, sizeof(how));
	return fd < 0 ? -errno : (int)fd;
}

int walk_open(struct qv *vm, int root, const char *name, uint64_t flags, uint64_t mode)
{
	const char *last = ".";
	int dir = *name ? walk_parent(vm, root, name, &last) : root;
	if (dir < 0)
		return dir;
	int r = walk_last(dir, last, flags, mode);
	if (dir != root)
		close(dir);
	return r;
}

int qv_check_root(int fd, uint64_t hidden_dev, uint64_t hidden_ino)
{
	struct qv_config config = {.hidden_dev = hidden_dev, .hidden_ino = hidden_ino};
	struct stat st, above;
	struct statfs s;
	if (fstatfs(fd, &s) || fstat(fd, &st))
		return -errno;
	walk_learn_devtmpfs();
	if (is_kernel_interface(&s) || (s.f_type == TMPFS && is_devtmpfs(st.st_dev)))
		return -EOPNOTSUPP;
	int dir = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (dir < 0)
		return -errno;
	int r = is_state(&config, &st) ? -EBUSY : 0;
	while (!r && S_ISDIR(st.st_mode)) {
		int up = openat(dir, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (up < 0) {
			r = -errno;
			break;
		}
		close(dir);
		dir = up;
		if (fstat(dir, &above))
			r = -errno;
		else if (is_state(&config, &above))
			r = -EBUSY;
		else if (above.st_ino == st.st_ino && above.st_dev == st.st_dev)
			break; /* the root: its parent is itself */
		st = above;
	}
	close(dir);
	return r;
}
