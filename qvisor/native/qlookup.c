/* QC_LOOKUP: the way to a file of a host root, as far as there are no links in it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vm.h"

bool qlookup_stored(const struct qv *vm, uint64_t root, const char *name, const struct qv_file **out)
{
	*out = root == 0 && vm->stored_fd >= 0 ? depends_find(vm, name) : NULL;
	return *out && ((*out)->flags & QV_FILE_STORED);
}

/* The way to a file from the store: directories that the host lacks are there for it. */
static int64_t lookup_stored(struct qv *vm, struct qv_call *call, const struct qv_file *f, char *name)
{
	struct qk_stat *out = (struct qk_stat *)call->data;
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

int64_t qlookup_call(struct qv *vm, struct qv_call *call)
{
	char name[NAME_LIMIT];
	struct qk_stat *out = (struct qk_stat *)call->data;
	struct stat st;
	int root = qfile_root(vm, call->arg[0], false), r = qfile_name(call, 0, name);
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
	if (qlookup_stored(vm, call->arg[0], name, &f))
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
		int fd = walk_last(dir, p, O_PATH | O_DIRECTORY, 0);
		if (fd < 0)
			call->out[0] = (uint64_t)-fd;
		if (dir != root)
			close(dir);
		dir = fd;
	}
	if (dir != root && dir >= 0)
		close(dir);
	call->data_len += (uint32_t)(count * (int64_t)sizeof(*out));
	return count;
}
