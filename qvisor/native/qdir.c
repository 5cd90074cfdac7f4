/* Lists a directory of a host root with the attributes of its entries. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vm.h"

/* Appends the entry `name` of dir, with its attributes, to the n bytes at out; its length, 0: no room, or -errno. */
static int64_t list_one(struct qv *vm, int dir, const char *name, uint64_t cookie, char *out, size_t room)
{
	struct qk_entry *e = (struct qk_entry *)out;
	struct stat st;
	size_t head = sizeof(*e) + strlen(name) + 1;
	if (head > room)
		return 0;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH)))
		return -errno;
	/* As lookup shows it: what is hidden is an empty directory, or nothing. */
	if (*name && walk_hidden_name(vm, dir, name, &st) && !S_ISDIR(st.st_mode))
		return -ENOENT;
	if (S_ISLNK(st.st_mode)) {
		ssize_t n = head + NAME_LIMIT > room ? -1 : readlinkat(dir, name, out + head, NAME_LIMIT - 1);
		if (n < 0)
			return head + NAME_LIMIT > room ? 0 : -errno;
		out[head + (size_t)n] = 0;
		head += (size_t)n + 1;
	}
	head = (head + 7) & ~(size_t)7;
	if (head > room)
		return 0;
	qfile_stat(vm, &e->st, &st);
	e->cookie = cookie;
	e->len = (uint32_t)head;
	e->chain = 0;
	memcpy(e->name, name, strlen(name) + 1);
	return (int64_t)head;
}

struct dirent_header { /* struct linux_dirent64 */
	uint64_t ino;
	int64_t off;
	uint16_t len;
	uint8_t type;
	char name[];
} __attribute__((packed));

static int64_t list_from(struct qv *vm, struct qv_call *call, int dir)
{
	char chunk[16384], *out = call->data;
	size_t used = 0;
	int64_t r = 0;
	bool full = false;
	if (!call->arg[1]) {
		r = list_one(vm, dir, "", 0, out, QK_DATA_SIZE);
		if (r <= 0)
			return r;
		used = (size_t)r;
	} else if (lseek(dir, (off_t)call->arg[1], SEEK_SET) < 0) {
		return -errno;
	}
	while (!full) {
		long n = syscall(SYS_getdents64, dir, chunk, sizeof(chunk));
		if (n <= 0) {
			call->out[0] = n == 0;
			return n < 0 && !used ? -errno : (int64_t)used;
		}
		for (long at = 0; at < n && !full;) {
			const struct dirent_header *d = (const struct dirent_header *)(chunk + at);
			r = list_one(vm, dir, d->name, (uint64_t)d->off, out + used, QK_DATA_SIZE - used);
			full = r == 0;
			used += r > 0 ? (size_t)r : 0; /* one that went away meanwhile is no entry */
			at += d->len;
		}
	}
	return (int64_t)used;
}

static int64_t list_nothing(struct qv *vm, struct qv_call *call, int dir)
{
	call->out[0] = 1;
	return call->arg[1] ? 0 : list_one(vm, dir, "", 0, call->data, QK_DATA_SIZE);
}

int64_t qdir_list(struct qv *vm, struct qv_call *call)
{
	char name[NAME_LIMIT];
	int root = qfile_root(vm, call->arg[0], false), r = qfile_name(call, 0, name);
	call->data_len = 0;
	if (root < 0 || r)
		return root < 0 ? root : r;
	if (vm->config.root_flags[call->arg[0]] & QK_MOUNT_FILE)
		return -ENOTDIR;
	int dir = walk_open(vm, root, name, O_RDONLY | O_DIRECTORY, 0);
	if (dir < 0)
		return dir;
	struct stat st;
	bool hidden = fstat(dir, &st) || walk_hidden(vm, dir, &st);
	int64_t n = hidden ? list_nothing(vm, call, dir) : list_from(vm, call, dir);
	close(dir);
	call->data_len = n > 0 ? (uint32_t)n : 0;
	return n;
}
