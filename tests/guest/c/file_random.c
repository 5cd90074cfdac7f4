/* Random file operations against a model in memory: file_random SEED STEPS. Six files, three descriptors each, one content. */
#include "check.h"
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define FILES 6
#define MOST 60000
static struct file {
	unsigned char content[MOST];
	long size;
	int fd[3];
	long offset[3]; /* what the descriptor's offset must be */
} files[FILES];

static unsigned char scratch[MOST], from_disk[MOST];
static uint64_t state;
static long wrong;

static long next(long below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (long)(state >> 33) % below;
}

static void differ(const char *what)
{
	if (wrong++ < 5)
		show("%s FAIL", what);
}

static void grow(struct file *f, long size)
{
	if (size <= f->size)
		return;
	memset(f->content + f->size, 0, (size_t)(size - f->size));
	f->size = size;
}

static void put(struct file *f, long at, long n)
{
	grow(f, at + n);
	memcpy(f->content + at, scratch, (size_t)n);
}

static void open_all(struct file *f, const char *name)
{
	for (int i = 0; i < 3; i++) {
		f->fd[i] = open(name, O_RDWR | O_CREAT, 0600);
		REQUIRE(f->fd[i] >= 0);
		f->offset[i] = 0;
	}
}

static void step(long number)
{
	int which = (int)next(FILES), d = (int)next(3);
	struct file *f = &files[which];
	char name[16], other_name[16];
	snprintf(name, sizeof name, "f%d", which);
	long at = next(MOST - 9000), n = 1 + next(next(3) ? 300 : 9000), got;
	for (long i = 0; i < n; i++)
		scratch[i] = (unsigned char)(number * 7 + i * 13 + (i >> 8));
	switch (next(11)) {
	case 0: /* write at the descriptor's offset */
		if (f->offset[d] + n > MOST)
			break;
		if (write(f->fd[d], scratch, (size_t)n) != n)
			differ("write");
		put(f, f->offset[d], n);
		f->offset[d] += n;
		break;
	case 1:
		if (pwrite(f->fd[d], scratch, (size_t)n, at) != n)
			differ("pwrite");
		put(f, at, n);
		break;
	case 2:
		got = read(f->fd[d], from_disk, (size_t)n);
		if (f->offset[d] >= f->size)
			n = 0;
		else if (f->offset[d] + n > f->size)
			n = f->size - f->offset[d];
		if (got != n || memcmp(from_disk, f->content + f->offset[d], (size_t)n) != 0)
			differ("read");
		f->offset[d] += n;
		break;
	case 3:
		got = pread(f->fd[d], from_disk, (size_t)n, at);
		if (at >= f->size)
			n = 0;
		else if (at + n > f->size)
			n = f->size - at;
		if (got != n || memcmp(from_disk, f->content + at, (size_t)n) != 0)
			differ("pread");
		break;
	case 4:
		if (lseek(f->fd[d], at, SEEK_SET) != at)
			differ("lseek");
		f->offset[d] = at;
		break;
	case 5:
		if (ftruncate(f->fd[d], at) != 0)
			differ("ftruncate");
		if (at > f->size)
			grow(f, at);
		f->size = at;
		break;
	case 6: { /* store through a shared mapping */
		long page = at & ~4095L, length = f->size - page;
		if (length < 1)
			break;
		if (length > 8192)
			length = 8192;
		char *map = mmap(NULL, (size_t)length, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd[d], page);
		REQUIRE(map != MAP_FAILED);
		if (memcmp(map, f->content + page, (size_t)length) != 0)
			differ("map");
		long k = next(length);
		map[k] = (char)number;
		f->content[page + k] = (unsigned char)number;
		REQUIRE(munmap(map, (size_t)length) == 0);
		break;
	}
	case 7: { /* another file takes over this name; the descriptors stay with the old content, so the model swaps the files */
		int other = (int)next(FILES);
		if (other == which)
			break;
		snprintf(other_name, sizeof other_name, "f%d", other);
		if (renameat2(AT_FDCWD, name, AT_FDCWD, other_name, RENAME_EXCHANGE) != 0)
			differ("exchange");
		struct file keep = files[which];
		files[which] = files[other];
		files[other] = keep;
		break;
	}
	case 8: { /* unlink and make anew; the old file is checked through its descriptor first */
		struct stat st;
		if (unlink(name) != 0 || fstat(f->fd[0], &st) != 0 || st.st_nlink != 0 || st.st_size != f->size)
			differ("unlink");
		for (int i = 0; i < 3; i++)
			close(f->fd[i]);
		f->size = 0;
		open_all(f, name);
		break;
	}
	case 9:
		if (fallocate(f->fd[d], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, n) != 0)
			differ("punch");
		if (at < f->size)
			memset(f->content + at, 0, (size_t)(at + n > f->size ? f->size - at : n));
		break;
	default: { /* copy a piece from another file */
		struct file *g = &files[next(FILES)];
		if (g == f || at >= g->size)
			break;
		if (at + n > g->size)
			n = g->size - at;
		off_t in = at, out = at;
		for (long left = n; left > 0; left -= got) {
			got = copy_file_range(g->fd[d], &in, f->fd[d], &out, (size_t)left, 0);
			if (got <= 0) {
				differ("copy_file_range");
				return;
			}
		}
		memcpy(scratch, g->content + at, (size_t)n);
		put(f, at, n);
	}
	}
}

int main(int argc, char **argv)
{
	state = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	long steps = argc > 2 ? atol(argv[2]) : 3000;
	char name[16];
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof name, "f%d", i);
		open_all(&files[i], name);
	}
	for (long number = 1; number <= steps && !wrong; number++) {
		step(number);
		if (number % 500)
			continue;
		unsigned hash = 0;
		for (int i = 0; i < FILES; i++) {
			snprintf(name, sizeof name, "f%d", i);
			int fd = open(name, O_RDONLY);
			long got = pread(fd, from_disk, MOST, 0);
			if (got != files[i].size || memcmp(from_disk, files[i].content, (size_t)got) != 0)
				differ("content");
			close(fd);
			for (long j = 0; j < got; j++)
				hash = hash * 31 + from_disk[j];
		}
		show("step %ld content %08x", number, hash);
	}
	CHECK_EQ("model_agrees", wrong, 0);
	return check_done();
}
