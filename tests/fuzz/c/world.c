/* The files of a fuzzed machine, and the comparison of the host before and after. */
#include "world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "quark_abi.h"

#define FDS_OPEN_MAX 16 /* of nftw(3) */
#define PATH_LIMIT 4096

const char *const world_names[NAMES_MAX] = {
	NULL,
	"a",
	"b",
	"new",
	"directory",
	"file",
	"..",
	".",
	"",
	"away",
	"up",
	"magic",
	"fds",
	"loop",
	"secret",
	"deep",
	"fifo",
	"state",
	"proc",
	"self",
	"root",
	"fd",
	"outside",
	"etc",
	"exec",
	"dangling",
	"with space\n\xff",
	"stored",
	"lost",
	"a name of two hundred and fifty-six bytes, one more than a component may "
	"have..................................................................."
	"............................................................................................................",
};

static char base[64];
static int root_fds[ROOTS];
static struct stat hidden;
static pid_t owner;

void violation(const char *format, ...)
{
	va_list list;
	va_start(list, format);
	fprintf(stderr, "HOST EFFECT: ");
	vfprintf(stderr, format, list);
	fprintf(stderr, "\n");
	va_end(list);
	abort();
}

static const char *path(const char *name)
{
	static char full[2][PATH_LIMIT];
	static unsigned turn;
	char *p = full[turn++ % 2];
	snprintf(p, PATH_LIMIT, "%s/%s", base, name);
	return p;
}

static void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "fuzz: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void make_directory(const char *name)
{
	must(mkdir(path(name), 0755) == 0, name);
}

static void make_file(const char *name, off_t size, const char *text)
{
	int fd = open(path(name), O_CREAT | O_WRONLY | O_EXCL | O_CLOEXEC, 0644);
	must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && (!size || ftruncate(fd, size) == 0), name);
	close(fd);
}

static void make_link(const char *target, const char *name)
{
	must(symlink(target, path(name)) == 0, name);
}

/* The ways out that a guest may find or make. */
static void make_ways(const char *directory)
{
	static const struct {
		const char *name, *target;
	} links[] = {{"up", "../outside"}, {"magic", "/proc/self/root"}, {"fds", "/proc/self/fd"}, {"loop", "loop"}, {"dangling", "nothing"}};
	char name[PATH_LIMIT];
	for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++) {
		snprintf(name, sizeof(name), "%s/%s", directory, links[i].name);
		make_link(links[i].target, name);
	}
	snprintf(name, sizeof(name), "%s/away", directory);
	make_link(path("outside"), name);
	snprintf(name, sizeof(name), "%s/directory", directory);
	make_directory(name);
	snprintf(name, sizeof(name), "%s/directory/file", directory);
	make_file(name, 0, "a file of the guest's");
	snprintf(name, sizeof(name), "%s/file", directory);
	make_file(name, 3 << 20, "another");
	snprintf(name, sizeof(name), "%s/fifo", directory);
	must(mkfifo(path(name), 0600) == 0, name);
}

static int remove_entry(const char *name, const struct stat *st, int type, struct FTW *where)
{
	(void)st;
	if (type == FTW_DP && where->level == 0)
		return 0;
	if (type == FTW_DNR) /* a guest may take its own rights away from itself */
		chmod(name, 0700);
	return remove(name) && errno != ENOENT ? -1 : 0;
}

