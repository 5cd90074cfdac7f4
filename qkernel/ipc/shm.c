/* System V shared memory (shmget(2), shmop(2), shmctl(2)): segments of unnamed memory. Each attachment is an open file of its own, so that its
 * references, one for each area that maps it, are the count of attachments, through fork, split and exit. */
#include "pagecache.h"
#include "../fs/procfs.h"
#include "ipc.h"
#include <asm/shmbuf.h>
#include <linux/capability.h>
#include <linux/fcntl.h>
#include <linux/mman.h>

#define SHM_NORESERVE 010000u
#define SHM_HUGETLB 04000u
#define SHM_RDONLY 010000u
#define SHM_RND 020000u
#define SHM_REMAP 040000u
#define SHM_EXEC 0100000u
#define SHM_DEST 01000u /* in the mode: goes with the last attachment */
#define SHM_LOCKED 02000u
#define SHM_LOCK 11
#define SHM_UNLOCK 12
#define SHM_STAT 13
#define SHM_INFO 14
#define SHM_STAT_ANY 15
#define SHM_SEGMENTS 4096u
#define SHM_SIZE_MAX (UINT64_MAX - (1ul << 24))

struct shm {
	struct ipc_object ipc; /* first: the table frees by it */
	struct inode *inode;
	u64 size;
	struct list attached; /* of struct attachment */
	s64 atime, dtime, ctime;
	s32 cpid, lpid;
};
struct attachment {
	struct list node;
	struct shm *shm;
	struct file *file;
};
struct shm_info { /* of SHM_INFO (shmctl(2)) */
	s32 used_ids, pad;
	u64 total, resident, swapped, swap_attempts, swap_successes;
};

static void shm_free(struct ipc_object *o);
static struct ipc_table segments = {.limit = SHM_SEGMENTS, .free = shm_free};

static struct shm *shm_of(struct ipc_object *o)
{
	return container_of(o, struct shm, ipc);
}

static void shm_free(struct ipc_object *o)
{
	struct shm *s = shm_of(o);
	inode_put(s->inode);
	kfree(s);
}

static u64 shm_attaches(const struct shm *s)
{
	const struct attachment *a;
	u64 n = 0;
	list_for_each (a, &s->attached, node)
		n += a->file->refs;
	return n;
}

/* shmop(2): a fork attaches for the child, an exit and an exec detach. */
static void shm_area(struct file *f, bool more)
{
	struct shm *s = ((const struct attachment *)f->priv)->shm;
	*(more ? &s->atime : &s->dtime) = ipc_now();
	s->lpid = current ? current->proc->pid : 0;
}

static void shm_release(struct file *f)
{
	struct attachment *a = f->priv;
	struct shm *s = a->shm;
	list_del(&a->node);
	kfree(a);
	if ((s->ipc.perm.mode & SHM_DEST) && list_empty(&s->attached) && !s->ipc.removed)
		ipc_remove(&segments, &s->ipc);
}

static int shm_mmap(struct file *f, struct vma *v)
{
	return 0;
}

static const struct file_ops shm_ops = {.mmap = shm_mmap, .area = shm_area, .release = shm_release};

static long segment_new(s32 key, u64 size, u64 flags)
{
	if (!size || size > SHM_SIZE_MAX)
		return -EINVAL;
	if ((flags & SHM_HUGETLB) || (!(flags & SHM_NORESERVE) && size > frames_limit() * PAGE_SIZE) || size > QK_USER_TOP)
		return -ENOMEM; /* there are no huge pages */
	struct shm *s = kzalloc(sizeof(*s));
	struct file *f = s ? shmem_file_new(PAGE_ALIGN(size)) : NULL;
	if (!f) {
		kfree(s);
		return -ENOMEM;
	}
	s->inode = f->inode;
	inode_get(s->inode);
	file_put(f);
	s->size = size;
	s->ctime = ipc_now();
	s->cpid = current->proc->pid;
	list_init(&s->attached);
	long id = ipc_add(&segments, &s->ipc, key, (u32)flags);
	if (id >= 0)
		s->inode->ino = (u64)id; /* what /proc/PID/maps shows */
	return id;
}

