/* The poller: a thread that serves requests without an exit. An exit costs 35-60 us on software KVM and a few on hardware, a spinning thread on another
 * CPU under one. It spins only while requests come thick: two exits within BUSY_NS start it, IDLE_NS without a request put it to sleep. */
#include <errno.h>
#include <immintrin.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vm.h"

#define BUSY_NS 300000u
#define IDLE_NS 60000u
#define SPINS_PER_LOOK 64

static void futex(_Atomic int *word, int op, int value)
{
	syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

static void *poller_main(void *arg)
{
	struct qv *vm = arg;
	while (!atomic_load(&vm->poller_quit)) {
		__atomic_store_n(&vm->comm->poller_awake, 0, __ATOMIC_SEQ_CST);
		while (atomic_load(&vm->poller_sleep) && !atomic_load(&vm->poller_quit))
			futex(&vm->poller_sleep, FUTEX_WAIT_PRIVATE, 1);
		__atomic_store_n(&vm->comm->poller_awake, 1, __ATOMIC_SEQ_CST);
		uint64_t last = now_ns();
		while (!atomic_load(&vm->poller_quit)) {
			bool served = false;
			for (int i = 0; i < SPINS_PER_LOOK && !served; i++) {
				served = qcall_poll(vm);
				_mm_pause();
			}
			uint64_t now = now_ns();
			if (served)
				last = now;
			else if (now - last > IDLE_NS || atomic_load(&vm->waiting))
				break;
		}
		atomic_store(&vm->poller_sleep, 1);
	}
	return NULL;
}

/* On the vCPU's thread, at every request that came by an exit. */
void poller_note_exit(struct qv *vm)
{
	uint64_t now = now_ns();
	bool busy = now - vm->last_exit_ns < BUSY_NS;
	vm->last_exit_ns = now;
	if (!busy || sysconf(_SC_NPROCESSORS_ONLN) < 2)
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
