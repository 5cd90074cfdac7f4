/* Messages on SOCK_SEQPACKET sockets, with descriptors (SCM_RIGHTS): to the pager, and to the program QVisor. In C because importing Python's socket module is a third of
 * a clone's start. Source: unix(7), cmsg(3). */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "qvisor_api.h"

#define FDS_MAX 64 /* of a message */

int qc_connect(int directory)
{
	/* Through the directory's descriptor: its path may be longer than sun_path. */
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/pager.sock", directory);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		int r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

int qc_pair(int *fds)
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) ? -errno : 0;
}

int qc_send(int sock, const void *message, size_t n, const int *fds, int nfds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * FDS_MAX)];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)message, .iov_len = n};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	if (nfds < 0 || nfds > FDS_MAX)
		return -EINVAL;
	if (nfds) {
		size_t size = sizeof(int) * (size_t)nfds;
		m.msg_control = control.space;
		m.msg_controllen = CMSG_SPACE(size);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		*c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(size)};
		memcpy(CMSG_DATA(c), fds, size);
	}
	ssize_t r;
	do
		r = sendmsg(sock, &m, MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

int64_t qc_receive(int sock, void *buf, size_t max, int *fds, int fds_max)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * FDS_MAX)];
	} control;
	struct iovec iov = {.iov_base = buf, .iov_len = max};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control.space)};
	ssize_t r;
	for (int i = 0; i < fds_max; i++)
		fds[i] = -1;
	do
		r = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	int taken = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		int n = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (int i = 0; c->cmsg_type == SCM_RIGHTS && i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + (size_t)i * sizeof(int), sizeof(int));
			if (taken < fds_max)
				fds[taken++] = fd;
			else
				close(fd);
		}
	}
	return m.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EMSGSIZE : r;
}
