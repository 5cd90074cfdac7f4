/* Guest RAM and the host's page tables: which pages a capture has to keep, which a clone has touched; mapping and populating images. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vm.h"

/* Documentation/admin-guide/mm/pagemap.rst */
#define PM_PRESENT (1ull << 63)
#define PM_SWAPPED (1ull << 62)
#define PM_FILE (1ull << 61) /* file page or shared anonymous: not copied on write */
#define BATCH 8192u

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

struct sink {
	struct qv_page_run *out;
	size_t max, n;
};

static int emit(struct sink *s, uint64_t gfn, uint32_t kind)
{
	struct qv_page_run *last = s->out && s->n ? &s->out[s->n - 1] : NULL;
	if (last && last->gfn + last->pages == gfn && last->kind == kind) {
		last->pages++;
		return 0;
	}
	if (!s->out || s->n == s->max)
		return -ENOSPC;
	s->out[s->n++] = (struct qv_page_run){.gfn = gfn, .pages = 1, .kind = kind};
	return 0;
}

static bool is_zero(const void *page)
{
	const uint64_t *p = page;
	for (int i = 0; i < 512; i += 8)
		if (p[i] | p[i + 1] | p[i + 2] | p[i + 3] | p[i + 4] | p[i + 5] | p[i + 6] | p[i + 7])
			return false;
	return true;
}

/* The guest's bitmap of free frames, NULL if it gave none that makes sense. */
static const uint8_t *free_bitmap(struct qv *vm)
{
	uint64_t len = READ_ONCE(vm->comm->free_bitmap_len), frames = vm->ram_bytes / QK_PAGE_SIZE;
	if (len < (frames + 7) / 8)
		return NULL;
	return vm_ram(vm, READ_ONCE(vm->comm->free_bitmap_gpa), len);
}

/* Calls fn for every page of RAM with its pagemap entry. */
static int for_pages(struct qv *vm, int (*fn)(struct qv *, uint64_t gfn, uint64_t entry, void *ctx), void *ctx)
{
	uint64_t frames = vm->ram_bytes / QK_PAGE_SIZE, *entries = malloc(BATCH * sizeof(*entries));
	int r = !entries ? -ENOMEM : vm->pagemap_fd < 0 ? vm->pagemap_fd : 0;
	for (uint64_t at = 0; entries && !r && at < frames; at += BATCH) {
		uint64_t n = frames - at < BATCH ? frames - at : BATCH;
		struct iovec iov = {.iov_base = entries, .iov_len = n * 8};
		ssize_t got = preadv2(vm->pagemap_fd, &iov, 1, (off_t)((uintptr_t)vm->ram / QK_PAGE_SIZE + at) * 8, 0);
		if (got != (ssize_t)n * 8)
			r = got < 0 ? -errno : -EIO;
		for (uint64_t i = 0; !r && i < n; i++)
			r = fn(vm, at + i, entries[i], ctx);
	}
	free(entries);
	return r;
}

struct scan {
	struct sink sink;
	const uint8_t *free;
	struct qv_scan_stats *stats;
	bool private_only;
};

static int scan_page(struct qv *vm, uint64_t gfn, uint64_t entry, void *ctx)
{
	struct scan *s = ctx;
	if (!(entry & (PM_PRESENT | PM_SWAPPED)) || (s->private_only && (entry & PM_FILE)))
		return 0;
	if (s->free && (s->free[gfn / 8] >> (gfn % 8) & 1)) {
		s->stats->free_pages++;
		return 0;
	}
	if (!s->private_only && is_zero(vm->ram + gfn * QK_PAGE_SIZE)) {
		s->stats->zero_pages++;
		return 0;
	}
	s->stats->data_pages++;
	return emit(&s->sink, gfn, QV_PAGES_WRITTEN);
}

int64_t qv_scan(struct qv *vm, int private_only, struct qv_page_run *out, size_t max, struct qv_scan_stats *stats)
{
	struct scan s = {.sink = {.out = out, .max = max}, .free = free_bitmap(vm), .stats = stats, .private_only = private_only};
	memset(stats, 0, sizeof(*stats));
	int r = for_pages(vm, scan_page, &s);
	return r ? r : (int64_t)s.sink.n;
}

static int touched_page(struct qv *vm, uint64_t gfn, uint64_t entry, void *ctx)
{
	(void)vm;
	if (!(entry & PM_PRESENT))
		return 0;
	return emit(ctx, gfn, entry & PM_FILE ? QV_PAGES_READ : QV_PAGES_WRITTEN);
}

int64_t qv_touched(struct qv *vm, struct qv_page_run *out, size_t max)
{
	struct sink s = {.out = out, .max = max};
	int r = for_pages(vm, touched_page, &s);
	return r ? r : (int64_t)s.n;
}

