/* Mutations that keep an input a list of shots, and fill their fields with what is at the edges (libFuzzer's custom mutator). */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "shot.h"
#include "world.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t na, const uint8_t *b, size_t nb, uint8_t *out, size_t max, unsigned seed);

#define COUNT(a) (sizeof(a) / sizeof(*(a)))
#define RAM_END (128ull << 20) /* the edge of what machines of the fuzzer have, requests.c */

static const uint64_t edges[] = {
	0,
	1,
	2,
	3,
	4,
	5,
	7,
	8,
	63,
	64,
	255,
	256,
	1023,
	1024,
	1025,
	4095,
	4096,
	65535,
	65536,
	65537,
	1ull << 20,
	QK_WINDOW_CHUNK,
	2 * QK_WINDOW_CHUNK,
	QK_WINDOW_CHUNKS - 1,
	QK_WINDOW_CHUNKS,
	QK_SLOT_SIZE - 1,
	QK_SLOT_SIZE,
	RAM_END - 4096,
	RAM_END,
	2 * RAM_END,
	QK_COMM_GPA,
	QK_WINDOW_GPA,
	QK_WINDOW_GPA + QK_WINDOW_CHUNK,
	INT32_MAX,
	1ull << 31,
	UINT32_MAX,
	1ull << 32,
	INT64_MAX - QK_WINDOW_CHUNK + 1,
	INT64_MAX,
	1ull << 63,
	UINT64_MAX - 4096,
	UINT64_MAX - 1,
	UINT64_MAX,
};

/* What an operation's arguments are, one letter each; what it says nothing of, and now and then all of them, are any numbers. */
static const char *const kinds[QC_OP_COUNT] = {
	[QC_LOG] = "n",        [QC_LOOKUP] = "r",     [QC_OPEN] = "rfm",      [QC_CLOSE] = "h",         [QC_PREAD] = "ho", [QC_PWRITE] = "ho",
	[QC_READDIR] = "ho",   [QC_FSTAT] = "h",      [QC_STATFS] = "r",      [QC_FTRUNCATE] = "ho",    [QC_FSYNC] = "hn", [QC_FALLOCATE] = "hnoo",
	[QC_FLOCK] = "hl",     [QC_MKDIR] = "rm",     [QC_UNLINK] = "rm",     [QC_RENAME] = "rn",       [QC_LINK] = "r",   [QC_SYMLINK] = "r",
	[QC_SETATTR] = "ra",   [QC_READ] = "s",       [QC_WRITE] = "s",       [QC_POLL] = "sp",         [QC_IOCTL] = "si", [QC_LIST] = "ro",
	[QC_FLAGS] = "s",      [QC_LSEEK] = "son",    [QC_REOPEN] = "hf",     [QC_LOCK] = "hloo",       [QC_MAP] = "hnwn", [QC_UNMAP] = "n",
	[QC_GETXATTR] = "rnn", [QC_SETXATTR] = "rnn", [QC_LISTXATTR] = "rnn", [QC_REMOVEXATTR] = "rnn", [QC_MKNOD] = "rt", [QC_TMPFILE] = "rm",
	[QC_NAME] = "rh",
};

