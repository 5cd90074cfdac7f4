/* The program's talk with who started it (message.h): events that it tells, commands that it follows. */
#include "program.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static int control = -1;
static struct qv *machine;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER; /* commands are followed in the order in which they come */
static _Atomic bool paused;
static _Atomic int storer = -1;
static int stopped = -1;  /* eventfd: the first program stops */
static int followed = -1; /* eventfd: a command was followed, maybe by another thread than the one that waits for it */

void fields_add(struct fields *f, const char *text)
{
	size_t n = strlen(text), gap = f->used ? 1 : 0;
	if (f->used + gap + n > sizeof(f->data))
		return;
	if (gap)
		f->data[f->used++] = 0;
	memcpy(f->data + f->used, text, n);
	f->used += n;
}

void fields_number(struct fields *f, uint64_t number)
{
	char text[24];
	snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	fields_add(f, text);
}

void control_open(int sock)
{
	control = sock;
}

bool control_is_open(void)
{
	return control >= 0;
}

/* Nothing, to nobody. */
void control_send(const struct fields *f)
{
	if (control >= 0 && qc_send(control, f->data, f->used, NULL, 0) < 0)
		leave(1); /* nobody is there any more */
}

void fields_begin(struct fields *f, const char *event)
{
	f->used = 0; /* the rest is not touched */
	fields_add(f, event);
}

void control_tell(const char *event)
{
	struct fields f;
	fields_begin(&f, event);
	control_send(&f);
}

void control_close(void)
{
	close(control);
	control = -1;
}

static void follow(const char *command, int *fd)
{
	uint64_t one = 1;
	if (!strcmp(command, "pause")) {
		atomic_store(&paused, true);
		qv_stop(machine);
	} else if (!strcmp(command, "resume")) {
		atomic_store(&paused, false);
	} else if (!strcmp(command, "capture") && *fd >= 0) {
		*fd = atomic_exchange(&storer, *fd); /* the one before, if it has come to nothing */
		qv_post(machine, QK_EV_CAPTURE, 0);
	}
	if (write(followed, &one, sizeof(one)) < 0)
		return; /* the counter is full: who waits wakes anyway */
}

/* Follows what has come; its end is that of this process. */
static void control_look(void *arg)
{
	struct pollfd p = {.fd = control, .events = POLLIN};
	struct timespec now = {0};
	char command[64];
	int fd;
	(void)arg;
	pthread_mutex_lock(&order);
	while (ppoll(&p, 1, &now, NULL) > 0) {
		int64_t n = qc_receive(control, command, sizeof(command) - 1, &fd, 1);
		if (n <= 0)
			leave(1);
		command[n] = 0;
		follow(command, &fd);
		if (fd >= 0)
			close(fd);
	}
	pthread_mutex_unlock(&order);
}

static void tell_stopped(void *arg)
{
	uint64_t times;
	(void)arg;
	if (read(stopped, &times, sizeof(times)) == (ssize_t)sizeof(times))
		control_tell("stopped");
}

static int new_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

void control_watch(struct qv *vm, bool stops)
{
	machine = vm;
	followed = (int)check(new_eventfd(), "listen to the daemon");
	check(qv_watch(vm, control, EPOLLIN | EPOLLRDHUP | EPOLLHUP, control_look, NULL), "listen to the daemon");
	qv_on_stop(vm, QV_STOP_NEVER);
	if (!stops)
		return;
	stopped = (int)check(new_eventfd(), "listen to the daemon");
	check(qv_watch(vm, stopped, EPOLLIN, tell_stopped, NULL), "listen to the daemon");
	qv_on_stop(vm, stopped);
}

/* While the machine stands still, this thread listens; another one may just have begun to look. */
static void control_wait(void)
{
	struct pollfd p[] = {{.fd = control, .events = POLLIN}, {.fd = followed, .events = POLLIN}};
	uint64_t times;
	if (ppoll(p, 2, NULL, NULL) > 0 && p[1].revents && read(followed, &times, sizeof(times)) < 0)
		return;
	control_look(NULL);
}

void control_stand_still(void)
{
	qv_resume(machine);
	if (!atomic_load(&paused))
		return;
	control_tell("paused");
	while (atomic_load(&paused))
		control_wait();
	control_tell("resumed");
}

int control_storer(bool wait)
{
	int fd = atomic_exchange(&storer, -1);
	if (fd >= 0 || !wait)
		return fd;
	control_tell("parked");
	while ((fd = atomic_exchange(&storer, -1)) < 0)
		control_wait();
	return fd;
}
