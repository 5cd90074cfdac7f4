/* Prepares a machine as far as the snapshot, or the installation, decides. */
#include "program.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define KERNEL_FILE_MAX (64ull << 20)
#define WORKING_SET_RUNS_MAX (1u << 16)

static void prepare_cold(struct program *p)
{
	int fd = descriptor(&p->machine, p->prepare.kernel, "the guest kernel");
	struct stat st;
	if (fstat(fd, &st) || st.st_size <= 0 || (uint64_t)st.st_size > KERNEL_FILE_MAX)
		fail(FAIL_KERNEL, "the guest kernel has %lld bytes; reinstall quark", (long long)st.st_size);
	/* Read, not mapped: a file that is replaced meanwhile would be a fault here. */
	size_t size = (size_t)st.st_size;
	char *elf = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (elf == MAP_FAILED || pread(fd, elf, size, 0) != (ssize_t)size)
		fail(FAIL_KERNEL, "the guest kernel cannot be read: %s; reinstall quark", strerror(errno));
	int r = qv_boot(p->vm, elf, size);
	if (r < 0)
		fail(FAIL_KERNEL, "the guest kernel cannot be loaded: %s; reinstall quark", strerror(-r));
	munmap(elf, size);
	close(fd);
}

/* The vCPU may be stuck in a fault that nobody will ever resolve, so this cannot be an ordinary end. */
static void pager_gone(void *arg)
{
	(void)arg;
	fail(FAIL_PAGER, QM_LOST);
}

/* Faults on pages that are not there yet go to the pager. */
static void prepare_faults(struct program *p, int pager, const struct qv_page_run *runs, size_t n)
{
	int uffd = qv_uffd(p->vm, runs, n);
	if (uffd < 0)
		fail(FAIL_UFFD,
		     "userfaultfd: %s; allow access to /dev/userfaultfd, set vm.unprivileged_userfaultfd=1, or have the snapshot in memory first "
		     "(`quark snapshot warm NAME`)",
		     strerror(-uffd));
	pager_send_uffd(pager, uffd, qv_ram(p->vm)); /* which stays open here: the registration ends with its last descriptor */
	check(qv_watch(p->vm, pager, EPOLLRDHUP | EPOLLHUP, pager_gone, NULL), "watch the pager");
	timeline_mark("register userfaultfd");
}

static void prepare_clone(struct program *p)
{
	const struct qm_prepare *m = &p->prepare;
	struct layout *l = &p->layout;
	const struct qv_page_run *runs, *ws;
	int pager = descriptor(&p->machine, m->pager, "the pager");
	layout_map(descriptor(&p->machine, m->layout, "the layout"), l);
	size_t n = layout_runs(&l->runs, &runs), nws = layout_runs(&l->working_set, &ws);
	int image = descriptor(&p->machine, m->image, "the image");
	check(qv_map_image(p->vm, l->ram_bytes, image, runs, n), "map the image");
	close(image);
	timeline_mark("map the image");
	if (!(m->flags & QM_COMPLETE))
		prepare_faults(p, pager, runs, n);
	qv_comm(p->vm)->ring = m->ring;
	check(qv_state_load(p->vm, l->cpu_state.at, l->cpu_state.bytes), "set the vCPU's state");
	timeline_mark("set the machine's state");
	if (m->flags & QM_PREFETCH) {
		pager_await_prefetch(pager);
		timeline_mark("wait for the working set");
	}
	if (m->flags & QM_POPULATE && nws) {
		p->prefetched = (uint64_t)check(qv_populate(p->vm, ws, nws), "map the working set");
		timeline_mark("map the working set");
	}
	if (m->flags & QM_AHEAD && m->flags & QM_COMPLETE && nws) {
		static struct qv_exit out;
		check(qv_touch_ahead(p->vm, ws, nws, &out), "let the guest touch its working set");
		if (out.reason != QV_PARKED)
			fail(FAIL_VM, "%s", out.text);
	}
	if (!nws) {
		p->recorded = memfd_create("quark-working-set", MFD_CLOEXEC); /* it cannot be made later */
		check(qv_record_touched(p->vm, WORKING_SET_RUNS_MAX), "record the working set");
	}
}

void prepare_machine(struct program *p)
{
	if (p->prepare.flags & QM_CLONE)
		prepare_clone(p);
	else
		prepare_cold(p);
}
