/* A virtual machine as the C files of QVisor see it. */
#ifndef VM_H
#define VM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "qvisor_api.h"

#define QV_MAX_HANDLES 65536

/* A host descriptor that the guest knows by its index. */
struct qv_handle {
	uint8_t kind; /* QV_H_*; of a free one nothing else means anything: pages of the table that are not used are never touched */
	int fd;       /* -1: (QV_H_FILE of a clone) not reopened yet */
	bool writable;
	bool in_epoll;
	_Atomic uint32_t armed; /* poll bits of which an event is due */
	/* QV_H_FILE: how to open it again, and what it has to be then */
	uint32_t root;
	int flags;
	char *name; /* on the heap, or in restored_names */
	struct qk_stat identity;
	const struct qv_file *stored; /* its content comes from the store, through vm->stored_fd; else NULL */
};
/* A host file system that a name led to: may guests see it? */
struct qv_system {
	dev_t dev;
	bool hidden, known;
};
#define QV_SYSTEMS 16
#define QV_WATCHES 4

enum { QV_H_FREE = 0, QV_H_FILE, QV_H_STREAM };

/* A vCPU. Everything that is one for each of them is here; its number comes from the host alone, never from the guest. */
struct qv_vcpu {
	struct qv *vm;
	uint32_t index;
	int fd;
	struct kvm_run *run;
	char *block;            /* its part of the comm area */
	struct qk_vcpu *shared; /* the head of that */
	bool serving;           /* its requests may be served. Else (parked, stopped, ended) what they change stands still. Under call_lock */
	uint64_t last_exit_ns;  /* of a request that came by an exit */
	pthread_t thread;
	_Atomic int running;  /* `thread` is valid and inside run_vcpu */
	_Atomic int in_guest; /* it is in KVM_RUN, or about to be: a signal gets it out of there. A request that it serves is not interrupted */
	_Atomic int waiting;  /* it sits in QK_PORT_WAIT */
	_Atomic int need_irq; /* inject QK_IRQ_VECTOR before the next entry */
};

/* A request, copied out of the guest's reach, and the memory of the vCPU's block that goes with it, which is not. */
struct qv_call {
	uint32_t op, nseg, data_len;
	uint64_t arg[6];
	int64_t ret;
	uint64_t out[4];
	char *data;                /* QK_DATA_SIZE bytes, in and out */
	const struct qk_seg *segs; /* QK_SEG_MAX */
};

struct qv {
	int kvm_fd, vm_fd;
	size_t run_size;
	uint32_t nvcpus;
	struct qv_vcpu vcpus[QK_VCPUS_MAX];
	char *ram; /* reservation of ram_reserved bytes; [0, ram_bytes) is backed */
	uint64_t ram_bytes, ram_limit, ram_reserved;
	unsigned nslots;
	char *comm_area;
	struct qk_comm *comm;
	uint32_t event_head; /* next entry of the event ring to write; comm has a copy for the guest */
	struct qv_config config;

	/* Whoever serves a request of whichever vCPU holds it, for as long as that takes: it guards RAM's size, the handles, and what else requests
	 * change. What call.state says is the guest's word, and no more than a hint that there is something to serve. */
	pthread_mutex_t call_lock;

	struct qv_system systems[QV_SYSTEMS];
	unsigned next_system;
	struct qv_handle handles[QV_MAX_HANDLES];
	int terminals[3]; /* of the standard streams that are terminals: descriptor + 1 of an open file of its own, which never waits; else 0 */
	int handles_top, handles_free; /* all from the first on have never been used; all below the second (and from 3 on) are in use */
	char *window;                  /* QK_WINDOW_GPA; NULL: not used yet */
	struct qv_chunk {
		int file;     /* descriptor + 1; 0: shows nothing */
		uint64_t off; /* of the file */
		uint64_t cut; /* bytes of it that showed the file when it was last found too short; QK_WINDOW_CHUNK: all */
	} chunks[QK_WINDOW_CHUNKS];
	char *restored_names; /* of all handles that came from recipes */
	size_t restored_names_size;
	/* depends.c: of a clone, the files of the rootfs that its snapshot depends on, by name, in memory that all clones share */
	const struct qv_file *files;
	const char *files_table; /* which their names are in */
	uint32_t nfiles, naliases;
	void *files_map;
	size_t files_map_size;
	const struct qv_file **aliases; /* naliases by the host's identity, and the same at [nfiles] by the guest's number */
	int stored_fd;                  /* contents from the store, or -1 */

