/* The host's own file systems and quark's state, through root 0 (the host's /) and root 1 (a directory with mounts of them). Arguments: `root name` pairs.
 * Output for each: what a lookup and an open of it, of what is in it, and a listing answer. */
#include "border.h"

int main(int argc, char **argv)
{
	for (int i = 1; i + 1 < argc; i += 2) {
		uint64_t root = strtoul(argv[i], NULL, 10);
		int64_t components = call_named(QC_LOOKUP, argv[i + 1], root, 0, 0);
		long error = (long)VCPU->call.out[0];
		int64_t handle = call_named(QC_OPEN, argv[i + 1], root, O_RDONLY, 0);
		printf("%s: lookup %ld error %ld, ", argv[i + 1], (long)components, error);
		if (handle < 0)
			printf("open %ld\n", (long)handle);
		else
			printf("listing %ld, changes through it %ld\n", (long)call(QC_READDIR, 0, 0, (uint64_t)handle, 0, 0),
			       (long)call(QC_SETATTR, 0, 0, (uint64_t)handle, QK_ATTR_HANDLE | QK_ATTR_MODE | QK_ATTR_OWNER, 0777));
		printf("%s: changes %ld %ld\n", argv[i + 1], (long)call_named(QC_SETATTR, argv[i + 1], root, QK_ATTR_MODE, 0777),
		       (long)call_two_names(QC_RENAME, argv[i + 1], "moved", root, 0));
	}
	return 0;
}
