/* QCall operations on files of a host root, by names that walk.c walks; only regular files and directories are ever opened. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vm.h"

/* The permissions that a guest can give on the host: none that lend whoever runs the file another's identity. */
#define MODE_BITS 01777
#define SET_ID_BITS 06000

static char *data(struct qv *vm)
{
	return vm->comm_area + QK_OFF_DATA;
}

int qfile_root(struct qv *vm, uint64_t root, bool write)
{
	if (root >= (uint64_t)vm->config.nroots)
		return -EINVAL;
	if (write && (root == 0 || (vm->config.root_flags[root] & QK_MOUNT_RO)))
		return -EROFS;
	return vm->config.roots[root];
}

static bool is_file_root(struct qv *vm, uint64_t root)
{
	return vm->config.root_flags[root] & QK_MOUNT_FILE;
}

/* Of a time stamp, which a guest may have set to the end of time: what 64 bits do not hold is the latest or the earliest that they do. */
int64_t stat_ns(struct timespec t)
{
	int64_t ns;
	if (__builtin_mul_overflow(t.tv_sec, 1000000000, &ns) || __builtin_add_overflow(ns, t.tv_nsec, &ns))
		return t.tv_sec < 0 ? INT64_MIN : INT64_MAX;
	return ns;
}

void qfile_stat(struct qv *vm, struct qk_stat *q, const struct stat *s)
{
	struct qk_stat now = {
		.dev = s->st_dev,
		.ino = s->st_ino,
		.size = (uint64_t)s->st_size,
		.blocks = (uint64_t)s->st_blocks,
		.rdev = s->st_rdev,
		.mode = s->st_mode,
		.nlink = (uint32_t)s->st_nlink,
		.uid = s->st_uid,
		.gid = s->st_gid,
		.atime_ns = stat_ns(s->st_atim),
		.mtime_ns = stat_ns(s->st_mtim),
		.ctime_ns = stat_ns(s->st_ctim),
	};
	depends_present(vm, &now);
	*q = now;
}

/* Copies the index-th NUL-terminated name of the data area out of the guest's reach. */
int qfile_name(struct qv *vm, const struct qk_call *call, int index, char name[NAME_LIMIT])
{
	const char *p = data(vm), *end = p + call->data_len;
	for (; index; index--) {
		p = memchr(p, 0, (size_t)(end - p));
		if (!p)
			return -EINVAL;
		p++;
	}
	size_t n = strnlen(p, (size_t)(end - p));
	if (n >= NAME_LIMIT)
		return -ENAMETOOLONG;
	memcpy(name, p, n);
	name[n] = 0;
	return strnlen(name, n) == n ? 0 : -EINVAL;
}

/* Does the snapshot bring the content of this file along, because the host lacks it? */
static bool is_stored(const struct qv *vm, uint64_t root, const char *name, const struct qv_file **out)
{
	*out = root == 0 && vm->stored_fd >= 0 ? depends_find(vm, name) : NULL;
	return *out && ((*out)->flags & QV_FILE_STORED);
}

/* The way to a file from the store: directories that the host lacks are there for it. */
static int64_t lookup_stored(struct qv *vm, struct qk_call *call, const struct qv_file *f, char *name)
{
	struct qk_stat *out = (struct qk_stat *)data(vm);
	int64_t count = 0;
	for (char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
		struct stat st = {.st_mode = S_IFDIR | 0755, .st_nlink = 2};
		for (const char *p = name; p < slash; p++) /* FNV-1a: the same number each time */
			st.st_ino = (st.st_ino ^ (unsigned char)*p) * 0x100000001b3u;
		if ((uint64_t)(count + 2) * sizeof(*out) > QK_DATA_SIZE)
			return -ENAMETOOLONG;
		*slash = 0;
		int dir = walk_open(vm, vm->config.roots[0], name, O_PATH | O_DIRECTORY, 0);
		if (dir >= 0) {
			(void)!fstat(dir, &st);
			close(dir);
		}
		*slash = '/';
		qfile_stat(vm, &out[count++], &st);
	}
	depends_stored_stat(f, &out[count++]);
	call->data_len = (uint32_t)(count * (int64_t)sizeof(*out));
	return count;
}

