/* Descriptor tables. */
#include "fdtable.h"
#include "lock.h"
#include <linux/fcntl.h>

static bool fd_bit(const struct files *fs, u32 fd)
{
	return fs->cloexec[fd / 64] >> fd % 64 & 1;
}
static void fd_set_bit(struct files *fs, u32 fd, bool on)
{
	if (on)
		fs->cloexec[fd / 64] |= 1ul << fd % 64;
	else
		fs->cloexec[fd / 64] &= ~(1ul << fd % 64);
}

static int fd_grow(struct files *fs, u32 want)
{
	u32 cap = MAX(64u, fs->cap);
	while (cap <= want)
		cap *= 2;
	struct file **fd = kzalloc(cap * sizeof(*fd));
	u64 *ce = kzalloc(cap / 8);
	if (!fd || !ce) {
		kfree(fd);
		kfree(ce);
		return -ENOMEM;
	}
	if (fs->cap) {
		memcpy(fd, fs->fd, fs->cap * sizeof(*fd));
		memcpy(ce, fs->cloexec, fs->cap / 8);
	}
	kfree(fs->fd);
	kfree(fs->cloexec);
	fs->fd = fd;
	fs->cloexec = ce;
	fs->cap = cap;
	return 0;
}

struct files *files_new(void)
{
	struct files *fs = kzalloc(sizeof(*fs));
	if (!fs)
		return NULL;
	fs->refs = 1;
	if (fd_grow(fs, 63)) {
		kfree(fs);
		return NULL;
	}
	return fs;
}

struct files *files_clone(struct files *src)
{
	struct files *fs = files_new();
	if (!fs || (src->cap > fs->cap && fd_grow(fs, src->cap - 1))) {
		if (fs)
			files_put(fs);
		return NULL;
	}
	for (u32 i = 0; i < src->cap; i++) {
		fs->fd[i] = src->fd[i];
		if (fs->fd[i])
			file_get(fs->fd[i]);
	}
	memcpy(fs->cloexec, src->cloexec, src->cap / 8);
	fs->next = src->next;
	return fs;
}

static void fd_close_file(struct file *f)
{
	locks_release_process(f, current->proc);
	file_put(f);
}

void files_put(struct files *fs)
{
	if (--fs->refs)
		return;
	for (u32 i = 0; i < fs->cap; i++)
		if (fs->fd[i])
			fd_close_file(fs->fd[i]);
	kfree(fs->fd);
	kfree(fs->cloexec);
	kfree(fs);
}

void files_close_exec(struct files *fs)
{
	for (u32 i = 0; i < fs->cap; i++)
		if (fs->fd[i] && fd_bit(fs, i)) {
			struct file *f = fs->fd[i];
			fs->fd[i] = NULL;
			fs->next = MIN(fs->next, i);
			fd_close_file(f);
		}
	memset(fs->cloexec, 0, fs->cap / 8);
}

struct file *fd_get(int fd)
{
	struct files *fs = current->files;
	if (fd < 0 || (u32)fd >= fs->cap || !fs->fd[fd])
		return NULL;
	file_get(fs->fd[fd]);
	return fs->fd[fd];
}

struct file *fd_get_access(int fd, bool write)
{
	struct file *f = fd_get(fd);
	u32 acc = f ? f->flags & O_ACCMODE : 0;
	if (f && ((f->flags & O_PATH) || (write ? acc == O_RDONLY : acc == O_WRONLY))) {
		file_put(f);
		return NULL;
	}
	return f;
}

struct file *fd_get_kind(int fd, const struct file_ops *ops, long other, long *err)
{
	struct file *f = fd_get(fd);
	*err = !f ? -EBADF : f->ops != ops ? other : 0;
	if (f && *err) {
		file_put(f);
		return NULL;
	}
	return f;
}

int fd_install(struct file *f, u32 oflags, int min)
{
	struct files *fs = current->files;
	u64 limit = current->proc->rlim[RLIMIT_NOFILE].cur;
	u32 fd = MAX((u32)min, min ? 0 : fs->next);
	while (fd < fs->cap && fs->fd[fd])
		fd++;
	int r = fd >= limit ? -EMFILE : fd >= fs->cap ? fd_grow(fs, fd) : 0;
	if (r) {
		file_put(f);
		return r;
	}
	fs->fd[fd] = f;
	fd_set_bit(fs, fd, oflags & O_CLOEXEC);
	if (!min)
		fs->next = fd + 1;
	return (int)fd;
}

int fd_install_pair(struct file *a, struct file *b, u32 oflags, u64 ufds)
{
	s32 fds[2];
	fds[0] = fd_install(a, oflags, 0);
	if (fds[0] < 0) {
		file_put(b);
		return fds[0];
	}
	fds[1] = fd_install(b, oflags, 0);
	int r = fds[1] < 0 ? fds[1] : copy_to_user(UPTR(ufds), fds, sizeof(fds));
	if (r) {
		fd_close(fds[0]);
		if (fds[1] >= 0)
			fd_close(fds[1]);
	}
	return r;
}

int fd_close(int fd)
{
	struct files *fs = current->files;
	if (fd < 0 || (u32)fd >= fs->cap || !fs->fd[fd])
		return -EBADF;
	struct file *f = fs->fd[fd];
	fs->fd[fd] = NULL;
	fd_set_bit(fs, (u32)fd, false);
	fs->next = MIN(fs->next, (u32)fd);
	fd_close_file(f);
	return 0;
}

int fd_replace(int fd, struct file *f, bool cloexec)
{
	struct files *fs = current->files;
	int r = (u64)fd >= current->proc->rlim[RLIMIT_NOFILE].cur ? -EBADF : (u32)fd >= fs->cap ? fd_grow(fs, (u32)fd) : 0;
	if (r) {
		file_put(f);
		return r;
	}
	struct file *old = fs->fd[fd];
	fs->fd[fd] = f;
	fd_set_bit(fs, (u32)fd, cloexec);
	if (old)
		fd_close_file(old);
	return fd;
}

bool fd_cloexec(int fd)
{
	struct files *fs = current->files;
	return (u32)fd < fs->cap && fd_bit(fs, (u32)fd);
}

void fd_set_cloexec(int fd, bool on)
{
	if ((u32)fd < current->files->cap)
		fd_set_bit(current->files, (u32)fd, on);
}
