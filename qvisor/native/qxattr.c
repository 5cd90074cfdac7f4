/* QCall operations on extended attributes of files of a host root: those that users may have (user.*) and no others. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "vm.h"

#define USER_PREFIX "user."

/* The name of the descriptor of a regular file or directory of the root, whose descriptor the caller closes; -errno. open: the file itself, or -1. */
static int xattr_file(struct qv *vm, uint64_t number, int root, int open, const char *name, char link[FD_NAME])
{
	struct stat st;
	int fd = open >= 0 ? vm_dup(open) : (vm->config.root_flags[number] & QK_MOUNT_FILE) ? vm_dup(root) : walk_open(vm, root, name, O_PATH, 0);
	if (fd < 0)
		return fd;
	int r = fstat(fd, &st) ? -errno : 0;
	if (!r && ((!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) || walk_hidden(vm, fd, &st)))
		r = -EPERM;
	if (r) {
		close(fd);
		return r;
	}
	vm_fd_name(fd, link);
	return fd;
}

/* Only the names that the guest may know, in place. */
static ssize_t user_names(char *names, ssize_t n)
{
	ssize_t kept = 0;
	for (ssize_t at = 0; at < n;) {
		ssize_t len = (ssize_t)strnlen(names + at, (size_t)(n - at)) + 1;
		if (!strncmp(names + at, USER_PREFIX, strlen(USER_PREFIX))) {
			memmove(names + kept, names + at, (size_t)len);
			kept += len;
		}
		at += len;
	}
	return kept;
}

int64_t qxattr_call(struct qv *vm, struct qv_call *call)
{
	char name[NAME_LIMIT], attribute[NAME_LIMIT] = "", link[FD_NAME];
	bool changes = call->op == QC_SETXATTR || call->op == QC_REMOVEXATTR;
	bool by_handle = call->arg[2] != 0;
	int open = by_handle ? qfile_of(vm, call->arg[0], false) : -1;
	if (by_handle && open < 0)
		return open;
	uint64_t number = by_handle ? vm->handles[call->arg[0]].root : call->arg[0];
	int root = qfile_root(vm, number, changes), r = qfile_name(call, 0, name);
	if (!r && call->op != QC_LISTXATTR)
		r = qfile_name(call, 1, attribute);
	if (root < 0 || r)
		return root < 0 ? root : r;
	if (call->op != QC_LISTXATTR && strncmp(attribute, USER_PREFIX, strlen(USER_PREFIX)) != 0)
		return -EOPNOTSUPP;
	size_t head = strlen(name) + strlen(attribute) + 2;
	char *buf = malloc(QK_DATA_SIZE);
	if (!buf)
		return -ENOMEM;
	size_t n = call->op == QC_SETXATTR && call->data_len >= head ? call->data_len - head : 0;
	memcpy(buf, call->data + (n ? head : 0), n);
	call->data_len = 0;
	int fd = xattr_file(vm, number, root, open, name, link);
	ssize_t done = fd < 0 ? fd : 0;
	if (fd >= 0) {
		switch (call->op) {
		case QC_SETXATTR:
			done = setxattr(link, attribute, buf, n, (int)call->arg[1]);
			break;
		case QC_REMOVEXATTR:
			done = removexattr(link, attribute);
			break;
		case QC_GETXATTR:
			done = getxattr(link, attribute, buf, QK_DATA_SIZE);
			break;
		default:
			done = listxattr(link, buf, QK_DATA_SIZE);
		}
		if (done < 0)
			done = -errno;
		close(fd);
	}
	if (done > 0) {
		if (call->op == QC_LISTXATTR)
			done = user_names(buf, done);
		memcpy(call->data, buf, (size_t)done);
		call->data_len = (uint32_t)done;
	}
	free(buf);
	return done;
}
