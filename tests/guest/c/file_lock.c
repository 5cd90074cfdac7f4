/* flock, POSIX and open-file-description locks: who conflicts with whom inside one process. */
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>

static int second_fd;
static atomic_int got_it;

static void *waits(void *arg)
{
	(void)arg;
	REQUIRE(flock(second_fd, LOCK_EX) == 0);
	atomic_store(&got_it, 1);
	return NULL;
}

static struct flock region(short type, long start, long length)
{
	return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
}

int main(void)
{
	int a = open("lock", O_RDWR | O_CREAT, 0600), b = open("lock", O_RDWR);
	REQUIRE(a >= 0 && b >= 0);
	CHECK_OK("flock.shared", flock(a, LOCK_SH));
	CHECK_OK("flock.shared_twice", flock(b, LOCK_SH));
	CHECK_ERR("flock.upgrade_blocked", flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	CHECK_OK("flock.unlock", flock(a, LOCK_UN));
	CHECK_OK("flock.exclusive", flock(b, LOCK_EX | LOCK_NB));
	CHECK_ERR("flock.excluded", flock(a, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	int copy = dup(b);
	REQUIRE(close(b) == 0);
	CHECK_ERR("flock.held_by_dup", flock(a, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	REQUIRE(close(copy) == 0);
	CHECK_OK("flock.released_by_last_close", flock(a, LOCK_EX | LOCK_NB));
	pthread_t thread;
	second_fd = open("lock", O_RDWR);
	REQUIRE(pthread_create(&thread, NULL, waits, NULL) == 0);
	sleep_ms(10);
	CHECK_EQ("flock.waits", atomic_load(&got_it), 0);
	REQUIRE(flock(a, LOCK_UN) == 0 && pthread_join(thread, NULL) == 0);
	CHECK_EQ("flock.woken", atomic_load(&got_it), 1);
	CHECK_ERR("flock.operation", flock(a, LOCK_SH | LOCK_EX), EINVAL);
	CHECK_ERR("flock.badfd", flock(99, LOCK_SH), EBADF);

	struct flock lock = region(F_WRLCK, 0, 100);
	CHECK_OK("posix.lock", fcntl(a, F_SETLK, &lock));
	lock = region(F_WRLCK, 50, 10);
	CHECK("posix.own_invisible", fcntl(second_fd, F_GETLK, &lock) == 0 && lock.l_type == F_UNLCK);
	lock = region(F_RDLCK, 0, 0);
	CHECK_OK("posix.convert", fcntl(a, F_SETLK, &lock));
	lock = region(F_UNLCK, 0, 0);
	CHECK_OK("posix.unlock", fcntl(a, F_SETLKW, &lock));
	lock = region(77, 0, 0);
	CHECK_ERR("posix.type", fcntl(a, F_SETLK, &lock), EINVAL);
	int read_only = open("lock", O_RDONLY);
	lock = region(F_WRLCK, 0, 0);
	CHECK_ERR("posix.write_on_rdonly", fcntl(read_only, F_SETLK, &lock), EBADF);

	lock = region(F_WRLCK, 10, 10);
	CHECK_OK("ofd.lock", fcntl(a, F_OFD_SETLK, &lock));
	lock = region(F_RDLCK, 15, 1);
	CHECK_ERR("ofd.conflict", fcntl(second_fd, F_OFD_SETLK, &lock), EAGAIN);
	lock = region(F_RDLCK, 20, 5);
	CHECK_OK("ofd.beside", fcntl(second_fd, F_OFD_SETLK, &lock));
	lock = region(F_WRLCK, 0, 0);
	CHECK("ofd.get", fcntl(second_fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_WRLCK && lock.l_start == 10 && lock.l_len == 10);
	REQUIRE(close(a) == 0);
	lock = region(F_WRLCK, 0, 0);
	CHECK_OK("ofd.released_by_close", fcntl(second_fd, F_OFD_SETLK, &lock));
	return check_done();
}
