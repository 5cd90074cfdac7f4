/* Receives the messages of message.h. What they say is checked where it is used; here, that they are such messages. */
#include "program.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

void receive(int sock, void *message, size_t size, struct descriptors *fds)
{
	uint32_t version;
	int64_t n = qc_receive(sock, message, size, fds->fd, QM_FDS_MAX);
	if (n < 0)
		fail(FAIL_REQUEST, "the request for this sandbox cannot be received: %s", strerror((int)-n));
	memcpy(&version, message, sizeof(version));
	if (n != (int64_t)size || version != QM_VERSION)
		fail(FAIL_REQUEST, "the request for this sandbox is another version's (%lld bytes); reinstall quark", (long long)n);
	for (fds->count = 0; fds->count < QM_FDS_MAX && fds->fd[fds->count] >= 0; fds->count++) {}
}

int descriptor_or_none(const struct descriptors *fds, int32_t index, const char *what)
{
	if (index < -1 || index >= fds->count)
		fail(FAIL_REQUEST, "the request for this sandbox names descriptor %d of %d for %s", index, fds->count, what);
	return index < 0 ? -1 : fds->fd[index];
}

int descriptor(const struct descriptors *fds, int32_t index, const char *what)
{
	int fd = descriptor_or_none(fds, index, what);
	if (fd < 0)
		fail(FAIL_REQUEST, "the request for this sandbox lacks the descriptor of %s", what);
	return fd;
}
