/* The handles by which a guest knows files of the host: the table of them, how a file is opened, and opened again in a clone. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vm.h"

#define SET_ID_BITS 06000
#define OPEN_TRIES 8 /* while others exchange the file */
#define MAX(a, b) ((a) > (b) ? (a) : (b))

static const char *descriptors = "/proc/self/fd/";

void qv_descriptors_at(const char *folder)
{
	descriptors = folder;
}

void vm_fd_name(int fd, char name[FD_NAME])
{
	snprintf(name, FD_NAME, "%s%d", descriptors, fd);
}

int vm_dup(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return copy < 0 ? -errno : copy;
}

int qfile_new(struct qv *vm, struct qv_handle h)
{
	for (int i = MAX(vm->handles_free, 3); h.name && i < QV_MAX_HANDLES; i++) {
		if (i < vm->handles_top && vm->handles[i].kind != QV_H_FREE)
			continue;
		vm->handles[i] = h;
		vm->handles_free = i + 1;
		vm->handles_top = MAX(vm->handles_top, i + 1);
		return i;
	}
	close(h.fd);
	free(h.name);
	return -ENFILE;
}

/* Before a guest changes a file's content: what ran with its owner's rights must not run so with content of the guest's. The kernel does this only to
 * those who lack CAP_FSETID (chmod(2)), and not for what is written through a shared mapping. */
int qhandle_drop_set_id(struct qv *vm, int fd)
{
	struct stat st;
	char link[FD_NAME];
	if (vm->config.set_id)
		return 0;
	if (fstat(fd, &st))
		return -errno;
	vm_fd_name(fd, link);
	return S_ISREG(st.st_mode) && (st.st_mode & SET_ID_BITS) && fchmodat(AT_FDCWD, link, qfile_mode(vm, st.st_mode), 0) ? -errno : 0;
}

/* Opens what `path` was opened on a moment ago, in `dir` as `last`. Not through /proc/self/fd: a fork that stands still has its parent's descriptors there.
 * -ESTALE: it is something else by now. */
static int open_known(int dir, const char *last, const struct stat *known, int flags)
{
	struct stat st;
	/* Should it be a FIFO by now: nobody waits for its other end. */
	int fd = walk_last(dir, last, (uint64_t)flags | O_NONBLOCK | O_NOCTTY, 0), r = 0;
	if (fd < 0)
		return fd;
	if (fstat(fd, &st))
		r = -errno;
	else if (st.st_ino != known->st_ino || st.st_dev != known->st_dev)
		r = -ESTALE;
	if (r)
		close(fd);
	return r ? r : fd;
}