int qv_record_touched(struct qv *vm, size_t max)
{
	free(vm->record);
	vm->record = malloc(max * sizeof(*vm->record));
	vm->record_max = max;
	vm->record_n = 0;
	return vm->record ? 0 : -ENOMEM;
}

void vm_first_output(struct qv *vm)
{
	vm->first_output_ns = now_ns();
	malloc_trim(0); /* what the start needed goes back: 0.4 MB of each sandbox's private memory */
	if (vm->record && !vm->record_n)
		vm->record_n = qv_touched(vm, vm->record, vm->record_max);
}

int64_t qv_recorded(struct qv *vm, struct qv_page_run *out, size_t max)
{
	size_t n = vm->record_n > 0 ? (size_t)vm->record_n : 0;
	if (n > max)
		return -ENOSPC;
	memcpy(out, vm->record, n * sizeof(*out));
	return (int64_t)n;
}

/* Bytes of a run: more than 32 bits hold, of one of 4 GiB. */
static uint64_t run_bytes(const struct qv_page_run *run)
{
	return (uint64_t)run->pages * QK_PAGE_SIZE;
}

static bool in_ram(struct qv *vm, const struct qv_page_run *run)
{
	uint64_t frames = vm->ram_bytes / QK_PAGE_SIZE;
	return run->gfn < frames && run->pages <= frames - run->gfn;
}

int qv_map_image(struct qv *vm, uint64_t ram_bytes, int image_fd, const struct qv_page_run *runs, size_t n)
{
	while (vm->ram_bytes < ram_bytes) {
		int r = vm_add_slot(vm);
		if (r)
			return r;
	}
	for (size_t i = 0; i < n; i++) {
		if (!in_ram(vm, &runs[i]))
			return -EINVAL;
		uint64_t at = runs[i].gfn * QK_PAGE_SIZE, len = run_bytes(&runs[i]);
		if (mmap(vm->ram + at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, image_fd, (off_t)at) == MAP_FAILED)
			return -errno;
	}
	return 0;
}

static int new_uffd(struct qv *vm)
{
	int fd = vm->uffd_device < 0 ? -1 : ioctl(vm->uffd_device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && vm->uffd >= 0) {
		fd = vm->uffd;
		vm->uffd = -1;
	}
	if (fd < 0)
		return -EPERM;
	struct uffdio_api api = {.api = UFFD_API};
	if (ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		return -errno;
	}
	return fd;
}

int qv_uffd(struct qv *vm, const struct qv_page_run *runs, size_t n)
{
	int fd = new_uffd(vm);
	for (size_t i = 0; fd >= 0 && i < n; i++) {
		struct uffdio_register reg = {.range = {.start = (uintptr_t)vm->ram + runs[i].gfn * QK_PAGE_SIZE, .len = run_bytes(&runs[i])},
					      .mode = UFFDIO_REGISTER_MODE_MISSING};
		if (in_ram(vm, &runs[i]) && ioctl(fd, UFFDIO_REGISTER, &reg) == 0)
			continue;
		int r = -errno;
		close(fd);
		return r ? r : -EINVAL;
	}
	return fd;
}

int64_t qv_populate(struct qv *vm, const struct qv_page_run *runs, size_t n)
{
	int64_t pages = 0;
	for (size_t i = 0; i < n; i++) {
		/* The clone that it was recorded of may have had more RAM by then. */
		if (!in_ram(vm, &runs[i]))
			continue;
		/* Only a hint: what cannot be populated now is faulted in later. */
		if (madvise(vm->ram + runs[i].gfn * QK_PAGE_SIZE, run_bytes(&runs[i]),
			    runs[i].kind == QV_PAGES_WRITTEN ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) == 0)
			pages += (int64_t)runs[i].pages;
	}
	return pages;
}

int qp_read_faults(int uffd, uint64_t *addresses, int max)
{
	struct uffd_msg msg[64];
	ssize_t got = read(uffd, msg, sizeof(msg[0]) * (size_t)(max < 64 ? max : 64));
	if (got < 0)
		return errno == EAGAIN ? 0 : -errno;
	int n = 0;
	for (int i = 0; i < (int)(got / (ssize_t)sizeof(msg[0])); i++)
		if (msg[i].event == UFFD_EVENT_PAGEFAULT)
			addresses[n++] = msg[i].arg.pagefault.address & ~(uint64_t)(QK_PAGE_SIZE - 1);
	return n;
}

int qp_wake(int uffd, uint64_t start, uint64_t len)
{
	struct uffdio_range r = {.start = start, .len = len};
	return ioctl(uffd, UFFDIO_WAKE, &r) ? -errno : 0;
}
