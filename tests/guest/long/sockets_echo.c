/* A unix-socket server with epoll and six clients, requests and replies of changing size; the clients' hashes are printed. */
#include "../c/check.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CLIENTS 6
#define REQUESTS 400
static const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "echo"};

static void *serves(void *arg)
{
	int listener = *(int *)arg, epoll = epoll_create1(0), open_clients = 0, served = 0;
	struct epoll_event events[4];
	REQUIRE(epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.fd = listener}) == 0);
	while (served < CLIENTS || open_clients > 0) {
		int n = epoll_wait(epoll, events, 4, -1);
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			if (fd == listener) {
				int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
				REQUIRE(client >= 0);
				REQUIRE(epoll_ctl(epoll, EPOLL_CTL_ADD, client, &(struct epoll_event){.events = EPOLLIN, .data.fd = client}) == 0);
				served++;
				open_clients++;
				continue;
			}
			char buffer[4096];
			ssize_t got = read(fd, buffer, sizeof buffer);
			if (got <= 0) {
				close(fd);
				open_clients--;
				continue;
			}
			for (ssize_t j = 0; j < got; j++)
				buffer[j] = (char)(buffer[j] ^ 0x5a);
			for (ssize_t done = 0, wrote; done < got; done += wrote)
				REQUIRE((wrote = write(fd, buffer + done, (size_t)(got - done))) > 0);
		}
	}
	close(epoll);
	return NULL;
}

static void *asks(void *arg)
{
	uint64_t x = (uint64_t)(long)arg + 1, hash = 0;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	REQUIRE(connect(fd, (const struct sockaddr *)&address, sizeof address) == 0);
	for (int request = 0; request < REQUESTS; request++) {
		char out[3000], in[3000];
		x = x * 6364136223846793005u + 1442695040888963407u;
		ssize_t n = (ssize_t)(1 + (x >> 33) % sizeof out), at = 0;
		for (ssize_t i = 0; i < n; i++)
			out[i] = (char)(i * 3 + request);
		REQUIRE(write(fd, out, (size_t)n) == n);
		while (at < n) {
			ssize_t got = read(fd, in + at, (size_t)(n - at));
			REQUIRE(got > 0);
			at += got;
		}
		for (ssize_t i = 0; i < n; i++) {
			REQUIRE(in[i] == (char)(out[i] ^ 0x5a));
			hash = hash * 31 + (unsigned char)in[i];
		}
	}
	close(fd);
	return (void *)hash;
}

int main(void)
{
	for (int round = 0; round < 12; round++) {
		pthread_t server, clients[CLIENTS];
		void *hash;
		int listener = socket(AF_UNIX, SOCK_STREAM, 0);
		REQUIRE(bind(listener, (const struct sockaddr *)&address, sizeof address) == 0 && listen(listener, CLIENTS) == 0);
		REQUIRE(pthread_create(&server, NULL, serves, &listener) == 0);
		for (long i = 0; i < CLIENTS; i++)
			REQUIRE(pthread_create(&clients[i], NULL, asks, (void *)i) == 0);
		for (int i = 0; i < CLIENTS; i++) {
			REQUIRE(pthread_join(clients[i], &hash) == 0);
			show("round %d client %d hash %016lx", round, i, (uint64_t)hash);
		}
		REQUIRE(pthread_join(server, NULL) == 0 && close(listener) == 0 && unlink("echo") == 0);
	}
	return check_done();
}
