/* The input of the request fuzzer: shots, each what a hostile guest kernel does once. */
#ifndef SHOT_H
#define SHOT_H

#include <stddef.h>
#include <stdint.h>

#include "quark_abi.h"

#define SHOTS_MAX 24
#define DEPTH_MAX 6 /* components of a name */
#define SEGMENTS 3

enum way {
	WAY_EXIT,   /* submits, and exits: the vCPU's thread serves, unless the poller was first */
	WAY_POLLER, /* submits, and lets the poller find it for a while */
	WAY_WAIT,   /* waits for an event */
	WAY_CLOCK,  /* asks for an interrupt */
	WAY_HOST,   /* the host has an event, or a capture */
	WAYS
};

struct shot {
	uint8_t op, way;
	uint8_t race;   /* REWRITE_*: what another processor of the guest writes meanwhile */
	uint8_t length; /* of the data: as it is, one less, none, all, beyond */
	uint8_t name[2][DEPTH_MAX];
	uint8_t nseg;  /* of segments; beyond SEGMENTS: far too many */
	uint8_t close; /* handles to close */
	uint16_t handle;
	uint64_t arg[6];
	struct qk_seg seg[SEGMENTS];
	uint64_t timer, other; /* other: what a rewritten argument becomes */
};

#define REWRITE_ARGS 1u
#define REWRITE_DATA 2u
#define REWRITE_SEGMENTS 4u
#define REWRITE_STATE 8u
#define REWRITE_RINGS 16u
#define REWRITE_CLOSES 32u

/* A generator of the input's own (xorshift64*), so that what it did can be done again. */
static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

#endif