static int64_t lookup(struct qv *vm, struct qk_call *call)
{
	char name[NAME_LIMIT];
	struct qk_stat *out = (struct qk_stat *)data(vm);
	struct stat st;
	int root = qfile_root(vm, call->arg[0], false), r = qfile_name(vm, call, 0, name);
	int64_t count = 0;
	call->data_len = 0;
	if (root < 0 || r)
		return root < 0 ? root : r;
	if (!*name) {
		if (fstat(root, &st))
			return -errno;
		qfile_stat(vm, out, &st);
		call->data_len = sizeof(*out);
		return 1;
	}
	const struct qv_file *f;
	if (is_stored(vm, call->arg[0], name, &f))
		return lookup_stored(vm, call, f, name);
	int dir = root;
	for (char *p = name, *next; p && call->out[0] == 0; p = next) {
		next = strchr(p, '/');
		if (next)
			*next++ = 0;
		if (!*p || !strcmp(p, ".") || !strcmp(p, "..") || (uint64_t)(count + 1) * sizeof(*out) + NAME_LIMIT > QK_DATA_SIZE) {
			call->out[0] = EINVAL;
			break;
		}
		if (fstatat(dir, p, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT)) {
			call->out[0] = (uint64_t)errno;
			break;
		}
		bool hidden = walk_hidden_name(vm, dir, p, &st);
		if (hidden && !S_ISDIR(st.st_mode)) {
			call->out[0] = ENOENT;
			break;
		}
		qfile_stat(vm, &out[count++], &st);
		if (hidden && next)
			call->out[0] = ENOENT;
		if (hidden)
			break;
		if (S_ISLNK(st.st_mode)) {
			char *target = (char *)&out[count];
			ssize_t n = readlinkat(dir, p, target, NAME_LIMIT - 1);
			target[n < 0 ? 0 : n] = 0;
			call->data_len = (uint32_t)(n < 0 ? 1 : n + 1);
			break;
		}
		if (!next || !S_ISDIR(st.st_mode))
			break;
		int fd = openat(dir, p, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			call->out[0] = (uint64_t)errno;
		if (dir != root)
			close(dir);
		dir = fd;
	}
	if (dir != root && dir >= 0)
		close(dir);
	call->data_len += (uint32_t)(count * (int64_t)sizeof(*out));
	return count;
}

#define MAX(a, b) ((a) > (b) ? (a) : (b))

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
 * those who lack CAP_FSETID (chmod(2)). */
static int drop_set_id(int fd)
{
	struct stat st;
	if (fstat(fd, &st))
		return -errno;
	return S_ISREG(st.st_mode) && (st.st_mode & SET_ID_BITS) && fchmod(fd, st.st_mode & MODE_BITS) ? -errno : 0;
}

/* Opens an existing regular file or directory: looked at through O_PATH first, because opening a device or a FIFO has effects. */
static int open_existing(struct qv *vm, int root, const char *name, bool file_root, int flags)
{
	struct stat st;
	char link[32];
	int path = file_root ? dup(root) : walk_open(vm, root, name, O_PATH, 0);
	if (path < 0)
		return file_root ? -errno : path;
	int r = fstat(path, &st) ? -errno : S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) ? 0 : -ENXIO;
	if (!r && walk_hidden(vm, path, &st)) /* the O_PATH descriptor itself stands for an empty directory */
		return S_ISDIR(st.st_mode) && (flags & O_ACCMODE) == O_RDONLY ? path : (close(path), -ENOENT);
	if (!r) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", path);
		int fd = open(link, (flags & ~(O_CREAT | O_EXCL | O_NOFOLLOW)) | O_CLOEXEC | O_NOCTTY);
		r = fd < 0 ? -errno : (flags & O_ACCMODE) != O_RDONLY ? drop_set_id(fd) : 0;
		if (!r)
			r = fd;
		else if (fd >= 0)
			close(fd);
	}
	close(path);
	return r;
}

static int64_t open_stored(struct qv *vm, struct qk_call *call, const struct qv_file *f, const char *name)
{
	struct qv_handle h = {.kind = QV_H_FILE, .flags = O_RDONLY, .stored = f};
	if (call->arg[1] & O_DIRECTORY)
		return -ENOTDIR;
	h.fd = fcntl(vm->stored_fd, F_DUPFD_CLOEXEC, 3);
	if (h.fd < 0)
		return -errno;
	h.name = strdup(name);
	depends_stored_stat(f, &h.identity);
	memcpy(data(vm), &h.identity, sizeof(h.identity));
	call->data_len = sizeof(h.identity);
	return qfile_new(vm, h);
}

