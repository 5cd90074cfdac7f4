/* Descriptor tables (fs/fdtable.c). */
#ifndef FDTABLE_H
#define FDTABLE_H
#include "file.h"

struct files {
	u32 refs;
	u32 cap;
	struct file **fd;
	u64 *cloexec; /* bitmaps */
	u32 next;
};
struct files *files_new(void);
struct files *files_clone(struct files *src);
void files_put(struct files *fs);
void files_close_exec(struct files *fs);
struct file *fd_get(int fd);                    /* referenced or NULL (EBADF) */
struct file *fd_get_access(int fd, bool write); /* as fd_get; NULL also when it is not open for that access */
/* As fd_get for a file of that kind. NULL: -EBADF or, of another kind, `other` in *err (0 else). */
struct file *fd_get_kind(int fd, const struct file_ops *ops, long other, long *err);
int fd_install(struct file *f, u32 oflags, int min); /* lowest free >= min; takes over the reference; O_CLOEXEC; -EMFILE (then drops it) */
/* Installs two files and writes their numbers to user memory, all or nothing. Takes over the references. 0 or -errno. */
int fd_install_pair(struct file *a, struct file *b, u32 oflags, u64 ufds);
int fd_close(int fd);
int fd_replace(int fd, struct file *f, bool cloexec); /* dup2: closes what was there; takes over the reference; fd or -errno */
bool fd_cloexec(int fd);                              /* for fcntl and /proc */
void fd_set_cloexec(int fd, bool on);

#endif