long sys_shmget(u64 key, u64 size, u64 flags)
{
	long err;
	struct ipc_object *o = ipc_lookup_key(&segments, (s32)key, flags, &err);
	if (err)
		return err;
	if (!o)
		return segment_new((s32)key, size, flags);
	return size > shm_of(o)->size ? -EINVAL : o->id;
}

static struct file *attachment_new(struct shm *s, bool readonly)
{
	char name[32];
	struct attachment *a = kzalloc(sizeof(*a));
	if (!a)
		return NULL;
	inode_get(s->inode);
	a->file = file_new(&shm_ops, s->inode, readonly ? O_RDONLY : O_RDWR, a);
	if (!a->file) {
		kfree(a);
		return NULL;
	}
	snprintf(name, sizeof(name), "/SYSV%08x (deleted)", (u32)s->ipc.perm.key);
	a->file->path.str = kstrdup(name);
	a->shm = s;
	list_add_tail(&a->node, &s->attached);
	return a->file;
}

long sys_shmat(u64 id, u64 addr, u64 flags)
{
	long r;
	struct ipc_object *o = ipc_find(&segments, (s32)id, &r);
	u32 prot = PROT_READ | (flags & SHM_RDONLY ? 0 : PROT_WRITE) | (flags & SHM_EXEC ? PROT_EXEC : 0);
	if (addr & ~PAGE_MASK) {
		if (!(flags & SHM_RND))
			return -EINVAL;
		addr &= PAGE_MASK;
	}
	if (!addr && (flags & SHM_REMAP))
		return -EINVAL;
	if (!o)
		return r;
	struct shm *s = shm_of(o);
	if (!ipc_permitted(o, 0444 | (prot & PROT_WRITE ? 0222 : 0) | (prot & PROT_EXEC ? 0111 : 0)))
		return -EACCES;
	struct file *f = attachment_new(s, flags & SHM_RDONLY);
	if (!f)
		return -ENOMEM;
	u32 fixed = !addr ? 0 : flags & SHM_REMAP ? MAP_FIXED : MAP_FIXED_NOREPLACE;
	r = mm_map(current->mm, addr, s->size, prot, MAP_SHARED | fixed, f, 0, NULL);
	if (r > 0) {
		s->atime = ipc_now();
		s->lpid = current->proc->pid;
	}
	file_put(f); /* the area holds it now */
	return r == -EEXIST ? -EINVAL : r;
}

/* The areas of the attachment that began at addr, whatever is left of them. */
long sys_shmdt(u64 addr)
{
	struct mm *mm = current->mm;
	const struct file *f = NULL;
	if (addr & ~PAGE_MASK)
		return -EINVAL;
	vaddr_t at = addr, end = QK_USER_TOP;
	for (struct vma *v = vma_find(mm, at); v && v->start < end; v = vma_find(mm, at)) {
		at = v->end;
		bool ours = v->file && v->file->ops == &shm_ops && v->start >= addr && v->start - addr == v->pgoff << PAGE_SHIFT;
		if (!ours || (f && v->file != f))
			continue;
		if (!f) {
			f = v->file;
			end = addr + PAGE_ALIGN(((const struct attachment *)f->priv)->shm->size);
		}
		long r = mm_unmap(mm, v->start, v->end - v->start);
		if (r)
			return r;
	}
	return f ? 0 : -EINVAL;
}

static struct shmid64_ds shm_stat(const struct shm *s)
{
	return (struct shmid64_ds){.shm_perm = s->ipc.perm,
				   .shm_segsz = s->size,
				   .shm_atime = s->atime,
				   .shm_dtime = s->dtime,
				   .shm_ctime = s->ctime,
				   .shm_cpid = s->cpid,
				   .shm_lpid = s->lpid,
				   .shm_nattch = shm_attaches(s)};
}

static long shm_remove(struct shm *s)
{
	if (!ipc_owned(&s->ipc))
		return -EPERM;
	if (list_empty(&s->attached)) {
		ipc_remove(&segments, &s->ipc);
	} else {
		s->ipc.perm.mode |= SHM_DEST;
		s->ipc.perm.key = IPC_PRIVATE;
	}
	return 0;
}

