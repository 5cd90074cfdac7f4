/* The place of a hostile guest in the request fuzzer: submits requests, rewrites them at any moment, looks at the answers. */
#include <string.h>

#include "requests.h"

#define GUEST __attribute__((no_sanitize("thread", "undefined")))
#define BURST 64 /* words that the other processor writes before it looks what it is to write */

GUEST static void copy(volatile char *to, const char *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = from[i];
}

/* Puts a name of components into the data area; its length with the NUL. */
GUEST static size_t put_name(volatile char *data, const uint8_t *name)
{
	size_t at = 0;
	for (int i = 0; i < DEPTH_MAX && name[i]; i++) {
		const char *component = world_names[name[i] % NAMES_MAX];
		if (!component)
			break;
		if (at)
			data[at++] = '/';
		size_t n = strlen(component);
		copy(data + at, component, n);
		at += n;
	}
	data[at++] = 0;
	return at;
}

GUEST static void put_segments(struct qv *vm, const struct shot *s)
{
	volatile struct qk_seg *segs = (struct qk_seg *)(vcpu_of(vm)->block + QK_VCPU_SEGS);
	for (int i = 0; i < SEGMENTS; i++) {
		segs[i].gpa = s->seg[i].gpa;
		segs[i].len = s->seg[i].len;
	}
}

GUEST static void put_closes(struct qv *vm, uint32_t n, uint32_t handle)
{
	volatile struct qk_closes *c = (struct qk_closes *)(vcpu_of(vm)->block + QK_VCPU_CLOSE);
	for (uint32_t i = 0; i < 4; i++)
		c->handle[i] = i ? handle + i : handle;
	c->count = n;
}

GUEST static uint32_t put_data(struct qv *vm, const struct shot *s)
{
	volatile char *data = vcpu_of(vm)->block + QK_VCPU_DATA;
	size_t n = put_name(data, s->name[0]);
	n += put_name(data + n, s->name[1]);
	switch (s->length) {
	case 1:
		return (uint32_t)n - 1;
	case 2:
		return 0;
	case 3:
		return QK_DATA_SIZE;
	case 4:
		return UINT32_MAX;
	case 5: /* attributes have the right prefix, and a value */
		copy(data + n, "user.a", sizeof("user.a"));
		return (uint32_t)n + sizeof("user.a");
	default:
		return (uint32_t)n;
	}
}

GUEST void guest_submit(struct qv *vm, const struct shot *s)
{
	volatile struct qk_call *c = call_of(vm);
	c->data_len = put_data(vm, s);
	put_segments(vm, s);
	if (s->close)
		put_closes(vm, s->close == 3 ? UINT32_MAX : s->close, s->handle);
	c->op = s->op;
	for (int i = 0; i < 6; i++)
		c->arg[i] = s->arg[i];
	c->nseg = s->nseg <= SEGMENTS ? s->nseg : s->nseg == SEGMENTS + 1 ? QK_SEG_MAX : QK_SEG_MAX + s->nseg;
	vcpu_of(vm)->shared->timer_ns = s->timer;
	c->state = QK_CALL_SUBMITTED;
}

/* One word of what a guest may write, of this shot or the next. */
GUEST static void rewrite_one(struct qv *vm, uint64_t *r)
{
	unsigned at = atomic_load_explicit(&current, memory_order_relaxed) % SHOTS_MAX;
	const volatile struct shot *s = &shots[at], *other = &shots[(at + (next_random(r) & 1)) % SHOTS_MAX];
	volatile struct qk_call *c = call_of(vm);
	volatile struct qk_comm *comm = vm->comm;
	volatile struct qk_vcpu *vcpu = vcpu_of(vm)->shared;
	volatile char *data = vcpu_of(vm)->block + QK_VCPU_DATA;
	volatile struct qk_seg *segs = (struct qk_seg *)(vcpu_of(vm)->block + QK_VCPU_SEGS);
	unsigned kind = s->race & (1u << next_random(r) % 6);
	switch (kind) {
	case REWRITE_ARGS:
		c->arg[next_random(r) % 6] = next_random(r) & 1 ? other->arg[next_random(r) % 6] : s->other;
		c->op = next_random(r) & 3 ? other->op : (uint32_t)s->other;
		c->nseg = (uint32_t)(next_random(r) & 1 ? other->nseg : s->other);
		c->data_len = (uint32_t)(next_random(r) & 1 ? QK_DATA_SIZE : s->other);
		break;
	case REWRITE_DATA:
		if (next_random(r) & 1)
			put_name(data, (const uint8_t *)other->name[next_random(r) & 1]);
		else
			data[next_random(r) % 64] = (char)next_random(r);
		break;
	case REWRITE_SEGMENTS:
		segs[next_random(r) % SEGMENTS].gpa = other->seg[next_random(r) % SEGMENTS].gpa;
		segs[next_random(r) % SEGMENTS].len = other->seg[next_random(r) % SEGMENTS].len;
		break;
	case REWRITE_STATE:
		c->state = next_random(r) & 3 ? QK_CALL_SUBMITTED : (uint32_t)next_random(r) & 3;
		c->ret = (int64_t)s->other;
		break;
	case REWRITE_RINGS:
		comm->event_tail = (uint32_t)s->other + (uint32_t)next_random(r) % QK_EVENT_MAX;
		comm->event_head = (uint32_t)next_random(r);
		comm->missed = (uint32_t)next_random(r) & 3;
		comm->missed_signals = s->other;
		vcpu->timer_ns = s->timer;
		vcpu->tick_ns = s->other;
		vcpu->wait_ns = s->timer % WAIT_MAX_NS;
		vcpu->poller_awake = (uint32_t)next_random(r) & 1;
		comm->free_bitmap_gpa = s->other;
		comm->free_bitmap_len = other->arg[0];
		break;
	case REWRITE_CLOSES:
		put_closes(vm, (uint32_t)(next_random(r) & 1 ? s->close : s->other), other->handle);
		break;
	default:
		break;
	}
}

void *guest_rewriter(void *unused)
{
	uint64_t r = 88172645463325252ull;
	(void)unused;
	for (;;) {
		pthread_mutex_lock(&rewriting);
		for (int i = 0; machine && i < BURST; i++)
			rewrite_one(machine, &r);
		pthread_mutex_unlock(&rewriting);
	}
	return NULL;
}

GUEST bool guest_waits(struct qv *vm)
{
	return *(volatile uint32_t *)&call_of(vm)->state == QK_CALL_SUBMITTED;
}

GUEST void guest_check_answer(struct qv *vm)
{
	const volatile uint64_t *data = (uint64_t *)(vcpu_of(vm)->block + QK_VCPU_DATA);
	for (size_t i = 0; i < QK_DATA_SIZE / sizeof(*data) && i < 4096 / sizeof(*data); i++)
		if (data[i] == SECRET_SIZE)
			violation("an answer describes a file that is not the guest's");
}

GUEST void guest_set_wait(struct qv *vm, uint64_t ns)
{
	volatile struct qk_vcpu *vcpu = vcpu_of(vm)->shared;
	vcpu->wait_ns = ns;
}
