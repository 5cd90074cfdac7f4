/* For guest programs that send requests to QVisor themselves, as a hostile guest kernel would. They need software KVM (ring3 mode), where the guest
 * kernel's pages and the ports of the ABI are open to programs; on hardware KVM that takes a fault of the guest kernel first. */
#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <x86intrin.h>

#include "quark_abi.h"

#define COMM ((volatile struct qk_comm *)QK_COMM_BASE)
#define BLOCK (QK_COMM_BASE + QK_OFF_VCPU(0))
#define VCPU ((volatile struct qk_vcpu *)BLOCK)
#define SEGS ((volatile struct qk_seg *)(BLOCK + QK_VCPU_SEGS))
#define DATA ((char *)(BLOCK + QK_VCPU_DATA))
#define RAM(gpa) ((volatile char *)(QK_DIRECT_BASE + (gpa)))
#define SPARE (60ull << 20)    /* GPA: the end of the first slot, of which a small sandbox uses nothing */
#define PATIENCE 3000000000ull /* TSC ticks: about a second */

static inline void out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" ::"a"(value), "d"(port) : "memory");
}

static inline uint32_t call_state(void)
{
	return __atomic_load_n((uint32_t *)&VCPU->call.state, __ATOMIC_SEQ_CST);
}

/* Hands a request over; nothing has looked at it yet when this returns. */
static inline void submit(uint32_t op, uint32_t data_len, uint32_t nseg, uint64_t a0, uint64_t a1, uint64_t a2)
{
	VCPU->call.op = op;
	VCPU->call.data_len = data_len;
	VCPU->call.nseg = nseg;
	VCPU->call.arg[0] = a0;
	VCPU->call.arg[1] = a1;
	VCPU->call.arg[2] = a2;
	__atomic_store_n((uint32_t *)&VCPU->call.state, QK_CALL_SUBMITTED, __ATOMIC_SEQ_CST);
}

static inline int64_t call(uint32_t op, uint32_t data_len, uint32_t nseg, uint64_t a0, uint64_t a1, uint64_t a2)
{
	submit(op, data_len, nseg, a0, a1, a2);
	while (call_state() != QK_CALL_DONE)
		out32(QK_PORT_CALL, 0);
	return VCPU->call.ret;
}

static inline int64_t call_named(uint32_t op, const char *name, uint64_t a0, uint64_t a1, uint64_t a2)
{
	strcpy(DATA, name);
	return call(op, (uint32_t)strlen(name) + 1, 0, a0, a1, a2);
}

static inline int64_t call_two_names(uint32_t op, const char *from, const char *to, uint64_t a0, uint64_t a1)
{
	size_t n = strlen(from) + 1;
	strcpy(DATA, from);
	strcpy(DATA + n, to);
	return call(op, (uint32_t)(n + strlen(to) + 1), 0, a0, a1, 0);
}

/* Requests come thick until QVisor's poller looks for them. */
static inline int wake_poller(void)
{
	for (int i = 0; i < 5000 && !VCPU->poller_awake; i++)
		call(QC_CLOCK, 0, 0, 0, 0, 0);
	return (int)VCPU->poller_awake;
}

/* Waits until the poller has taken what was submitted. */
static inline int taken(void)
{
	uint64_t until = __rdtsc() + PATIENCE;
	while (call_state() == QK_CALL_SUBMITTED && __rdtsc() < until)
		_mm_pause();
	return call_state() != QK_CALL_SUBMITTED;
}
