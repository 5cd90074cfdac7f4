/* What the parts of the request fuzzer share: its machine, its input, and the place of the guest in them. */
#ifndef REQUESTS_H
#define REQUESTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "shot.h"
#include "vm.h"
#include "world.h"

#define WAIT_MAX_NS 20000

extern struct qv *_Atomic machine;
extern pthread_mutex_t rewriting; /* the machine stays as long as it is held */
extern struct shot shots[SHOTS_MAX];
extern _Atomic unsigned current; /* of them */
extern _Atomic uint64_t served;  /* requests */

static inline struct qv_vcpu *vcpu_of(struct qv *vm)
{
	return &vm->vcpus[0];
}

static inline struct qk_call *call_of(struct qv *vm)
{
	return &vcpu_of(vm)->shared->call;
}

/* guest.c: no race of what these write is one with the host, however wild (TSan looks for those of the host's threads with each other). */
void guest_submit(struct qv *vm, const struct shot *s);
bool guest_waits(struct qv *vm); /* its request has not been taken */
void guest_set_wait(struct qv *vm, uint64_t ns);
void guest_check_answer(struct qv *vm); /* no answer tells of a file that is none of the guest's */
void *guest_rewriter(void *unused);     /* its other processor: rewrites at any moment what this shot or the next may */

#endif