static int64_t open_file(struct qv *vm, struct qk_call *call)
{
	char name[NAME_LIMIT];
	struct stat st;
	int flags = (int)call->arg[1] & (O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_DIRECTORY | O_APPEND);
	bool write = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
	int root = qfile_root(vm, call->arg[0], write), r = qfile_name(vm, call, 0, name);
	call->data_len = 0;
	if (root < 0 || r)
		return root < 0 ? root : r;
	flags &= ~O_APPEND; /* the guest gives the offset of every write */
	bool file_root = is_file_root(vm, call->arg[0]);
	if (file_root && *name)
		return -ENOTDIR;
	const struct qv_file *f;
	if (is_stored(vm, call->arg[0], name, &f))
		return open_stored(vm, call, f, name);
	int fd = open_existing(vm, root, name, file_root, flags);
	if (fd >= 0 && (flags & O_CREAT) && (flags & O_EXCL)) {
		close(fd);
		return -EEXIST;
	}
	if (fd == -ENOENT && (flags & O_CREAT))
		fd = walk_open(vm, root, name, (uint64_t)(flags | O_EXCL), call->arg[2] & MODE_BITS);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st)) {
		close(fd);
		return -errno;
	}
	struct qv_handle h = {.fd = fd,
			      .kind = QV_H_FILE,
			      .writable = (flags & O_ACCMODE) != O_RDONLY,
			      .root = (uint32_t)call->arg[0],
			      .flags = flags & ~(O_CREAT | O_EXCL | O_TRUNC),
			      .name = strdup(name)};
	qfile_stat(vm, &h.identity, &st);
	memcpy(data(vm), &h.identity, sizeof(h.identity));
	call->data_len = sizeof(h.identity);
	if (call->nseg && S_ISREG(st.st_mode)) {
		struct iovec iov[QK_SEG_MAX];
		int n = segs_to_iov(vm, call, iov);
		ssize_t got = n < 0 ? 0 : preadv(fd, iov, n, 0);
		call->out[0] = got < 0 ? 0 : (uint64_t)got;
	}
	return qfile_new(vm, h);
}

