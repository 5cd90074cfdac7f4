/* Files of the rootfs that a snapshot depends on. What counts is their content, which Python has verified (snapshotd/files.py); here the
 * file that this host has at a path, or its content from the store, passes for the file that the guest knows, under the identity that it knows. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vm.h"

/* Set in the number of a file that is no dependency but has the number under which the guest knows one. */
#define OTHER_INO (1ull << 62)

struct table {
	uint32_t count, reserved;
	struct qv_file file[];
};

void depends_close(struct qv *vm)
{
	if (vm->files_map)
		munmap(vm->files_map, vm->files_map_size);
	free(vm->aliases);
	if (vm->stored_fd >= 0)
		close(vm->stored_fd);
	vm->files_map = NULL;
	vm->files = NULL;
	vm->aliases = NULL;
	vm->nfiles = vm->naliases = 0;
	vm->stored_fd = -1;
}

static const char *name_of(const struct qv *vm, const struct qv_file *f)
{
	return vm->files_table + f->name;
}

static bool is_sound(const struct qv *vm, const struct qv_file *f, size_t bytes)
{
	return f->name < bytes && memchr(name_of(vm, f), 0, bytes - f->name) && f->size < INT64_MAX / 2 && f->stored < INT64_MAX / 2;
}

static bool from_host(const struct qv_file *f)
{
	return !(f->flags & (QV_FILE_STORED | QV_FILE_LOST));
}

static int compare(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int by_host(const void *a, const void *b)
{
	const struct qv_file *x = *(const struct qv_file *const *)a, *y = *(const struct qv_file *const *)b;
	int r = compare(x->dev, y->dev);
	return r ? r : compare(x->ino, y->ino);
}

static int by_guest(const void *a, const void *b)
{
	return compare((*(const struct qv_file *const *)a)->guest_ino, (*(const struct qv_file *const *)b)->guest_ino);
}

/* Those that the guest knows by another identity than this host's: on the host of the capture there are none. */
static int find_aliases(struct qv *vm)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < vm->nfiles; i++) {
		const struct qv_file *f = &vm->files[i];
		if (!from_host(f) || (f->ino == f->guest_ino && f->mtime_ns == f->guest_mtime_ns && f->ctime_ns == f->guest_ctime_ns))
			continue;
		if (!vm->aliases)
			vm->aliases = malloc(2 * vm->nfiles * sizeof(struct qv_file *));
		if (!vm->aliases)
			return -ENOMEM;
		vm->aliases[n++] = f;
	}
	vm->naliases = n;
	if (n) {
		memcpy(vm->aliases + vm->nfiles, vm->aliases, n * sizeof(*vm->aliases));
		qsort(vm->aliases, n, sizeof(*vm->aliases), by_host);
		qsort(vm->aliases + vm->nfiles, n, sizeof(*vm->aliases), by_guest);
	}
	return 0;
}

int qv_files_load(struct qv *vm, int fd, uint64_t offset, uint64_t bytes, int stored_fd)
{
	depends_close(vm);
	if (bytes < sizeof(struct table) || bytes > UINT32_MAX || offset % _Alignof(struct table))
		return -EINVAL;
	uint64_t before = offset % QK_PAGE_SIZE;
	char *map = mmap(NULL, before + bytes, PROT_READ, MAP_SHARED, fd, (off_t)(offset - before));
	if (map == MAP_FAILED)
		return -errno;
	vm->files_map = map;
	vm->files_map_size = before + bytes;
	vm->files_table = map + before;
	const struct table *t = (const struct table *)vm->files_table;
	uint32_t count = t->count;
	bool need_stored = false;
	if (count > (bytes - sizeof(*t)) / sizeof(t->file[0]))
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++) {
		if (!is_sound(vm, &t->file[i], bytes))
			return -EINVAL;
		need_stored = need_stored || (t->file[i].flags & QV_FILE_STORED);
	}
	vm->files = t->file;
	vm->nfiles = count;
	if (need_stored && stored_fd < 0)
		return 1;
	if (stored_fd >= 0) {
		vm->stored_fd = fcntl(stored_fd, F_DUPFD_CLOEXEC, 3);
		if (vm->stored_fd < 0)
			return -errno;
	}
	return find_aliases(vm);
}

int64_t qv_files_check(struct qv *vm, uint8_t *state)
{
	int64_t wrong = 0;
	for (uint32_t i = 0; i < vm->nfiles; i++) {
		const struct qv_file *f = &vm->files[i];
		uint8_t found = QV_FILE_AS_RECORDED;
		struct stat st;
		if (state)
			state[i] = found;
		if (!from_host(f))
			continue;
		/* A link on the way is no danger: what is read is opened again, beneath the root. */
		if (fstatat(vm->config.roots[0], name_of(vm, f), &st, AT_SYMLINK_NOFOLLOW))
			found = QV_FILE_MISSING;
		else if (st.st_dev != f->dev || st.st_ino != f->ino || (uint64_t)st.st_size != f->size || stat_ns(st.st_mtim) != f->mtime_ns ||
			 stat_ns(st.st_ctim) != f->ctime_ns)
			found = QV_FILE_OTHER;
		wrong += found != QV_FILE_AS_RECORDED;
		if (state)
			state[i] = found;
	}
	return wrong;
}

const struct qv_file *depends_find(const struct qv *vm, const char *name)
{
	uint32_t low = 0, high = vm->nfiles;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int r = strcmp(name, name_of(vm, &vm->files[middle]));
		if (!r)
			return &vm->files[middle];
		if (r < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

bool depends_same(const struct qv_file *f, const struct qk_stat *now)
{
	return f->dev == now->dev && f->ino == now->ino && f->size == now->size && f->mtime_ns == now->mtime_ns && f->ctime_ns == now->ctime_ns;
}

void depends_present(const struct qv *vm, struct qk_stat *q)
{
	if (!vm->naliases)
		return;
	struct qv_file key = {.dev = q->dev, .ino = q->ino, .guest_ino = q->ino};
	const struct qv_file *k = &key;
	const struct qv_file *const *found = bsearch(&k, vm->aliases, vm->naliases, sizeof(*vm->aliases), by_host);
	if (found && depends_same(*found, q)) {
		q->ino = (*found)->guest_ino;
		q->mtime_ns = (*found)->guest_mtime_ns;
		q->ctime_ns = (*found)->guest_ctime_ns;
	} else if (bsearch(&k, vm->aliases + vm->nfiles, vm->naliases, sizeof(*vm->aliases), by_guest)) {
		q->ino ^= OTHER_INO;
	}
}

void depends_stored_stat(const struct qv_file *f, struct qk_stat *q)
{
	*q = (struct qk_stat){.dev = f->dev,
			      .ino = f->guest_ino,
			      .size = f->size,
			      .blocks = (f->size + 511) / 512,
			      .mode = f->mode,
			      .nlink = 1,
			      .uid = f->uid,
			      .gid = f->gid,
			      .atime_ns = f->guest_mtime_ns,
			      .mtime_ns = f->guest_mtime_ns,
			      .ctime_ns = f->guest_ctime_ns};
}
