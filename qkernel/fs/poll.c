/* poll, ppoll, select, pselect6. */
#include "fdtable.h"
#include "ktime.h"
#include "poll.h"
#include "../proc/proc.h"
#include <asm/signal.h>

#define NFDS_STACK 16
#define ALWAYS (POLL_ERR | POLL_HUP | 0x20u /* POLLNVAL */)

struct upollfd {
	s32 fd;
	int16_t events, revents;
};

/* The waiters of one call: one for each queue that a file named. */
struct link {
	struct link *next;
	struct waiter w;
	struct file *f; /* keeps the queue alive */
};
struct wait_table {
	struct poll_table pt;
	struct link *links;
	bool failed;
};

void poll_wait(struct file *f, struct waitq *q, struct poll_table *pt)
{
	if (pt)
		pt->add(pt, f, q);
}

u32 file_poll(struct file *f, struct poll_table *pt)
{
	return f->ops->poll ? f->ops->poll(f, pt) : POLL_IN | POLL_OUT;
}

static void poll_add(struct poll_table *pt, struct file *f, struct waitq *q)
{
	struct wait_table *t = (struct wait_table *)pt;
	struct link *l = kzalloc(sizeof(*l));
	if (!l) {
		t->failed = true;
		return;
	}
	l->w.task = current;
	l->f = f;
	file_get(f);
	waitq_add(q, &l->w);
	l->next = t->links;
	t->links = l;
}

static void poll_table_free(struct wait_table *t)
{
	while (t->links) {
		struct link *l = t->links;
		t->links = l->next;
		waitq_del(&l->w);
		file_put(l->f);
		kfree(l);
	}
}

u64 deadline_of_ms(s64 ms)
{
	return ms < 0 ? UINT64_MAX : deadline_of_ns((u64)ms * 1000000);
}

long poll_set_mask(u64 umask, u64 size)
{
	sigset s;
	if (!umask)
		return 0;
	if (size != sizeof(s))
		return -EINVAL;
	if (get_user(s, UPTR(umask)))
		return -EFAULT;
	current->saved_mask = current->blocked;
	current->blocked = s & ~(SIGBIT(SIGKILL) | SIGBIT(SIGSTOP));
	return 0;
}

long poll_end_mask(bool was_set, long result)
{
	if (!was_set)
		return result;
	if (result == -EINTR || result == -ERESTARTNOHAND)
		current->restore_mask = true;
	else
		current->blocked = current->saved_mask;
	return result;
}

/* One look at all descriptors; pt: also wait at them. Number of those with something to tell. */
static long poll_look(struct upollfd *p, u64 n, struct poll_table *pt)
{
	long count = 0;
	for (u64 i = 0; i < n; i++) {
		p[i].revents = 0;
		if (p[i].fd < 0)
			continue;
		struct file *f = fd_get(p[i].fd);
		u32 bits = f && !(f->flags & 010000000 /* O_PATH */) ? file_poll(f, count ? NULL : pt) : 0x20;
		if (f)
			file_put(f);
		/* RDNORM and WRNORM (of select and some programs) go with IN and OUT. */
		bits |= (bits & POLL_IN ? 0x40 : 0) | (bits & POLL_OUT ? 0x100 : 0);
		p[i].revents = (int16_t)(bits & ((u32)(u16)p[i].events | ALWAYS));
		count += p[i].revents != 0;
	}
	return count;
}

static long poll_fds(struct upollfd *p, u64 n, u64 deadline)
{
	struct wait_table t = {.pt.add = poll_add};
	long r = poll_look(p, n, deadline == 0 ? NULL : &t.pt);
	while (!r && deadline) {
		r = t.failed ? -ENOMEM : task_sleep(deadline);
		if (r == -ENOMEM || r == -EINTR)
			break;
		bool over = r == -ETIMEDOUT;
		r = poll_look(p, n, NULL);
		if (over)
			break;
	}
	poll_table_free(&t);
	return r;
}

static long do_poll(u64 ufds, u64 n, u64 deadline)
{
	struct upollfd small[NFDS_STACK], *p = small;
	if (n > current->proc->rlim[RLIMIT_NOFILE].cur)
		return -EINVAL;
	if (n > NFDS_STACK && !(p = kmalloc(n * sizeof(*p))))
		return -ENOMEM;
	long r = copy_from_user(p, UPTR(ufds), n * sizeof(*p));
	if (!r)
		r = poll_fds(p, n, deadline);
	for (u64 i = 0; r >= 0 && i < n; i++)
		if (put_user(p[i].revents, UPTR(ufds + i * sizeof(*p) + 6)))
			r = -EFAULT;
	if (p != small)
		kfree(p);
	return r;
}

static long restart_poll(struct task *t)
{
	u64 ufds = t->restart.arg[0], n = t->restart.arg[1], deadline = t->restart.arg[2];
	long r = do_poll(ufds, n, deadline);
	return r == -EINTR ? -ERESTART_RESTARTBLOCK : r;
}

long sys_poll(u64 ufds, u64 n, u64 timeout)
{
	u64 deadline = (s32)timeout == 0 ? 0 : deadline_of_ms((s32)timeout);
	long r = do_poll(ufds, (u32)n, deadline);
	if (r != -EINTR)
		return r;
	current->restart.fn = restart_poll;
	current->restart.arg[0] = ufds;
	current->restart.arg[1] = (u32)n;
	current->restart.arg[2] = deadline;
	return -ERESTART_RESTARTBLOCK;
}

