/* QCall operations on files of a host root, by names that walk.c walks; only regular files and directories are ever opened. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vm.h"

int qfile_root(struct qv *vm, uint64_t root, bool write)
{
	if (root >= (uint64_t)vm->config.nroots)
		return -EINVAL;
	if (write && (root == 0 || (vm->config.root_flags[root] & QK_MOUNT_RO)))
		return -EROFS;
	return vm->config.roots[root];
}

bool qfile_is_single(struct qv *vm, uint64_t root)
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
int qfile_name(const struct qv_call *call, int index, char name[NAME_LIMIT])
{
	const char *p = call->data, *end = p + call->data_len;
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

static int64_t open_stored(struct qv *vm, struct qv_call *call, const struct qv_file *f, const char *name)
{
	struct qv_handle h = {.kind = QV_H_FILE, .flags = O_RDONLY, .stored = f};
	if (call->arg[1] & O_DIRECTORY)
		return -ENOTDIR;
	h.fd = fcntl(vm->stored_fd, F_DUPFD_CLOEXEC, 3);
	if (h.fd < 0)
		return -errno;
	h.name = strdup(name);
	depends_stored_stat(f, &h.identity);
	memcpy(call->data, &h.identity, sizeof(h.identity));
	call->data_len = sizeof(h.identity);
	return qfile_new(vm, h);
}

static int64_t open_file(struct qv *vm, struct qv_call *call)
{
	char name[NAME_LIMIT];
	struct stat st;
	int flags = (int)call->arg[1] & (O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_DIRECTORY | O_APPEND);
	bool write = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
	int root = qfile_root(vm, call->arg[0], write), r = qfile_name(call, 0, name);
	call->data_len = 0;
	if (root < 0 || r)
		return root < 0 ? root : r;
	if ((flags & O_ACCMODE) == O_ACCMODE)
		return -EINVAL; /* neither: no recipe is made of it (recipes.c) */
	flags &= ~O_APPEND;     /* the guest gives the offset of every write */
	bool file_root = qfile_is_single(vm, call->arg[0]);
	if (file_root && *name)
		return -ENOTDIR;
	const struct qv_file *f;
	if (qlookup_stored(vm, call->arg[0], name, &f))
		return open_stored(vm, call, f, name);
	int fd = qhandle_open(vm, root, name, file_root, flags);
	if (fd >= 0 && (flags & O_CREAT) && (flags & O_EXCL)) {
		close(fd);
		return -EEXIST;
	}
	if (fd == -ENOENT && (flags & O_CREAT))
		fd = walk_open(vm, root, name, (uint64_t)(flags | O_EXCL), qfile_mode(vm, call->arg[2]));
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
	memcpy(call->data, &h.identity, sizeof(h.identity));
	call->data_len = sizeof(h.identity);
	if (call->nseg && S_ISREG(st.st_mode)) {
		struct iovec iov[QK_SEG_MAX];
		int n = segs_to_iov(vm, call, iov);
		ssize_t got = n < 0 ? 0 : preadv2(fd, iov, n, 0, 0);
		call->out[0] = got < 0 ? 0 : (uint64_t)got;
	}
	return qfile_new(vm, h);
}

static int64_t open_nameless(struct qv *vm, struct qv_call *call)
{
	char name[NAME_LIMIT];
	struct stat st;
	int root = qfile_root(vm, call->arg[0], true), r = qfile_name(call, 0, name);
	call->data_len = 0;
	if (root < 0 || r)
		return root < 0 ? root : r;
	int dir = walk_open(vm, root, name, O_PATH | O_DIRECTORY, 0);
	if (dir < 0)
		return dir;
	int fd = fstat(dir, &st) || walk_hidden(vm, dir, &st) ? -ENOENT : walk_last(dir, ".", O_TMPFILE | O_RDWR, qfile_mode(vm, call->arg[1]));
	r = fd < 0 ? fd : fstat(fd, &st) ? -errno : 0;
	close(dir);
	if (r) {
		if (fd >= 0)
			close(fd);
		return r;
	}
	struct qv_handle h = {.fd = fd, .kind = QV_H_FILE, .writable = true, .root = (uint32_t)call->arg[0], .flags = O_RDWR, .name = strdup("")};
	qfile_stat(vm, &h.identity, &st);
	memcpy(call->data, &h.identity, sizeof(h.identity));
	call->data_len = sizeof(h.identity);
	return qfile_new(vm, h);
}

/* What a guest needs to notice that others change the file, too. */
static void tell_stat(struct qv_call *call, const struct qk_stat *q)
{
	call->out[0] = q->size;
	call->out[1] = (uint64_t)q->mtime_ns;
	call->out[2] = (uint64_t)q->ctime_ns;
	call->out[3] = q->blocks;
}

