/* Unix datagram and seqpacket sockets and the abstract name space: boundaries, truncation, addresses, connected peers. */
#include "check.h"
#include <fcntl.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

static socklen_t abstract(struct sockaddr_un *a, const char *text)
{
	memset(a, 0, sizeof *a);
	a->sun_family = AF_UNIX;
	strcpy(a->sun_path + 1, text);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(text));
}

int main(void)
{
	int pair[2];
	char text[100], big[3000] = {0};
	REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
	REQUIRE(send(pair[0], "one", 3, 0) == 3 && send(pair[0], "", 0, 0) == 0 && send(pair[0], "three", 5, 0) == 5);
	CHECK_EQ("boundaries.first", recv(pair[1], text, 100, 0), 3);
	CHECK_EQ("boundaries.empty", recv(pair[1], text, 100, 0), 0);
	CHECK_EQ("boundaries.cut", recv(pair[1], text, 2, 0), 2);
	CHECK_ERR("boundaries.rest_lost", recv(pair[1], text, 100, MSG_DONTWAIT), EAGAIN);
	REQUIRE(send(pair[0], big, 3000, 0) == 3000);
	CHECK_EQ("trunc.flag_real_size", recv(pair[1], text, 10, MSG_TRUNC), 3000);
	REQUIRE(send(pair[0], "abcdef", 6, 0) == 6);
	struct iovec iov = {text, 4};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	CHECK("trunc.reported", recvmsg(pair[1], &message, 0) == 4 && (message.msg_flags & MSG_TRUNC));
	REQUIRE(send(pair[0], "12345", 5, 0) == 5 && send(pair[0], "67", 2, 0) == 2);
	int queued = 0;
	CHECK("fionread.first", ioctl(pair[1], FIONREAD, &queued) == 0 && queued == 5);
	REQUIRE(fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0);
	int sent = 0;
	while (send(pair[0], big, 1000, 0) == 1000)
		sent++;
	CHECK("full", errno == EAGAIN && sent > 3);
	int received = 0;
	while (recv(pair[1], big, 3000, MSG_DONTWAIT) > 0)
		received++;
	CHECK_EQ("full.all_received", received, sent + 2);

	struct sockaddr_un a, b, from;
	socklen_t a_size = abstract(&a, "quark-guest-a"), b_size = abstract(&b, "quark-guest-b"), size = sizeof from;
	int sa = socket(AF_UNIX, SOCK_DGRAM, 0), sb = socket(AF_UNIX, SOCK_DGRAM, 0), sc = socket(AF_UNIX, SOCK_DGRAM, 0);
	CHECK_ERR("sendto.nobody", sendto(sa, "x", 1, 0, (struct sockaddr *)&b, b_size), ECONNREFUSED);
	CHECK_OK("abstract.bind", bind(sa, (struct sockaddr *)&a, a_size));
	REQUIRE(bind(sb, (struct sockaddr *)&b, b_size) == 0);
	CHECK_ERR("abstract.taken", bind(sc, (struct sockaddr *)&b, b_size), EADDRINUSE);
	CHECK_EQ("sendto", sendto(sa, "hello", 5, 0, (struct sockaddr *)&b, b_size), 5);
	CHECK_EQ("recvfrom", recvfrom(sb, text, 100, 0, (struct sockaddr *)&from, &size), 5);
	CHECK("recvfrom.address", size == a_size && memcmp(&from, &a, a_size) == 0);
	REQUIRE(sendto(sc, "anon", 4, 0, (struct sockaddr *)&b, b_size) == 4);
	size = sizeof from;
	CHECK("recvfrom.unnamed", recvfrom(sb, text, 100, 0, (struct sockaddr *)&from, &size) == 4 && size == 0);
	CHECK_OK("connect", connect(sb, (struct sockaddr *)&a, a_size));
	CHECK("connected.send", send(sb, "to a", 4, 0) == 4 && recv(sa, text, 100, 0) == 4);
	CHECK_ERR("connected.others_refused", sendto(sc, "x", 1, 0, (struct sockaddr *)&b, b_size), EPERM);
	CHECK_ERR("unconnected.send", send(sc, "x", 1, 0), ENOTCONN);
	REQUIRE(close(sa) == 0);
	CHECK_ERR("peer_closed", send(sb, "x", 1, 0), ECONNREFUSED);
	int again = socket(AF_UNIX, SOCK_DGRAM, 0);
	CHECK_OK("abstract.free_after_close", bind(again, (struct sockaddr *)&a, a_size));
	int automatic = socket(AF_UNIX, SOCK_DGRAM, 0);
	size = sizeof from;
	CHECK_OK("autobind", bind(automatic, (struct sockaddr *)&(struct sockaddr_un){.sun_family = AF_UNIX}, sizeof(sa_family_t)));
	CHECK("autobind.name", getsockname(automatic, (struct sockaddr *)&from, &size) == 0 && size == 8 && from.sun_path[0] == 0);

	REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	REQUIRE(send(pair[0], "packet", 6, 0) == 6 && send(pair[0], "2", 1, 0) == 1);
	iov.iov_len = 3;
	CHECK("seqpacket.boundary", recvmsg(pair[1], &message, 0) == 3 && (message.msg_flags & MSG_TRUNC) && recv(pair[1], text, 9, 0) == 1);
	REQUIRE(close(pair[0]) == 0);
	CHECK_EQ("seqpacket.eof", recv(pair[1], text, 9, 0), 0);

	struct mmsghdr messages[3];
	struct iovec parts[3] = {{"m1", 2}, {"m22", 3}, {"m333", 4}};
	memset(messages, 0, sizeof messages);
	for (int i = 0; i < 3; i++)
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
	REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
	CHECK_EQ("sendmmsg", sendmmsg(pair[0], messages, 3, 0), 3);
	char into[3][10];
	for (int i = 0; i < 3; i++)
		parts[i] = (struct iovec){into[i], 10};
	CHECK_EQ("recvmmsg", recvmmsg(pair[1], messages, 3, MSG_DONTWAIT, NULL), 3);
	CHECK("recvmmsg.sizes", messages[0].msg_len == 2 && messages[1].msg_len == 3 && messages[2].msg_len == 4 && memcmp(into[2], "m333", 4) == 0);
	CHECK_ERR("error.domain", socket(99, SOCK_STREAM, 0), EAFNOSUPPORT);
	CHECK_ERR("error.type", socket(AF_UNIX, 77, 0), EINVAL);
	CHECK_ERR("error.protocol", socket(AF_UNIX, SOCK_STREAM, 99), EPROTONOSUPPORT);
	CHECK_ERR("error.not_socket", send(1, "x", 1, 0), ENOTSOCK);
	CHECK_ERR("error.short_address", bind(sc, (struct sockaddr *)&a, 1), EINVAL);
	CHECK_ERR("error.listen_dgram", listen(sc, 1), EOPNOTSUPP);
	return check_done();
}
