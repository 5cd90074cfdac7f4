/* Landlock (Documentation/userspace-api/landlock.rst): files are opened beneath the roots alone, whatever this process is made to try. */
#include "confine.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/landlock.h>

/* What Debian 12's header lacks, by the version of the interface that brought it. */
#define REFER (1ull << 13)     /* 2: files move between directories; without it none could */
#define TRUNCATE (1ull << 14)  /* 3 */
#define IOCTL_DEV (1ull << 15) /* 5 */
#define SCOPE_ABSTRACT_UNIX 1u
#define SCOPE_SIGNAL 2u

#define OF_FILES (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | TRUNCATE | IOCTL_DEV)
#define READING (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITING \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | \
	 LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM | REFER | TRUNCATE)

/* All that a version can forbid; the structure is extended at its end. */
struct ruleset {
	uint64_t files, network, scopes;
};

static long version(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

bool landlock_is_there(void)
{
	return version() >= 2;
}

static struct ruleset everything(long abi, size_t *size)
{
	struct ruleset r = {.files = REFER - 1 + REFER};
	*size = abi >= 6 ? sizeof(r) : abi >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
	r.files |= (abi >= 3 ? TRUNCATE : 0) | (abi >= 5 ? IOCTL_DEV : 0);
	r.network = abi >= 4 ? 3 : 0; /* LANDLOCK_ACCESS_NET_BIND_TCP, LANDLOCK_ACCESS_NET_CONNECT_TCP */
	r.scopes = abi >= 6 ? SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL : 0;
	return r;
}

int landlock_confine(const struct confined_root *roots, unsigned n)
{
	size_t size;
	long abi = version();
	if (abi < 2)
		return -ENOSYS;
	struct ruleset all = everything(abi, &size);
	int fd = (int)syscall(SYS_landlock_create_ruleset, &all, size, 0), r = fd < 0 ? -errno : 0;
	for (unsigned i = 0; !r && i < n; i++) {
		struct landlock_path_beneath_attr rule = {.allowed_access = (READING | (roots[i].writable ? WRITING : 0)) & all.files &
									    (roots[i].file ? OF_FILES : ~0ull),
							  .parent_fd = roots[i].fd};
		if (syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
			r = -errno;
	}
	if (!r && syscall(SYS_landlock_restrict_self, fd, 0))
		r = -errno;
	if (fd >= 0)
		close(fd);
	return r;
}
