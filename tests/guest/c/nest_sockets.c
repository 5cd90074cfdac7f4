/* Sockets inside the queues of sockets, thousands deep, and then the last close. */
#include "check.h"
#include <sys/socket.h>

static ssize_t send_fd(int s, int fd)
{
	char b = 0, control[CMSG_SPACE(sizeof fd)] = {0};
	struct iovec io = {&b, 1};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	return sendmsg(s, &m, 0);
}

int main(int argc, char **argv)
{
	int depth = argc > 1 ? atoi(argv[1]) : 5000, in[2], out[2], pipe_ends[2], n = 0;
	char b;
	REQUIRE(pipe(pipe_ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, in) == 0);
	REQUIRE(send_fd(in[0], pipe_ends[1]) == 1); /* at the innermost place: seen to go with the rest */
	close(pipe_ends[1]);
	for (; n < depth; n++) {
		REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, out) == 0);
		if (send_fd(out[0], in[0]) < 0 || send_fd(out[0], in[1]) < 0)
			break;
		close(in[0]);
		close(in[1]);
		in[0] = out[0];
		in[1] = out[1];
	}
	CHECK_EQ("depth", n, depth);
	close(in[0]);
	close(in[1]);
	CHECK_EQ("end of file: all is gone", read(pipe_ends[0], &b, 1), 0);
	return check_done();
}