static const struct {
	char kind;
	uint64_t value[12];
} values[] = {
	{'f',
	 {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_EXCL, O_WRONLY | O_CREAT | O_TRUNC, O_RDWR | O_APPEND, O_DIRECTORY,
	  O_PATH, O_TMPFILE | O_RDWR, O_NOFOLLOW | O_RDWR | O_TRUNC, O_RDWR | O_DIRECT | O_SYNC | O_NONBLOCK}},
	{'m', {0777, 07777, 0, 0600, 0644, AT_REMOVEDIR, 04755, 02755, 01777, 0700, 0666, 0}},
	{'t', {S_IFIFO | 0600, S_IFSOCK | 0600, S_IFCHR | 0600, S_IFBLK | 0600, S_IFREG | 04755, S_IFDIR, S_IFLNK | 0777, 0600, S_IFIFO | 07777}},
	{'a',
	 {QK_ATTR_MODE, QK_ATTR_OWNER, QK_ATTR_SIZE, QK_ATTR_MODE | QK_ATTR_HANDLE, QK_ATTR_ATIME | QK_ATTR_MTIME | QK_ATTR_HANDLE,
	  QK_ATTR_SIZE | QK_ATTR_HANDLE, QK_ATTR_ATIME, QK_ATTR_MODE | QK_ATTR_SIZE | QK_ATTR_OWNER, QK_ATTR_OWNER | QK_ATTR_HANDLE, UINT64_MAX}},
	{'p', {POLLIN, POLLOUT, POLLIN | POLLOUT, POLLPRI | POLLRDHUP, POLLHUP, POLLNVAL, UINT64_MAX, 0, POLLIN | 1u << 30, 1u << 31}},
	{'i', {TCGETS, TCSETS, TCSETSF, TCSBRK, TCFLSH, TIOCGWINSZ, TIOCSWINSZ, FIONREAD, TIOCSTI, FIONBIO, TCXONC, TCSBRKP}},
	{'l',
	 {F_RDLCK, F_WRLCK, F_UNLCK, QK_LOCK_FLOCK | F_WRLCK, QK_LOCK_TEST | F_WRLCK, QK_LOCK_TEST | F_UNLCK, QK_LOCK_FLOCK | F_RDLCK, LOCK_EX,
	  LOCK_SH, LOCK_UN, LOCK_EX | LOCK_NB, UINT64_MAX}},
	{'w', {0, QK_WINDOW_CHUNK, 2 * QK_WINDOW_CHUNK, 4096, UINT64_MAX - QK_WINDOW_CHUNK + 1, 1ull << 62, 0, QK_WINDOW_CHUNK}},
	{'o', {0, 1, 4095, 4096, 1 << 20, 3 << 20, QK_APPEND, INT64_MAX, 1ull << 63, 1ull << 40, 2, 8}},
};

static uint64_t any_value(uint64_t *r)
{
	uint64_t kind = next_random(r) % 16, n = next_random(r);
	if (kind < 6)
		return n % 8;
	if (kind < 9)
		return values[n % COUNT(values)].value[next_random(r) % 12];
	if (kind < 13)
		return edges[n % COUNT(edges)];
	return kind < 15 ? n % 64 : n;
}

static uint64_t value(unsigned op, size_t arg, uint64_t *r)
{
	const char *k = op < QC_OP_COUNT ? kinds[op] : NULL;
	if (!k || arg >= strlen(k) || next_random(r) % 8 == 0)
		return any_value(r);
	if (k[arg] == 'r')
		return next_random(r) & 1 ? ROOT_VOLUME : next_random(r) % ROOTS;
	if (k[arg] == 'h')
		return 3 + next_random(r) % 8;
	if (k[arg] == 's' || k[arg] == 'n')
		return next_random(r) % 3;
	for (size_t i = 0; i < COUNT(values); i++)
		if (values[i].kind == k[arg])
			return values[i].value[next_random(r) % 12];
	return any_value(r);
}

static struct qk_seg segment(uint64_t *r)
{
	uint64_t kind = next_random(r) % 4, n = next_random(r);
	if (kind < 2)
		return (struct qk_seg){.gpa = n % QK_SLOT_SIZE, .len = next_random(r) % 8192};
	return (struct qk_seg){.gpa = kind == 2 ? edges[n % COUNT(edges)] : n, .len = edges[next_random(r) % COUNT(edges)]};
}

static void name(uint64_t *r, uint8_t *out)
{
	size_t depth = next_random(r) % 4;
	memset(out, 0, DEPTH_MAX);
	for (size_t i = 0; i < depth; i++)
		out[i] = next_random(r) % 8 ? (uint8_t)(1 + next_random(r) % (NAMES_MAX - 1)) : WORLD_UP;
}

