/* The window: host files of volumes that a guest has mapped shared, as guest-physical memory. One memslot; what its chunks show changes under it. A file
 * that others cut shorter makes KVM_RUN fail with EFAULT, never this process: it hands such memory to system calls only. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vm.h"

#define SLOT 2000u /* above those of RAM (vm_add_slot) */
#define SIZE (QK_WINDOW_CHUNK * QK_WINDOW_CHUNKS)
#define PAGE 4096u

static int make(struct qv *vm)
{
	if (vm->window)
		return 0;
	char *at = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return -errno;
	int r = vm_set_slot(vm, SLOT, QK_WINDOW_GPA, SIZE, at);
	if (r)
		munmap(at, SIZE);
	else
		vm->window = at;
	return r;
}

void *window_at(struct qv *vm, uint64_t gpa, uint64_t len)
{
	uint64_t off = gpa - QK_WINDOW_GPA;
	return vm->window && gpa >= QK_WINDOW_GPA && off <= SIZE && len <= SIZE - off ? vm->window + off : NULL;
}

static void forget(struct qv_chunk *c)
{
	if (c->file)
		close(c->file - 1);
	c->file = 0;
}

static int64_t show_nothing(struct qv *vm, uint64_t chunk)
{
	if (chunk >= QK_WINDOW_CHUNKS || !vm->chunks[chunk].file)
		return -EINVAL;
	forget(&vm->chunks[chunk]);
	void *at = vm_replace(vm->window + chunk * QK_WINDOW_CHUNK, QK_WINDOW_CHUNK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return at == MAP_FAILED ? -errno : 0;
}

static int64_t show(struct qv *vm, const struct qv_call *call)
{
	uint64_t chunk = call->arg[1], off = call->arg[2];
	int fd = qfile_of(vm, call->arg[0], false);
	if (fd < 0)
		return fd;
	const struct qv_handle *h = &vm->handles[call->arg[0]];
	bool write = call->arg[3] & 1;
	if (chunk >= QK_WINDOW_CHUNKS || off % QK_WINDOW_CHUNK || off > INT64_MAX - QK_WINDOW_CHUNK)
		return -EINVAL;
	if (h->root == 0 || !S_ISREG(h->identity.mode))
		return -ENODEV;
	if (write && (!h->writable || qfile_root(vm, h->root, true) < 0))
		return -EACCES;
	int r = make(vm), keep = r ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (keep < 0)
		return r ? r : -errno;
	char *at = vm_replace(vm->window + chunk * QK_WINDOW_CHUNK, QK_WINDOW_CHUNK, PROT_READ | (write ? PROT_WRITE : 0), MAP_SHARED, keep, off);
	r = at == MAP_FAILED ? -errno : 0;
	forget(&vm->chunks[chunk]);
	if (r) {
		close(keep);
		return r;
	}
	vm->chunks[chunk] = (struct qv_chunk){.file = keep + 1, .off = off, .cut = QK_WINDOW_CHUNK};
	return 0;
}

int64_t window_call(struct qv *vm, struct qv_call *call)
{
	call->data_len = 0;
	return call->op == QC_MAP ? show(vm, call) : show_nothing(vm, call->arg[0]);
}

/* What lies beyond the end of the file becomes memory of nobody, so that the guest can go on to hear of it. */
static bool cut_chunk(struct qv *vm, unsigned k)
{
	struct qv_chunk *c = &vm->chunks[k];
	struct stat st;
	if (!c->file || fstat(c->file - 1, &st))
		return false;
	uint64_t size = (uint64_t)st.st_size, left = size > c->off ? size - c->off : 0;
	uint64_t keep = left >= QK_WINDOW_CHUNK ? QK_WINDOW_CHUNK : (left + PAGE - 1) / PAGE * PAGE;
	if (keep >= c->cut)
		return false;
	void *at = vm_replace(vm->window + k * QK_WINDOW_CHUNK + keep, c->cut - keep, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	c->cut = keep;
	return at != MAP_FAILED;
}

static void window_tell(struct qv *vm, uint32_t why)
{
	events_push(vm, QK_EV_CUT, why);
	atomic_store(&vm->vcpus[0].need_irq, 1);
}

/* Holes of the file become memory of nobody, which reads as they do. Pages that are holes in part stay: they have data. */
static void cover_holes(struct qv *vm, unsigned k)
{
	struct qv_chunk *c = &vm->chunks[k];
	struct stat st;
	if (!c->file || fstat(c->file - 1, &st))
		return;
	int fd = c->file - 1;
	off_t at = (off_t)c->off, shown = at + (off_t)QK_WINDOW_CHUNK, size = (st.st_size + PAGE - 1) / PAGE * PAGE,
	      end = size < shown ? size : shown;
	for (off_t hole; at < end && (hole = lseek(fd, at, SEEK_HOLE)) >= 0 && hole < end;) {
		at = lseek(fd, hole, SEEK_DATA);
		at = at < 0 || at > end ? end : at;
		off_t first = (hole + PAGE - 1) / PAGE * PAGE, after = at / PAGE * PAGE;
		if (first < after)
			vm_replace(vm->window + k * QK_WINDOW_CHUNK + ((uint64_t)first - c->off), (size_t)(after - first), PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	}
}

bool window_full(struct qv *vm, bool again)
{
	pthread_mutex_lock(&vm->call_lock);
	bool there = vm->window != NULL;
	for (unsigned k = 0; there && again && k < QK_WINDOW_CHUNKS; k++)
		cover_holes(vm, k);
	pthread_mutex_unlock(&vm->call_lock);
	if (there)
		window_tell(vm, QK_LOST_FULL);
	return there;
}

bool window_cut(struct qv *vm)
{
	bool found = false;
	pthread_mutex_lock(&vm->call_lock);
	for (unsigned k = 0; vm->window && k < QK_WINDOW_CHUNKS; k++)
		found |= cut_chunk(vm, k);
	pthread_mutex_unlock(&vm->call_lock);
	if (found)
		window_tell(vm, 0);
	return found;
}

void window_destroy(struct qv *vm)
{
	for (unsigned k = 0; vm->window && k < QK_WINDOW_CHUNKS; k++)
		forget(&vm->chunks[k]);
	if (vm->window)
		munmap(vm->window, SIZE);
	vm->window = NULL;
}
