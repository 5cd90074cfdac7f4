/* Pipes: order, capacity, blocking both ways, end of file, EPIPE and SIGPIPE, non-blocking partial writes, F_SETPIPE_SZ. */
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>

static char block[1 << 20];
static volatile int sigpipes;
static int pipe_fd[2];
static atomic_int done;

static void on_sigpipe(int signal)
{
	sigpipes += signal == SIGPIPE;
}

static void *reads_slowly(void *arg)
{
	long total = 0;
	char buffer[7777];
	unsigned hash = 0;
	for (ssize_t n; (n = read(pipe_fd[0], buffer, sizeof buffer)) > 0; total += n)
		for (ssize_t i = 0; i < n; i++)
			hash = hash * 31 + (unsigned char)buffer[i];
	*(unsigned *)arg = hash;
	return (void *)total;
}

static void *reads_one(void *arg)
{
	char byte = 0;
	ssize_t n = read(pipe_fd[0], &byte, 1);
	atomic_store(&done, 1);
	(void)arg;
	return (void *)(n * 1000 + byte);
}

static void *closes_late(void *arg)
{
	sleep_ms(10);
	close(*(int *)arg);
	return NULL;
}

int main(void)
{
	pthread_t thread;
	void *result;
	char text[64];
	REQUIRE(pipe(pipe_fd) == 0);
	CHECK("descriptors", pipe_fd[0] == 3 && pipe_fd[1] == 4);
	CHECK("write_read", write(pipe_fd[1], "hello", 5) == 5 && read(pipe_fd[0], text, 64) == 5 && memcmp(text, "hello", 5) == 0);
	REQUIRE(write(pipe_fd[1], "ab", 2) == 2 && write(pipe_fd[1], "cd", 2) == 2);
	CHECK("stream.joins", read(pipe_fd[0], text, 3) == 3 && read(pipe_fd[0], text + 3, 60) == 1 && memcmp(text, "abcd", 4) == 0);
	CHECK_EQ("write.zero", write(pipe_fd[1], "", 0), 0);
	CHECK_ERR("wrong_end.read", read(pipe_fd[1], text, 1), EBADF);
	CHECK_ERR("wrong_end.write", write(pipe_fd[0], text, 1), EBADF);

	REQUIRE(pthread_create(&thread, NULL, reads_one, NULL) == 0);
	sleep_ms(5);
	CHECK_EQ("read.blocks", atomic_load(&done), 0);
	REQUIRE(write(pipe_fd[1], "Z", 1) == 1 && pthread_join(thread, &result) == 0);
	CHECK_EQ("read.woken", (long)result, 1000 + 'Z');

	unsigned hash = 0, got_hash = 0;
	for (unsigned i = 0; i < sizeof block; i++) {
		block[i] = (char)(i * 13 + (i >> 7));
		hash = hash * 31 + (unsigned char)block[i];
	}
	REQUIRE(pthread_create(&thread, NULL, reads_slowly, &got_hash) == 0);
	CHECK_EQ("large.write_blocks_until_all", write(pipe_fd[1], block, sizeof block), sizeof block);
	REQUIRE(close(pipe_fd[1]) == 0 && pthread_join(thread, &result) == 0);
	CHECK_EQ("large.read_all", (long)result, sizeof block);
	CHECK("large.same", hash == got_hash);
	CHECK_EQ("eof", read(pipe_fd[0], text, 1), 0);
	CHECK_EQ("eof.again", read(pipe_fd[0], text, 1), 0);

	REQUIRE(pipe(pipe_fd) == 0 || pipe_fd[1] >= 0);
	CHECK_EQ("capacity", fcntl(pipe_fd[1], F_GETPIPE_SZ), 65536);
	REQUIRE(fcntl(pipe_fd[1], F_SETFL, O_NONBLOCK) == 0 && fcntl(pipe_fd[0], F_SETFL, O_NONBLOCK) == 0);
	CHECK_ERR("nonblock.empty", read(pipe_fd[0], text, 1), EAGAIN);
	CHECK_EQ("nonblock.fill", write(pipe_fd[1], block, 100000), 65536);
	CHECK_ERR("nonblock.full", write(pipe_fd[1], block, 1), EAGAIN);
	struct pollfd p[2] = {{pipe_fd[0], POLLIN, 0}, {pipe_fd[1], POLLOUT, 0}};
	CHECK("poll.full", poll(p, 2, 0) == 1 && p[0].revents == POLLIN && p[1].revents == 0);
	REQUIRE(read(pipe_fd[0], block, 4095) == 4095);
	CHECK_ERR("nonblock.atomic_all_or_nothing", write(pipe_fd[1], block, 4096), EAGAIN);
	REQUIRE(read(pipe_fd[0], block, 1) == 1);
	CHECK_EQ("nonblock.page_free", write(pipe_fd[1], block, 4096), 4096);
	REQUIRE(read(pipe_fd[0], block, 8192) == 8192);
	CHECK_EQ("nonblock.partial", write(pipe_fd[1], block, 20000), 8192);
	long resized = fcntl(pipe_fd[1], F_SETPIPE_SZ, 200000);
	CHECK_EQ("setpipe_sz.rounds_up", resized, 262144);
	CHECK("setpipe_sz.content_kept", write(pipe_fd[1], block, 300000) == 262144 - 65536 && read(pipe_fd[0], block, 300000) == 262144);
	CHECK_EQ("setpipe_sz.smaller", fcntl(pipe_fd[1], F_SETPIPE_SZ, 4096), 4096);
	REQUIRE(write(pipe_fd[1], block, 4096) == 4096);
	CHECK_ERR("setpipe_sz.full", write(pipe_fd[1], block, 1), EAGAIN);
	REQUIRE(fcntl(pipe_fd[1], F_SETPIPE_SZ, 8192) == 8192 && write(pipe_fd[1], block, 4096) == 4096);
	CHECK_ERR("setpipe_sz.too_full_to_shrink", fcntl(pipe_fd[1], F_SETPIPE_SZ, 4096), EBUSY);

	REQUIRE(signal(SIGPIPE, on_sigpipe) != SIG_ERR && close(pipe_fd[0]) == 0);
	p[1].revents = 0;
	CHECK("poll.no_reader", poll(p + 1, 1, 0) == 1 && (p[1].revents & POLLERR));
	CHECK_ERR("no_reader", write(pipe_fd[1], "x", 1), EPIPE);
	CHECK_EQ("no_reader.sigpipe", sigpipes, 1);
	REQUIRE(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	CHECK_ERR("no_reader.ignored", write(pipe_fd[1], "x", 1), EPIPE);

	REQUIRE(signal(SIGPIPE, on_sigpipe) != SIG_ERR && close(pipe_fd[1]) == 0 && pipe(pipe_fd) == 0);
	REQUIRE(pthread_create(&thread, NULL, closes_late, &pipe_fd[0]) == 0);
	long wrote = write(pipe_fd[1], block, 200000); /* blocks, then the last reader goes */
	CHECK("reader_goes.partial_or_epipe", wrote == 65536 || (wrote == -1 && errno == EPIPE));
	REQUIRE(pthread_join(thread, NULL) == 0 && pipe(pipe_fd) == 0);
	REQUIRE(pthread_create(&thread, NULL, closes_late, &pipe_fd[1]) == 0);
	CHECK_EQ("writer_goes.eof", read(pipe_fd[0], text, 1), 0);
	p[0].fd = pipe_fd[0];
	CHECK("poll.hangup", poll(p, 1, 0) == 1 && p[0].revents == POLLHUP);
	REQUIRE(pthread_join(thread, NULL) == 0 && pipe2(pipe_fd, O_DIRECT) == 0);
	REQUIRE(write(pipe_fd[1], "packet1", 7) == 7 && write(pipe_fd[1], "two", 3) == 3);
	CHECK("packets", read(pipe_fd[0], text, 64) == 7 && read(pipe_fd[0], text, 2) == 2);
	return check_done();
}
