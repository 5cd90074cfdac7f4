/* Events for the guest: readiness of host streams, signals, ticks. While a vCPU waits, its own thread sits in epoll; while one runs, the
 * tick thread looks every few milliseconds and interrupts it when there is something to see. */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "vm.h"

#define TICK_NS 10000000u     /* the tick thread looks at least this often while user code runs */
#define TICK_GRACE_NS 50000   /* for the guest to see by itself what is due */
#define TICK_RETRY_NS 1000000 /* between two interrupts for the same thing */
#define KEY_WAKE (-100)
#define KEY_SIGNALS (-101)
#define KEY_WATCH (-110) /* less the number of the watch */

static int add_key(struct qv *vm, int fd, int key)
{
	struct epoll_event e = {.events = EPOLLIN, .data.fd = key};
	return epoll_ctl(vm->epoll_fd, EPOLL_CTL_ADD, fd, &e) ? -errno : 0;
}

int events_init(struct qv *vm)
{
	vm->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	vm->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vm->tick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->epoll_fd < 0 || vm->wake_fd < 0 || vm->tick_fd < 0)
		return -errno;
	return add_key(vm, vm->wake_fd, KEY_WAKE);
}

int events_watch_signals(struct qv *vm)
{
	return add_key(vm, vm->config.signals, KEY_SIGNALS);
}

