/* SCM_RIGHTS and SCM_CREDENTIALS: descriptors travel over unix sockets, in flight and after both ends are closed. */
#include "check.h"
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

static union {
	char space[CMSG_SPACE(sizeof(int) * 16)];
	struct cmsghdr aligned;
} control;

static ssize_t send_fds(int socket, const int *fds, int n)
{
	struct iovec iov = {"data", 4};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)n)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)n);
	memcpy(CMSG_DATA(c), fds, sizeof(int) * (size_t)n);
	return sendmsg(socket, &m, 0);
}

/* Receives up to `room` descriptors; returns how many came, -1 on error; message flags in *flags. */
static int receive_fds(int socket, int *fds, int room, int flags, int *message_flags)
{
	char text[16];
	struct iovec iov = {text, sizeof text};
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = room ? CMSG_SPACE(sizeof(int) * (size_t)room) : 0};
	if (recvmsg(socket, &m, flags) < 0)
		return -1;
	*message_flags = m.msg_flags;
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return 0;
	int n = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	memcpy(fds, CMSG_DATA(c), sizeof(int) * (size_t)n);
	return n;
}

int main(void)
{
	int pair[2], ends[2], got[16], flags;
	char text[16];
	REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pipe(ends) == 0);
	int file = open("passed", O_RDWR | O_CREAT, 0600);
	REQUIRE(write(file, "contents", 8) == 8 && lseek(file, 2, SEEK_SET) == 2);

	CHECK_EQ("send", send_fds(pair[0], (int[]){file, ends[1]}, 2), 4);
	CHECK_EQ("receive", receive_fds(pair[1], got, 2, 0, &flags), 2);
	CHECK("receive.new_numbers", got[0] != file && got[1] != ends[1] && got[0] > 2);
	struct stat a, b;
	CHECK("same_file", fstat(file, &a) == 0 && fstat(got[0], &b) == 0 && a.st_ino == b.st_ino);
	CHECK("offset_shared", read(got[0], text, 2) == 2 && memcmp(text, "nt", 2) == 0 && lseek(file, 0, SEEK_CUR) == 4);
	CHECK("pipe_works", write(got[1], "via", 3) == 3 && read(ends[0], text, 16) == 3);
	CHECK("not_cloexec", fcntl(got[0], F_GETFD) == 0);

	REQUIRE(send_fds(pair[0], &file, 1) == 4 && close(file) == 0 && unlink("passed") == 0);
	CHECK("in_flight.kept_alive", receive_fds(pair[1], &file, 1, MSG_CMSG_CLOEXEC, &flags) == 1 && pread(file, text, 8, 0) == 8);
	CHECK_EQ("cmsg_cloexec", fcntl(file, F_GETFD), FD_CLOEXEC);

	REQUIRE(close(got[1]) == 0 && send_fds(pair[0], &ends[1], 1) == 4 && close(ends[1]) == 0);
	REQUIRE(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
	CHECK_ERR("in_flight.pipe_open", read(ends[0], text, 1), EAGAIN);
	REQUIRE(read(pair[1], text, 16) == 4); /* a plain read drops the descriptor */
	CHECK_EQ("read_drops", read(ends[0], text, 1), 0);

	REQUIRE(send_fds(pair[0], (int[]){file, file, file}, 3) == 4);
	int one = receive_fds(pair[1], got, 1, 0, &flags);
	CHECK("little_room", one >= 1 && one <= 2 && (flags & MSG_CTRUNC));
	for (int i = 0; i < one; i++)
		close(got[i]);
	CHECK_ERR("bad_descriptor", send_fds(pair[0], (int[]){99}, 1), EBADF);

	/* a socket sent through itself, then both closed: a cycle the kernel must be able to free */
	REQUIRE(send_fds(pair[0], (int[]){pair[0], pair[1]}, 2) == 4);
	CHECK("cycle.closed", close(pair[0]) == 0 && close(pair[1]) == 0);

	REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
	int on = 1;
	CHECK_OK("passcred", setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
	REQUIRE(send(pair[0], "who", 3, 0) == 3);
	struct iovec iov = {text, sizeof text};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control};
	CHECK_EQ("credentials.receive", recvmsg(pair[1], &m, 0), 3);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	CHECK("credentials.type", c && c->cmsg_type == SCM_CREDENTIALS);
	struct ucred who;
	memcpy(&who, CMSG_DATA(c), sizeof who);
	CHECK("credentials.mine", who.pid == getpid() && who.uid == getuid() && who.gid == getgid());

	/* a file sent, received and sent on twelve times */
	int hop = file;
	for (int i = 0; i < 12; i++) {
		REQUIRE(send_fds(pair[0], &hop, 1) == 4);
		if (hop != file)
			close(hop);
		int came[2];
		on = 0;
		REQUIRE(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
		REQUIRE(receive_fds(pair[1], came, 1, 0, &flags) == 1);
		hop = came[0];
	}
	CHECK("hops", pread(hop, text, 8, 0) == 8 && memcmp(text, "contents", 8) == 0);
	return check_done();
}
