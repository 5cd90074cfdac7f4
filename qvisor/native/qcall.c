/* Serves the guest's request: life cycle and memory here, files in qfile.c, streams in qstream.c. One at a time, whatever the guest submits: a
 * vCPU's thread and the poller take it under call_lock. It is copied first, so that what was checked is what is used. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "vm.h"

#define EINTR_TRIES 8

static void ended(struct qv *vm, int reason, const struct qv_call *call)
{
	vm->exit.reason = reason;
	vm->exit.status = (int)(call->arg[0] & 0xff);
	if (reason == QV_PANIC) {
		size_t n = call->data_len < sizeof(vm->exit.text) - 1 ? call->data_len : sizeof(vm->exit.text) - 1;
		memcpy(vm->exit.text, call->data, n);
		vm->exit.text[n] = 0;
	}
}

static uint64_t clock_value(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int64_t sample_clock(struct qv_vcpu *v)
{
	const struct qv *vm = v->vm;
	struct qk_clock *c = &v->shared->clock;
	if (!vm->tsc_mult)
		return -ENOTSUP;
	c->mult = vm->tsc_mult;
	c->tsc = __rdtsc();
	c->mono_ns = clock_value(CLOCK_MONOTONIC);
	c->real_ns = clock_value(CLOCK_REALTIME);
	c->boot_ns = clock_value(CLOCK_BOOTTIME);
	return 0;
}

static int64_t write_log(struct qv *vm, const struct qv_call *call)
{
	const char *text = call->data;
	bool error = call->arg[0] == QK_LOG_ERROR || call->arg[0] == QK_LOG_OOM;
	if (call->arg[0] == QK_LOG_OOM) {
		size_t len = call->data_len < sizeof(vm->end_reason) - 1 ? call->data_len : sizeof(vm->end_reason) - 1;
		memcpy(vm->end_reason, text, len);
		vm->end_reason[len] = 0;
	}
	if (!call->data_len || (!error && vm->debug_fd < 0))
		return 0;
	struct iovec iov[] = {{.iov_base = "quark: ", .iov_len = call->arg[0] == QK_LOG_OOM ? 7 : 0},
			      {.iov_base = (char *)text, .iov_len = call->data_len},
			      {.iov_base = "\n", .iov_len = READ_ONCE(text[call->data_len - 1]) != '\n'}};
	/* The trace is for whoever asked for it, and waits for its reader. An error does not: who reads nothing misses it. */
	int64_t n = error ? qstream_log(vm, iov, 3) : pwritev2(vm->debug_fd, iov, 3, -1, 0) < 0 ? -errno : 0;
	return n < 0 ? n : 0;
}

static int64_t serve(struct qv_vcpu *v, struct qv_call *call)
{
	struct qv *vm = v->vm;
	switch (call->op) {
	case QC_LOG:
		return write_log(vm, call);
	case QC_STOPPED:
		return events_first_stops(vm);
	case QC_READY:
		return vm->want_ready;
	case QC_GROW:
		call->out[0] = vm->ram_bytes;
		call->out[1] = QK_SLOT_SIZE;
		return vm_add_slot(vm);
	case QC_CLOCK:
		return sample_clock(v);
	case QC_READ:
	case QC_WRITE:
	case QC_POLL:
	case QC_IOCTL:
	case QC_FLAGS:
	case QC_LSEEK:
		return qstream_call(vm, call);
	default:
		if ((call->op > QC_CLOCK && call->op < QC_READ) || (call->op > QC_IOCTL && call->op < QC_OP_COUNT))
			return qfile_call(vm, call);
		return -ENOSYS;
	}
}

/* Takes the submitted request, if there is one: a private copy, each field read once, so that what was checked is what is used. */
static bool take(struct qv_vcpu *v, struct qv_call *call)
{
	const struct qk_call *shared = &v->shared->call;
	uint32_t expected = QK_CALL_SUBMITTED;
	if (!__atomic_compare_exchange_n(&v->shared->call.state, &expected, QK_CALL_IDLE, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return false;
	*call = (struct qv_call){.op = READ_ONCE(shared->op),
				 .nseg = READ_ONCE(shared->nseg),
				 .data_len = READ_ONCE(shared->data_len),
				 .data = v->block + QK_VCPU_DATA,
				 .segs = (const struct qk_seg *)(v->block + QK_VCPU_SEGS)};
	for (size_t i = 0; i < sizeof(call->arg) / sizeof(*call->arg); i++)
		call->arg[i] = READ_ONCE(shared->arg[i]);
	if (call->data_len > QK_DATA_SIZE)
		call->data_len = QK_DATA_SIZE;
	return true;
}

static void answer(struct qv_vcpu *v, struct qv_call *call)
{
	struct qk_call *shared = &v->shared->call;
	qfile_close_pending(v);
	const struct qv_call asked = *call;
	/* A signal to the thread that serves is no news for the guest. A file system that answers so by itself is asked a few times. */
	for (int i = 0; i < EINTR_TRIES && (!i || call->ret == -EINTR); i++) {
		*call = asked;
		call->ret = serve(v, call);
	}
	memcpy(shared->out, call->out, sizeof(call->out));
	shared->data_len = call->data_len;
	shared->ret = call->ret;
	__atomic_store_n(&shared->state, QK_CALL_DONE, __ATOMIC_RELEASE);
}

static bool ends_guest(uint32_t op)
{
	return op == QC_EXIT || op == QC_PANIC;
}

int qcall_serve(struct qv_vcpu *v)
{
	struct qv *vm = v->vm;
	struct qv_call call;
	int end = 0;
	pthread_mutex_lock(&vm->call_lock); /* when the poller has it, the exit waits for its answer */
	if (take(v, &call)) {
		if (ends_guest(call.op)) {
			ended(vm, call.op == QC_EXIT ? QV_EXITED : QV_PANIC, &call);
			end = 1;
		} else {
			poller_note_exit(v);
			answer(v, &call);
		}
	}
	pthread_mutex_unlock(&vm->call_lock);
	return end;
}

bool qcall_poll(struct qv_vcpu *v)
{
	struct qv *vm = v->vm;
	struct qk_call *shared = &v->shared->call;
	struct qv_call call;
	bool served = false;
	if (__atomic_load_n(&shared->state, __ATOMIC_ACQUIRE) != QK_CALL_SUBMITTED || ends_guest(READ_ONCE(shared->op)) ||
	    pthread_mutex_trylock(&vm->call_lock))
		return false;
	if (v->serving && take(v, &call)) {
		served = !ends_guest(call.op);
		if (served)
			answer(v, &call);
		else /* rewritten meanwhile: leave it to the vCPU's thread */
			__atomic_store_n(&shared->state, QK_CALL_SUBMITTED, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&vm->call_lock);
	return served;
}

void qcall_allow(struct qv_vcpu *v, bool allow)
{
	pthread_mutex_lock(&v->vm->call_lock);
	v->serving = allow;
	pthread_mutex_unlock(&v->vm->call_lock);
}