int qfile_reopen(struct qv *vm, struct qv_handle *h)
{
	const struct qv_file *f;
	struct stat st;
	struct qk_stat now;
	if (S_ISREG(h->identity.mode) && is_stored(vm, h->root, h->name, &f)) {
		int copy = f->guest_ino == h->identity.ino ? fcntl(vm->stored_fd, F_DUPFD_CLOEXEC, 3) : -1;
		if (copy < 0)
			return -ESTALE;
		h->stored = f;
		h->fd = copy;
		return copy;
	}
	int fd = open_existing(vm, vm->config.roots[h->root], h->name, is_file_root(vm, h->root), h->flags);
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
	int fd = open_existing(nobody, root, name, false, O_RDONLY);
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
		if (h->kind != QV_H_FILE || h->root == 0 || h->fd >= 0 || qfile_reopen(vm, h) >= 0)
			continue;
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

static int64_t close_handle(struct qv *vm, uint64_t handle)
{
	if (handle >= QV_MAX_HANDLES || vm->handles[handle].kind != QV_H_FILE)
		return -EBADF;
	struct qv_handle h = vm->handles[handle];
	vm->handles[handle] = (struct qv_handle){.kind = QV_H_FREE};
	if ((int)handle < vm->handles_free)
		vm->handles_free = (int)handle;
	if (h.name < vm->restored_names || h.name >= vm->restored_names + vm->restored_names_size)
		free(h.name);
	if (h.fd >= 0)
		close(h.fd);
	return 0;
}

void qfile_close_pending(struct qv *vm)
{
	struct qk_closes *c = (struct qk_closes *)(vm->comm_area + QK_OFF_CLOSE);
	uint32_t n = __atomic_load_n(&c->count, __ATOMIC_ACQUIRE);
	if (!n)
		return;
	for (uint32_t i = 0; i < n && i < QK_CLOSE_MAX; i++)
		close_handle(vm, __atomic_load_n(&c->handle[i], __ATOMIC_RELAXED));
	__atomic_store_n(&c->count, 0, __ATOMIC_RELEASE);
}

void qfile_close_all(struct qv *vm)
{
	for (int i = 3; i < vm->handles_top; i++)
		if (vm->handles[i].kind == QV_H_FILE)
			close_handle(vm, (uint64_t)i);
	free(vm->restored_names);
	vm->restored_names = NULL;
	vm->restored_names_size = 0;
}

/* What a guest needs to notice that others change the file, too. */
static void tell_stat(struct qk_call *call, const struct qk_stat *q)
{
	call->out[0] = q->size;
	call->out[1] = (uint64_t)q->mtime_ns;
	call->out[2] = (uint64_t)q->ctime_ns;
	call->out[3] = q->blocks;
}

static void tell(struct qv *vm, struct qk_call *call, int fd)
{
	struct stat st;
	struct qk_stat q;
	if (fstat(fd, &st))
		return;
	qfile_stat(vm, &q, &st);
	tell_stat(call, &q);
}

static int64_t transfer(struct qv *vm, struct qk_call *call, int fd)
{
	struct iovec iov[QK_SEG_MAX];
	int n = segs_to_iov(vm, call, iov);
	if (n < 0)
		return n;
	off_t at = (off_t)call->arg[1];
	bool append = call->op == QC_PWRITE && call->arg[1] == QK_APPEND;
	ssize_t r = call->op == QC_PREAD ? preadv(fd, iov, n, at) : pwritev2(fd, iov, n, append ? 0 : at, append ? RWF_APPEND : 0);
	if (r < 0)
		return -errno;
	tell(vm, call, fd);
	return r;
}

/* Reads of a file whose content comes from the store: a part of a file that all clones share. */
static int64_t read_stored(struct qv *vm, struct qk_call *call, int fd, const struct qv_file *f)
{
	struct iovec iov[QK_SEG_MAX];
	int n = segs_to_iov(vm, call, iov), used = 0;
	if (n < 0)
		return n;
	uint64_t at = call->arg[1], left = at < f->size ? f->size - at : 0;
	for (; used < n && left; used++) {
		iov[used].iov_len = iov[used].iov_len < left ? iov[used].iov_len : left;
		left -= iov[used].iov_len;
	}
	ssize_t r = used ? preadv(fd, iov, used, (off_t)(f->stored + at)) : 0;
	struct qk_stat q;
	depends_stored_stat(f, &q);
	tell_stat(call, &q);
	return r < 0 ? -errno : r;
}

static int64_t read_directory(struct qv *vm, struct qk_call *call, int fd)
{
	if (fcntl(fd, F_GETFL) & O_PATH)
		return 0; /* hidden: shown empty */
	if (lseek(fd, (off_t)call->arg[1], SEEK_SET) < 0)
		return -errno;
	long n = syscall(SYS_getdents64, fd, data(vm), QK_DATA_SIZE);
	if (n < 0)
		return -errno;
	call->data_len = (uint32_t)n;
	call->out[0] = (uint64_t)lseek(fd, 0, SEEK_CUR);
	return n;
}

/* By descriptor, which may be of O_PATH: no name can be exchanged for a link meanwhile. */
static int64_t set_attributes(int fd, const struct qk_call *call, bool truncate)
{
	uint64_t mask = call->arg[1];
	struct timespec t[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};
	struct stat st;
	char link[32];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (fstat(fd, &st))
		return -errno;
	if ((mask & QK_ATTR_OWNER) && fchownat(fd, "", (uid_t)(call->arg[3] >> 32), (gid_t)call->arg[3], AT_EMPTY_PATH))
		return -errno;
	if ((mask & (QK_ATTR_MODE | QK_ATTR_SIZE)) && S_ISLNK(st.st_mode))
		return -EOPNOTSUPP; /* no mode of a symlink can be changed */
	if ((mask & QK_ATTR_MODE) && chmod(link, (mode_t)(call->arg[2] & MODE_BITS)))
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

static int64_t set_attributes_at(struct qv *vm, int dir, const char *last, const struct qk_call *call)
{
	bool size = call->arg[1] & QK_ATTR_SIZE;
	int fd = size ? open_existing(vm, dir, last, false, O_WRONLY) : walk_open(vm, dir, last, O_PATH, 0);
	if (fd < 0)
		return fd;
	int64_t r = set_attributes(fd, call, size);
	close(fd);
	return r;
}

static int64_t set_attributes_of(struct qv *vm, const struct qk_call *call)
{
	int fd = qfile_of(vm, call->arg[0], false);
	if (fd < 0)
		return fd;
	const struct qv_handle *h = &vm->handles[call->arg[0]];
	if (qfile_root(vm, h->root, true) < 0)
		return -EROFS;
	return set_attributes(fd, call, h->writable);
}

/* Hidden directories keep their place in a volume: quark would not find its state again. */
static bool is_fixed(struct qv *vm, int dir, const char *name)
{
	struct stat st;
	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) == 0 && walk_hidden_name(vm, dir, name, &st);
}

static int64_t two_names(struct qv *vm, int op, int root, const char *from, const char *to, uint64_t flags)
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
	if (is_fixed(vm, a, last_from) || is_fixed(vm, b, last_to)) {
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

static int64_t make_node(int dir, const char *last, uint64_t mode)
{
	if (!S_ISFIFO(mode) && !S_ISSOCK(mode))
		return -EPERM; /* a device would give its holder the host's */
	return mknodat(dir, last, (mode_t)(mode & (S_IFMT | MODE_BITS)), 0) ? -errno : 0;
}

static int64_t give_name(struct qv *vm, int dir, const char *last, const struct qk_call *call)
{
	char link[32];
	int fd = qfile_of(vm, call->arg[1], false);
	if (fd < 0)
		return fd;
	if (vm->handles[call->arg[1]].root != call->arg[0])
		return -EXDEV;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, link, dir, last, AT_SYMLINK_FOLLOW) ? -errno : 0;
}

static int64_t open_nameless(struct qv *vm, struct qk_call *call)
{
	char name[NAME_LIMIT];
	struct stat st;
	int root = qfile_root(vm, call->arg[0], true), r = qfile_name(vm, call, 0, name);
	call->data_len = 0;
	if (root < 0 || r)
		return root < 0 ? root : r;
	int dir = walk_open(vm, root, name, O_PATH | O_DIRECTORY, 0);
	if (dir < 0)
		return dir;
	int fd = fstat(dir, &st) || walk_hidden(vm, dir, &st) ? -1
							      : openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, (mode_t)(call->arg[1] & MODE_BITS));
	r = fd < 0 || fstat(fd, &st) ? -errno : 0;
	close(dir);
	if (r) {
		if (fd >= 0)
			close(fd);
		return r;
	}
	struct qv_handle h = {.fd = fd, .kind = QV_H_FILE, .writable = true, .root = (uint32_t)call->arg[0], .flags = O_RDWR, .name = strdup("")};
	qfile_stat(vm, &h.identity, &st);
	memcpy(data(vm), &h.identity, sizeof(h.identity));
	call->data_len = sizeof(h.identity);
	return qfile_new(vm, h);
}

