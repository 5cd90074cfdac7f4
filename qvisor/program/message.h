/* What the program QVisor is told: two messages on the SOCK_SEQPACKET socket that it is started with, each with its descriptors (SCM_RIGHTS).
 * Python fills them by field name: native/cdef.h repeats the structures, and the compiler compares. A field that names a descriptor is its place
 * among those of its message; -1: there is none. */
#ifndef MESSAGE_H
#define MESSAGE_H

#include <stdint.h>

#include "quark_abi.h"

#define QM_VERSION 1u
#define QM_FDS_MAX 64
#define QM_ROOTS_MAX 33
#define QM_STEPS_MAX 8
#define QM_STEP_NAME 48
/* What is said of a clone whose memory cannot be completed. */
#define QM_LOST \
	"the pager of this sandbox ended, or its snapshot is damaged, so its memory cannot be completed: the sandbox was ended; " \
	"run it again, and see pager.log below run/ in the state directory"

enum {
	QM_CLONE = 1,    /* of `image` and `layout`; else cold, of `kernel` */
	QM_COMPLETE = 2, /* the image has all its pages: nobody has to bring in any */
	QM_PREFETCH = 4, /* the pager was asked for the working set, and has not answered yet */
	QM_POPULATE = 8, /* map the working set before the run */
	QM_JSON = 16,    /* errors and reports as JSON */
};

/* What the machine depends on: the snapshot, or the installation. */
struct qm_prepare {
	uint32_t version, flags; /* QM_VERSION, QM_* */
	uint64_t ram_max;        /* bytes that any request may make the memory limit */
	int32_t kvm;             /* /dev/kvm */
	int32_t kernel;          /* cold: the guest kernel's ELF file */
	int32_t image, layout;   /* clone: read-only (snapshotd/layout.py) */
	int32_t pager;           /* clone: the socket on which the pager was asked for the image */
	uint32_t ring;           /* clone: enum qk_ring that its kernel runs in */
};

/* A step of a clone's way to its first output that was taken already. */
struct qm_step {
	char name[QM_STEP_NAME];
	uint64_t us;
};

enum {
	QM_DEBUG = 1,  /* the guest kernel's log goes to standard error, and counters when it has ended */
	QM_TIMING = 2, /* the steps go to standard error when it has ended */
};

/* What the request decides. */
struct qm_assign {
	uint32_t version, flags;
	uint64_t hidden_dev, hidden_ino; /* as of struct qv_config */
	uint32_t nroots;
	int32_t roots[QM_ROOTS_MAX];
	uint32_t root_flags[QM_ROOTS_MAX];
	int32_t stdio[3]; /* -1: the program's own */
	int32_t text;     /* the boot blob, boot.blob_len bytes, and behind it the /dev/quark document */
	uint32_t document_len;
	struct qk_boot boot; /* ram_limit is the memory limit; ram_bytes is not for the sender to say */
	uint8_t generation[16];
	int32_t files; /* clone: the table of files that it depends on, if it is not the layout's */
	int32_t contents;
	uint64_t files_bytes;
	int32_t timing_file; /* the steps as JSON go there as well */
	uint32_t nsteps;
	uint64_t sent_ns; /* CLOCK_MONOTONIC when the last of the steps was taken */
	struct qm_step steps[QM_STEPS_MAX];
};

#endif
