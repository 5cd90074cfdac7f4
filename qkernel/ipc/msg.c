/* System V message queues (msgget(2), msgop(2), msgctl(2)). */
#include "../fs/procfs.h"
#include "ipc.h"
#include <asm/msgbuf.h>
#include <linux/capability.h>

#define MSG_STAT 11
#define MSG_INFO 12
#define MSG_STAT_ANY 13
#define MSG_NOERROR 010000u
#define MSG_EXCEPT 020000u
#define MSG_COPY 040000u
#define MSGMNI 32000u
#define MSGMAX 8192u
#define MSGMNB 16384u
#define MSGSSZ 16 /* these three mean nothing any more, but are told (msgctl(2)) */
#define MSGPOOL (MSGMNI * (MSGMNB / 1024))
#define MSGSEG 0xffff

struct msg {
	struct list node;
	s64 type;
	u64 len;
	char text[];
};
struct msg_queue {
	struct ipc_object ipc; /* first: the table frees by it */
	struct list messages;
	struct waitq senders, receivers;
	u64 bytes, count, limit;
	s64 stime, rtime, ctime;
	s32 lspid, lrpid;
};
struct msginfo_abi {
	s32 pool, map, max, mnb, mni, ssz, tql;
	u16 seg;
};

static void msg_free_queue(struct ipc_object *o);
static struct ipc_table queues = {.limit = MSGMNI, .free = msg_free_queue};

static struct msg_queue *queue_of(struct ipc_object *o)
{
	return container_of(o, struct msg_queue, ipc);
}

static void msg_free_queue(struct ipc_object *o)
{
	struct msg_queue *q = queue_of(o);
	while (!list_empty(&q->messages)) {
		struct msg *m = list_first(&q->messages, struct msg, node);
		list_del(&m->node);
		kfree(m);
	}
	kfree(q);
}

long sys_msgget(u64 key, u64 flags)
{
	long err;
	struct ipc_object *o = ipc_lookup_key(&queues, (s32)key, flags, &err);
	if (o || err)
		return err ? err : o->id;
	struct msg_queue *q = kzalloc(sizeof(*q));
	if (!q)
		return -ENOMEM;
	list_init(&q->messages);
	waitq_init(&q->senders);
	waitq_init(&q->receivers);
	q->limit = MSGMNB;
	q->ctime = ipc_now();
	return ipc_add(&queues, &q->ipc, (s32)key, (u32)flags);
}

static bool msg_fits(const struct msg_queue *q, u64 n)
{
	return n + q->bytes <= q->limit && q->count + 1 <= q->limit;
}

/* Until `cond` or the queue is gone. The queue stays valid meanwhile. */
#define MSG_WAIT(q, wq, cond) \
	({ \
		ipc_get(&(q)->ipc); \
		int _w = wait_event(wq, (q)->ipc.removed || (cond), UINT64_MAX); \
		long _r = (q)->ipc.removed ? -EIDRM : _w ? -ERESTARTNOHAND : 0; \
		ipc_put(&queues, &(q)->ipc); \
		_r; \
	})

static long msg_send(struct msg_queue *q, struct msg *m, u64 flags)
{
	if (!ipc_permitted(&q->ipc, 0222))
		return -EACCES;
	while (!msg_fits(q, m->len)) {
		if (flags & IPC_NOWAIT)
			return -EAGAIN;
		long r = MSG_WAIT(q, &q->senders, msg_fits(q, m->len));
		if (r)
			return r;
	}
	list_add_tail(&m->node, &q->messages);
	q->bytes += m->len;
	q->count++;
	q->lspid = current->proc->pid;
	q->stime = ipc_now();
	waitq_wake(&q->receivers, 0, 0);
	return 0;
}

long sys_msgsnd(u64 id, u64 umsg, u64 n, u64 flags)
{
	s64 type;
	long r;
	if (get_user(type, UPTR(umsg)))
		return -EFAULT;
	if (n > MSGMAX || (s32)id < 0 || type < 1)
		return -EINVAL;
	struct msg *m = kmalloc(sizeof(*m) + n);
	if (!m)
		return -ENOMEM;
	m->type = type;
	m->len = n;
	r = copy_from_user(m->text, UPTR(umsg + sizeof(type)), n) ? -EFAULT : 0;
	struct ipc_object *o = r ? NULL : ipc_find(&queues, (s32)id, &r);
	if (o)
		r = msg_send(queue_of(o), m, flags);
	if (r)
		kfree(m);
	return r;
}

/* type > 0: the first of it (MSG_EXCEPT: of any other); < 0: of the lowest type up to that; 0: the first. MSG_COPY: the one at that place. */
static struct msg *msg_choose(struct msg_queue *q, s64 type, u64 flags)
{
	struct msg *m, *best = NULL;
	list_for_each (m, &q->messages, node) {
		if (flags & MSG_COPY) {
			if (!type--)
				return m;
		} else if (type < 0) {
			if (m->type <= -type && (!best || m->type < best->type))
				best = m;
		} else if (!type || (flags & MSG_EXCEPT ? m->type != type : m->type == type)) {
			return m;
		}
	}
	return best;
}

