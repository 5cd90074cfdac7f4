/* Recipes: what a snapshot keeps of the files that the guest has open on the host. They are reopened at their first use in a clone. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "vm.h"

struct recipe {
	uint32_t index, root;
	int32_t flags;
	uint32_t writable, name_len, reserved;
	struct qk_stat identity;
};

/* What a handle can have been opened with (qfile.c, open_file). A recipe may come from elsewhere: it gets nothing that the guest could not have. */
static bool is_possible(const struct qv *vm, const struct recipe *r)
{
	bool writes = (r->flags & O_ACCMODE) != O_RDONLY;
	if (r->index < 3 || r->index >= QV_MAX_HANDLES || r->root >= (uint32_t)vm->config.nroots)
		return false;
	if ((r->flags & ~(O_ACCMODE | O_DIRECTORY)) || (r->flags & O_ACCMODE) == O_ACCMODE || r->writable != writes)
		return false;
	return !writes || (r->root != 0 && !(vm->config.root_flags[r->root] & QK_MOUNT_RO));
}

int64_t qv_recipes_save(struct qv *vm, void *buf, size_t max)
{
	size_t at = 0;
	for (uint32_t i = 3; i < (uint32_t)vm->handles_top; i++) {
		const struct qv_handle *h = &vm->handles[i];
		if (h->kind != QV_H_FILE)
			continue;
		struct recipe r = {.index = i,
				   .root = h->root,
				   .flags = h->flags,
				   .writable = h->writable,
				   .name_len = (uint32_t)strlen(h->name),
				   .identity = h->identity};
		if (max - at < sizeof(r) + r.name_len)
			return -ENOSPC;
		memcpy((char *)buf + at, &r, sizeof(r));
		memcpy((char *)buf + at + sizeof(r), h->name, r.name_len);
		at += sizeof(r) + r.name_len;
	}
	return (int64_t)at;
}

int qv_recipes_load(struct qv *vm, const void *buf, size_t n)
{
	const char *p = buf;
	/* One block: in a process forked from a large one, each small allocation would lie on a page of its own that has to be copied first. */
	char *at = vm->restored_names = malloc(n + 1);
	if (!at)
		return -ENOMEM;
	vm->restored_names_size = n + 1;
	while (n) {
		struct recipe r;
		if (n < sizeof(r))
			return -EINVAL;
		memcpy(&r, p, sizeof(r));
		if (n - sizeof(r) < r.name_len || !is_possible(vm, &r) || vm->handles[r.index].kind != QV_H_FREE ||
		    memchr(p + sizeof(r), 0, r.name_len))
			return -EINVAL;
		char *name = memcpy(at, p + sizeof(r), r.name_len);
		name[r.name_len] = 0;
		at += r.name_len + 1;
		vm->handles[r.index] = (struct qv_handle){
			.fd = -1, .kind = QV_H_FILE, .writable = r.writable, .root = r.root, .flags = r.flags, .name = name, .identity = r.identity};
		if ((int)r.index >= vm->handles_top)
			vm->handles_top = (int)r.index + 1;
		p += sizeof(r) + r.name_len;
		n -= sizeof(r) + r.name_len;
	}
	return 0;
}
