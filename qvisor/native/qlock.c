/* Locks on files of read-write volumes, which guests and the host share. A guest has one handle, so one open file description, for each of its owners of
 * locks. Nothing here waits: the guest asks again. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "vm.h"

int64_t qlock_reopen(struct qv *vm, struct qv_call *call)
{
	char link[FD_NAME];
	int fd = qfile_of(vm, call->arg[0], false);
	bool write = (call->arg[1] & O_ACCMODE) != O_RDONLY;
	call->data_len = 0;
	if (fd < 0)
		return fd;
	struct qv_handle h = vm->handles[call->arg[0]];
	if (qfile_root(vm, h.root, true) < 0)
		return -EROFS;
	if (!S_ISREG(h.identity.mode))
		return -EINVAL;
	vm_fd_name(fd, link);
	h.flags = write ? O_RDWR : O_RDONLY;
	h.writable = write;
	h.fd = open(link, h.flags | O_CLOEXEC | O_NOCTTY);
	if (h.fd < 0)
		return -errno;
	int r = write ? qhandle_drop_set_id(vm, h.fd) : 0;
	if (r) {
		close(h.fd);
		return r;
	}
	h.name = strdup(h.name);
	return qfile_new(vm, h);
}

int64_t qlock_lock(struct qv *vm, struct qv_call *call)
{
	int fd = qfile_of(vm, call->arg[0], false);
	short type = (short)(call->arg[1] & 0xff);
	bool test = call->arg[1] & QK_LOCK_TEST;
	call->data_len = 0;
	if (fd < 0)
		return fd;
	if (qfile_root(vm, vm->handles[call->arg[0]].root, true) < 0)
		return -EROFS;
	if (type != F_RDLCK && type != F_WRLCK && type != F_UNLCK)
		return -EINVAL;
	if (call->arg[1] & QK_LOCK_FLOCK)
		return flock(fd, (type == F_RDLCK ? LOCK_SH : type == F_WRLCK ? LOCK_EX : LOCK_UN) | LOCK_NB) ? -errno : 0;
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)call->arg[2], .l_len = (off_t)call->arg[3]};
	if (l.l_start < 0 || l.l_len < 0)
		return -EINVAL;
	if (fcntl(fd, test ? F_OFD_GETLK : F_OFD_SETLK, &l))
		return errno == EACCES ? -EAGAIN : -errno;
	if (!test || l.l_type == F_UNLCK)
		return 0;
	call->out[0] = (uint64_t)l.l_type;
	call->out[1] = (uint64_t)l.l_start;
	call->out[2] = (uint64_t)l.l_len;
	return 1;
}
