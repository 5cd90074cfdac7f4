/* Makes, writes, renames, maps, copies, truncates and removes files in rounds; the tree's hash is printed after each. */
#include "../c/check.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>

static uint64_t state = 42;
static unsigned next(unsigned below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(state >> 33) % below;
}

static char block[20000];

static void name_of(char *name, unsigned which)
{
	snprintf(name, 32, "d%u/f%u", which % 5, which);
}

static uint64_t hash_file(const char *name)
{
	int fd = open(name, O_RDONLY);
	uint64_t hash = 14695981039346656037u;
	if (fd < 0)
		return 0;
	for (ssize_t n; (n = read(fd, block, sizeof block)) > 0;)
		for (ssize_t i = 0; i < n; i++)
			hash = (hash ^ (unsigned char)block[i]) * 1099511628211u;
	close(fd);
	return hash;
}

static void act(void)
{
	char name[32], other[32];
	unsigned which = next(40), n = 1 + next(sizeof block - 1);
	name_of(name, which);
	name_of(other, next(40));
	int fd;
	switch (next(8)) {
	case 0:
	case 1:
		for (unsigned i = 0; i < n; i++)
			block[i] = (char)(i * 17 + which + n);
		fd = open(name, O_WRONLY | O_CREAT | (next(2) ? O_APPEND : O_TRUNC), 0600);
		REQUIRE(fd >= 0 && write(fd, block, n) == (ssize_t)n && close(fd) == 0);
		break;
	case 2:
		REQUIRE(rename(name, other) == 0 || errno == ENOENT);
		break;
	case 3:
		REQUIRE(unlink(name) == 0 || errno == ENOENT);
		break;
	case 4:
		REQUIRE(truncate(name, n) == 0 || errno == ENOENT);
		break;
	case 5:
		if ((fd = open(name, O_RDWR)) < 0)
			break;
		struct stat st;
		REQUIRE(fstat(fd, &st) == 0);
		if (st.st_size > 0) {
			char *map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
			REQUIRE(map != MAP_FAILED);
			for (long i = 0; i < st.st_size; i += 1 + next(3000))
				map[i] ^= 0x55;
			REQUIRE(munmap(map, (size_t)st.st_size) == 0);
		}
		close(fd);
		break;
	case 6:
		REQUIRE(link(name, other) == 0 || errno == ENOENT || errno == EEXIST);
		break;
	default:
		if ((fd = open(name, O_RDWR)) >= 0) {
			REQUIRE(unlink(name) == 0 && pwrite(fd, "deleted", 7, n) == 7 && close(fd) == 0);
		}
	}
}

int main(void)
{
	char name[32];
	for (unsigned i = 0; i < 5; i++) {
		snprintf(name, sizeof name, "d%u", i);
		REQUIRE(mkdir(name, 0755) == 0);
	}
	for (int round = 0; round < 25; round++) {
		for (int i = 0; i < 900; i++)
			act();
		uint64_t hash = 0;
		int files = 0;
		for (unsigned i = 0; i < 40; i++) {
			name_of(name, i);
			hash = hash * 31 + hash_file(name);
		}
		for (unsigned i = 0; i < 5; i++) {
			snprintf(name, sizeof name, "d%u", i);
			DIR *dir = opendir(name);
			for (struct dirent *e; (e = readdir(dir));)
				files += e->d_name[0] != '.';
			closedir(dir);
		}
		show("round %d files %d hash %016lx", round, files, hash);
	}
	return check_done();
}