static void change_field(struct shot *s, uint64_t *r)
{
	switch (next_random(r) % 12) {
	case 0:
		s->op = (uint8_t)(next_random(r) % (QC_OP_COUNT + 2));
		break;
	case 1:
		s->way = next_random(r) % 4 ? WAY_EXIT : (uint8_t)(next_random(r) % WAYS);
		break;
	case 2:
		s->race = (uint8_t)next_random(r);
		break;
	case 3:
		s->length = (uint8_t)(next_random(r) % 8);
		break;
	case 4:
		name(r, s->name[0]);
		break;
	case 5:
		name(r, s->name[1]);
		break;
	case 6:
		s->nseg = (uint8_t)(next_random(r) % (SEGMENTS + 2));
		s->seg[next_random(r) % SEGMENTS] = segment(r);
		break;
	case 7:
		s->close = (uint8_t)(next_random(r) % 4);
		s->handle = (uint16_t)(next_random(r) % 16);
		break;
	case 8:
		s->timer = any_value(r);
		s->other = any_value(r);
		break;
	default: {
		size_t i = next_random(r) % COUNT(s->arg);
		s->arg[i] = value(s->op, i, r);
	}
	}
}

static struct shot fresh(uint64_t *r)
{
	struct shot s = {0};
	s.op = (uint8_t)(next_random(r) % (QC_OP_COUNT + 1));
	s.race = next_random(r) % 4 ? (uint8_t)next_random(r) : 0;
	s.way = next_random(r) % 8 ? WAY_EXIT : (uint8_t)(next_random(r) % WAYS);
	name(r, s.name[0]);
	name(r, s.name[1]);
	for (size_t i = 0; i < COUNT(s.arg); i++)
		s.arg[i] = value(s.op, i, r);
	s.nseg = (uint8_t)(next_random(r) % (SEGMENTS + 1));
	for (size_t i = 0; i < SEGMENTS; i++)
		s.seg[i] = segment(r);
	s.handle = (uint16_t)(next_random(r) % 16);
	s.close = next_random(r) % 8 == 0;
	s.other = any_value(r);
	return s;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	struct shot shots[SHOTS_MAX];
	uint64_t r = seed + 0x9e3779b97f4a7c15ull;
	size_t n = size / sizeof(*shots), limit = max / sizeof(*shots);
	limit = limit < SHOTS_MAX ? limit : SHOTS_MAX;
	n = n < limit ? n : limit;
	memcpy(shots, data, n * sizeof(*shots));
	for (uint64_t changes = 1 + next_random(&r) % 6; changes; changes--) {
		size_t at = n ? next_random(&r) % n : 0;
		uint64_t kind = next_random(&r) % 10;
		if (!n || (kind < 3 && n < limit)) {
			memmove(&shots[at + 1], &shots[at], (n - at) * sizeof(*shots));
			shots[at] = fresh(&r);
			n++;
		} else if (kind == 3 && n > 1) {
			memmove(&shots[at], &shots[at + 1], (n - at - 1) * sizeof(*shots));
			n--;
		} else if (kind == 4) {
			shots[at] = shots[next_random(&r) % n];
		} else if (kind == 5) {
			LLVMFuzzerMutate((uint8_t *)&shots[at], sizeof(*shots), sizeof(*shots));
		} else {
			change_field(&shots[at], &r);
		}
	}
	memcpy(data, shots, n * sizeof(*shots));
	return n * sizeof(*shots);
}

/* The first shots of one input, and the last of another. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t na, const uint8_t *b, size_t nb, uint8_t *out, size_t max, unsigned seed)
{
	const size_t one = sizeof(struct shot);
	uint64_t r = seed + 1;
	size_t first = na / one ? next_random(&r) % (na / one + 1) * one : 0, from = nb / one ? next_random(&r) % (nb / one) * one : 0;
	size_t last = nb / one * one - from;
	first = first < max / one * one ? first : max / one * one;
	last = last < max - first ? last : (max - first) / one * one;
	memcpy(out, a, first);
	memcpy(out + first, b + from, last);
	return first + last;
}