	_Atomic int stop;
	bool want_ready;
	bool ahead; /* it has no request yet, and may ask for nothing */
	int debug_fd;
	int on_stop;          /* qv_on_stop */
	char end_reason[128]; /* the guest's word: why it was out of memory; empty: it was not */
	uint64_t first_output_ns;
	int pagemap_fd;             /* of this process's memory; a fork reads its parent's, whose pages only become more */
	int uffd_device, uffd;      /* until the machine is configured: /dev/userfaultfd, or where there is none a userfaultfd; or -1 */
	struct qv_page_run *record; /* working set, being recorded when not NULL */
	size_t record_max;
	int64_t record_n;

	struct qv_watch {
		void (*seen)(void *);
		void *arg;
	} watches[QV_WATCHES];
	unsigned nwatches;
	int epoll_fd, wake_fd; /* streams, the signalfd and wake_fd (eventfd) */
	pthread_mutex_t event_lock;
	pthread_t tick_thread;
	bool tick_started;
	int tick_fd;           /* eventfd: the tick thread looks at once */
	_Atomic int tick_idle; /* the tick thread sleeps on this futex while every vCPU waits */
	_Atomic int tick_quit;

	pthread_t poller_thread;
	bool poller_started;
	_Atomic int poller_sleep, poller_quit; /* the first is its futex */
	bool many_cpus;                        /* there is one for the poller */
	uint64_t tsc_mult;                     /* ns per TSC tick, 32.32 fixed point */

	struct qv_exit exit; /* of the vCPU that ended the run */
};

/* A value in memory that the guest may write meanwhile, read exactly once. */
#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))

/* The single place where a guest-physical range becomes memory: NULL unless all of [gpa, gpa+len) is RAM. Under call_lock, or while nothing is served. */
static inline void *vm_ram(struct qv *vm, uint64_t gpa, uint64_t len)
{
	if (gpa > vm->ram_bytes || len > vm->ram_bytes - gpa)
		return NULL;
	return vm->ram + gpa;
}

uint64_t now_ns(void);
/* The name by which this process opens one of its descriptors again, or changes what it is on (proc_pid_fd(5)). */
#define FD_NAME 32
void vm_fd_name(int fd, char name[FD_NAME]);
int vm_dup(int fd); /* or -errno */
void vm_first_output(struct qv *vm);
int vm_add_slot(struct qv *vm);       /* one more QK_SLOT_SIZE of RAM; -ENOMEM at the limit. Locked as vm_ram */
void vm_kick(struct qv_vcpu *v);      /* out of guest code */
void vm_interrupt(struct qv_vcpu *v); /* the same, and it finds QK_IRQ_VECTOR when it goes on */
/* events.c */
int events_init(struct qv *vm);
int events_watch_signals(struct qv *vm);
void events_destroy(struct qv *vm);
void events_push(struct qv *vm, int32_t handle, uint32_t events);
bool events_undrained(struct qv *vm);
int events_collect(struct qv *vm, int64_t timeout_ns); /* waits on the epoll set and pushes what came */
void events_wait(struct qv_vcpu *v);
bool events_busy(const struct qv *vm);                      /* a vCPU runs guest code, or soon will */
int events_arm(struct qv *vm, int handle, uint32_t events); /* one event when one of them is ready; 0 or -errno (-EPERM: always ready) */
int64_t events_first_stops(struct qv *vm);                  /* QC_STOPPED */
int tick_start(struct qv *vm);
void tick_nudge(struct qv *vm); /* a vCPU runs again */
void tick_hurry(struct qv *vm); /* a vCPU wants an interrupt earlier than its tick_ns */
/* qcall.c: serve the request that is there. serve: on the vCPU's thread, 1 when the guest ended; poll: on another, whether there was one. */
int qcall_serve(struct qv_vcpu *v);
bool qcall_poll(struct qv_vcpu *v);
void qcall_allow(struct qv_vcpu *v, bool allow); /* false: returns when what was being served is done, and nothing is from then on */
/* poller.c */
void poller_note_exit(struct qv_vcpu *v);
void poller_destroy(struct qv *vm);
/* qfile.c, qstream.c: return value goes to call.ret, out fields are copied back to the guest by the caller. */
int64_t qfile_call(struct qv *vm, struct qv_call *call);
int64_t qlookup_call(struct qv *vm, struct qv_call *call);
int64_t qchange_call(struct qv *vm, struct qv_call *call);
/* The permissions that a guest can give on the host: none that lend whoever runs the file another's identity, unless the request allows that. */
static inline mode_t qfile_mode(const struct qv *vm, uint64_t mode)
{
	return (mode_t)mode & (vm->config.set_id ? 07777u : 01777u);
}
bool qfile_is_single(struct qv *vm, uint64_t root); /* a volume that is one file */
/* Does the snapshot bring the content of this file along, because the host lacks it? */
bool qlookup_stored(const struct qv *vm, uint64_t root, const char *name, const struct qv_file **out);
/* Opens an existing regular file or directory; file_root: `root` is it. Descriptor or -errno. */
int qhandle_open(struct qv *vm, int root, const char *name, bool file_root, int flags);
int qhandle_drop_set_id(struct qv *vm, int fd); /* whoever can write to a file had this done before; 0 or -errno */
int64_t qhandle_close(struct qv *vm, uint64_t handle);
int64_t qstream_call(struct qv *vm, struct qv_call *call);
int64_t qstream_log(struct qv *vm, struct iovec *iov, int n); /* to standard error, as much as there is room for at this moment */
void qstream_take(struct qv *vm, const int stdio[3]);         /* the standard streams, which stay the caller's */
void qstream_close_all(struct qv *vm);
void qfile_close_all(struct qv *vm);
/* For the other files that serve names. root: its descriptor or -errno. name: the index-th NUL-terminated name of the data area, copied out of the guest's
 * reach; 0 or -errno. */
