/* Unix stream sockets: socketpair and named ones, backlog, shutdown, partial transfers, credentials, options, errors. */
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static char block[400000];

static struct sockaddr_un name(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	strncpy(a.sun_path, path, sizeof a.sun_path - 1);
	return a;
}

static int connect_to(const char *path, int type)
{
	struct sockaddr_un a = name(path);
	int fd = socket(AF_UNIX, type, 0);
	if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
		return fd;
	int saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static void *echoes(void *arg)
{ /* accepts three clients in turn, echoes each until it ends */
	int listener = *(int *)arg;
	long total = 0;
	for (int i = 0; i < 3; i++) {
		char buffer[5000];
		int client = accept(listener, NULL, NULL);
		for (ssize_t n; (n = read(client, buffer, sizeof buffer)) > 0; total += n)
			for (ssize_t done = 0; done < n;)
				done += write(client, buffer + done, (size_t)(n - done));
		close(client);
	}
	return (void *)total;
}

static void *sends_all(void *arg)
{
	long total = 0;
	for (ssize_t n; total < (long)sizeof block && (n = write(*(int *)arg, block + total, sizeof block - (size_t)total)) > 0;)
		total += n;
	shutdown(*(int *)arg, SHUT_WR);
	return (void *)total;
}

static int option(int fd, int which)
{
	int value = -1;
	socklen_t size = sizeof value;
	REQUIRE(getsockopt(fd, SOL_SOCKET, which, &value, &size) == 0);
	return value;
}

int main(void)
{
	int pair[2];
	char text[64];
	pthread_t thread;
	void *result;
	REQUIRE(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	CHECK_OK("socketpair", socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	CHECK("both_ways",
	      write(pair[0], "ab", 2) == 2 && write(pair[1], "xyz", 3) == 3 && read(pair[1], text, 64) == 2 && read(pair[0], text, 64) == 3);
	CHECK("peek", send(pair[0], "peek", 4, 0) == 4 && recv(pair[1], text, 64, MSG_PEEK) == 4 && recv(pair[1], text, 2, 0) == 2);
	CHECK_EQ("rest", recv(pair[1], text, 64, MSG_DONTWAIT), 2);
	CHECK_ERR("dontwait", recv(pair[1], text, 64, MSG_DONTWAIT), EAGAIN);
	struct timeval timeout = {0, 15000};
	REQUIRE(setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) == 0);
	long start = now_ms();
	CHECK_ERR("rcvtimeo", recv(pair[1], text, 64, 0), EAGAIN);
	CHECK("rcvtimeo.waited", now_ms() - start >= 14);
	timeout.tv_usec = 0;
	REQUIRE(setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) == 0);
	CHECK("options", option(pair[0], SO_TYPE) == SOCK_STREAM && option(pair[0], SO_DOMAIN) == AF_UNIX && option(pair[0], SO_ERROR) == 0);
	CHECK("option.acceptconn", option(pair[0], SO_ACCEPTCONN) == 0);

	for (unsigned i = 0; i < sizeof block; i++)
		block[i] = (char)(i * 11 + (i >> 9));
	REQUIRE(pthread_create(&thread, NULL, sends_all, &pair[0]) == 0);
	long total = 0, wrong = 0;
	for (ssize_t n; (n = read(pair[1], text, sizeof text)) > 0; total += n)
		for (ssize_t i = 0; i < n; i++)
			wrong += text[i] != block[total + i];
	REQUIRE(pthread_join(thread, &result) == 0);
	CHECK("stream.all", (long)result == sizeof block && total == sizeof block && wrong == 0);
	CHECK_EQ("shutdown.eof", read(pair[1], text, 1), 0);
	CHECK_ERR("shutdown.write", write(pair[0], "x", 1), EPIPE);
	CHECK("shutdown.other_way", write(pair[1], "back", 4) == 4 && read(pair[0], text, 64) == 4);
	struct pollfd p = {pair[1], POLLIN | POLLRDHUP, 0};
	CHECK("shutdown.poll", poll(&p, 1, 0) == 1 && p.revents == (POLLIN | POLLRDHUP));
	REQUIRE(close(pair[0]) == 0);
	CHECK("closed.poll", poll(&p, 1, 0) == 1 && (p.revents & POLLHUP));
	CHECK_ERR("closed.send", send(pair[1], "x", 1, MSG_NOSIGNAL), EPIPE);
	REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && write(pair[0], "unread", 6) == 6 && close(pair[1]) == 0);
	CHECK_ERR("closed.unread_resets", read(pair[0], text, 1), ECONNRESET);

	struct sockaddr_un address = name("sock"), got;
	socklen_t size = sizeof got;
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK_ERR("connect.missing", connect_to("sock", SOCK_STREAM), ENOENT);
	CHECK_OK("bind", bind(listener, (struct sockaddr *)&address, sizeof address));
	struct stat st;
	CHECK("bind.node", stat("sock", &st) == 0 && S_ISSOCK(st.st_mode));
	CHECK_ERR("connect.not_listening", connect_to("sock", SOCK_STREAM), ECONNREFUSED);
	CHECK_ERR("accept.not_listening", accept(listener, NULL, NULL), EINVAL);
	CHECK_OK("listen", listen(listener, 2));
	int other = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK_ERR("bind.taken", bind(other, (struct sockaddr *)&address, sizeof address), EADDRINUSE);
	struct sockaddr_un second = name("sock2");
	CHECK_ERR("bind.twice", bind(listener, (struct sockaddr *)&second, sizeof second), EINVAL);
	CHECK("getsockname", getsockname(listener, (struct sockaddr *)&got, &size) == 0 && strcmp(got.sun_path, "sock") == 0);
	CHECK_ERR("connect.wrong_type", connect_to("sock", SOCK_DGRAM), EPROTOTYPE);
	int client = connect_to("sock", SOCK_STREAM);
	CHECK_OK("connect", client);
	CHECK_EQ("connect.write_before_accept", write(client, "early", 5), 5);
	size = sizeof got;
	int server = accept4(listener, (struct sockaddr *)&got, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
	CHECK("accept", server >= 0 && fcntl(server, F_GETFD) == FD_CLOEXEC && (fcntl(server, F_GETFL) & O_NONBLOCK));
	CHECK("accept.unnamed_peer", size == sizeof(sa_family_t) && got.sun_family == AF_UNIX);
	CHECK("accept.early_data", read(server, text, 64) == 5 && memcmp(text, "early", 5) == 0);
	size = sizeof got;
	CHECK("getpeername", getpeername(client, (struct sockaddr *)&got, &size) == 0 && strcmp(got.sun_path, "sock") == 0);
	struct ucred credentials;
	size = sizeof credentials;
	CHECK("peercred",
	      getsockopt(client, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0 && credentials.pid == getpid() && credentials.uid == getuid());
	CHECK_ERR("connect.again", connect(client, (struct sockaddr *)&address, sizeof address), EISCONN);
	CHECK_ERR("unconnected.write", write(other, "x", 1), ENOTCONN);
	CHECK_ERR("unconnected.read", read(other, text, 1), EINVAL);
	CHECK_ERR("unconnected.getpeername", getpeername(other, (struct sockaddr *)&got, &size), ENOTCONN);
	REQUIRE(fcntl(listener, F_SETFL, O_NONBLOCK) == 0);
	CHECK_ERR("accept.nonblock", accept(listener, NULL, NULL), EAGAIN);
	REQUIRE(fcntl(listener, F_SETFL, 0) == 0);

	REQUIRE(pthread_create(&thread, NULL, echoes, &listener) == 0);
	int right = 0;
	for (int i = 0; i < 3; i++) {
		int fd = connect_to("sock", SOCK_STREAM);
		for (int j = 0; j < 50; j++) {
			snprintf(text, sizeof text, "message %d of %d padded", j, i);
			char back[64] = "";
			ssize_t n = (ssize_t)strlen(text), at = 0;
			REQUIRE(write(fd, text, (size_t)n) == n);
			for (ssize_t m; at < n && (m = read(fd, back + at, sizeof back - (size_t)at)) > 0;)
				at += m;
			right += strcmp(text, back) == 0;
		}
		close(fd);
	}
	REQUIRE(pthread_join(thread, &result) == 0);
	CHECK_EQ("echo_server", right, 150);
	REQUIRE(unlink("sock") == 0);
	CHECK_ERR("connect.unlinked", connect_to("sock", SOCK_STREAM), ENOENT);
	return check_done();
}
