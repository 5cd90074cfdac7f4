/* The poller: a thread that serves requests without an exit. An exit costs 35-60 us on software KVM and a few on hardware, a spinning thread on another
 * CPU under one. It spins only while requests come thick: two exits within BUSY_NS start it, IDLE_NS without a request put it to sleep. IDLE_NS is two
 * exits, more than du(1) takes for a directory: with 60 us each one of them found the poller asleep, and the guest took 1.2 times as long. */
#include <errno.h>
#include <immintrin.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vm.h"

#define BUSY_NS 300000u
#define IDLE_NS 120000u
#define SPINS_PER_LOOK 64

static void futex(_Atomic int *word, int op, int value)
{
	syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

static void say_awake(struct qv *vm, uint32_t awake)
{
	for (uint32_t i = 0; i < vm->nvcpus; i++)
		__atomic_store_n(&vm->vcpus[i].shared->poller_awake, awake, __ATOMIC_SEQ_CST);
}

static bool poll_all(struct qv *vm)
{
	bool served = false;
	for (uint32_t i = 0; i < vm->nvcpus; i++)
		served |= qcall_poll(&vm->vcpus[i]);
	return served;
}

static void *poller_main(void *arg)
{
	struct qv *vm = arg;
	while (!atomic_load(&vm->poller_quit)) {
		say_awake(vm, 0);
		while (atomic_load(&vm->poller_sleep) && !atomic_load(&vm->poller_quit))
			futex(&vm->poller_sleep, FUTEX_WAIT_PRIVATE, 1);
		say_awake(vm, 1);
		uint64_t last = now_ns();
		while (!atomic_load(&vm->poller_quit)) {
			bool served = false;
			for (int i = 0; i < SPINS_PER_LOOK && !served; i++) {
				served = poll_all(vm);
				_mm_pause();
			}
			uint64_t now = now_ns();
			if (served)
				last = now;
			else if (now - last > IDLE_NS || !events_busy(vm))
				break;
		}
		atomic_store(&vm->poller_sleep, 1);
	}
	return NULL;
}

/* On a vCPU's thread, at every request that came by an exit. */
void poller_note_exit(struct qv_vcpu *v)
{
	struct qv *vm = v->vm;
	uint64_t now = now_ns();
	bool busy = now - v->last_exit_ns < BUSY_NS;
	v->last_exit_ns = now;
	if (!busy || !vm->many_cpus)
		return;
	if (!vm->poller_started) {
		atomic_store(&vm->poller_sleep, 0);
		vm->poller_started = pthread_create(&vm->poller_thread, NULL, poller_main, vm) == 0;
	} else if (atomic_exchange(&vm->poller_sleep, 0)) {
		futex(&vm->poller_sleep, FUTEX_WAKE_PRIVATE, 1);
	}
}

void poller_destroy(struct qv *vm)
{
	if (!vm->poller_started)
		return;
	atomic_store(&vm->poller_quit, 1);
	atomic_store(&vm->poller_sleep, 0);
	futex(&vm->poller_sleep, FUTEX_WAKE_PRIVATE, 1);
	pthread_join(vm->poller_thread, NULL);
	vm->poller_started = false;
}
