/* futex REQUEUE, CMP_REQUEUE and WAKE_OP: waiters move to another word without waking. */
#include "check.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>

#define WAITERS 6
static int first, second;
static atomic_int waiting, woken;

static long futex(int *at, int op, int value, long value2, int *at2, int value3)
{
	return syscall(SYS_futex, at, op | FUTEX_PRIVATE_FLAG, value, value2, at2, value3);
}

static void *waiter(void *arg)
{
	atomic_fetch_add(&waiting, 1);
	if (futex(arg, FUTEX_WAIT, 0, 0, NULL, 0) == 0)
		atomic_fetch_add(&woken, 1);
	return NULL;
}

static void start(pthread_t *threads, int *at, int n)
{
	atomic_store(&waiting, 0);
	atomic_store(&woken, 0);
	for (int i = 0; i < n; i++)
		REQUIRE(pthread_create(&threads[i], NULL, waiter, at) == 0);
	while (atomic_load(&waiting) < n)
		sched_yield();
	/* Inside the kernel for sure once a requeue of all to the same word counts n of them. */
	for (int i = 0; i < 5000 && futex(at, FUTEX_CMP_REQUEUE, 0, n, at, 0) != n; i++)
		sleep_ms(1);
}

static int settled(int want)
{
	for (int i = 0; i < 5000 && atomic_load(&woken) < want; i++)
		sleep_ms(1);
	sleep_ms(3);
	return atomic_load(&woken);
}

int main(void)
{
	pthread_t threads[WAITERS];

	start(threads, &first, WAITERS);
	CHECK_EQ("cmp_requeue.wake1_move3", futex(&first, FUTEX_CMP_REQUEUE, 1, 3, &second, 0), 4);
	CHECK_EQ("cmp_requeue.one_woken", settled(1), 1);
	CHECK_ERR("cmp_requeue.value_differs", futex(&first, FUTEX_CMP_REQUEUE, 1, 1, &second, 9), EAGAIN);
	CHECK_EQ("wake.left_on_first", futex(&first, FUTEX_WAKE, 100, 0, NULL, 0), 2);
	CHECK_EQ("wake.moved_to_second", futex(&second, FUTEX_WAKE, 100, 0, NULL, 0), 3);
	CHECK_EQ("all_woken", settled(WAITERS), WAITERS);
	for (int i = 0; i < WAITERS; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);

	start(threads, &first, WAITERS);
	CHECK_EQ("requeue.all", futex(&first, FUTEX_REQUEUE, 0, 100, &second, 0), WAITERS);
	CHECK_EQ("requeue.nobody_woken", settled(0), 0);
	CHECK_EQ("requeue.first_empty", futex(&first, FUTEX_WAKE, 100, 0, NULL, 0), 0);
	CHECK_EQ("requeue.wake_second", futex(&second, FUTEX_WAKE, 100, 0, NULL, 0), WAITERS);
	for (int i = 0; i < WAITERS; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);

	start(threads, &second, 2);
	second = 5;
	int operation = FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 5); /* second += 3; wake there if it was 5 */
	CHECK_EQ("wake_op.condition_true", futex(&first, FUTEX_WAKE_OP, 1, 1, &second, operation), 1);
	CHECK_EQ("wake_op.stored", second, 8);
	CHECK_EQ("wake_op.condition_false", futex(&first, FUTEX_WAKE_OP, 1, 1, &second, operation), 0);
	CHECK_EQ("wake_op.stored_again", second, 11);
	operation = FUTEX_OP((FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT), 4, FUTEX_OP_CMP_GE, 11);
	CHECK_EQ("wake_op.shifted_or", futex(&first, FUTEX_WAKE_OP, 1, 1, &second, operation), 1);
	CHECK_EQ("wake_op.stored_or", second, 11 | 16);
	for (int i = 0; i < 2; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);

	CHECK_ERR("error.second_bad", futex(&first, FUTEX_REQUEUE, 1, 1, (int *)(1UL << 47), 0), EFAULT);
	CHECK_ERR("error.negative", futex(&first, FUTEX_CMP_REQUEUE, -1, 1, &second, 0), EINVAL);
	return check_done();
}
