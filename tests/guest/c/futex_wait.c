/* futex WAIT, WAKE and their BITSET forms by the raw call: values, counts, timeouts relative and absolute, errors. */
#include "check.h"
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static int word, released;
static atomic_int waiting, woken;

static long futex(int *at, int op, int value, const struct timespec *timeout, int *at2, int value3)
{
	return syscall(SYS_futex, at, op, value, timeout, at2, value3);
}

static void *waiter(void *arg)
{
	int mask = (int)(long)arg;
	atomic_fetch_add(&waiting, 1);
	while (!__atomic_load_n(&released, __ATOMIC_SEQ_CST)) {
		long result =
			mask ? futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, mask) : futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
		if (result == 0)
			break;
	}
	atomic_fetch_add(&woken, 1);
	return NULL;
}

/* Wakes until `want` waiters in all were woken; a waiter may still be on its way into the kernel. */
static int wake_total(int op, int want, int mask)
{
	int total = 0;
	for (int tries = 0; tries < 5000 && total < want; tries++) {
		long n = futex(&word, op, want - total, NULL, NULL, mask);
		REQUIRE(n >= 0);
		total += (int)n;
		if (n == 0)
			sleep_ms(1);
	}
	return total;
}

static long waited_us(int op, struct timespec timeout, int mask, long *result)
{
	long start = clock_ns(CLOCK_MONOTONIC);
	*result = futex(&word, op, 0, &timeout, NULL, mask) == -1 ? errno : 0;
	return (clock_ns(CLOCK_MONOTONIC) - start) / 1000;
}

static struct timespec after(clockid_t clock, long ms)
{
	long t = clock_ns(clock) + ms * 1000000;
	return (struct timespec){t / 1000000000, t % 1000000000};
}

static void on_alarm(int signal)
{
	(void)signal;
}

int main(void)
{
	pthread_t threads[8];
	long result;

	CHECK_ERR("wait.value_differs", futex(&word, FUTEX_WAIT, 1, NULL, NULL, 0), EAGAIN);
	CHECK_EQ("wake.nobody", futex(&word, FUTEX_WAKE, 10, NULL, NULL, 0), 0);
	CHECK("wait.relative_timeout", waited_us(FUTEX_WAIT_PRIVATE, (struct timespec){0, 20000000}, 0, &result) >= 20000);
	CHECK_EQ("wait.relative_errno", result, ETIMEDOUT);
	CHECK("wait.zero_timeout", waited_us(FUTEX_WAIT, (struct timespec){0, 0}, 0, &result) >= 0 && result == ETIMEDOUT);
	CHECK("bitset.absolute_monotonic", waited_us(FUTEX_WAIT_BITSET_PRIVATE, after(CLOCK_MONOTONIC, 15), -1, &result) >= 14900);
	CHECK_EQ("bitset.absolute_errno", result, ETIMEDOUT);
	CHECK("bitset.absolute_realtime",
	      waited_us(FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, after(CLOCK_REALTIME, 15), -1, &result) >= 14000);
	CHECK_EQ("bitset.realtime_errno", result, ETIMEDOUT);
	CHECK("bitset.past", waited_us(FUTEX_WAIT_BITSET_PRIVATE, (struct timespec){1, 0}, -1, &result) >= 0 && result == ETIMEDOUT);

	for (int i = 0; i < 8; i++)
		REQUIRE(pthread_create(&threads[i], NULL, waiter, NULL) == 0);
	while (atomic_load(&waiting) < 8)
		sched_yield();
	CHECK_EQ("wake.three", wake_total(FUTEX_WAKE_PRIVATE, 3, 0), 3);
	for (int i = 0; i < 5000 && atomic_load(&woken) < 3; i++)
		sleep_ms(1);
	sleep_ms(5);
	CHECK_EQ("wake.only_three", atomic_load(&woken), 3);
	CHECK_EQ("wake.rest", wake_total(FUTEX_WAKE_PRIVATE, 5, 0), 5);
	for (int i = 0; i < 8; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);
	CHECK_EQ("wake.all", atomic_load(&woken), 8);

	atomic_store(&waiting, 0);
	atomic_store(&woken, 0);
	for (int i = 0; i < 4; i++)
		REQUIRE(pthread_create(&threads[i], NULL, waiter, (void *)(1L << i)) == 0);
	while (atomic_load(&waiting) < 4)
		sched_yield();
	sleep_ms(5);
	CHECK_EQ("bitset.no_match", futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 0x100), 0);
	CHECK_EQ("bitset.match_two", wake_total(FUTEX_WAKE_BITSET_PRIVATE, 2, 0x5), 2);
	REQUIRE(pthread_join(threads[0], NULL) == 0 && pthread_join(threads[2], NULL) == 0);
	CHECK_EQ("bitset.others_wait", atomic_load(&woken), 2);
	CHECK_EQ("bitset.plain_wake_matches", wake_total(FUTEX_WAKE_PRIVATE, 2, 0), 2);
	REQUIRE(pthread_join(threads[1], NULL) == 0 && pthread_join(threads[3], NULL) == 0);
	CHECK_ERR("bitset.wait_zero", futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0), EINVAL);
	CHECK_ERR("bitset.wake_zero", futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0), EINVAL);

	struct sigaction act = {.sa_handler = on_alarm};
	REQUIRE(sigaction(SIGALRM, &act, NULL) == 0);
	ualarm(10000, 0);
	CHECK_ERR("wait.signal", futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0), EINTR);

	/* shared futexes are known by page, not by address: two mappings of one memfd */
	int fd = memfd_create("futex", 0);
	REQUIRE(ftruncate(fd, 4096) == 0);
	int *a = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int *b = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	*a = 5;
	CHECK_ERR("shared.value_seen", futex(b, FUTEX_WAIT, 4, NULL, NULL, 0), EAGAIN);

	struct timespec bad = {0, 1000000000};
	CHECK_ERR("error.timespec", futex(&word, FUTEX_WAIT, 0, &bad, NULL, 0), EINVAL);
	CHECK_ERR("error.negative", futex(&word, FUTEX_WAIT, 0, &(struct timespec){-1, 0}, NULL, 0), EINVAL);
	CHECK_ERR("error.unaligned", futex((int *)((char *)&word + 1), FUTEX_WAIT, 0, NULL, NULL, 0), EINVAL);
	CHECK_ERR("error.null", futex(NULL, FUTEX_WAIT, 0, NULL, NULL, 0), EFAULT);
	CHECK_ERR("error.timeout_pointer", futex(&word, FUTEX_WAIT, 0, (void *)8, NULL, 0), EFAULT);
	CHECK_ERR("error.op", futex(&word, 77, 0, NULL, NULL, 0), ENOSYS);
	return check_done();
}
