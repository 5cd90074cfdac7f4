/* Blocking calls and signals: which restart under SA_RESTART, which give EINTR, what is left of the time. */
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>

static int pipe_fd[2], full_fd[2], pair[2];
static atomic_int handled;

static void on_signal(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

static void set(int flags)
{
	struct sigaction act = {.sa_handler = on_signal, .sa_flags = flags};
	REQUIRE(sigaction(SIGUSR1, &act, NULL) == 0);
}

/* Signals the main thread. With a descriptor given: once, then lets the blocked call finish by a write to finish_fd or a
 * read from drain_fd. Otherwise again and again until the call has returned, since the first may come too early. */
struct poke {
	pthread_t target;
	int finish_fd, drain_fd;
	atomic_int returned;
};

static void *poke_body(void *arg)
{
	struct poke *p = arg;
	int before = atomic_load(&handled);
	sleep_ms(5);
	pthread_kill(p->target, SIGUSR1);
	while (atomic_load(&handled) == before)
		sched_yield();
	sleep_ms(4);
	if (p->finish_fd < 0 && p->drain_fd < 0) {
		while (!atomic_load(&p->returned)) {
			pthread_kill(p->target, SIGUSR1);
			sleep_ms(4);
		}
	}
	char buffer[65536];
	if (p->finish_fd >= 0)
		REQUIRE(write(p->finish_fd, "x", 1) == 1);
	if (p->drain_fd >= 0)
		REQUIRE(read(p->drain_fd, buffer, sizeof buffer) > 0);
	return NULL;
}

static struct poke poke;
static pthread_t poker;

static void start_poke(int finish_fd, int drain_fd)
{
	poke.target = pthread_self();
	poke.finish_fd = finish_fd;
	poke.drain_fd = drain_fd;
	atomic_store(&poke.returned, 0);
	REQUIRE(pthread_create(&poker, NULL, poke_body, &poke) == 0);
}

static void end_poke(void)
{
	atomic_store(&poke.returned, 1);
	REQUIRE(pthread_join(poker, NULL) == 0);
}

#define INTERRUPTED(name, call) \
	do { \
		start_poke(-1, -1); \
		long result_ = (call); \
		int errno_ = errno; \
		end_poke(); \
		errno = errno_; \
		CHECK_ERR(name, result_, EINTR); \
	} while (0)

#define RESTARTED(name, finish, drain, call, want) \
	do { \
		start_poke(finish, drain); \
		long result_ = (call); \
		end_poke(); \
		CHECK_EQ(name, result_, want); \
	} while (0)

int main(void)
{
	char byte;
	struct timespec second = {5, 0}, left = {0, 0};
	REQUIRE(pipe(pipe_fd) == 0 && pipe(full_fd) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	REQUIRE(fcntl(full_fd[1], F_SETFL, O_NONBLOCK) == 0);
	static char block[4096];
	while (write(full_fd[1], block, sizeof block) > 0) {}
	REQUIRE(errno == EAGAIN && fcntl(full_fd[1], F_SETFL, 0) == 0);
	struct pollfd poll_in = {.fd = pipe_fd[0], .events = POLLIN};
	int epoll = epoll_create1(0);
	struct epoll_event event = {.events = EPOLLIN};
	REQUIRE(epoll_ctl(epoll, EPOLL_CTL_ADD, pipe_fd[0], &event) == 0);
	fd_set readable;
	FD_ZERO(&readable);
	FD_SET(pipe_fd[0], &readable);
	sigset_t none;
	sigemptyset(&none);

	set(0);
	INTERRUPTED("plain.read", read(pipe_fd[0], &byte, 1));
	INTERRUPTED("plain.write", write(full_fd[1], block, sizeof block));
	INTERRUPTED("plain.recv", recv(pair[0], &byte, 1, 0));
	set(SA_RESTART);
	RESTARTED("restart.read", pipe_fd[1], -1, read(pipe_fd[0], &byte, 1), 1);
	RESTARTED("restart.write", -1, full_fd[0], write(full_fd[1], block, 1), 1);
	RESTARTED("restart.recv", pair[1], -1, recv(pair[0], &byte, 1, 0), 1);

	/* never restarted, SA_RESTART or not */
	INTERRUPTED("never.poll", poll(&poll_in, 1, 5000));
	INTERRUPTED("never.ppoll", ppoll(&poll_in, 1, &second, &none));
	INTERRUPTED("never.select", select(pipe_fd[0] + 1, &readable, NULL, NULL, &(struct timeval){5, 0}));
	INTERRUPTED("never.epoll_wait", epoll_wait(epoll, &event, 1, 5000));
	INTERRUPTED("never.epoll_pwait", epoll_pwait(epoll, &event, 1, 5000, &none));
	INTERRUPTED("never.pause", pause());
	INTERRUPTED("never.nanosleep", nanosleep(&second, &left));
	CHECK("nanosleep.remaining", left.tv_sec < 5 && left.tv_sec * 1000000000 + left.tv_nsec > 0);
	INTERRUPTED("never.clock_nanosleep", (errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &second, NULL)) ? -1 : 0);
	long until = clock_ns(CLOCK_MONOTONIC) + 5000000000;
	struct timespec absolute = {until / 1000000000, until % 1000000000};
	INTERRUPTED("never.absolute", (errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &absolute, NULL)) ? -1 : 0);
	INTERRUPTED("never.sigtimedwait", sigtimedwait(&none, NULL, &second));
	struct timeval timeout = {5, 0};
	REQUIRE(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) == 0);
	INTERRUPTED("never.recv_with_timeout", recv(pair[0], &byte, 1, 0));

	/* an ignored signal interrupts nothing */
	REQUIRE(signal(SIGUSR2, SIG_IGN) != SIG_ERR);
	start_poke(pipe_fd[1], -1);
	pthread_kill(pthread_self(), SIGUSR2);
	CHECK_EQ("ignored.read", read(pipe_fd[0], &byte, 1), 1);
	end_poke();
	/* data already moved wins over the signal: a short count */
	set(0);
	static char large[200000];
	start_poke(-1, -1);
	long wrote = write(full_fd[1], large, sizeof large);
	end_poke();
	CHECK("partial_write", wrote > 0 && wrote < (long)sizeof large);
	return check_done();
}
