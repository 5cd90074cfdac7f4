/* Futexes. A private word is known by its address space and address, a shared one by its physical address. */
#include "ktime.h"
#include "arch.h"
#include "proc.h"
#include <linux/futex.h>
#include <linux/mman.h>
#include <linux/time.h>

#define BUCKETS 2048u
static struct list buckets[BUCKETS];

struct key {
	u64 word;      /* address; physical | 1 for shared memory */
	struct mm *mm; /* NULL: shared */
};

static struct list *futex_bucket(u64 word)
{
	struct list *b = &buckets[(word >> 2 ^ word >> 12) % BUCKETS];
	if (!b->next)
		list_init(b);
	return b;
}

static bool futex_same(const struct task *t, const struct key *k)
{
	return t->futex_key == k->word && (!k->mm || t->mm == k->mm);
}

/* The key of a user word; the word must be accessible. */
static int futex_make_key(u64 va, bool private, struct key *k)
{
	paddr_t pa;
	if (va & 3)
		return -EINVAL;
	if (!user_word(UPTR(va), false, &pa))
		return -EFAULT;
	struct vma *v = private ? NULL : vma_find(current->mm, va);
	bool shared = v && v->start <= va && (v->flags & MAP_SHARED);
	*k = shared ? (struct key){pa | 1, NULL} : (struct key){va, current->mm};
	return 0;
}

static u32 futex_wake(const struct key *k, u32 n, u32 bitset)
{
	struct task *t, *next;
	u32 woken = 0;
	list_for_each_safe (t, next, futex_bucket(k->word), futex_node) {
		if (woken == n)
			break;
		if (!futex_same(t, k) || !(t->futex_bitset & bitset))
			continue;
		list_del(&t->futex_node);
		wake_task(t, 0);
		woken++;
	}
	return woken;
}

bool futex_wake_addr(struct mm *mm, vaddr_t va, u32 n)
{
	struct key k = {va, mm};
	bool any = futex_wake(&k, n, ~0u);
	paddr_t pa = mm_translate(mm, va, 0);
	struct key shared = {pa | 1, NULL};
	return (pa && futex_wake(&shared, n, ~0u)) || any;
}

static long futex_requeue(const struct key *from, const struct key *to, u32 nwake, u32 nmove)
{
	u32 woken = futex_wake(from, nwake, ~0u), moved = 0;
	struct task *t, *next;
	list_for_each_safe (t, next, futex_bucket(from->word), futex_node) {
		if (moved == nmove)
			break;
		if (!futex_same(t, from))
			continue;
		list_del(&t->futex_node);
		t->futex_key = to->word;
		list_add_tail(&t->futex_node, futex_bucket(to->word));
		moved++;
	}
	return woken + moved;
}

static long futex_wait(u64 va, bool private, u32 expected, u64 deadline, u32 bitset)
{
	struct key k;
	int r = futex_make_key(va, private, &k);
	if (r)
		return r;
	if (!bitset)
		return -EINVAL;
	if (*user_word(UPTR(va), false, NULL) != expected)
		return -EAGAIN;
	struct task *t = current;
	t->futex_key = k.word;
	t->futex_bitset = bitset;
	list_add_tail(&t->futex_node, futex_bucket(k.word));
	for (;;) {
		r = task_sleep(deadline);
		/* Off the list: somebody woke us, whatever else happened. */
		if (list_empty(&t->futex_node))
			return 0;
		if (r) {
			list_del(&t->futex_node);
			return r == -EINTR ? -ERESTARTSYS : r;
		}
	}
}

static long futex_restart_wait(struct task *t)
{
	return futex_wait(t->restart.arg[0], t->restart.arg[1], (u32)t->restart.arg[2], t->restart.arg[3], (u32)t->restart.arg[4]);
}

/* Deadlines are not met to the microsecond anywhere (Linux: timer slack, 50 us). Here they must not be: threads that time out in lock-step and
 * queue up again, as CPython's do for its lock, would come off a fair queue in the same order for ever, and one of them never. */
static u64 futex_with_slack(u64 deadline)
{
	static u64 x = 88172645463325252ul;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return deadline == UINT64_MAX ? deadline : deadline + x % (arch_ring3() ? 250000 : 50000);
}

static long futex_wait_until(u64 va, bool private, u32 val, u64 deadline, u32 bitset)
{
	deadline = futex_with_slack(deadline);
	long r = futex_wait(va, private, val, deadline, bitset);
	current->sleep_clock = CLOCK_MONOTONIC;
	if (r == -ERESTARTSYS && deadline != UINT64_MAX) {
		current->restart.fn = futex_restart_wait;
		current->restart.arg[0] = va;
		current->restart.arg[1] = private;
		current->restart.arg[2] = val;
		current->restart.arg[3] = deadline;
		current->restart.arg[4] = bitset;
		return -ERESTART_RESTARTBLOCK;
	}
	return r;
}

static s32 futex_sign12(u32 v)
{
	return (s32)(v << 20) >> 20;
}