static int64_t change(struct qv *vm, struct qk_call *call)
{
	char name[NAME_LIMIT], other[NAME_LIMIT];
	const char *last;
	if (call->op == QC_SETATTR && (call->arg[1] & QK_ATTR_HANDLE)) {
		call->data_len = 0;
		return set_attributes_of(vm, call);
	}
	bool two = call->op == QC_RENAME || call->op == QC_LINK || call->op == QC_SYMLINK;
	int root = qfile_root(vm, call->arg[0], true), r = qfile_name(vm, call, 0, name);
	if (!r && two)
		r = qfile_name(vm, call, 1, other);
	call->data_len = 0;
	if (root < 0 || r)
		return root < 0 ? root : r;
	if (call->op == QC_RENAME || call->op == QC_LINK)
		return two_names(vm, (int)call->op, root, name, other, call->arg[1]);
	if (call->op == QC_SETATTR && !*name)
		return -EPERM;
	int dir = walk_parent(vm, root, name, &last);
	if (dir < 0)
		return dir;
	int64_t ret;
	if (is_fixed(vm, dir, last)) {
		close(dir);
		return -EBUSY;
	}
	switch (call->op) {
	case QC_MKDIR:
		ret = mkdirat(dir, last, (mode_t)(call->arg[1] & MODE_BITS)) ? -errno : 0;
		break;
	case QC_MKNOD:
		ret = make_node(dir, last, call->arg[1]);
		break;
	case QC_NAME:
		ret = give_name(vm, dir, last, call);
		break;
	case QC_UNLINK:
		ret = unlinkat(dir, last, (int)call->arg[1] & AT_REMOVEDIR) ? -errno : 0;
		break;
	case QC_SYMLINK:
		ret = symlinkat(other, dir, last) ? -errno : 0;
		break;
	default:
		ret = set_attributes_at(vm, dir, last, call);
	}
	close(dir);
	return ret;
}