static int open_single(int path, int flags)
{
	char link[FD_NAME];
	vm_fd_name(path, link);
	int fd = open(link, flags | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

/* Looked at through O_PATH first, because opening a device or a FIFO has effects. dir: -1: `path` is the root itself, a file. Takes path over. */
static int open_looked_at(struct qv *vm, int dir, const char *last, int path, int flags)
{
	struct stat st;
	int r = fstat(path, &st) ? -errno : S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) ? 0 : -ENXIO;
	if (!r && walk_hidden(vm, path, &st)) { /* the O_PATH descriptor itself stands for an empty directory */
		if (S_ISDIR(st.st_mode) && (flags & O_ACCMODE) == O_RDONLY)
			return path;
		r = -ENOENT;
	}
	if (!r)
		r = dir < 0 ? open_single(path, flags) : open_known(dir, last, &st, flags);
	if (r >= 0 && (flags & O_ACCMODE) != O_RDONLY) {
		int dropped = qhandle_drop_set_id(vm, r);
		if (dropped) {
			close(r);
			r = dropped;
		}
	}
	close(path);
	return r;
}

int qhandle_open(struct qv *vm, int root, const char *name, bool file_root, int flags)
{
	const char *last = ".";
	int dir = file_root ? -1 : *name ? walk_parent(vm, root, name, &last) : root, r = -ESTALE;
	flags &= ~(O_CREAT | O_EXCL | O_NOFOLLOW);
	if (dir < 0 && !file_root)
		return dir;
	for (int tries = 0; r == -ESTALE && tries < OPEN_TRIES; tries++) {
		int path = file_root ? vm_dup(root) : walk_last(dir, last, O_PATH, 0);
		r = path < 0 ? path : open_looked_at(vm, dir, last, path, flags);
	}
	if (dir >= 0 && dir != root)
		close(dir);
	return r;
}

int qfile_reopen(struct qv *vm, struct qv_handle *h)
{
	const struct qv_file *f;
	struct stat st;
	struct qk_stat now;
	if (S_ISREG(h->identity.mode) && qlookup_stored(vm, h->root, h->name, &f)) {
		int copy = f->guest_ino == h->identity.ino ? fcntl(vm->stored_fd, F_DUPFD_CLOEXEC, 3) : -1;
		if (copy < 0)
			return -ESTALE;
		h->stored = f;
		h->fd = copy;
		return copy;
	}
	int fd = qhandle_open(vm, vm->config.roots[h->root], h->name, qfile_is_single(vm, h->root), h->flags);
	if (fd < 0)
		return -ESTALE;
	bool same = !fstat(fd, &st) && !((st.st_mode ^ h->identity.mode) & S_IFMT);
	/* A volume's file goes on as it is. Of a file of the rootfs the guest has content in memory: it must still be the file that was verified. */
	if (same && h->root == 0 && S_ISREG(st.st_mode)) {
		qfile_stat(vm, &now, &st);
		same = now.ino == h->identity.ino && now.size == h->identity.size && now.mtime_ns == h->identity.mtime_ns;
	}
	if (!same) {
		close(fd);
		return -ESTALE;
	}
	h->fd = fd;
	return fd;
}

int qv_file_open(int root, uint64_t hidden_dev, uint64_t hidden_ino, const char *name)
{
	struct stat st;
	struct qv *nobody = calloc(1, sizeof(*nobody)); /* with the rules of a machine, and no machine */
	if (!nobody)
		return -ENOMEM;
	nobody->config.hidden_dev = hidden_dev;
	nobody->config.hidden_ino = hidden_ino;
	int fd = qhandle_open(nobody, root, name, false, O_RDONLY);
	free(nobody);
	if (fd >= 0 && (fstat(fd, &st) || !S_ISREG(st.st_mode))) {
		close(fd);
		return -ENOENT;
	}
	return fd;
}

int qv_handle_fd(struct qv *vm, uint32_t index)
{
	if (index >= QV_MAX_HANDLES || vm->handles[index].kind != QV_H_FILE)
		return -EBADF;
	struct qv_handle *h = &vm->handles[index];
	return h->fd >= 0 ? h->fd : qfile_reopen(vm, h);
}

int64_t qv_volumes_check(struct qv *vm, char *buf, size_t max)
{
	size_t at = 0;
	for (uint32_t i = 3; i < (uint32_t)vm->handles_top; i++) {
		struct qv_handle *h = &vm->handles[i];
		if (h->kind != QV_H_FILE || h->root == 0 || h->fd >= 0)
			continue;
		if (qfile_reopen(vm, h) >= 0) { /* one at a time: a guest has had more of them open than there may be descriptors here */
			close(h->fd);
			h->fd = -1;
			continue;
		}
		int n = snprintf(buf + at, max - at, "%u%c%s", h->root, 0, h->name);
		if ((size_t)n >= max - at)
			return -ENOSPC;
		at += (size_t)n + 1;
	}
	return (int64_t)at;
}

/* Descriptor behind a handle, or -errno. stream: a stream will do, too. */
int qfile_of(struct qv *vm, uint64_t handle, bool stream)
{
	struct qv_handle *h = &vm->handles[handle < QV_MAX_HANDLES ? handle : 0];
	if (handle >= QV_MAX_HANDLES || (h->kind != QV_H_FILE && !(stream && h->kind == QV_H_STREAM && h->fd >= 0)))
		return -EBADF;
	return h->fd >= 0 ? h->fd : qfile_reopen(vm, h);
}

int64_t qhandle_close(struct qv *vm, uint64_t handle)
{
	if (handle >= QV_MAX_HANDLES || vm->handles[handle].kind != QV_H_FILE)
		return -EBADF;
	struct qv_handle h = vm->handles[handle];
	vm->handles[handle] = (struct qv_handle){.kind = QV_H_FREE};
	if ((int)handle < vm->handles_free)
		vm->handles_free = (int)handle;
	if (!vm->restored_names || h.name < vm->restored_names || h.name >= vm->restored_names + vm->restored_names_size)
		free(h.name);
	if (h.fd >= 0)
		close(h.fd);
	return 0;
}

void qfile_close_pending(struct qv_vcpu *v)
{
	struct qk_closes *c = (struct qk_closes *)(v->block + QK_VCPU_CLOSE);
	uint32_t n = __atomic_load_n(&c->count, __ATOMIC_ACQUIRE);
	if (!n)
		return;
	for (uint32_t i = 0; i < n && i < QK_CLOSE_MAX; i++)
		qhandle_close(v->vm, __atomic_load_n(&c->handle[i], __ATOMIC_RELAXED));
	__atomic_store_n(&c->count, 0, __ATOMIC_RELEASE);
}

void qfile_close_all(struct qv *vm)
{
	for (int i = 3; i < vm->handles_top; i++)
		if (vm->handles[i].kind == QV_H_FILE)
			qhandle_close(vm, (uint64_t)i);
	free(vm->restored_names);
	vm->restored_names = NULL;
	vm->restored_names_size = 0;
}
