/* The KVM_RUN loop: exits, interrupt injection, kicks. One thread runs one vCPU. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vm.h"

#define KICK_SIGNAL (SIGRTMIN + 1)

static void on_kick(int sig)
{
	(void)sig; /* its only effect: KVM_RUN returns EINTR */
}

static void install_kick(void)
{
	struct sigaction sa = {.sa_handler = on_kick};
	sigaction(KICK_SIGNAL, &sa, NULL);
}

void vm_kick(struct qv_vcpu *v)
{
	if (!atomic_load(&v->running))
		return;
	/* The flag ends the next KVM_RUN if the signal comes before it (api.rst, immediate_exit). Outside of KVM_RUN the flag is enough: a signal would
	 * interrupt a request, of which slow file systems make an error (fuse: INTERRUPT). */
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	if (atomic_load(&v->in_guest))
		pthread_kill(v->thread, KICK_SIGNAL);
}

void vm_interrupt(struct qv_vcpu *v)
{
	atomic_store(&v->need_irq, 1);
	vm_kick(v);
}

/* Lets KVM finish the port access that caused the exit, so that registers can be read and the guest resumed elsewhere. */
static int complete_io(struct qv_vcpu *v)
{
	v->run->immediate_exit = 1;
	int r = ioctl(v->fd, KVM_RUN, 0);
	v->run->immediate_exit = 0;
	return r && errno != EINTR ? -errno : 0;
}

static void describe(struct qv_vcpu *v, const char *what)
{
	struct kvm_regs r = {0};
	struct kvm_sregs s = {0};
	ioctl(v->fd, KVM_GET_REGS, &r);
	ioctl(v->fd, KVM_GET_SREGS, &s);
	struct kvm_run *run = v->run;
	snprintf(v->vm->exit.text, sizeof(v->vm->exit.text),
		 "%s (exit %u, sub-error %u) rip %llx cs %x rsp %llx rflags %llx cr2 %llx cr3 %llx rax %llx rcx %llx rdx %llx", what,
		 run->exit_reason, run->exit_reason == KVM_EXIT_INTERNAL_ERROR ? run->internal.suberror : 0, r.rip, s.cs.selector, r.rsp, r.rflags,
		 s.cr2, s.cr3, r.rax, r.rcx, r.rdx);
	v->vm->exit.reason = QV_VM_ERROR;
}

static void inject(struct qv_vcpu *v)
{
	/* Before its descriptor tables are in force an interrupt would be the guest's end; it looks at the event ring by itself first. */
	if (!atomic_load(&v->need_irq) || !READ_ONCE(v->shared->irq_ready)) {
		v->run->request_interrupt_window = 0;
		return;
	}
	if (!v->run->ready_for_interrupt_injection) {
		v->run->request_interrupt_window = 1;
		return;
	}
	struct kvm_interrupt irq = {.irq = QK_IRQ_VECTOR};
	atomic_store(&v->need_irq, 0);
	v->run->request_interrupt_window = 0;
	ioctl(v->fd, KVM_INTERRUPT, &irq);
}

static int run_guest(struct qv_vcpu *v)
{
	atomic_store(&v->in_guest, 1);
	int r = ioctl(v->fd, KVM_RUN, 0) < 0 ? -errno : 0;
	atomic_store(&v->in_guest, 0);
	return r;
}

/* 0: go on; 1: qv_run returns v->vm->exit. */
static int handle_io(struct qv_vcpu *v)
{
	if (v->vm->ahead && v->run->io.port != QK_PORT_PARK) {
		describe(v, "the guest asked for something before there was a request");
		return 1;
	}
	switch (v->run->io.port) {
	case QK_PORT_CALL:
		return qcall_serve(v);
	case QK_PORT_WAIT:
		events_wait(v);
		return 0;
	case QK_PORT_NUDGE:
		tick_hurry(v->vm);
		return 0;
	case QK_PORT_PARK:
		if (complete_io(v))
			describe(v, "the guest could not be parked");
		else
			v->vm->exit.reason = QV_PARKED;
		return 1;
	default:
		describe(v, "the guest wrote to a port that is not part of the ABI");
		return 1;
	}
}

#define REFUSED_MAX 16u /* in a row: the guest, which is told before it goes on, did nothing about it */

/* Whether the guest, after an access that the host refused so many times in a row before, can be run again. */
static bool guest_goes_on(struct qv *vm, unsigned refused)
{
	return window_cut(vm) || (refused < REFUSED_MAX && window_full(vm, refused > 0));
}

static int run_vcpu(struct qv_vcpu *v)
{
	unsigned refused = 0;
	for (;;) {
		v->run->immediate_exit = 0;
		atomic_thread_fence(memory_order_seq_cst);
		if (atomic_load(&v->vm->stop)) {
			v->vm->exit.reason = QV_STOPPED;
			return 0;
		}
		inject(v);
		int r = run_guest(v);
		if (r == -EINTR || r == -EAGAIN)
			continue;
		if (r == -EFAULT && guest_goes_on(v->vm, refused)) {
			refused++;
			continue;
		}
		refused = 0;
		if (r) {
			describe(v, r == -EFAULT ? "the host has no page for what the guest touched" : strerror(-r));
			return 0;
		}
		switch (v->run->exit_reason) {
		case KVM_EXIT_IO:
			if (handle_io(v))
				return 0;
			break;
		case KVM_EXIT_IRQ_WINDOW_OPEN:
		case KVM_EXIT_INTR:
			break;
		case KVM_EXIT_INTERNAL_ERROR:
			describe(v, "KVM could not emulate an instruction of the guest");
			return 0;
		case KVM_EXIT_SHUTDOWN:
			describe(v, "triple fault in the guest");
			return 0;
		case KVM_EXIT_MMIO:
			describe(v, "the guest touched memory that does not exist");
			return 0;
		default:
			describe(v, "unexpected exit");
			return 0;
		}
	}
}

int qv_run(struct qv *vm, struct qv_exit *out)
{
	struct qv_vcpu *v = &vm->vcpus[0];
	install_kick();
	memset(&vm->exit, 0, offsetof(struct qv_exit, text) + 1);
	v->thread = pthread_self();
	vm->first_output_ns = 0;
	atomic_store(&v->running, 1);
	qcall_allow(v, !vm->ahead);
	int r = vm->ahead ? 0 : tick_start(vm); /* a thread that is made ahead would lack the second step of confinement */
	if (!r)
		r = run_vcpu(v);
	qcall_allow(v, false); /* whoever captures finds files and RAM as they were when the vCPU stopped */
	atomic_store(&v->running, 0);
	*out = vm->exit;
	return r;
}

void qv_stop(struct qv *vm)
{
	atomic_store(&vm->stop, 1);
	events_push(vm, QK_EV_TICK, 0);
	for (uint32_t i = 0; i < vm->nvcpus; i++)
		vm_kick(&vm->vcpus[i]);
}

void qv_resume(struct qv *vm)
{
	atomic_store(&vm->stop, 0);
}

int qv_post(struct qv *vm, int32_t handle, uint32_t events)
{
	events_push(vm, handle, events);
	vm_interrupt(&vm->vcpus[0]);
	return 0;
}
