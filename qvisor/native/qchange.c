/* Changes of names and attributes beneath a writable host root. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vm.h"

/* By descriptor, which may be of O_PATH: no name can be exchanged for a link meanwhile. */
static int64_t change_attributes(struct qv *vm, int fd, const struct qv_call *call, bool truncate)
{
	uint64_t mask = call->arg[1];
	struct timespec t[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};
	struct stat st;
	char link[FD_NAME];
	vm_fd_name(fd, link);
	if (fstat(fd, &st))
		return -errno;
	if (walk_hidden(vm, fd, &st)) /* a handle may be of such a directory, shown empty */
		return -EBUSY;
	if ((mask & QK_ATTR_OWNER) && fchownat(fd, "", (uid_t)(call->arg[3] >> 32), (gid_t)call->arg[3], AT_EMPTY_PATH))
		return -errno;
	if ((mask & (QK_ATTR_MODE | QK_ATTR_SIZE)) && S_ISLNK(st.st_mode))
		return -EOPNOTSUPP; /* no mode of a symlink can be changed */
	if ((mask & QK_ATTR_MODE) && fchmodat(AT_FDCWD, link, qfile_mode(vm, call->arg[2]), 0))
		return -errno;
	if ((mask & QK_ATTR_SIZE) && !truncate)
		return -EBADF;
	if ((mask & QK_ATTR_SIZE) && ftruncate(fd, (off_t)call->arg[2]))
		return -errno;
	if (mask & QK_ATTR_ATIME)
		t[0] = (struct timespec){.tv_sec = (time_t)(call->arg[4] / 1000000000), .tv_nsec = (long)(call->arg[4] % 1000000000)};
	if (mask & QK_ATTR_MTIME)
		t[1] = (struct timespec){.tv_sec = (time_t)(call->arg[5] / 1000000000), .tv_nsec = (long)(call->arg[5] % 1000000000)};
	if ((mask & (QK_ATTR_ATIME | QK_ATTR_MTIME)) && utimensat(fd, "", t, AT_EMPTY_PATH))
		return -errno;
	return 0;
}

static int64_t change_attributes_at(struct qv *vm, int dir, const char *last, const struct qv_call *call)
{
	bool size = call->arg[1] & QK_ATTR_SIZE;
	int fd = size ? qhandle_open(vm, dir, last, false, O_WRONLY) : walk_open(vm, dir, last, O_PATH, 0);
	if (fd < 0)
		return fd;
	int64_t r = change_attributes(vm, fd, call, size);
	close(fd);
	return r;
}

static int64_t change_attributes_of(struct qv *vm, const struct qv_call *call)
{
	int fd = qfile_of(vm, call->arg[0], false);
	if (fd < 0)
		return fd;
	const struct qv_handle *h = &vm->handles[call->arg[0]];
	if (qfile_root(vm, h->root, true) < 0)
		return -EROFS;
	return change_attributes(vm, fd, call, h->writable);
}

/* Hidden directories keep their place in a volume: quark would not find its state again. */
static bool change_is_refused(struct qv *vm, int dir, const char *name)
{
	struct stat st;
	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) == 0 && walk_hidden_name(vm, dir, name, &st);
}

static int64_t change_two_names(struct qv *vm, int op, int root, const char *from, const char *to, uint64_t flags)
{
	const char *last_from, *last_to;
	if (op == QC_RENAME && (flags & ~(uint64_t)(RENAME_NOREPLACE | RENAME_EXCHANGE)))
		return -EINVAL; /* RENAME_WHITEOUT makes a device node */
	int a = walk_parent(vm, root, from, &last_from), b, r;
	if (a < 0)
		return a;
	b = walk_parent(vm, root, to, &last_to);
	if (b < 0) {
		close(a);
		return b;
	}
	if (change_is_refused(vm, a, last_from) || change_is_refused(vm, b, last_to)) {
		r = -1;
		errno = EBUSY;
	} else if (op == QC_RENAME)
		r = (int)syscall(SYS_renameat2, a, last_from, b, last_to, (unsigned)flags);
	else
		r = linkat(a, last_from, b, last_to, 0);
	r = r ? -errno : 0;
	close(a);
	close(b);
	return r;
}

static int64_t change_make_node(struct qv *vm, int dir, const char *last, uint64_t mode)
{
	if (!S_ISFIFO(mode) && !S_ISSOCK(mode))
		return -EPERM; /* a device would give its holder the host's */
	return mknodat(dir, last, (mode_t)(mode & S_IFMT) | qfile_mode(vm, mode), 0) ? -errno : 0;
}

static int64_t change_give_name(struct qv *vm, int dir, const char *last, const struct qv_call *call)
{
	char link[FD_NAME];
	int fd = qfile_of(vm, call->arg[1], false);
	if (fd < 0)
		return fd;
	if (vm->handles[call->arg[1]].root != call->arg[0])
		return -EXDEV;
	vm_fd_name(fd, link);
	return linkat(AT_FDCWD, link, dir, last, AT_SYMLINK_FOLLOW) ? -errno : 0;
}

int64_t qchange_call(struct qv *vm, struct qv_call *call)
{
	char name[NAME_LIMIT], other[NAME_LIMIT];
	const char *last;
	if (call->op == QC_SETATTR && (call->arg[1] & QK_ATTR_HANDLE)) {
		call->data_len = 0;
		return change_attributes_of(vm, call);
	}
	bool two = call->op == QC_RENAME || call->op == QC_LINK || call->op == QC_SYMLINK;
	int root = qfile_root(vm, call->arg[0], true), r = qfile_name(call, 0, name);
	if (!r && two)
		r = qfile_name(call, 1, other);
	call->data_len = 0;
	if (root < 0 || r)
		return root < 0 ? root : r;
	if (call->op == QC_RENAME || call->op == QC_LINK)
		return change_two_names(vm, (int)call->op, root, name, other, call->arg[1]);
	if (call->op == QC_SETATTR && !*name)
		return -EPERM;
	int dir = walk_parent(vm, root, name, &last);
	if (dir < 0)
		return dir;
	int64_t ret;
	if (change_is_refused(vm, dir, last)) {
		close(dir);
		return -EBUSY;
	}
	switch (call->op) {
	case QC_MKDIR:
		ret = mkdirat(dir, last, qfile_mode(vm, call->arg[1])) ? -errno : 0;
		break;
	case QC_MKNOD:
		ret = change_make_node(vm, dir, last, call->arg[1]);
		break;
	case QC_NAME:
		ret = change_give_name(vm, dir, last, call);
		break;
	case QC_UNLINK:
		ret = unlinkat(dir, last, (int)call->arg[1] & AT_REMOVEDIR) ? -errno : 0;
		break;
	case QC_SYMLINK:
		ret = symlinkat(other, dir, last) ? -errno : 0;
		break;
	default:
		ret = change_attributes_at(vm, dir, last, call);
	}
	close(dir);
	return ret;
}
