/* What a program reads about itself in /proc: exe, cmdline, environ, maps, fd, status, stat, task, and the system files. */
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static char content[1 << 20];

static int slurp(const char *path)
{
	int fd = open(path, O_RDONLY), total = 0, got;
	if (fd < 0)
		return -1;
	while ((got = (int)read(fd, content + total, sizeof content - 1 - (size_t)total)) > 0)
		total += got;
	content[total] = 0;
	close(fd);
	return total;
}

/* The number after `key` at the start of a line, or -1. */
static long field(const char *path, const char *key)
{
	if (slurp(path) < 0)
		return -1;
	for (char *line = content; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		if (strncmp(line, key, strlen(key)) == 0)
			return strtol(line + strlen(key), NULL, 0);
	return -1;
}

/* The protection column of the area that holds `p`, or "none". */
static const char *area(const void *p)
{
	static char protection[8];
	REQUIRE(slurp("/proc/self/maps") > 0);
	for (char *line = content; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		unsigned long from, to;
		if (sscanf(line, "%lx-%lx %7s", &from, &to, protection) == 3 && from <= (unsigned long)p && (unsigned long)p < to)
			return protection;
	}
	return "none";
}

static int entries(const char *path)
{
	DIR *dir = opendir(path);
	int n = 0;
	if (!dir)
		return -1;
	for (struct dirent *e; (e = readdir(dir));)
		n += e->d_name[0] != '.';
	closedir(dir);
	return n;
}

static pthread_barrier_t barrier;
static void *waits(void *arg)
{
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return arg;
}

int main(int argc, char **argv)
{
	char path[4096], name[64];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
	path[n > 0 ? n : 0] = 0;
	struct stat by_link, by_name;
	CHECK("exe.is_program", n > 0 && stat(path, &by_link) == 0 && stat(argv[0], &by_name) == 0 && by_link.st_ino == by_name.st_ino);
	CHECK("exe.opens", slurp("/proc/self/exe") > 4 && memcmp(content, "\177ELF", 4) == 0);
	int size = slurp("/proc/self/cmdline"), at = 0, same = 1;
	for (int i = 0; i < argc; i++) {
		same &= at < size && strcmp(content + at, argv[i]) == 0;
		at += (int)strlen(content + at) + 1;
	}
	CHECK("cmdline", same && at == size);
	CHECK("environ", slurp("/proc/self/environ") > 0 && memmem(content, sizeof content, "TEST_PROC=yes", 14) != NULL);
	CHECK("comm", slurp("/proc/self/comm") == 10 && strcmp(content, "proc_self\n") == 0);
	n = readlink("/proc/self/cwd", path, sizeof path - 1);
	path[n > 0 ? n : 0] = 0;
	char here[4096];
	CHECK("cwd", getcwd(here, sizeof here) && strcmp(here, path) == 0);
	CHECK("root", readlink("/proc/self/root", path, sizeof path) == 1 && path[0] == '/');
	n = readlink("/proc/self", path, sizeof path - 1);
	path[n > 0 ? n : 0] = 0;
	CHECK("self_is_pid", atoi(path) == getpid());
	snprintf(path, sizeof path, "/proc/%d/comm", getpid());
	CHECK("by_pid", slurp(path) == 10);

	CHECK("maps.text", strcmp(area((void *)main), "r-xp") == 0);
	CHECK("maps.stack", strcmp(area(&n), "rw-p") == 0 && strstr(content, "[stack]") != NULL);
	CHECK("maps.heap", strcmp(area(sbrk(4096)), "rw-p") == 0 && strstr(content, "[heap]") != NULL);
	char *p = mmap(NULL, 12288, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK("maps.shared", strcmp(area(p), "r--s") == 0);
	REQUIRE(mprotect(p, 4096, PROT_NONE) == 0);
	CHECK("maps.none", strcmp(area(p), "---s") == 0 && strcmp(area(p + 4096), "r--s") == 0);
	REQUIRE(munmap(p, 12288) == 0);
	CHECK("maps.unmapped", strcmp(area(p), "none") == 0);

	int fd = open("named-file", O_RDWR | O_CREAT, 0600);
	snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
	n = readlink(name, path, sizeof path - 1);
	path[n > 0 ? n : 0] = 0;
	CHECK("fd.link", n > 11 && strcmp(path + n - 11, "/named-file") == 0);
	int before = entries("/proc/self/fd");
	int copy = dup(fd);
	CHECK("fd.count", entries("/proc/self/fd") == before + 1);
	int again = open(name, O_RDONLY);
	CHECK("fd.reopen_own_offset", again > 0 && lseek(fd, 5, SEEK_SET) == 5 && lseek(again, 0, SEEK_CUR) == 0);
	close(copy);
	CHECK_ERR("fd.closed", (snprintf(name, sizeof name, "/proc/self/fd/%d", copy), access(name, F_OK)), ENOENT);
	snprintf(name, sizeof name, "/proc/self/fdinfo/%d", fd);
	CHECK_EQ("fdinfo.pos", field(name, "pos:"), 5);
	int ends[2];
	REQUIRE(pipe(ends) == 0);
	snprintf(name, sizeof name, "/proc/self/fd/%d", ends[0]);
	CHECK("fd.pipe_name", readlink(name, path, sizeof path) > 6 && strncmp(path, "pipe:[", 6) == 0);

	CHECK_EQ("status.pid", field("/proc/self/status", "Pid:"), getpid());
	CHECK_EQ("status.tgid", field("/proc/self/status", "Tgid:"), getpid());
	CHECK_EQ("status.threads", field("/proc/self/status", "Threads:"), 1);
	CHECK_EQ("status.uid", field("/proc/self/status", "Uid:"), getuid());
	CHECK("status.vm", field("/proc/self/status", "VmSize:") > field("/proc/self/status", "VmRSS:") && field("/proc/self/status", "VmRSS:") > 0);
	pthread_t threads[3];
	REQUIRE(pthread_barrier_init(&barrier, NULL, 4) == 0);
	for (int i = 0; i < 3; i++)
		REQUIRE(pthread_create(&threads[i], NULL, waits, NULL) == 0);
	pthread_barrier_wait(&barrier);
	CHECK_EQ("status.threads_4", field("/proc/self/status", "Threads:"), 4);
	CHECK_EQ("task.entries", entries("/proc/self/task"), 4);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < 3; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);
	REQUIRE(slurp("/proc/self/stat") > 0);
	CHECK("stat.begins", atoi(content) == getpid() && strstr(content, "(proc_self) R ") != NULL);
	CHECK("statm", slurp("/proc/self/statm") > 0 && atoi(content) > 0);
	CHECK("auxv", slurp("/proc/self/auxv") % 16 == 0 && content[0] != 0);

	CHECK("meminfo", field("/proc/meminfo", "MemTotal:") > 1000 && field("/proc/meminfo", "MemAvailable:") > 0);
	CHECK("cpuinfo", field("/proc/cpuinfo", "processor\t:") == 0 && strstr(content, "flags") != NULL);
	CHECK("uptime", slurp("/proc/uptime") > 0 && atof(content) > 0);
	CHECK("version", slurp("/proc/version") > 0 && strncmp(content, "Linux version", 13) == 0);
	CHECK("stat.cpu", slurp("/proc/stat") > 0 && strncmp(content, "cpu ", 4) == 0);
	CHECK("loadavg", slurp("/proc/loadavg") > 0);
	CHECK("sys.overcommit", slurp("/proc/sys/vm/overcommit_memory") > 0);
	CHECK("sys.pid_max", slurp("/proc/sys/kernel/pid_max") > 0 && atoi(content) >= 1024);
	CHECK("sys.random_boot_id", slurp("/proc/sys/kernel/random/boot_id") == 37 && content[8] == '-');
	CHECK_ERR("absent", access("/proc/self/absent", F_OK), ENOENT);
	CHECK_ERR("no_such_pid", access("/proc/99999999", F_OK), ENOENT);
	CHECK_ERR("create_refused", open("/proc/new", O_CREAT | O_WRONLY, 0600), ENOENT);
	return check_done();
}