static int64_t stat_filesystem(struct qv *vm, struct qk_call *call)
{
	char name[NAME_LIMIT];
	struct statfs s;
	int root = qfile_root(vm, call->arg[0], false), r = qfile_name(vm, call, 0, name);
	call->data_len = 0;
	if (root < 0 || r)
		return root < 0 ? root : r;
	int fd = is_file_root(vm, call->arg[0]) ? dup(root) : walk_open(vm, root, name, O_PATH, 0);
	if (fd < 0)
		return fd;
	r = fstatfs(fd, &s) ? -errno : 0;
	close(fd);
	if (!r) {
		memcpy(data(vm), &s, sizeof(s));
		call->data_len = sizeof(s);
	}
	return r;
}

static int64_t on_handle(struct qv *vm, struct qk_call *call)
{
	struct stat st;
	uint32_t op = call->op;
	bool stream = op == QC_FSTAT || op == QC_PREAD || op == QC_PWRITE || op == QC_FTRUNCATE || op == QC_FSYNC; /* one may be a file */
	int fd = qfile_of(vm, call->arg[0], stream);
	call->data_len = 0;
	if (fd < 0)
		return fd;
	const struct qv_file *f = vm->handles[call->arg[0]].stored;
	if (f) {
		if (op == QC_PREAD)
			return read_stored(vm, call, fd, f);
		if (op != QC_FSTAT)
			return -EROFS;
		struct qk_stat known;
		depends_stored_stat(f, &known);
		memcpy(data(vm), &known, sizeof(known));
		call->data_len = sizeof(known);
		return 0;
	}
	bool writes = op == QC_PWRITE || op == QC_FTRUNCATE || op == QC_FALLOCATE;
	if (writes && !vm->handles[call->arg[0]].writable)
		return -EBADF;
	/* A lock stops others on the host: it is a change, too. */
	if (op == QC_FLOCK && qfile_root(vm, vm->handles[call->arg[0]].root, true) < 0)
		return -EROFS;
	switch (op) {
	case QC_PREAD:
	case QC_PWRITE:
		return transfer(vm, call, fd);
	case QC_READDIR:
		return read_directory(vm, call, fd);
	case QC_FSTAT:
		if (fstat(fd, &st))
			return -errno;
		qfile_stat(vm, (struct qk_stat *)data(vm), &st);
		call->data_len = sizeof(struct qk_stat);
		return 0;
	case QC_FTRUNCATE:
		if (ftruncate(fd, (off_t)call->arg[1]))
			return -errno;
		tell(vm, call, fd);
		return 0;
	case QC_FSYNC:
		return (call->arg[1] ? fdatasync(fd) : fsync(fd)) ? -errno : 0;
	case QC_FALLOCATE:
		return fallocate(fd, (int)call->arg[1], (off_t)call->arg[2], (off_t)call->arg[3]) ? -errno : 0;
	case QC_FLOCK:
		return flock(fd, (int)(call->arg[1] | LOCK_NB)) ? -errno : 0;
	default:
		return -ENOSYS;
	}
}

int64_t qfile_call(struct qv *vm, struct qk_call *call)
{
	switch (call->op) {
	case QC_LOOKUP:
		return lookup(vm, call);
	case QC_OPEN:
		return open_file(vm, call);
	case QC_CLOSE:
		return close_handle(vm, call->arg[0]);
	case QC_STATFS:
		return stat_filesystem(vm, call);
	case QC_TMPFILE:
		return open_nameless(vm, call);
	case QC_MKNOD:
	case QC_NAME:
		return change(vm, call);
	case QC_MAP:
	case QC_UNMAP:
		return window_call(vm, call);
	case QC_REOPEN:
		return qlock_reopen(vm, call);
	case QC_LOCK:
		return qlock_lock(vm, call);
	case QC_LIST:
		return qdir_list(vm, call);
	case QC_MKDIR:
	case QC_UNLINK:
	case QC_RENAME:
	case QC_LINK:
	case QC_SYMLINK:
	case QC_SETATTR:
		return change(vm, call);
	case QC_GETXATTR:
	case QC_SETXATTR:
	case QC_LISTXATTR:
	case QC_REMOVEXATTR:
		return qxattr_call(vm, call);
	default:
		return on_handle(vm, call);
	}
}