static void futex(_Atomic int *word, int op, int value)
{
	syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

void events_destroy(struct qv *vm)
{
	if (vm->tick_started) {
		atomic_store(&vm->tick_quit, 1);
		tick_hurry(vm);
		atomic_store(&vm->tick_idle, 0);
		futex(&vm->tick_idle, FUTEX_WAKE_PRIVATE, 1);
		pthread_join(vm->tick_thread, NULL);
	}
	if (vm->epoll_fd >= 0)
		close(vm->epoll_fd);
	if (vm->wake_fd >= 0)
		close(vm->wake_fd);
	if (vm->tick_fd >= 0)
		close(vm->tick_fd);
}

bool events_undrained(struct qv *vm)
{
	return __atomic_load_n(&vm->comm->event_tail, __ATOMIC_ACQUIRE) != __atomic_load_n(&vm->event_head, __ATOMIC_RELAXED) ||
	       __atomic_load_n(&vm->comm->missed, __ATOMIC_ACQUIRE) || __atomic_load_n(&vm->comm->missed_signals, __ATOMIC_ACQUIRE);
}

/* The ring is full: the guest learns what kind of event it missed, never nothing. */
static void note_missed(struct qv *vm, int32_t handle, uint32_t events)
{
	if (handle == QK_EV_SIGNAL || handle == QK_EV_WINCH)
		__atomic_fetch_or(&vm->comm->missed_signals, 1ull << ((events - 1) & 63), __ATOMIC_SEQ_CST);
	else if (handle == QK_EV_CAPTURE)
		__atomic_fetch_or(&vm->comm->missed, QK_MISSED_CAPTURE, __ATOMIC_SEQ_CST);
	else if (handle >= 0 || handle == QK_EV_CUT)
		__atomic_fetch_or(&vm->comm->missed, QK_MISSED_HANDLES, __ATOMIC_SEQ_CST);
}

static bool any_waits(const struct qv *vm)
{
	for (uint32_t i = 0; i < vm->nvcpus; i++)
		if (atomic_load(&vm->vcpus[i].waiting))
			return true;
	return false;
}

static bool is_busy(const struct qv_vcpu *v)
{
	return atomic_load(&v->running) && !atomic_load(&v->waiting);
}

bool events_busy(const struct qv *vm)
{
	for (uint32_t i = 0; i < vm->nvcpus; i++)
		if (is_busy(&vm->vcpus[i]))
			return true;
	return false;
}

void events_push(struct qv *vm, int32_t handle, uint32_t events)
{
	pthread_mutex_lock(&vm->event_lock);
	struct qk_event *ring = (struct qk_event *)(vm->comm_area + QK_OFF_EVENTS);
	uint32_t head = vm->event_head;
	if (head - __atomic_load_n(&vm->comm->event_tail, __ATOMIC_ACQUIRE) < QK_EVENT_MAX) {
		ring[head % QK_EVENT_MAX] = (struct qk_event){.handle = handle, .events = events};
		__atomic_store_n(&vm->event_head, head + 1, __ATOMIC_RELAXED);
		__atomic_store_n(&vm->comm->event_head, head + 1, __ATOMIC_RELEASE);
	} else {
		note_missed(vm, handle, events);
	}
	pthread_mutex_unlock(&vm->event_lock);
	uint64_t one = 1;
	if (any_waits(vm) && write(vm->wake_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it wakes anyway */
}

static void push_signals(struct qv *vm)
{
	struct signalfd_siginfo si;
	while (read(vm->config.signals, &si, sizeof(si)) == sizeof(si))
		events_push(vm, si.ssi_signo == SIGWINCH ? QK_EV_WINCH : QK_EV_SIGNAL, si.ssi_signo);
}

int qv_watch(struct qv *vm, int fd, uint32_t events, void (*seen)(void *), void *arg)
{
	if (vm->nwatches == QV_WATCHES)
		return -ENOSPC;
	struct epoll_event e = {.events = events, .data.fd = KEY_WATCH - (int)vm->nwatches};
	vm->watches[vm->nwatches++] = (struct qv_watch){.seen = seen, .arg = arg};
	return epoll_ctl(vm->epoll_fd, EPOLL_CTL_ADD, fd, &e) ? -errno : 0;
}

int events_collect(struct qv *vm, int64_t timeout_ns)
{
	struct epoll_event e[32];
	struct timespec ts = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
	int n = (int)syscall(SYS_epoll_pwait2, vm->epoll_fd, e, 32, timeout_ns < 0 ? NULL : &ts, NULL, 8);
	for (int i = 0; i < n; i++) {
		uint64_t v;
		if (e[i].data.fd == KEY_WAKE) {
			if (read(vm->wake_fd, &v, sizeof(v)) < 0)
				continue;
		} else if (e[i].data.fd == KEY_SIGNALS) {
			push_signals(vm);
		} else if (e[i].data.fd <= KEY_WATCH) {
			const struct qv_watch *w = &vm->watches[KEY_WATCH - e[i].data.fd];
			w->seen(w->arg);
		} else {
			atomic_store(&vm->handles[e[i].data.fd].armed, 0); /* EPOLLONESHOT: it is off now */
			events_push(vm, e[i].data.fd, e[i].events);
		}
	}
	return n;
}

void events_wait(struct qv_vcpu *v)
{
	struct qv *vm = v->vm;
	uint64_t ns = READ_ONCE(v->shared->wait_ns), end = ns > (1ull << 62) ? UINT64_MAX : now_ns() + ns;
	pthread_mutex_lock(&vm->call_lock);
	qfile_close_pending(v);
	pthread_mutex_unlock(&vm->call_lock);
	atomic_store(&v->waiting, 1);
	while (!events_undrained(vm) && !atomic_load(&vm->stop)) {
		uint64_t now = now_ns();
		if (now >= end)
			break;
		events_collect(vm, end == UINT64_MAX ? -1 : (int64_t)(end - now));
	}
	atomic_store(&v->waiting, 0);
	tick_nudge(vm);
}

int events_arm(struct qv *vm, int handle, uint32_t events)
{
	struct qv_handle *h = &vm->handles[handle];
	/* What others wait for at this handle stays asked for. An event that comes between the two lines finds the union armed again: a look too many. */
	events |= atomic_fetch_or(&h->armed, events);
	struct epoll_event e = {.events = events | EPOLLONESHOT, .data.fd = handle};
	if (epoll_ctl(vm->epoll_fd, h->in_epoll ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, h->fd, &e))
		return -errno;
	h->in_epoll = true;
	return 0;
}

/* Publishes when the next look at a vCPU is due, and returns it. The guest writes timer_ns and reads tick_ns: whichever comes second sees what came
 * first. */
static uint64_t plan_vcpu(struct qk_vcpu *shared, uint64_t latest)
{
	uint64_t until = 0;
	for (int i = 0; i < 2; i++) {
		uint64_t timer = __atomic_load_n(&shared->timer_ns, __ATOMIC_SEQ_CST);
		until = timer < latest ? timer : latest;
		__atomic_store_n(&shared->tick_ns, until, __ATOMIC_SEQ_CST);
	}
	return until;
}

static uint64_t tick_plan(struct qv *vm)
{
	uint64_t latest = now_ns() + TICK_NS, first = latest;
	for (uint32_t i = 0; i < vm->nvcpus; i++) {
		uint64_t until = plan_vcpu(vm->vcpus[i].shared, latest);
		first = is_busy(&vm->vcpus[i]) && until < first ? until : first;
	}
	return first;
}

/* Sleeps until then, a host event, a hurry or the end of the machine. */
static void tick_sleep(struct qv *vm, uint64_t until)
{
	uint64_t now = now_ns(), left = until > now ? until - now : 0;
	struct timespec ts = {.tv_sec = (long)(left / 1000000000), .tv_nsec = (long)(left % 1000000000)};
	struct pollfd p[] = {{.fd = vm->epoll_fd, .events = POLLIN}, {.fd = vm->tick_fd, .events = POLLIN}};
	uint64_t v;
	if (ppoll(p, 2, &ts, NULL) > 0 && p[1].revents && read(vm->tick_fd, &v, sizeof(v)) < 0)
		return; /* somebody else's read cannot be: only this thread reads it */
}

static void tick_grace(void)
{
	struct timespec grace = {.tv_nsec = TICK_GRACE_NS};
	ppoll(NULL, 0, &grace, NULL);
}

static bool tick_due(struct qv_vcpu *v)
{
	return is_busy(v) && (events_undrained(v->vm) || READ_ONCE(v->shared->timer_ns) <= now_ns());
}

static bool any_due(struct qv *vm)
{
	for (uint32_t i = 0; i < vm->nvcpus; i++)
		if (tick_due(&vm->vcpus[i]))
			return true;
	return false;
}

/* User code runs. A guest that makes system calls sees events and timers by itself, without the price of an interrupt: it gets a moment for it. */
static void tick_look(struct qv *vm)
{
	tick_sleep(vm, tick_plan(vm));
	if (!events_busy(vm))
		return;
	events_collect(vm, 0);
	if (!any_due(vm))
		return;
	tick_grace();
	for (uint32_t i = 0; i < vm->nvcpus; i++)
		if (tick_due(&vm->vcpus[i]))
			vm_interrupt(&vm->vcpus[i]);
	/* What the kernel was interrupted at is not an end of it: it looks when it returns to user code, which may be long. */
	for (int i = 0; i < TICK_RETRY_NS / TICK_GRACE_NS && any_due(vm); i++)
		tick_grace();
}

static void *tick_main(void *arg)
{
	struct qv *vm = arg;
	prctl(PR_SET_TIMERSLACK, 1000ul);
	while (!atomic_load(&vm->tick_quit)) {
		if (!events_busy(vm)) {
			for (uint32_t i = 0; i < vm->nvcpus; i++)
				__atomic_store_n(&vm->vcpus[i].shared->tick_ns, 0, __ATOMIC_SEQ_CST);
			atomic_store(&vm->tick_idle, 1);
			if (!events_busy(vm) && !atomic_load(&vm->tick_quit))
				futex(&vm->tick_idle, FUTEX_WAIT_PRIVATE, 1);
			atomic_store(&vm->tick_idle, 0);
			continue;
		}
		tick_look(vm);
	}
	return NULL;
}

void tick_hurry(struct qv *vm)
{
	uint64_t one = 1;
	if (write(vm->tick_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it wakes anyway */
}

void tick_nudge(struct qv *vm)
{
	if (atomic_exchange(&vm->tick_idle, 0))
		futex(&vm->tick_idle, FUTEX_WAKE_PRIVATE, 1);
}

int tick_start(struct qv *vm)
{
	if (vm->tick_started) {
		tick_nudge(vm);
		return 0;
	}
	int r = pthread_create(&vm->tick_thread, NULL, tick_main, vm);
	vm->tick_started = r == 0;
	return -r;
}

/* As Ctrl-Z of an ordinary program: the shell sees the job stop, and continues it. An orphaned process group goes on at once. */
static void stop_self(void)
{
	struct sigaction stops = {.sa_handler = SIG_DFL}, before;
	sigset_t tstp, mask;
	sigemptyset(&tstp);
	sigaddset(&tstp, SIGTSTP);
	sigaction(SIGTSTP, &stops, &before);
	pthread_sigmask(SIG_UNBLOCK, &tstp, &mask);
	raise(SIGTSTP);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	sigaction(SIGTSTP, &before, NULL);
}

int64_t events_first_stops(struct qv *vm)
{
	uint64_t one = 1;
	if (vm->config.signals < 0 || vm->on_stop == QV_STOP_NEVER)
		return -ENOSYS;
	if (vm->on_stop >= 0)
		return write(vm->on_stop, &one, sizeof(one)) == sizeof(one) ? 0 : -ENOSYS;
	stop_self();
	events_push(vm, QK_EV_SIGNAL, SIGCONT);
	events_push(vm, QK_EV_WINCH, SIGWINCH);
	return 0;
}

int qv_signals(void)
{
	static const int forwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT};
	sigset_t set;
	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(forwarded) / sizeof(*forwarded); i++)
		sigaddset(&set, forwarded[i]);
	int r = pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (r)
		return -r;
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}
