/* What the kernel does when a thread ends: robust mutexes change hands, the tid word is cleared and its waiters woken. */
#include "check.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>

static pthread_mutex_t robust, plain;
static int tid_word;

static void *dies_holding(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&robust);
	return NULL;
}

static void *waits_for_owner(void *arg)
{
	(void)arg;
	int result = pthread_mutex_lock(&robust);
	if (result == EOWNERDEAD) {
		pthread_mutex_consistent(&robust);
		pthread_mutex_unlock(&robust);
	}
	return (void *)(long)result;
}

static void *holds_then_dies(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&robust);
	sleep_ms(15);
	return NULL;
}

static void *sets_tid_word(void *arg)
{
	(void)arg;
	tid_word = (int)syscall(SYS_gettid);
	/* The word pthread_join waits for is replaced by ours; leave with the raw call so glibc keeps out. */
	syscall(SYS_set_tid_address, &tid_word);
	sleep_ms(10);
	syscall(SYS_exit, 0);
	return NULL;
}

int main(void)
{
	pthread_t thread, waiter;
	void *result;
	pthread_mutexattr_t attr;
	pthread_mutexattr_init(&attr);
	REQUIRE(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) == 0);
	REQUIRE(pthread_mutex_init(&robust, &attr) == 0);

	REQUIRE(pthread_create(&thread, NULL, dies_holding, NULL) == 0 && pthread_join(thread, NULL) == 0);
	CHECK_EQ("robust.owner_dead", pthread_mutex_lock(&robust), EOWNERDEAD);
	CHECK_EQ("robust.consistent", pthread_mutex_consistent(&robust), 0);
	CHECK_EQ("robust.unlock", pthread_mutex_unlock(&robust), 0);
	CHECK_EQ("robust.usable", pthread_mutex_lock(&robust), 0);
	pthread_mutex_unlock(&robust);

	REQUIRE(pthread_create(&thread, NULL, holds_then_dies, NULL) == 0);
	sleep_ms(5);
	REQUIRE(pthread_create(&waiter, NULL, waits_for_owner, NULL) == 0);
	REQUIRE(pthread_join(thread, NULL) == 0 && pthread_join(waiter, &result) == 0);
	CHECK_EQ("robust.waiter_woken", (long)result, EOWNERDEAD);

	REQUIRE(pthread_create(&thread, NULL, dies_holding, NULL) == 0 && pthread_join(thread, NULL) == 0);
	REQUIRE(pthread_mutex_lock(&robust) == EOWNERDEAD && pthread_mutex_unlock(&robust) == 0);
	CHECK_EQ("robust.not_recoverable", pthread_mutex_lock(&robust), ENOTRECOVERABLE);

	struct robust_list_head *head;
	size_t length;
	CHECK_OK("get_robust_list", syscall(SYS_get_robust_list, 0, &head, &length));
	CHECK("get_robust_list.size", length == sizeof *head && head != NULL);
	CHECK_ERR("set_robust_list.size", syscall(SYS_set_robust_list, head, length + 1), EINVAL);

	tid_word = -1;
	REQUIRE(pthread_create(&thread, NULL, sets_tid_word, NULL) == 0);
	while (__atomic_load_n(&tid_word, __ATOMIC_SEQ_CST) == -1)
		sched_yield();
	for (int value; (value = __atomic_load_n(&tid_word, __ATOMIC_SEQ_CST)) != 0;)
		syscall(SYS_futex, &tid_word, FUTEX_WAIT, value, NULL, NULL, 0);
	CHECK_EQ("clear_tid.cleared_and_woken", tid_word, 0);

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&plain, &attr);
	CHECK_EQ("errorcheck.unlock", pthread_mutex_unlock(&plain), EPERM);
	REQUIRE(pthread_mutex_lock(&plain) == 0);
	CHECK_EQ("errorcheck.relock", pthread_mutex_lock(&plain), EDEADLK);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&robust, &attr);
	CHECK("recursive", pthread_mutex_lock(&robust) == 0 && pthread_mutex_lock(&robust) == 0);
	return check_done();
}