#define NAME_LIMIT 4096
int qfile_root(struct qv *vm, uint64_t root, bool write);
int qfile_name(const struct qv_call *call, int index, char name[NAME_LIMIT]);
void qfile_stat(struct qv *vm, struct qk_stat *q, const struct stat *s); /* as the guest knows the file; q may lie in its reach */
int qfile_of(struct qv *vm, uint64_t handle, bool stream);               /* descriptor behind a handle, or -errno. stream: a stream will do, too */
int qfile_new(struct qv *vm, struct qv_handle h);                        /* takes fd and name over; the handle or -errno */
int64_t qlock_reopen(struct qv *vm, struct qv_call *call);               /* qlock.c */
int64_t qlock_lock(struct qv *vm, struct qv_call *call);
int64_t window_call(struct qv *vm, struct qv_call *call);   /* window.c */
void *window_at(struct qv *vm, uint64_t gpa, uint64_t len); /* memory of a range of the window, maybe of nothing; NULL: not in it */
/* After one that was nothing of that kind: the guest is told, if it has mapped files at all. `again`: its kernel cannot hear of it before it goes on. */
bool window_full(struct qv *vm, bool again);
bool window_cut(struct qv *vm); /* after a failed access: whether a file was found to be too short, and the guest told */
void window_destroy(struct qv *vm);
/* mmap(2) in the place of what is mapped there; MAP_FAILED: nothing can be used there. */
void *vm_replace(void *at, size_t size, int prot, int flags, int fd, uint64_t off);
int vm_set_slot(struct qv *vm, unsigned slot, uint64_t gpa, uint64_t size, void *host);
int64_t qdir_list(struct qv *vm, struct qv_call *call);   /* qdir.c */
int64_t qxattr_call(struct qv *vm, struct qv_call *call); /* qxattr.c */
void qfile_close_pending(struct qv_vcpu *v);              /* what the guest said it is done with */
int qfile_reopen(struct qv *vm, struct qv_handle *h);     /* descriptor of a handle restored from a recipe; -ESTALE: not the same file */
/* walk.c: names of a host root. Descriptors or -errno; -ENOENT: below something hidden.
 * parent: O_PATH descriptor of the directory that holds the last component, which `last` then points to. open: the last component may be hidden. */
int walk_parent(struct qv *vm, int root, const char *name, const char **last);
int walk_open(struct qv *vm, int root, const char *name, uint64_t flags, uint64_t mode);
int walk_last(int dir, const char *last, uint64_t flags, uint64_t mode); /* one component */
void walk_learn_devtmpfs(void);                                          /* while /proc can be seen: which file system it is, to hide it */
/* Is what fd has open, or what `dir` has as `name`, hidden from guests? A hidden directory is shown empty, anything else not at all. */
bool walk_hidden(struct qv *vm, int fd, const struct stat *st);
bool walk_hidden_name(struct qv *vm, int dir, const char *name, const struct stat *st);
int64_t stat_ns(struct timespec t);
/* depends.c */
void depends_close(struct qv *vm);
const struct qv_file *depends_find(const struct qv *vm, const char *name); /* of the rootfs */
bool depends_same(const struct qv_file *f, const struct qk_stat *now);     /* the host's file is the one that was verified */
void depends_present(const struct qv *vm, struct qk_stat *q);              /* what the host says, as the guest knows it */
void depends_stored_stat(const struct qv_file *f, struct qk_stat *q);
/* segs.c: the request's segments as an iovec of host memory, checked; returns count or -errno. iov has room for QK_SEG_MAX. */
int segs_to_iov(struct qv *vm, const struct qv_call *call, struct iovec *iov);

#endif
