/* Thread-local storage: __thread variables, initial values, alignment, keys with destructors, errno, FS base. */
#include "check.h"
#include <asm/prctl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/syscall.h>

#define THREADS 10

static __thread int counter = 100;
static __thread char zeroed[9000];
static __thread long aligned __attribute__((aligned(64)));
static pthread_key_t key;
static atomic_int destroyed;
static pthread_barrier_t barrier;
static int *addresses[THREADS];

static void destroy(void *value)
{
	atomic_fetch_add(&destroyed, (int)(long)value);
}

static void *body(void *arg)
{
	long me = (long)arg, wrong = 0;
	wrong += counter != 100;
	for (unsigned i = 0; i < sizeof zeroed; i++)
		wrong += zeroed[i] != 0;
	wrong += ((uintptr_t)&aligned & 63) != 0;
	addresses[me] = &counter;
	pthread_setspecific(key, (void *)(me + 1));
	for (int i = 0; i < 200; i++) {
		counter += (int)me;
		errno = (int)me + 1;
		if (i % 50 == 0)
			pthread_barrier_wait(&barrier);
		wrong += errno != me + 1;
		wrong += pthread_getspecific(key) != (void *)(me + 1);
	}
	wrong += counter != 100 + 200 * me;
	unsigned long fs = 0, first;
	wrong += syscall(SYS_arch_prctl, ARCH_GET_FS, &fs) != 0;
	__asm__("mov %%fs:0, %0" : "=r"(first));
	wrong += fs != first || fs == 0;
	return (void *)wrong;
}

int main(void)
{
	pthread_t threads[THREADS];
	void *result;
	long wrong = 0;
	REQUIRE(pthread_key_create(&key, destroy) == 0);
	REQUIRE(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
	for (long i = 0; i < THREADS; i++)
		REQUIRE(pthread_create(&threads[i], NULL, body, (void *)i) == 0);
	for (int i = 0; i < THREADS; i++) {
		REQUIRE(pthread_join(threads[i], &result) == 0);
		wrong += (long)result;
	}
	CHECK_EQ("tls.private_to_threads", wrong, 0);
	CHECK_EQ("tls.main_untouched", counter, 100);
	CHECK_EQ("key.destructors", atomic_load(&destroyed), THREADS * (THREADS + 1) / 2);
	int distinct = 1;
	for (int i = 0; i < THREADS; i++)
		distinct &= addresses[i] != &counter;
	CHECK("tls.distinct", distinct);

	unsigned long gs_value = 0;
	static unsigned long area[2] = {0x1234567890abcdef, 0};
	CHECK_OK("arch_prctl.set_gs", syscall(SYS_arch_prctl, ARCH_SET_GS, area));
	__asm__ volatile("mov %%gs:0, %0" : "=r"(gs_value));
	CHECK("gs.used", gs_value == area[0]);
	unsigned long base = 0;
	CHECK_OK("arch_prctl.get_gs", syscall(SYS_arch_prctl, ARCH_GET_GS, &base));
	CHECK("gs.value", base == (unsigned long)area);
	sleep_ms(2); /* across a context switch */
	__asm__ volatile("mov %%gs:0, %0" : "=r"(gs_value));
	CHECK("gs.kept", gs_value == area[0]);
	CHECK_ERR("arch_prctl.bad_code", syscall(SYS_arch_prctl, 0x7777, 0), EINVAL);
	CHECK_ERR("arch_prctl.bad_base", syscall(SYS_arch_prctl, ARCH_SET_GS, 1UL << 63), EPERM);
	CHECK_ERR("arch_prctl.bad_pointer", syscall(SYS_arch_prctl, ARCH_GET_FS, 8), EFAULT);
	return check_done();
}
