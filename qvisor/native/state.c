/* vCPU state for snapshots. A machine is captured at QK_PORT_PARK, where QKernel has put every task's registers and FPU state into guest memory
 * (arch_park), so what is left is the kernel's own context. Source: Documentation/virt/kvm/api.rst. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vm.h"

#define MSRS_MAX 256
#define STATE_MAGIC 0x31555043u /* "CPU1" */

struct msr_block {
	struct kvm_msrs h;
	struct kvm_msr_entry e[MSRS_MAX];
};

struct state {
	uint32_t magic, size;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_xcrs xcrs;
	struct kvm_vcpu_events events;
	struct kvm_debugregs debugregs;
	struct msr_block msrs;
};

size_t qv_state_size(void)
{
	return sizeof(struct state);
}

/* Not part of a snapshot: clocks, which QKernel samples anew after PARK, and KVM's paravirtual MSRs, which QKernel does not use. */
static bool is_skipped(uint32_t index)
{
	switch (index) {
	case 0x10:  /* IA32_TIME_STAMP_COUNTER */
	case 0x3b:  /* IA32_TSC_ADJUST */
	case 0x6e0: /* IA32_TSC_DEADLINE */
	case 0x11:  /* MSR_KVM_WALL_CLOCK */
	case 0x12:  /* MSR_KVM_SYSTEM_TIME */
		return true;
	default:
		return (index & 0xffffff00u) == 0x4b564d00u;
	}
}

static int save_msrs(const struct qv_vcpu *v, struct msr_block *out)
{
	struct {
		struct kvm_msr_list h;
		uint32_t index[MSRS_MAX];
	} list = {.h = {.nmsrs = MSRS_MAX}};
	if (ioctl(v->vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, &list))
		return -errno;
	out->h.nmsrs = 0;
	for (uint32_t i = 0; i < list.h.nmsrs; i++) {
		struct msr_block one = {.h = {.nmsrs = 1}, .e = {{.index = list.index[i]}}};
		if (is_skipped(list.index[i]))
			continue;
		int n = ioctl(v->fd, KVM_GET_MSRS, &one);
		if (n < 0)
			return -errno;
		if (n == 1) /* listed for the host, but not there with this CPUID: nothing to keep */
			out->e[out->h.nmsrs++] = one.e[0];
	}
	return 0;
}

/* KVM_SET_MSRS stops at the first one it refuses. One that already has the value is fine (read-only identification). */
static int load_msrs(const struct qv_vcpu *v, const struct msr_block *in)
{
	struct msr_block left;
	uint32_t done = 0;
	while (done < in->h.nmsrs) {
		left.h.nmsrs = in->h.nmsrs - done;
		memcpy(left.e, in->e + done, left.h.nmsrs * sizeof(left.e[0]));
		int n = ioctl(v->fd, KVM_SET_MSRS, &left);
		if (n < 0)
			return -errno;
		done += (uint32_t)n;
		if (done == in->h.nmsrs)
			break;
		struct msr_block one = {.h = {.nmsrs = 1}, .e = {{.index = in->e[done].index}}};
		if (ioctl(v->fd, KVM_GET_MSRS, &one) != 1 || one.e[0].data != in->e[done].data)
			return -EOPNOTSUPP;
		done++;
	}
	return 0;
}

int qv_state_save(struct qv *vm, void *buf, size_t n)
{
	const struct qv_vcpu *v = &vm->vcpus[0];
	struct state *s = buf;
	if (n < sizeof(*s))
		return -EINVAL;
	memset(s, 0, sizeof(*s));
	s->magic = STATE_MAGIC;
	s->size = sizeof(*s);
	if (ioctl(v->fd, KVM_GET_REGS, &s->regs) || ioctl(v->fd, KVM_GET_SREGS, &s->sregs) || ioctl(v->fd, KVM_GET_XCRS, &s->xcrs) ||
	    ioctl(v->fd, KVM_GET_VCPU_EVENTS, &s->events) || ioctl(v->fd, KVM_GET_DEBUGREGS, &s->debugregs))
		return -errno;
	return save_msrs(v, &s->msrs);
}

int qv_state_load(struct qv *vm, const void *buf, size_t n)
{
	const struct qv_vcpu *v = &vm->vcpus[0];
	struct state s;
	if (n != sizeof(s))
		return -EINVAL;
	memcpy(&s, buf, sizeof(s));
	if (s.magic != STATE_MAGIC || s.size != sizeof(s) || s.msrs.h.nmsrs > MSRS_MAX)
		return -EINVAL;
	/* XCRS before SREGS: CR4.OSXSAVE is there from the start in both ring modes; SREGS before MSRS: EFER. */
	if (ioctl(v->fd, KVM_SET_XCRS, &s.xcrs) || ioctl(v->fd, KVM_SET_SREGS, &s.sregs))
		return -errno;
	int r = load_msrs(v, &s.msrs);
	if (r)
		return r;
	if (ioctl(v->fd, KVM_SET_REGS, &s.regs) || ioctl(v->fd, KVM_SET_VCPU_EVENTS, &s.events) || ioctl(v->fd, KVM_SET_DEBUGREGS, &s.debugregs))
		return -errno;
	return 0;
}
