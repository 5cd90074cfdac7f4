/* /dev/quark-reseed.so: the library that `snapshot create` preloads, a file whose content is part of the kernel image. */
#include "memfs.h"
#include <linux/stat.h>

extern const u8 reseed_image[], reseed_image_end[];

static int reseed_readpages(struct inode *i, u64 index, unsigned n, const paddr_t *frames)
{
	for (unsigned k = 0; k < n; k++) {
		u64 at = (index + k) << PAGE_SHIFT, part = at >= i->size ? 0 : MIN(i->size - at, PAGE_SIZE);
		u8 *page = phys_to_virt(frames[k]);
		memcpy(page, reseed_image + at, part);
		memset(page + part, 0, PAGE_SIZE - part);
	}
	return 0;
}

static const struct inode_ops reseed_ops = {.readpages = reseed_readpages};

/* Adds the file to the directory `dev` of a memfs. A sandbox without it runs as well. */
void reseed_add(struct inode *dev)
{
	struct inode *file, *image = inode_new(&reseed_ops, &memfs_file_fops, S_IFREG | 0555, NULL);
	if (!image)
		return;
	image->size = (u64)reseed_image_end - (u64)reseed_image;
	image->iflags |= I_CLEAN;
	if (dev->ops->create(dev, "quark-reseed.so", S_IFREG | 0555, 0, &file)) {
		inode_put(image);
		return;
	}
	memnode_of(file)->lower = image;
	file->size = image->size;
	inode_put(file);
}
