/* Data through a ring of pipes and sockets, each stage a thread with its own way to wait: read, poll, epoll, select. */
#include "../c/check.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>

#define STAGES 5
#define TOTAL (48 << 20)
static int in[STAGES], out[STAGES];

static void wait_readable(int stage, int fd, int epoll)
{
	if (stage == 1) {
		struct pollfd p = {fd, POLLIN, 0};
		REQUIRE(poll(&p, 1, -1) == 1);
	} else if (stage == 2) {
		struct epoll_event event;
		REQUIRE(epoll_wait(epoll, &event, 1, -1) == 1);
	} else if (stage == 3) {
		fd_set set;
		FD_ZERO(&set);
		FD_SET(fd, &set);
		REQUIRE(select(fd + 1, &set, NULL, NULL, NULL) == 1);
	}
}

static void *stage(void *arg)
{
	long me = (long)arg, size = 1000 + me * 1777;
	char *buffer = malloc((size_t)size);
	int epoll = epoll_create1(0);
	REQUIRE(epoll_ctl(epoll, EPOLL_CTL_ADD, in[me], &(struct epoll_event){.events = EPOLLIN}) == 0);
	for (;;) {
		wait_readable((int)me, in[me], epoll);
		ssize_t n = read(in[me], buffer, (size_t)size);
		REQUIRE(n >= 0);
		if (n == 0)
			break;
		for (ssize_t i = 0; i < n; i++)
			buffer[i] = (char)(buffer[i] * 5 + (int)me);
		for (ssize_t done = 0, wrote; done < n; done += wrote)
			REQUIRE((wrote = write(out[me], buffer + done, (size_t)(n - done))) > 0);
	}
	close(out[me]);
	close(epoll);
	free(buffer);
	return NULL;
}

static int first;
static void *feeds(void *arg)
{
	static char block[3000];
	uint64_t x = 1;
	for (long sent = 0; sent < TOTAL;) {
		long n = TOTAL - sent < (long)sizeof block ? TOTAL - sent : (long)sizeof block;
		for (long i = 0; i < n; i++) {
			x = x * 6364136223846793005u + 1442695040888963407u;
			block[i] = (char)(x >> 56);
		}
		for (long done = 0, wrote; done < n; done += wrote)
			REQUIRE((wrote = write(first, block + done, (size_t)(n - done))) > 0);
		sent += n;
	}
	close(first);
	return arg;
}

int main(void)
{
	pthread_t threads[STAGES], feeder;
	int ends[2], last = -1;
	for (int i = 0; i <= STAGES; i++) {
		if (i % 2)
			REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
		else
			REQUIRE(pipe(ends) == 0);
		if (i == 0)
			first = ends[1];
		else
			out[i - 1] = ends[1];
		if (i < STAGES)
			in[i] = ends[0];
		else
			last = ends[0];
	}
	for (long i = 0; i < STAGES; i++)
		REQUIRE(pthread_create(&threads[i], NULL, stage, (void *)i) == 0);
	REQUIRE(pthread_create(&feeder, NULL, feeds, NULL) == 0);
	static char buffer[10000];
	uint64_t hash = 14695981039346656037u;
	long total = 0, mark = 0;
	for (ssize_t n; (n = read(last, buffer, sizeof buffer)) > 0;)
		for (ssize_t i = 0; i < n; i++) {
			hash = (hash ^ (unsigned char)buffer[i]) * 1099511628211u;
			if (++total - mark == 8 << 20) {
				mark = total;
				show("%ld MB hash %016lx", total >> 20, hash);
			}
		}
	for (int i = 0; i < STAGES; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);
	REQUIRE(pthread_join(feeder, NULL) == 0);
	CHECK_EQ("all_through", total, TOTAL);
	return check_done();
}
