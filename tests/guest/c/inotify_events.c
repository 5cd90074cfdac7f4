/* inotify: every event with its name, for a watched directory, a watched file and both; masks, one-shot, removal, queue limits. */
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

static int fd;

static void make(const char *path, const char *text)
{
	int f = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);
	REQUIRE(f >= 0 && write(f, text, strlen(text)) == (ssize_t)strlen(text));
	close(f);
}

/* What is queued, a line each; cookies as numbers from 1 on. */
static void drain(const char *title)
{
	static const char *const names[] = {"ACCESS",     "MODIFY",   "ATTRIB",     "CLOSE_WRITE", "CLOSE_NOWRITE", "OPEN",
					    "MOVED_FROM", "MOVED_TO", "CREATE",     "DELETE",      "DELETE_SELF",   "MOVE_SELF",
					    "?",          "UNMOUNT",  "Q_OVERFLOW", "IGNORED"};
	char buf[65536] __attribute__((aligned(8)));
	unsigned seen[8] = {0}, cookies = 0;
	show("== %s", title);
	ssize_t n;
	while ((n = read(fd, buf, sizeof buf)) > 0)
		for (char *at = buf; at < buf + n;) {
			struct inotify_event *e = (void *)at;
			char text[200] = "";
			for (unsigned b = 0; b < 16; b++)
				if (e->mask >> b & 1) {
					strcat(text, " ");
					strcat(text, names[b]);
				}
			unsigned c = 0;
			while (e->cookie && c < cookies && seen[c] != e->cookie)
				c++;
			if (e->cookie && c == cookies && cookies < 8)
				seen[cookies++] = e->cookie;
			show("wd %d%s%s cookie %u len %u %s", e->wd, text, e->mask & IN_ISDIR ? " ISDIR" : "", e->cookie ? c + 1 : 0, e->len,
			     e->len ? e->name : "");
			at += sizeof *e + e->len;
		}
	CHECK_EQ("then nothing", errno, EAGAIN);
}

static void names_in_a_directory(void)
{
	char b[10];
	mkdir("d", 0755);
	make("d/old", "before the watch");
	int before = open("d/old", O_RDWR);
	int wd = inotify_add_watch(fd, "d", IN_ALL_EVENTS);
	CHECK_EQ("first watch", wd, 1);
	REQUIRE(write(before, "x", 1) == 1);
	drain("written by who opened it before");
	close(before);
	make("d/new", "text");
	drain("made");
	int f = open("d/new", O_RDONLY);
	REQUIRE(read(f, b, sizeof b) == 4);
	close(f);
	drain("read");
	chmod("d/new", 0600);
	truncate("d/new", 2);
	drain("changed");
	rename("d/new", "d/newer");
	drain("renamed");
	chmod("d/newer", 0640);
	drain("changed under its new name");
	link("d/newer", "d/link");
	symlink("newer", "d/sym");
	mkfifo("d/fifo", 0600);
	drain("other names");
	mkdir("d/sub", 0755);
	make("d/sub/inner", "is not told");
	rmdir("d/sub");
	unlink("d/sub/inner");
	rmdir("d/sub");
	drain("a directory in it");
	rename("d/newer", "outside");
	rename("outside", "d/again");
	drain("out and in again");
	unlink("d/link");
	unlink("d/again");
	unlink("d/sym");
	unlink("d/fifo");
	drain("removed");
	unlink("d/old");
	rmdir("d");
	drain("and itself");
	CHECK_ERR("its watch is gone", inotify_rm_watch(fd, wd), EINVAL);
}

static void a_file(void)
{
	make("f", "");
	int wd = inotify_add_watch(fd, "f", IN_ALL_EVENTS);
	CHECK("watched", wd > 0);
	CHECK_EQ("the same again", inotify_add_watch(fd, "f", IN_ALL_EVENTS), wd);
	int f = open("f", O_RDWR | O_APPEND);
	REQUIRE(write(f, "a", 1) == 1 && write(f, "b", 1) == 1);
	drain("written twice is told once");
	rename("f", "g");
	drain("moved");
	unlink("g");
	drain("without a name, still open");
	close(f);
	drain("closed");
}

