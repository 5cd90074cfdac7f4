/* mmap(2): what it maps. The rest of its family knows no files and is in mm/mmap.c. */
#include "fdtable.h"
#include <linux/fcntl.h>
#include <linux/mman.h>

long sys_mmap(u64 addr, u64 len, u64 prot, u64 flags, u64 fd, u64 off)
{
	struct file *f = NULL;
	if (off & ~PAGE_MASK)
		return -EINVAL;
	u32 kind = flags & MAP_TYPE;
	if (kind != MAP_SHARED && kind != MAP_PRIVATE && kind != MAP_SHARED_VALIDATE)
		return -EINVAL;
	if (kind == MAP_SHARED_VALIDATE && (flags & MAP_SYNC))
		return -EOPNOTSUPP; /* DAX file systems alone have it */
	if (flags & MAP_HUGETLB)
		return -ENOMEM; /* as where no huge pages are set aside */
	if (kind == MAP_SHARED_VALIDATE)
		flags = (flags & ~(u64)MAP_TYPE) | MAP_SHARED;
	if (!len)
		return -EINVAL;
	if (len > QK_USER_TOP)
		return -ENOMEM;
	if (!(flags & MAP_ANONYMOUS) && (s64)(off + len) < 0)
		return -EOVERFLOW;
	if (!(flags & MAP_ANONYMOUS)) {
		f = fd_get((int)fd);
		if (!f)
			return -EBADF;
		u32 mode = f->flags & O_ACCMODE;
		if (mode == O_WRONLY || ((flags & MAP_SHARED) && (prot & PROT_WRITE) && mode != O_RDWR) || (f->flags & O_PATH)) {
			file_put(f);
			return f->flags & O_PATH ? -EBADF : -EACCES;
		}
	} else {
		off = 0;
		if (flags & MAP_SHARED) {
			f = shmem_file_new(PAGE_ALIGN(len));
			if (!f)
				return -ENOMEM;
		}
	}
	long r = mm_map(current->mm, addr, len, (u32)prot & 7, (u32)flags, f, off, NULL);
	if (f)
		file_put(f);
	if (r > 0 && (flags & (MAP_POPULATE | MAP_LOCKED)) && !(flags & MAP_NONBLOCK))
		(void)mm_populate(current->mm, (vaddr_t)r, (vaddr_t)r + PAGE_ALIGN(len), prot & PROT_WRITE);
	return r;
}
