/* Creates and destroys a virtual machine: KVM VM, vCPU, comm area, RAM slots. Source: Linux Documentation/virt/kvm/api.rst. */
#include "vm.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define COMM_SLOT 0u
#define CPUID_MAX 256
#define RAM_MAX (32ull << 30)

uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int vm_set_slot(struct qv *vm, unsigned slot, uint64_t gpa, uint64_t size, void *host)
{
	struct kvm_userspace_memory_region r = {.slot = slot, .guest_phys_addr = gpa, .memory_size = size, .userspace_addr = (uintptr_t)host};
	return ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &r) ? -errno : 0;
}

/* Linux may take away what was mapped there, and fail then (mm/vma.c, vms_abort_munmap_vmas). What this process maps next must not lie in the gap: the
 * guest has this place as its memory. */
void *vm_replace(void *at, size_t size, int prot, int flags, int fd, uint64_t off)
{
	void *now = mmap(at, size, prot, flags | MAP_FIXED, fd, (off_t)off);
	int error = errno;
	if (now == MAP_FAILED && mmap(at, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		abort();
	errno = error;
	return now;
}

int vm_add_slot(struct qv *vm)
{
	if (vm->ram_limit > vm->ram_reserved || vm->ram_limit < QK_SLOT_SIZE || vm->ram_bytes > vm->ram_limit - QK_SLOT_SIZE)
		return -ENOMEM;
	char *host = vm->ram + vm->ram_bytes;
	if (vm_replace(host, QK_SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED)
		return -errno;
	int r = vm_set_slot(vm, vm->nslots + 1, vm->ram_bytes, QK_SLOT_SIZE, host);
	if (r)
		return r;
	vm->nslots++;
	vm->ram_bytes += QK_SLOT_SIZE;
	return 0;
}

static int set_cpuid(const struct qv_vcpu *v)
{
	struct {
		struct kvm_cpuid2 h;
		struct kvm_cpuid_entry2 e[CPUID_MAX];
	} c = {.h = {.nent = CPUID_MAX}};
	if (ioctl(v->vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, &c) || ioctl(v->fd, KVM_SET_CPUID2, &c))
		return -errno;
	return 0;
}

static int create_vcpu(struct qv_vcpu *v)
{
	v->fd = ioctl(v->vm->vm_fd, KVM_CREATE_VCPU, v->index);
	if (v->fd < 0)
		return -errno;
	v->run = mmap(NULL, v->vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	return v->run == MAP_FAILED ? -errno : 0;
}

static int create(struct qv *vm)
{
	vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	if (vm->vm_fd < 0)
		return -errno;
	int size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0), r = 0;
	if (size < 0)
		return -errno;
	vm->run_size = (size_t)size;
	for (uint32_t i = 0; i < vm->nvcpus && !r; i++)
		r = create_vcpu(&vm->vcpus[i]);
	if (r)
		return r;
	vm->comm_area = mmap(NULL, QK_COMM_SIZE(vm->nvcpus), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (vm->comm_area == MAP_FAILED)
		return -errno;
	vm->comm = (struct qk_comm *)(vm->comm_area + QK_OFF_HEAD);
	vm->comm->abi_version = QK_ABI_VERSION;
	vm->comm->nvcpus = vm->nvcpus;
	for (uint32_t i = 0; i < vm->nvcpus; i++) {
		struct qv_vcpu *v = &vm->vcpus[i];
		v->block = vm->comm_area + QK_OFF_VCPU(i);
		v->shared = (struct qk_vcpu *)v->block;
		v->shared->timer_ns = UINT64_MAX;
	}
	r = vm_set_slot(vm, COMM_SLOT, QK_COMM_GPA, QK_COMM_SIZE(vm->nvcpus), vm->comm_area);
	if (r)
		return r;
	vm->ram = mmap(NULL, vm->ram_reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (vm->ram == MAP_FAILED)
		return -errno;
	int khz = ioctl(vm->vcpus[0].fd, KVM_GET_TSC_KHZ, 0);
	if (khz > 0)
		vm->tsc_mult = (uint64_t)(((unsigned __int128)1000000 << 32) / (unsigned)khz);
	r = vm_add_slot(vm);
	for (uint32_t i = 0; i < vm->nvcpus && !r; i++)
		r = set_cpuid(&vm->vcpus[i]);
	return r ? r : events_init(vm);
}

/* Every file that the guest has open is a descriptor here: as many as this process may have. */
static void raise_files(void)
{
	struct rlimit l;
	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
		rlim_t most = QV_MAX_HANDLES + 64; /* those of QVisor itself */
		l.rlim_cur = l.rlim_max < most ? l.rlim_max : most;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

/* Nothing of it is there yet. NULL: there is no memory. */
static struct qv *make(uint64_t ram_max)
{
	/* Not from the heap: most of its table of handles is never touched, and costs nothing that way. */
	struct qv *vm = mmap(NULL, sizeof(*vm), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (vm == MAP_FAILED)
		return NULL;
	vm->ram_reserved = vm->ram_limit = ram_max;
	vm->on_stop = QV_STOP_SELF;
	vm->kvm_fd = vm->vm_fd = vm->epoll_fd = vm->wake_fd = vm->tick_fd = vm->debug_fd = -1;
	vm->stored_fd = vm->pagemap_fd = vm->uffd_device = vm->uffd = -1;
	vm->nvcpus = 1;
	for (uint32_t i = 0; i < vm->nvcpus; i++)
		vm->vcpus[i] = (struct qv_vcpu){.vm = vm, .index = i, .fd = -1, .run = MAP_FAILED};
	vm->ram = vm->comm_area = MAP_FAILED;
	pthread_mutex_init(&vm->event_lock, NULL);
	pthread_mutex_init(&vm->call_lock, NULL);
	return vm;
}

int qv_create_names(struct qv **out)
{
	*out = make(RAM_MAX);
	return *out ? 0 : -ENOMEM;
}

int qv_create(int kvm_fd, uint64_t ram_max, struct qv **out)
{
	if (ram_max < QK_SLOT_SIZE || ram_max % QK_SLOT_SIZE || ram_max > RAM_MAX)
		return -EINVAL;
	struct qv *vm = make(ram_max);
	if (!vm)
		return -ENOMEM;
	vm->kvm_fd = kvm_fd;
	raise_files();
	walk_learn_devtmpfs();
	/* /dev/userfaultfd gives one that also sees the faults KVM takes for the guest, without a capability of the process. */
	vm->uffd_device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (vm->uffd_device < 0)
		vm->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	cpu_set_t cpus;
	vm->many_cpus = sched_getaffinity(0, sizeof(cpus), &cpus) || CPU_COUNT(&cpus) > 1;
	int r = create(vm);
	if (r) {
		qv_destroy(vm);
		return r;
	}
	*out = vm;
	return 0;
}

static void forget_uffd(struct qv *vm)
{
	if (vm->uffd_device >= 0)
		close(vm->uffd_device);
	if (vm->uffd >= 0)
		close(vm->uffd);
	vm->uffd_device = vm->uffd = -1;
}

int qv_configure(struct qv *vm, const struct qv_config *config)
{
	if (config->ram_limit < QK_SLOT_SIZE || config->ram_limit % QK_SLOT_SIZE || config->ram_limit > vm->ram_reserved || config->nroots < 0 ||
	    config->nroots > 33)
		return -EINVAL;
	forget_uffd(vm);
	vm->config = *config;
	vm->ram_limit = config->ram_limit;
	qstream_take(vm, config->stdio);
	return config->signals >= 0 ? events_watch_signals(vm) : 0;
}

int qv_open_pagemap(struct qv *vm, int self)
{
	vm->pagemap_fd = openat(self, "pagemap", O_RDONLY | O_CLOEXEC);
	if (vm->pagemap_fd < 0)
		vm->pagemap_fd = -errno;
	return vm->pagemap_fd < 0 ? vm->pagemap_fd : 0;
}

void qv_destroy(struct qv *vm)
{
	poller_destroy(vm);
	events_destroy(vm);
	qfile_close_all(vm);
	qstream_close_all(vm);
	window_destroy(vm);
	depends_close(vm);
	for (uint32_t i = 0; i < vm->nvcpus; i++) {
		if (vm->vcpus[i].run != MAP_FAILED)
			munmap(vm->vcpus[i].run, vm->run_size);
		if (vm->vcpus[i].fd >= 0)
			close(vm->vcpus[i].fd);
	}
	if (vm->pagemap_fd >= 0)
		close(vm->pagemap_fd);
	forget_uffd(vm);
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	if (vm->ram != MAP_FAILED)
		munmap(vm->ram, vm->ram_reserved);
	if (vm->comm_area != MAP_FAILED)
		munmap(vm->comm_area, QK_COMM_SIZE(vm->nvcpus));
	free(vm->record);
	pthread_mutex_destroy(&vm->event_lock);
	pthread_mutex_destroy(&vm->call_lock);
	munmap(vm, sizeof(*vm));
}

struct qk_comm *qv_comm(struct qv *vm)
{
	return vm->comm;
}

struct qk_stats qv_stats(const struct qv *vm)
{
	struct qk_stats sum = {0};
	for (uint32_t i = 0; i < vm->nvcpus; i++) {
		const struct qk_stats *s = &vm->vcpus[i].shared->stats;
		sum.syscalls += s->syscalls;
		sum.faults += s->faults;
		sum.qcalls += s->qcalls;
		sum.switches += s->switches;
	}
	return sum;
}

char *qv_comm_area(struct qv *vm, uint32_t offset)
{
	return offset < QK_COMM_SIZE(vm->nvcpus) ? vm->comm_area + offset : NULL;
}

uint64_t qv_ram_bytes(struct qv *vm)
{
	return vm->ram_bytes;
}

char *qv_ram(struct qv *vm)
{
	return vm->ram;
}

uint64_t qv_first_output_ns(struct qv *vm)
{
	return vm->first_output_ns;
}

void qv_want_ready(struct qv *vm, int on)
{
	vm->want_ready = on;
}

void qv_on_stop(struct qv *vm, int fd)
{
	vm->on_stop = fd;
}

const char *qv_end_reason(struct qv *vm)
{
	return vm->end_reason;
}

int qv_debug_fd(struct qv *vm, int fd)
{
	vm->debug_fd = fd;
	return 0;
}
