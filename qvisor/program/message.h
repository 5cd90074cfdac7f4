/* What the program QVisor is told: three messages on the SOCK_SEQPACKET socket that it is started with, each with its descriptors (SCM_RIGHTS).
 * Python fills them by field name: native/cdef.h repeats the structures, and the compiler compares. A field that names a descriptor is its place
 * among those of its message; -1: there is none. */
#ifndef MESSAGE_H
#define MESSAGE_H

#include <stdint.h>

#include "quark_abi.h"

#define QM_VERSION 1u
#define QM_FDS_MAX 64
#define QM_ROOTS_MAX 33
#define QM_GROUPS_MAX 64
#define QM_STEPS_MAX 8
#define QM_STEP_NAME 48
/* What is said of a clone whose memory cannot be completed. */
#define QM_LOST \
	"the pager of this sandbox ended, or its snapshot is damaged, so its memory cannot be completed: the sandbox was ended; " \
	"run it again, and see pager.log below run/ in the state directory"

enum {
	QM_ALONE = 1, /* nobody listens at the socket: what there is to say goes to standard error */
	QM_JSON = 2,  /* alone: errors and reports as JSON */
	QM_UNCONFINED = 4,
	QM_USERS = 8, /* a namespace of users, too, where no others can be had without */
};

/* What a process has been confined by, as `started` says it (confine.c; qvisor/confinement.py has the words). */
enum {
	QM_BY_CAPABILITIES = 1,
	QM_BY_PRIVILEGES = 2, /* no_new_privs */
	QM_BY_NAMESPACES = 4, /* mount, IPC, UTS, cgroup */
	QM_BY_NETWORK = 8,
	QM_BY_ROOT = 16, /* an empty one */
	QM_BY_LIMITS = 32,
	QM_BY_SYSCALLS = 64,
	QM_BY_LANDLOCK = 128,
	QM_BY_MOUNTS = 256, /* QM_MOUNTS */
};

/* What the process has of the host. */
struct qm_machine {
	uint32_t version, flags; /* QM_VERSION, QM_* */
	uint64_t ram_max;        /* bytes that any request may make the memory limit */
	int32_t kvm;             /* /dev/kvm */
	int32_t parent;          /* process with which this one has to end, or 0 */
	int32_t namespaces[4];   /* network, IPC, UTS, cgroup: to be in; -1: make one */
};

enum {
	QM_CLONE = 1,    /* of `image` and `layout`; else cold, of `kernel` */
	QM_COMPLETE = 2, /* the image has all its pages: nobody has to bring in any */
	QM_PREFETCH = 4, /* the pager was asked for the working set, and has not answered yet */
	QM_POPULATE = 8, /* map the working set before the run */
	QM_AHEAD = 16,   /* there is no request yet: say `prepared` when that is done, and wait */
};

/* What the machine depends on: the snapshot, or the installation. */
struct qm_prepare {
	uint32_t version, flags;
	int32_t kernel;        /* cold: the guest kernel's ELF file */
	int32_t image, layout; /* clone: read-only (snapshotd/layout.py) */
	int32_t pager;         /* clone: the socket on which the pager was asked for the image */
	uint32_t ring;         /* clone: enum qk_ring that its kernel runs in */
};

/* A step of a clone's way to its first output that was taken already. */
struct qm_step {
	char name[QM_STEP_NAME];
	uint64_t us;
};

enum {
	QM_DEBUG = 1,       /* the guest kernel's log goes to this process's standard error; alone: and counters when it has ended */
	QM_TIMING = 2,      /* alone: the steps go to standard error when it has ended */
	QM_TTY = 4,         /* standard input is to be the terminal of this process */
	QM_STOPS = 8,       /* say `stopped` when the first program stops; else (and not alone) it does not stop */
	QM_WANT_READY = 16, /* a program that is ready is captured: say `parked`, and wait for `capture` */
	QM_ONCE = 32,       /* a capture is the end of it */
	QM_ANY_OWNER = 64,  /* it keeps the capabilities to use files beneath its roots whoever owns them, if it has them */
	QM_AS_USER = 512,   /* it has the rights on files of `user` from the run on, and those alone */
	QM_SET_ID = 1024,   /* a guest may give files of read-write volumes set-id bits */
	QM_STRICT = 256,    /* it is an error when the host could not confine it in every way */
	QM_MOUNTS = 128,    /* each root is a mount of nobody else: nothing leads out of it */
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
	uint32_t user, group, ngroups, groups[QM_GROUPS_MAX]; /* QM_AS_USER */
	int32_t timing_file;                                  /* the steps as JSON go there as well */
	uint32_t nsteps;
	uint64_t sent_ns; /* CLOCK_MONOTONIC when the last of the steps was taken */
	struct qm_step steps[QM_STEPS_MAX];
};

/* Then, unless it is alone, it is told commands and tells events, of NUL-separated fields:
 *   capture, with a socket      the storer is at its other end (below); when the guest is parked
 *   pause, resume
 *   prepared                    the request may come any time later (QM_AHEAD)
 *   started GENERATION PARTS    in hexadecimal digits; QM_BY_*
 *   paused, resumed, stopped, parked
 *   ended STATUS REASON PREFETCHED FAULTS FAULT_PAGES then STEP MICROSECONDS of each step of a clone
 *   failed CLASS MESSAGE        a class of quark/errors.py; in place of `ended`
 *
 * A storer is sent, on a stream: struct qm_frozen, the vCPU's state, the recipes of the open files. Then it asks (struct qm_ask), and is answered
 * with an int64_t, -errno: an error, and
 *   QM_SCAN     how many runs: struct qv_scan_stats, the runs (struct qv_page_run)
 *   QM_HANDLE   0: the descriptor of handle `arg` comes along
 *   QM_PAGES    how many: the pages of all the runs
 */
struct qm_frozen {
	uint32_t version, ring; /* enum qk_ring */
	uint64_t ram_bytes, ram_used, cache_dropped, pause_ns;
	uint64_t state_bytes, recipes_bytes;
};
enum { QM_SCAN = 1, QM_HANDLE = 2, QM_PAGES = 3 };
struct qm_ask {
	uint32_t op, arg; /* QM_SCAN: whether only what a clone has written is wanted */
};

#endif
