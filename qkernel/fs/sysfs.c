/* /sys: the few files that programs look at to count processors. */
#include "fs.h"
#include <linux/stat.h>

static ssize_t read(struct file *f, struct uio *u, u64 *pos)
{
	static const char text[] = "0\n";
	return *pos >= 2 ? 0 : ({
		ssize_t r = uio_write(u, text + *pos, MIN(u->resid, 2 - *pos));
		if (r > 0)
			*pos += (u64)r;
		r;
	});
}

static const struct file_ops ops = {.read = read, .lseek = generic_lseek};

struct inode *sysfs_root(void)
{
	static const char *const dirs[] = {"devices", "system", "cpu"};
	static const char *const files[] = {"online", "possible", "present"};
	struct inode *root = tmpfs_root(0555), *at = root;
	int err;
	for (unsigned k = 0; at && k < ARRAY_SIZE(dirs); k++) {
		at->ops->mkdir(at, dirs[k], 0555);
		struct inode *next = at->ops->lookup(at, dirs[k], &err);
		if (next)
			inode_put(next); /* its parent keeps it */
		at = next;
	}
	for (unsigned k = 0; at && k < ARRAY_SIZE(files); k++) {
		struct inode *i;
		if (at->ops->create(at, files[k], S_IFREG | 0444, 0, &i))
			continue;
		i->fops = &ops;
		i->size = 2;
		inode_put(i);
	}
	if (at)
		at->ops->mkdir(at, "cpu0", 0555);
	return root;
}