static void both(void)
{
	mkdir("e", 0755);
	make("e/f", "");
	int d = inotify_add_watch(fd, "e", IN_MODIFY | IN_DELETE | IN_ATTRIB), f = inotify_add_watch(fd, "e/f", IN_MODIFY | IN_DELETE_SELF);
	CHECK("two watches", d > 0 && f > d);
	make("e/f", "x");
	unlink("e/f");
	drain("directory and file");
	CHECK_OK("remove a watch", inotify_rm_watch(fd, d));
	drain("ignored");
	rmdir("e");
}

static void masks(void)
{
	make("m", "");
	int wd = inotify_add_watch(fd, "m", IN_OPEN | IN_ONESHOT);
	close(open("m", O_RDONLY));
	close(open("m", O_RDONLY));
	drain("once");
	CHECK_ERR("gone", inotify_rm_watch(fd, wd), EINVAL);
	wd = inotify_add_watch(fd, "m", IN_OPEN);
	CHECK_EQ("added to", inotify_add_watch(fd, "m", IN_CLOSE | IN_MASK_ADD), wd);
	close(open("m", O_RDONLY));
	drain("both masks");
	CHECK_EQ("replaced", inotify_add_watch(fd, "m", IN_ATTRIB), wd);
	close(open("m", O_RDONLY));
	drain("another mask");
	CHECK_ERR("only new", inotify_add_watch(fd, "m", IN_OPEN | IN_MASK_CREATE), EEXIST);
	CHECK_ERR("only directories", inotify_add_watch(fd, "m", IN_OPEN | IN_ONLYDIR), ENOTDIR);
	CHECK_ERR("no events", inotify_add_watch(fd, "m", 0), EINVAL);
	CHECK_ERR("no file", inotify_add_watch(fd, "nothing", IN_OPEN), ENOENT);
	CHECK_ERR("not an instance", inotify_add_watch(0, "m", IN_OPEN), EINVAL);
	CHECK_ERR("bad flags", inotify_init1(1), EINVAL);
	unlink("m");
	drain("removed");
}

static void waiting(void)
{
	make("w", "");
	inotify_add_watch(fd, "w", IN_MODIFY | IN_CLOSE_WRITE);
	int ep = epoll_create1(0), bytes = -1;
	struct epoll_event ev = {.events = EPOLLIN};
	struct pollfd p = {fd, POLLIN, 0};
	char small[8];
	REQUIRE(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0);
	CHECK_EQ("nothing yet", poll(&p, 1, 0) + epoll_wait(ep, &ev, 1, 0), 0);
	make("w", "x");
	CHECK_EQ("something", poll(&p, 1, 0) + epoll_wait(ep, &ev, 1, 0), 2);
	CHECK("bytes", ioctl(fd, FIONREAD, &bytes) == 0 && bytes == 32);
	CHECK_ERR("small buffer", read(fd, small, sizeof small), EINVAL);
	unlink("w");
	drain("waiting");
	close(ep);
}

static void overflow(void)
{
	make("o1", "");
	make("o2", "");
	inotify_add_watch(fd, "o1", IN_ATTRIB);
	inotify_add_watch(fd, "o2", IN_ATTRIB);
	for (int k = 0; k < 9000; k++)
		REQUIRE(chmod("o1", 0600) == 0 && chmod("o2", 0600) == 0);
	char buf[65536] __attribute__((aligned(8)));
	int events = 0, overflows = 0;
	ssize_t n;
	while ((n = read(fd, buf, sizeof buf)) > 0)
		for (char *at = buf; at < buf + n; at += sizeof(struct inotify_event)) {
			events++;
			overflows += ((struct inotify_event *)at)->mask == IN_Q_OVERFLOW && ((struct inotify_event *)at)->wd == -1;
		}
	show("%d events, %d of them overflow", events, overflows);
}

int main(void)
{
	fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	REQUIRE(fd >= 0);
	names_in_a_directory();
	a_file();
	both();
	masks();
	waiting();
	overflow();
	return check_done();
}
