/* The clone's side of the pager's socket: NUL-separated fields (snapshotd/wire.py). */
#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ANSWER_MAX 256

/* Two fields. */
static int pager_send(int sock, const char *name, uint64_t value, int fd)
{
	char message[64];
	int n = snprintf(message, sizeof(message), "%s%c%llu", name, 0, (unsigned long long)value);
	return qc_send(sock, message, (size_t)n, &fd, fd >= 0);
}

void pager_send_uffd(int sock, int uffd, const void *base)
{
	if (pager_send(sock, "uffd", (uintptr_t)base, uffd) < 0)
		fail(FAIL_PAGER, "the pager ended while a clone was being restored; run it again");
}

void pager_await_prefetch(int sock)
{
	char answer[ANSWER_MAX];
	if (qc_receive(sock, answer, sizeof(answer), NULL, 0) <= 0)
		fail(FAIL_PAGER, QM_LOST);
}

void pager_send_working_set(int sock, int memfd, const struct qv_page_run *runs, size_t n)
{
	size_t size = n * sizeof(*runs);
	/* Only an offer: without it the next clone records one. */
	if (memfd >= 0 && write(memfd, runs, size) == (ssize_t)size)
		pager_send(sock, "working-set", size, memfd);
}

void pager_stats(int sock, uint64_t *faults, uint64_t *pages)
{
	char answer[ANSWER_MAX];
	*faults = *pages = 0;
	if (qc_send(sock, "stats", 5, NULL, 0) < 0)
		return;
	int64_t n = qc_receive(sock, answer, sizeof(answer) - 1, NULL, 0);
	if (n <= 0)
		return;
	answer[n] = 0;
	*faults = strtoull(answer, NULL, 10);
	size_t first = strlen(answer);
	if ((int64_t)first < n)
		*pages = strtoull(answer + first + 1, NULL, 10);
}