static long shm_lock(struct shm *s, bool on)
{
	const struct process *p = current->proc;
	if (!(p->cap_eff >> CAP_IPC_LOCK & 1) && p->euid != s->ipc.perm.uid && p->euid != s->ipc.perm.cuid)
		return -EPERM;
	/* Guest memory is never swapped: what is left of it is the mark. */
	s->ipc.perm.mode = on ? s->ipc.perm.mode | SHM_LOCKED : s->ipc.perm.mode & ~SHM_LOCKED;
	return 0;
}

static u64 shm_pages_of(const struct shm *s)
{
	return PAGE_ALIGN(s->size) >> PAGE_SHIFT;
}

static long shm_information(u64 cmd, u64 ubuf)
{
	if (cmd == IPC_INFO) {
		struct shminfo64 i = {.shmmax = SHM_SIZE_MAX, .shmmin = 1, .shmmni = SHM_SEGMENTS, .shmseg = SHM_SEGMENTS, .shmall = SHM_SIZE_MAX};
		return copy_to_user(UPTR(ubuf), &i, sizeof(i)) ? -EFAULT : ipc_last_index(&segments);
	}
	struct shm_info i = {.used_ids = (s32)segments.used};
	for (u32 k = 0; k < segments.cap; k++)
		if (segments.slot[k]) {
			const struct shm *s = shm_of(segments.slot[k]);
			i.total += shm_pages_of(s);
			i.resident += pagecache_pages(s->inode);
		}
	return copy_to_user(UPTR(ubuf), &i, sizeof(i)) ? -EFAULT : ipc_last_index(&segments);
}

long sys_shmctl(u64 id, u64 cmd, u64 ubuf)
{
	long r;
	struct shmid64_ds ds;
	if ((s32)id < 0 || (s32)cmd < 0)
		return -EINVAL;
	if (cmd == IPC_INFO || cmd == SHM_INFO)
		return shm_information(cmd, ubuf);
	bool by_index = cmd == SHM_STAT || cmd == SHM_STAT_ANY;
	struct ipc_object *o = by_index ? ipc_at(&segments, (s32)id) : ipc_find(&segments, (s32)id, &r);
	if (!o)
		return by_index ? -EINVAL : r;
	struct shm *s = shm_of(o);
	switch (cmd) {
	case IPC_STAT:
	case SHM_STAT:
	case SHM_STAT_ANY:
		if (cmd != SHM_STAT_ANY && !ipc_permitted(o, 0444))
			return -EACCES;
		ds = shm_stat(s);
		return copy_to_user(UPTR(ubuf), &ds, sizeof(ds)) ? -EFAULT : by_index ? o->id : 0;
	case IPC_SET:
		if (copy_from_user(&ds, UPTR(ubuf), sizeof(ds)))
			return -EFAULT;
		if (!ipc_owned(o))
			return -EPERM;
		ipc_set_perm(o, &ds.shm_perm);
		s->ctime = ipc_now();
		return 0;
	case IPC_RMID:
		return shm_remove(s);
	case SHM_LOCK:
	case SHM_UNLOCK:
		return shm_lock(s, cmd == SHM_LOCK);
	default:
		return -EINVAL;
	}
}

void proc_sysvipc_shm(struct text *t, const struct subject *subject)
{
	text_add(t, "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      "
		    "ctime                   rss                  swap\n");
	for (u32 k = 0; k < segments.cap; k++) {
		if (!segments.slot[k])
			continue;
		const struct shm *s = shm_of(segments.slot[k]);
		const struct ipc64_perm *p = &s->ipc.perm;
		text_add(t, "%10d %10d  %4o %21lu %5u %5u  %5lu %5u %5u %5u %5u %10lu %10lu %10lu %21lu %21lu\n", p->key, s->ipc.id, p->mode, s->size,
			 (u32)s->cpid, (u32)s->lpid, shm_attaches(s), p->uid, p->gid, p->cuid, p->cgid, (u64)s->atime, (u64)s->dtime, (u64)s->ctime,
			 pagecache_pages(s->inode) * PAGE_SIZE, 0ul);
	}
}

void proc_limits_shmmax(struct text *t, const struct subject *subject)
{
	text_add(t, "%lu\n", SHM_SIZE_MAX);
}

void proc_limits_shmmni(struct text *t, const struct subject *subject)
{
	text_add(t, "%u\n", SHM_SEGMENTS);
}