static void unlock(const char *name)
{
	DIR *d;
	chmod(name, 0700);
	d = opendir(name);
	for (struct dirent *e; d && (e = readdir(d));) {
		char full[PATH_LIMIT];
		if (e->d_type != DT_DIR || !strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		snprintf(full, sizeof(full), "%s/%s", name, e->d_name);
		unlock(full);
	}
	if (d)
		closedir(d);
}

static void empty(const char *directory)
{
	unlock(directory);
	must(nftw(directory, remove_entry, FDS_OPEN_MAX, FTW_DEPTH | FTW_PHYS) == 0, "empty a directory");
}

static void remove_all(void)
{
	if (getpid() != owner)
		return;
	empty(base);
	rmdir(base);
}

static int open_root(const char *name)
{
	int fd = open(path(name), O_PATH | O_CLOEXEC);
	must(fd >= 0, name);
	return fd;
}

/* The hidden directory is of the state directory's kind: its files are none of the guest's. */
static void fill_volume(void)
{
	make_ways("volume");
	make_directory("volume/state");
	make_file("volume/state/secret", SECRET_SIZE, "hidden");
	must(stat(path("volume/state"), &hidden) == 0, "look at the hidden directory");
}

/* ---- What a clone has, as a snapshot's parts */
#define TABLE_FILES 3
#define TABLE_NAMES 256
struct table { /* as depends.c reads it */
	uint32_t count, reserved;
	struct qv_file file[TABLE_FILES];
	char names[TABLE_NAMES];
};

static int memory_file(const void *data, size_t n)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	must(fd >= 0 && write(fd, data, n) == (ssize_t)n, "make a file in memory");
	return fd;
}

void world_restore(struct qv *vm)
{
	static int table = -1, contents = -1;
	static const struct {
		const char *name;
		uint32_t flags;
	} files[TABLE_FILES] = {{"directory/file", 0}, {"lost", QV_FILE_LOST}, {"stored/file", QV_FILE_STORED | QV_FILE_KEPT}};
	if (table < 0) {
		struct table t = {.count = TABLE_FILES};
		struct stat st;
		size_t at = 0;
		must(stat(path("root/directory/file"), &st) == 0, "look at a file");
		for (int i = 0; i < TABLE_FILES; i++) {
			t.file[i] = (struct qv_file){.dev = st.st_dev,
						     .ino = st.st_ino,
						     .size = (uint64_t)st.st_size,
						     .mtime_ns = st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
						     .ctime_ns = st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec,
						     .guest_ino = 1000 + (uint64_t)i,
						     .mode = S_IFREG | 0644,
						     .flags = files[i].flags,
						     .name = (uint32_t)(offsetof(struct table, names) + at)};
			strcpy(t.names + at, files[i].name);
			at += strlen(files[i].name) + 1;
		}
		table = memory_file(&t, sizeof(t));
		contents = memory_file("the content of a file", 21);
	}
	must(qv_files_load(vm, table, 0, sizeof(struct table), contents) == 0, "load a table of files");
}

static char *fingerprint(void);
static char *before;

void world_make(void)
{
	const char *memory = getenv("FUZZ_WORLD"); /* whoever gave it removes what is left there after an abort */
	snprintf(base, sizeof(base), "%s/quark-fuzz.XXXXXX", memory ? memory : "/dev/shm");
	must(mkdtemp(base) != NULL, "make a directory");
	owner = getpid();
	atexit(remove_all);
	make_directory("outside");
	make_file("outside/secret", SECRET_SIZE, "nobody's");
	make_directory("outside/directory");
	make_file("outside/directory/secret", SECRET_SIZE, "nobody's");
	make_directory("root");
	make_ways("root");
	make_directory("read-only");
	make_ways("read-only");
	make_directory("volume");
	fill_volume();
	make_file("single", 0, "a volume of one file");
	root_fds[ROOT_READ_ONLY] = open_root("root");
	root_fds[ROOT_VOLUME] = open_root("volume");
	root_fds[ROOT_READ_ONLY_VOLUME] = open_root("read-only");
	root_fds[ROOT_FILE] = open_root("single");
	before = fingerprint();
}

void world_fill(struct qv_config *config)
{
	config->nroots = ROOTS;
	memcpy(config->roots, root_fds, sizeof(root_fds));
	config->root_flags[ROOT_READ_ONLY_VOLUME] = QK_MOUNT_RO;
	config->root_flags[ROOT_FILE] = QK_MOUNT_FILE;
	config->hidden_dev = hidden.st_dev;
	config->hidden_ino = hidden.st_ino;
}