/* FUTEX_WAKE_OP of futex(2): changes a second word and wakes its waiters if its old value compares true. */
static long futex_wake_op(const struct key *k1, const struct key *k2, u64 va2, u32 n1, u32 n2, u32 op)
{
	u32 *word = user_word(UPTR(va2), true, NULL);
	if (!word)
		return -EFAULT;
	u32 old = *word, arg = (u32)futex_sign12(op >> 12), kind = op >> 28 & 15, cmp = op >> 24 & 15;
	s32 cmparg = futex_sign12(op);
	if (kind & 8)
		arg = 1u << (arg & 31);
	switch (kind & 7) {
	case FUTEX_OP_SET:
		*word = arg;
		break;
	case FUTEX_OP_ADD:
		*word = old + arg;
		break;
	case FUTEX_OP_OR:
		*word = old | arg;
		break;
	case FUTEX_OP_ANDN:
		*word = old & ~arg;
		break;
	case FUTEX_OP_XOR:
		*word = old ^ arg;
		break;
	default:
		return -ENOSYS;
	}
	bool yes;
	switch (cmp) {
	case FUTEX_OP_CMP_EQ:
		yes = (s32)old == cmparg;
		break;
	case FUTEX_OP_CMP_NE:
		yes = (s32)old != cmparg;
		break;
	case FUTEX_OP_CMP_LT:
		yes = (s32)old < cmparg;
		break;
	case FUTEX_OP_CMP_LE:
		yes = (s32)old <= cmparg;
		break;
	case FUTEX_OP_CMP_GT:
		yes = (s32)old > cmparg;
		break;
	case FUTEX_OP_CMP_GE:
		yes = (s32)old >= cmparg;
		break;
	default:
		return -ENOSYS;
	}
	long r = futex_wake(k1, n1, ~0u);
	return yes ? r + futex_wake(k2, n2, ~0u) : r;
}

long sys_futex(u64 va, u64 uop, u64 val, u64 utimeout, u64 va2, u64 val3)
{
	u32 op = (u32)uop, cmd = op & FUTEX_CMD_MASK;
	bool private = op & FUTEX_PRIVATE_FLAG;
	struct key k, k2;
	u64 deadline = UINT64_MAX, ns;
	int r;
	if ((cmd == FUTEX_WAIT || cmd == FUTEX_WAIT_BITSET) && utimeout) {
		r = timespec_from_user(UPTR(utimeout), &ns);
		if (r)
			return r;
		u64 now = mono_ns();
		if (cmd == FUTEX_WAIT)
			deadline = now + ns;
		else
			deadline = ns;
		if (cmd == FUTEX_WAIT_BITSET && op & FUTEX_CLOCK_REALTIME) {
			deadline = clock_to_mono(CLOCK_REALTIME, ns);
			current->sleep_clock = CLOCK_REALTIME;
			current->sleep_when = ns;
		}
	}
	switch (cmd) {
	case FUTEX_WAIT:
		return futex_wait_until(va, private, (u32)val, deadline, FUTEX_BITSET_MATCH_ANY);
	case FUTEX_WAIT_BITSET:
		return futex_wait_until(va, private, (u32)val, deadline, (u32)val3);
	case FUTEX_WAKE:
	case FUTEX_WAKE_BITSET:
		r = futex_make_key(va, private, &k);
		if (r)
			return r;
		if (cmd == FUTEX_WAKE_BITSET && !(u32)val3)
			return -EINVAL;
		return futex_wake(&k, (s32)val <= 0 ? 1 : (u32)val, cmd == FUTEX_WAKE ? ~0u : (u32)val3);
	case FUTEX_REQUEUE:
	case FUTEX_CMP_REQUEUE:
	case FUTEX_WAKE_OP:
		r = futex_make_key(va, private, &k);
		r = r ? r : futex_make_key(va2, private, &k2);
		if (r)
			return r;
		if (cmd == FUTEX_WAKE_OP)
			return futex_wake_op(&k, &k2, va2, (u32)val, (u32)utimeout, (u32)val3);
		if ((s32)val < 0 || (s32)utimeout < 0)
			return -EINVAL;
		if (cmd == FUTEX_CMP_REQUEUE && *user_word(UPTR(va), false, NULL) != (u32)val3)
			return -EAGAIN;
		return futex_requeue(&k, &k2, (u32)val, (u32)utimeout);
	default:
		return -ENOSYS;
	}
}

/* ---- Robust lists: locks of a dead thread get FUTEX_OWNER_DIED (Documentation/locking/robust-futexes.rst). */
static void futex_owner_died(struct task *t, u64 va)
{
	paddr_t pa = va & 3 ? 0 : mm_translate(t->mm, va, PF_WRITE);
	if (!pa)
		return;
	u32 *word = phys_to_virt(pa);
	if ((*word & FUTEX_TID_MASK) != (u32)t->tid)
		return;
	bool waiters = *word & FUTEX_WAITERS;
	*word = (*word & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
	if (waiters)
		futex_wake_addr(t->mm, va, 1);
}

void robust_list_exit(struct task *t)
{
	struct {
		u64 next;
		s64 offset;
		u64 pending;
	} head;
	if (uptr_null(t->robust_list) || copy_from_user(&head, t->robust_list, sizeof(head)))
		return;
	u64 at = head.next & ~1ul;
	for (int limit = 0; limit < 2048 && at != t->robust_list.addr; limit++) {
		u64 next;
		if (get_user(next, UPTR(at)))
			break;
		if (at != (head.pending & ~1ul))
			futex_owner_died(t, at + (u64)head.offset);
		at = next & ~1ul;
	}
	if (head.pending)
		futex_owner_died(t, (head.pending & ~1ul) + (u64)head.offset);
	t->robust_list = UPTR(0);
}

long sys_set_robust_list(u64 head, u64 len)
{
	if (len != 24)
		return -EINVAL;
	current->robust_list = UPTR(head);
	current->robust_len = len;
	return 0;
}

long sys_get_robust_list(u64 tid, u64 uhead, u64 ulen)
{
	struct task *t = tid ? task_find((s32)tid) : current;
	if (!t)
		return -ESRCH;
	u64 len = 24;
	return put_user(t->robust_list.addr, UPTR(uhead)) || put_user(len, UPTR(ulen)) ? -EFAULT : 0;
}