long sys_msgrcv(u64 id, u64 umsg, u64 n, u64 utype, u64 flags)
{
	long r;
	s64 type = (s64)utype == INT64_MIN ? -INT64_MAX : (s64)utype;
	if ((s32)id < 0 || (s64)n < 0)
		return -EINVAL;
	if ((flags & MSG_COPY) && ((flags & MSG_EXCEPT) || !(flags & IPC_NOWAIT)))
		return -EINVAL;
	struct ipc_object *o = ipc_find(&queues, (s32)id, &r);
	if (!o)
		return r;
	struct msg_queue *q = queue_of(o);
	struct msg *m;
	if (!ipc_permitted(o, 0444))
		return -EACCES;
	while (!(m = msg_choose(q, type, flags))) {
		if (flags & IPC_NOWAIT)
			return -ENOMSG;
		r = MSG_WAIT(q, &q->receivers, msg_choose(q, type, flags));
		if (r)
			return r;
	}
	if (m->len > n && !(flags & MSG_NOERROR))
		return -E2BIG;
	n = MIN(n, m->len);
	if (!(flags & MSG_COPY)) {
		list_del(&m->node);
		q->bytes -= m->len;
		q->count--;
		q->lrpid = current->proc->pid;
		q->rtime = ipc_now();
		waitq_wake(&q->senders, 0, 0);
	}
	r = put_user(m->type, UPTR(umsg)) || copy_to_user(UPTR(umsg + sizeof(m->type)), m->text, n) ? -EFAULT : (long)n;
	if (!(flags & MSG_COPY))
		kfree(m);
	return r;
}

static long msg_information(u64 cmd, u64 ubuf)
{
	struct msginfo_abi i = {
		.pool = (s32)MSGPOOL, .map = MSGMNB, .max = MSGMAX, .mnb = MSGMNB, .mni = MSGMNI, .ssz = MSGSSZ, .tql = MSGMNB, .seg = MSGSEG};
	if (cmd == MSG_INFO) {
		i.pool = (s32)queues.used;
		i.map = i.tql = 0;
		for (u32 k = 0; k < queues.cap; k++)
			if (queues.slot[k]) {
				i.map += (s32)queue_of(queues.slot[k])->count;
				i.tql += (s32)queue_of(queues.slot[k])->bytes;
			}
	}
	return copy_to_user(UPTR(ubuf), &i, sizeof(i)) ? -EFAULT : ipc_last_index(&queues);
}

static struct msqid64_ds msg_stat(const struct msg_queue *q)
{
	return (struct msqid64_ds){.msg_perm = q->ipc.perm,
				   .msg_stime = q->stime,
				   .msg_rtime = q->rtime,
				   .msg_ctime = q->ctime,
				   .msg_cbytes = q->bytes,
				   .msg_qnum = q->count,
				   .msg_qbytes = q->limit,
				   .msg_lspid = q->lspid,
				   .msg_lrpid = q->lrpid};
}

static void msg_wake_all(struct msg_queue *q)
{
	waitq_wake(&q->senders, 0, 0);
	waitq_wake(&q->receivers, 0, 0);
}

static long msg_set(struct msg_queue *q, const struct msqid64_ds *ds)
{
	if (!ipc_owned(&q->ipc) || (ds->msg_qbytes > MSGMNB && !(current->proc->cap_eff >> CAP_SYS_RESOURCE & 1)))
		return -EPERM;
	ipc_set_perm(&q->ipc, &ds->msg_perm);
	q->limit = ds->msg_qbytes;
	q->ctime = ipc_now();
	msg_wake_all(q);
	return 0;
}

long sys_msgctl(u64 id, u64 cmd, u64 ubuf)
{
	long r;
	struct msqid64_ds ds;
	if ((s32)id < 0 || (s32)cmd < 0)
		return -EINVAL;
	if (cmd == IPC_INFO || cmd == MSG_INFO)
		return msg_information(cmd, ubuf);
	bool by_index = cmd == MSG_STAT || cmd == MSG_STAT_ANY;
	struct ipc_object *o = by_index ? ipc_at(&queues, (s32)id) : ipc_find(&queues, (s32)id, &r);
	if (!o)
		return by_index ? -EINVAL : r;
	struct msg_queue *q = queue_of(o);
	switch (cmd) {
	case IPC_STAT:
	case MSG_STAT:
	case MSG_STAT_ANY:
		if (cmd != MSG_STAT_ANY && !ipc_permitted(o, 0444))
			return -EACCES;
		ds = msg_stat(q);
		return copy_to_user(UPTR(ubuf), &ds, sizeof(ds)) ? -EFAULT : by_index ? o->id : 0;
	case IPC_SET:
		return copy_from_user(&ds, UPTR(ubuf), sizeof(ds)) ? -EFAULT : msg_set(q, &ds);
	case IPC_RMID:
		if (!ipc_owned(o))
			return -EPERM;
		ipc_get(o);
		ipc_remove(&queues, o);
		msg_wake_all(q);
		ipc_put(&queues, o);
		return 0;
	default:
		return -EINVAL;
	}
}

void proc_sysvipc_msg(struct text *t, const struct subject *subject)
{
	text_add(t, "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n");
	for (u32 k = 0; k < queues.cap; k++) {
		if (!queues.slot[k])
			continue;
		const struct msg_queue *q = queue_of(queues.slot[k]);
		const struct ipc64_perm *p = &q->ipc.perm;
		text_add(t, "%10d %10d  %4o  %10lu %10lu %5u %5u %5u %5u %5u %5u %10lu %10lu %10lu\n", p->key, q->ipc.id, p->mode, q->bytes, q->count,
			 (u32)q->lspid, (u32)q->lrpid, p->uid, p->gid, p->cuid, p->cgid, (u64)q->stime, (u64)q->rtime, (u64)q->ctime);
	}
}

void proc_limits_msgmax(struct text *t, const struct subject *subject)
{
	text_add(t, "%u\n", MSGMAX);
}

void proc_limits_msgmnb(struct text *t, const struct subject *subject)
{
	text_add(t, "%u\n", MSGMNB);
}

void proc_limits_msgmni(struct text *t, const struct subject *subject)
{
	text_add(t, "%u\n", MSGMNI);
}