static void tell(struct qv *vm, struct qv_call *call, int fd)
{
	struct stat st;
	struct qk_stat q;
	if (fstat(fd, &st))
		return;
	qfile_stat(vm, &q, &st);
	tell_stat(call, &q);
}

static int64_t transfer(struct qv *vm, struct qv_call *call, int fd)
{
	struct iovec iov[QK_SEG_MAX];
	int n = segs_to_iov(vm, call, iov);
	if (n < 0)
		return n;
	off_t at = (off_t)call->arg[1];
	bool append = call->op == QC_PWRITE && call->arg[1] == QK_APPEND;
	if (!append && at < 0)
		return -EINVAL; /* preadv2(2): -1 is where the descriptor stands */
	ssize_t r = call->op == QC_PREAD ? preadv2(fd, iov, n, at, 0) : pwritev2(fd, iov, n, append ? 0 : at, append ? RWF_APPEND : 0);
	if (r < 0)
		return -errno;
	tell(vm, call, fd);
	return r;
}

/* Reads of a file whose content comes from the store: a part of a file that all clones share. */
static int64_t read_stored(struct qv *vm, struct qv_call *call, int fd, const struct qv_file *f)
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
	ssize_t r = used ? preadv2(fd, iov, used, (off_t)(f->stored + at), 0) : 0;
	struct qk_stat q;
	depends_stored_stat(f, &q);
	tell_stat(call, &q);
	return r < 0 ? -errno : r;
}

static int64_t read_directory(struct qv_call *call, int fd)
{
	if (fcntl(fd, F_GETFL) & O_PATH)
		return 0; /* hidden: shown empty */
	if (lseek(fd, (off_t)call->arg[1], SEEK_SET) < 0)
		return -errno;
	long n = syscall(SYS_getdents64, fd, call->data, QK_DATA_SIZE);
	if (n < 0)
		return -errno;
	call->data_len = (uint32_t)n;
	call->out[0] = (uint64_t)lseek(fd, 0, SEEK_CUR);
	return n;
}

static int64_t stat_filesystem(struct qv *vm, struct qv_call *call)
{
	char name[NAME_LIMIT];
	struct statfs s;
	int root = qfile_root(vm, call->arg[0], false), r = qfile_name(call, 0, name);
	call->data_len = 0;
	if (root < 0 || r)
		return root < 0 ? root : r;
	int fd = qfile_is_single(vm, call->arg[0]) ? vm_dup(root) : walk_open(vm, root, name, O_PATH, 0);
	if (fd < 0)
		return fd;
	r = fstatfs(fd, &s) ? -errno : 0;
	close(fd);
	if (!r) {
		memcpy(call->data, &s, sizeof(s));
		call->data_len = sizeof(s);
	}
	return r;
}

static int64_t on_handle(struct qv *vm, struct qv_call *call)
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
		memcpy(call->data, &known, sizeof(known));
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
		return read_directory(call, fd);
	case QC_FSTAT:
		if (fstat(fd, &st))
			return -errno;
		qfile_stat(vm, (struct qk_stat *)call->data, &st);
		call->data_len = sizeof(struct qk_stat);
		return 0;
	case QC_FTRUNCATE:
		if (ftruncate(fd, (off_t)call->arg[1]))
			return -errno;
		tell(vm, call, fd);
		return 0;
	case QC_FSYNC:
		return (call->arg[1] && vm->handles[call->arg[0]].kind == QV_H_FILE ? fdatasync(fd) : fsync(fd)) ? -errno : 0;
	case QC_FALLOCATE:
		return fallocate(fd, (int)call->arg[1], (off_t)call->arg[2], (off_t)call->arg[3]) ? -errno : 0;
	case QC_FLOCK:
		return flock(fd, (int)(call->arg[1] | LOCK_NB)) ? -errno : 0;
	default:
		return -ENOSYS;
	}
}

int64_t qfile_call(struct qv *vm, struct qv_call *call)
{
	switch (call->op) {
	case QC_LOOKUP:
		return qlookup_call(vm, call);
	case QC_OPEN:
		return open_file(vm, call);
	case QC_CLOSE:
		return qhandle_close(vm, call->arg[0]);
	case QC_STATFS:
		return stat_filesystem(vm, call);
	case QC_TMPFILE:
		return open_nameless(vm, call);
	case QC_MKNOD:
	case QC_NAME:
		return qchange_call(vm, call);
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
		return qchange_call(vm, call);
	case QC_GETXATTR:
	case QC_SETXATTR:
	case QC_LISTXATTR:
	case QC_REMOVEXATTR:
		return qxattr_call(vm, call);
	default:
		return on_handle(vm, call);
	}
}