/* Deadline of a struct timespec in user memory; NULL: never; 0: do not wait. */
static long poll_user_deadline(u64 uts, u64 *deadline)
{
	u64 ns;
	*deadline = UINT64_MAX;
	if (!uts)
		return 0;
	int r = timespec_from_user(UPTR(uts), &ns);
	if (!r)
		*deadline = ns ? deadline_of_ns(ns) : 0;
	return r;
}

static void poll_time_left(u64 uts, u64 deadline, bool timeval)
{
	u64 now = mono_ns(), left = deadline > now ? deadline - now : 0;
	if (!uts || deadline == UINT64_MAX)
		return;
	if (timeval)
		timeval_to_user(UPTR(uts), left);
	else
		timespec_to_user(UPTR(uts), left);
}

long sys_ppoll(u64 ufds, u64 n, u64 uts, u64 umask, u64 size)
{
	u64 deadline;
	long r = poll_user_deadline(uts, &deadline);
	if (!r)
		r = poll_set_mask(umask, size);
	if (r)
		return r;
	r = do_poll(ufds, (u32)n, deadline);
	r = poll_end_mask(umask, r == -EINTR ? -ERESTARTNOHAND : r);
	poll_time_left(uts, deadline, false);
	return r;
}

/* ---- select: bit sets turned into a poll list */
#define IN_SET (POLL_IN | 0x40u | 0x80u | POLL_HUP | POLL_ERR)
#define OUT_SET (POLL_OUT | 0x100u | 0x200u | POLL_ERR)
#define EX_SET POLL_PRI

static long do_select(s32 n, u64 uin, u64 uout, u64 uex, u64 deadline)
{
	u64 user[3] = {uin, uout, uex};
	static const u32 sets[3] = {IN_SET, OUT_SET, EX_SET};
	if (n < 0)
		return -EINVAL;
	n = MIN(n, 1 << 20);
	u32 words = ((u32)n + 63) / 64;
	u64 *bits = kzalloc((words ? words : 1) * 3 * sizeof(u64));
	struct upollfd *p = kmalloc(((u32)n ? (u32)n : 1) * sizeof(*p));
	long r = bits && p ? 0 : -ENOMEM;
	u64 count = 0;
	for (int k = 0; !r && k < 3; k++)
		if (user[k])
			r = copy_from_user(bits + (u32)k * words, UPTR(user[k]), words * sizeof(u64));
	for (u32 fd = 0; !r && fd < (u32)n; fd++) {
		u32 want = 0;
		for (u32 k = 0; k < 3; k++)
			if (bits[k * words + fd / 64] >> fd % 64 & 1)
				want |= k == 0 ? POLL_IN : k == 1 ? POLL_OUT : POLL_PRI;
		if (!want)
			continue;
		struct file *f = fd_get((int)fd);
		if (!f)
			r = -EBADF;
		else
			file_put(f);
		p[count++] = (struct upollfd){.fd = (s32)fd, .events = (int16_t)want};
	}
	if (!r)
		r = poll_fds(p, count, deadline);
	if (r >= 0) {
		r = 0;
		u64 *result = kzalloc((words ? words : 1) * 3 * sizeof(u64));
		for (u64 i = 0; result && i < count; i++)
			for (u32 k = 0; k < 3; k++) {
				u32 fd = (u32)p[i].fd;
				if ((bits[k * words + fd / 64] >> fd % 64 & 1) && ((u32)(u16)p[i].revents & sets[k])) {
					result[k * words + fd / 64] |= 1ul << fd % 64;
					r++;
				}
			}
		for (u32 k = 0; result && r >= 0 && k < 3; k++)
			if (user[k] && copy_to_user(UPTR(user[k]), result + k * words, words * sizeof(u64)))
				r = -EFAULT;
		if (!result)
			r = -ENOMEM;
		kfree(result);
	}
	kfree(bits);
	kfree(p);
	return r;
}

long sys_select(u64 n, u64 in, u64 out, u64 ex, u64 utv)
{
	u64 deadline = UINT64_MAX;
	s64 tv[2];
	if (utv) {
		if (copy_from_user(tv, UPTR(utv), sizeof(tv)))
			return -EFAULT;
		if (tv[0] < 0 || tv[1] < 0)
			return -EINVAL;
		u64 ns = tv[0] > 9000000000l ? UINT64_MAX / 2 : (u64)tv[0] * 1000000000 + (u64)tv[1] * 1000;
		deadline = ns ? deadline_of_ns(ns) : 0;
	}
	long r = do_select((s32)n, in, out, ex, deadline);
	poll_time_left(utv, deadline, true);
	return r == -EINTR ? -ERESTARTNOHAND : r;
}

long sys_pselect6(u64 n, u64 in, u64 out, u64 ex, u64 uts, u64 usig)
{
	u64 deadline, sig[2] = {0, 0};
	if (usig && copy_from_user(sig, UPTR(usig), sizeof(sig)))
		return -EFAULT;
	long r = poll_user_deadline(uts, &deadline);
	if (!r)
		r = poll_set_mask(sig[0], sig[1]);
	if (r)
		return r;
	r = do_select((s32)n, in, out, ex, deadline);
	r = poll_end_mask(sig[0], r == -EINTR ? -ERESTARTNOHAND : r);
	poll_time_left(uts, deadline, false);
	return r;
}