void world_renew_volume(void)
{
	char volume[PATH_LIMIT];
	snprintf(volume, sizeof(volume), "%s", path("volume"));
	empty(volume);
	chmod(volume, 0755);
	fill_volume();
}

/* ---- What must stay as it is, as text */
static char *text;
static size_t used, room;

static void note(const char *format, ...)
{
	va_list list;
	if (room - used < 2 * PATH_LIMIT) {
		room += 64 * PATH_LIMIT;
		text = realloc(text, room);
		must(text != NULL, "remember the host's files");
	}
	va_start(list, format);
	used += (size_t)vsnprintf(text + used, room - used, format, list);
	va_end(list);
}

static void note_content(const char *name)
{
	char data[256];
	int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOATIME);
	ssize_t n = fd < 0 ? -1 : read(fd, data, sizeof(data) - 1);
	data[n < 0 ? 0 : n] = 0;
	note(" \"%s\"", data);
	if (fd >= 0)
		close(fd);
}

static int note_entry(const char *name, const struct stat *st, int type, struct FTW *where)
{
	(void)type;
	(void)where;
	note("%s %lu %o %u:%u links %lu size %ld mtime %ld.%09ld ctime %ld.%09ld", name, st->st_ino, st->st_mode, st->st_uid, st->st_gid,
	     (unsigned long)st->st_nlink, (long)st->st_size, st->st_mtim.tv_sec, st->st_mtim.tv_nsec, st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
	if (S_ISREG(st->st_mode))
		note_content(name);
	note("\n");
	return 0;
}

static char *fingerprint(void)
{
	static const char *const parts[] = {"outside", "root", "read-only"};
	text = NULL;
	used = room = 0;
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		must(nftw(path(parts[i]), note_entry, FDS_OPEN_MAX, FTW_PHYS) == 0, parts[i]);
	return text;
}

static int check_entry(const char *name, const struct stat *st, int type, struct FTW *where)
{
	(void)where;
	if (type == FTW_NS)
		return 0;
	if (S_ISBLK(st->st_mode) || S_ISCHR(st->st_mode))
		violation("a device node: %s", name);
	if (st->st_mode & (S_ISUID | S_ISGID))
		violation("set-id bits %o: %s", st->st_mode, name);
	return 0;
}

void world_check(void)
{
	struct stat st;
	char *now = fingerprint();
	if (strcmp(now, before) != 0)
		violation("files changed that are not the guest's\nbefore:\n%safter:\n%s", before, now);
	free(now);
	nftw(path("volume"), check_entry, FDS_OPEN_MAX, FTW_PHYS);
	if (lstat(path("volume/state"), &st) || st.st_ino != hidden.st_ino || lstat(path("volume/state/secret"), &st) || st.st_size != SECRET_SIZE)
		violation("the hidden directory was changed");
}

void world_check_descriptor(int fd, unsigned root)
{
	static const char *const roots[ROOTS] = {"root", "volume", "read-only", "single"};
	char link[32], target[PATH_LIMIT];
	const char *of = path(roots[root]);
	size_t len = strlen(of);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, target, sizeof(target) - 1);
	target[n < 0 ? 0 : n] = 0;
	bool inside = !strncmp(target, of, len) && (!target[len] || target[len] == '/' || target[len] == ' ');
	bool stored = root == ROOT_READ_ONLY && !strncmp(target, "/memfd:fuzz", strlen("/memfd:fuzz"));
	const char *state = path("volume/state/");
	if (!(inside || stored) || !strncmp(target, state, strlen(state)))
		violation("the guest has %s open, of the root %s", target, of);
}

int world_count(const char *directory)
{
	DIR *d = opendir(directory);
	int n = 0;
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

void world_list(const char *directory)
{
	DIR *d = opendir(directory);
	for (struct dirent *e; d && (e = readdir(d));) {
		char target[PATH_LIMIT];
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
		target[n < 0 ? 0 : n] = 0;
		fprintf(stderr, "%s/%s -> %s\n", directory, e->d_name, target);
	}
	if (d)
		closedir(d);
}
