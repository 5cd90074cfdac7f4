/* The functions of QVisor's C part that Python calls through cffi (cdef.h repeats them). All calls are coarse, release the GIL, never call back;
 * they return 0 or more, or -errno. */
#ifndef QVISOR_API_H
#define QVISOR_API_H

#include <stddef.h>
#include <stdint.h>

#include "quark_abi.h"

struct qv; /* one virtual machine. One vCPU so far: the structures are made for several (QK_VCPUS_MAX) */

struct qv_config {
	uint64_t ram_limit; /* bytes, a multiple of QK_SLOT_SIZE, at most what the machine was created for */
	int nroots;
	int roots[33];                   /* directory (or file) descriptors of the host roots; 0 is the rootfs */
	uint32_t root_flags[33];         /* QK_MOUNT_* */
	int stdio[3];                    /* descriptors behind handles 0, 1, 2 */
	int signals;                     /* signalfd whose signals go to the guest, or -1 */
	uint64_t hidden_dev, hidden_ino; /* a directory that no guest sees into: quark's own state; inode 0: none */
	int set_id;                      /* may the guest give files of volumes set-id bits? */
};

enum { QV_STOPPED = 0, QV_EXITED = 1, QV_PANIC = 2, QV_PARKED = 3, QV_VM_ERROR = 4 };
struct qv_exit {
	int reason;
	int status;      /* QV_EXITED: 0..255 or 128 + signal */
	char text[8192]; /* QV_PANIC, QV_VM_ERROR: the report */
};

/* VM, vCPU, comm area and the first RAM slot (RAM reads zero), with addresses for ram_max bytes, at most 32 GiB: all that takes long and that every
 * sandbox needs. It is one when qv_configure has said which. */
int qv_create(int kvm_fd, uint64_t ram_max, struct qv **out);
/* No virtual machine, but the names and files of one: to look at a snapshot's files (depends.c, recipes.c) before there is a machine. */
int qv_create_names(struct qv **out);
int qv_configure(struct qv *vm, const struct qv_config *config); /* once */
/* For qv_scan and qv_touched, with no more rights than who calls them is to have: the pagemap in `self`, a descriptor of /proc/self. */
int qv_open_pagemap(struct qv *vm, int self);
void qv_descriptors_at(const char *folder); /* where /proc/self/fd is from now on, with its slash; "": it is the working directory */
void qv_destroy(struct qv *vm);
/* May a directory or file be a root of a sandbox? -EOPNOTSUPP: it is on a file system of the host's kernel; -EBUSY: it is the hidden directory, or in it. */
int qv_check_root(int fd, uint64_t hidden_dev, uint64_t hidden_ino);
/* A directory or file, and all that is mounted beneath it now, as mounts of nobody else; its descriptor. -EPERM: this process may not. */
int qv_own_mount(int fd, int read_only);
/* Loads the kernel ELF and sets the vCPU to its entry point. -ENOEXEC: not such an ELF. */
int qv_boot(struct qv *vm, const void *elf, size_t n);
struct qk_comm *qv_comm(struct qv *vm);
struct qk_stats qv_stats(const struct qv *vm); /* of all vCPUs */
char *qv_comm_area(struct qv *vm, uint32_t offset);
/* Who is told when the first program stops (QC_STOPPED): an eventfd; QV_STOP_SELF, as it is at first: this process stops, for its shell to continue;
 * QV_STOP_NEVER: nobody could continue it, so it does not stop. */
enum { QV_STOP_SELF = -1, QV_STOP_NEVER = -2 };
void qv_on_stop(struct qv *vm, int fd);
/* Runs until the guest ends, parks, fails, or qv_stop(). Repeat to go on after QV_PARKED. */
int qv_run(struct qv *vm, struct qv_exit *out);
/* From any thread: post an event to the guest (QK_EV_*), or end qv_run with QV_STOPPED. */
int qv_post(struct qv *vm, int32_t handle, uint32_t events);
void qv_stop(struct qv *vm);
void qv_resume(struct qv *vm); /* qv_run may run again after QV_STOPPED */
/* Should QC_READY answer "park"? */
void qv_want_ready(struct qv *vm, int on);
const char *qv_end_reason(struct qv *vm); /* what the guest said when its memory ran out; "": it did not */
int qv_debug_fd(struct qv *vm, int fd);   /* QC_LOG text goes there; -1: nowhere */
uint64_t qv_ram_bytes(struct qv *vm);
char *qv_ram(struct qv *vm); /* host address of GPA 0; only [0, qv_ram_bytes) is backed */
/* CLOCK_MONOTONIC ns of the first byte written to handle 1 since the last qv_run began, 0 if none yet. */
uint64_t qv_first_output_ns(struct qv *vm);

/* ---- Snapshots (state.c, pages.c, recipes.c) */
size_t qv_state_size(void);
int qv_state_save(struct qv *vm, void *buf, size_t n);
int qv_state_load(struct qv *vm, const void *buf, size_t n);

enum { QV_PAGES_READ = 0, QV_PAGES_WRITTEN = 1 };
struct qv_page_run {
	uint64_t gfn; /* guest frame number */
	uint32_t pages;
	uint32_t kind; /* QV_PAGES_* */
};
struct qv_scan_stats {
	uint64_t data_pages, zero_pages, free_pages;
};
/* Pages a capture must keep, as runs in ascending order; private_only: just those that a clone has copied on write. Count or -errno (-ENOSPC: max). */
int64_t qv_scan(struct qv *vm, int private_only, struct qv_page_run *out, size_t max, struct qv_scan_stats *stats);
/* Pages of RAM that are in this process's page tables: read (still shared) or written (private). */
int64_t qv_touched(struct qv *vm, struct qv_page_run *out, size_t max);
/* Record qv_touched at the first output on handle 1 (the working set); qv_recorded gives it, count or 0. */
int qv_record_touched(struct qv *vm, size_t max);
int64_t qv_recorded(struct qv *vm, struct qv_page_run *out, size_t max);
/* Grows RAM to ram_bytes and maps the runs privately from image_fd, at offset = GPA; the rest stays anonymous zero memory. */
int qv_map_image(struct qv *vm, uint64_t ram_bytes, int image_fd, const struct qv_page_run *runs, size_t n);
/* New userfaultfd with the runs registered for missing pages; the descriptor is the caller's. */
int qv_uffd(struct qv *vm, const struct qv_page_run *runs, size_t n);
int64_t qv_populate(struct qv *vm, const struct qv_page_run *runs, size_t n); /* pages mapped ahead */
/* Lets the guest touch them, in a machine that has no request yet: it must park again, and may ask for nothing. */
int qv_touch_ahead(struct qv *vm, const struct qv_page_run *runs, size_t n, struct qv_exit *out);
/* Files that the guest has open on the host, as bytes that another process can reopen them from; size or -errno (-ENOSPC). */
int64_t qv_recipes_save(struct qv *vm, void *buf, size_t max);
int qv_recipes_load(struct qv *vm, const void *buf, size_t n);
/* A file of the rootfs that a snapshot depends on (snapshotd/files.py). A table: u32 count, u32 0, the files by name, their names. */
enum { QV_FILE_STORED = 1, QV_FILE_LOST = 2, QV_FILE_KEPT = 4 };
struct qv_file {
	uint64_t dev, ino; /* of this host's file whose content is known to be the right one */
	int64_t mtime_ns, ctime_ns;
	uint64_t size;
	uint64_t guest_ino; /* what the guest knows */
	int64_t guest_mtime_ns, guest_ctime_ns;
	uint64_t stored; /* QV_FILE_KEPT: offset of the content in the file of contents */
	uint32_t flags;  /* QV_FILE_KEPT: the store has it, QV_FILE_STORED: it is taken from there; QV_FILE_LOST: it had changed before the capture */
	uint32_t mode, uid, gid;
	uint32_t name; /* offset in the table, NUL-terminated */
	uint32_t reserved;
	uint8_t sha256[32];
};
enum { QV_FILE_AS_RECORDED = 0, QV_FILE_OTHER = 1, QV_FILE_MISSING = 2 };
/* Takes a table of `bytes` bytes at `offset` of fd, which is mapped (shared), in place of the one before. Contents from the store come from
 * stored_fd; 1: there is none (-1), and some file needs it. */
int qv_files_load(struct qv *vm, int fd, uint64_t offset, uint64_t bytes, int stored_fd);
/* One stat a file: how many are not QV_FILE_AS_RECORDED; state[i] of each, if state is not NULL. */
int64_t qv_files_check(struct qv *vm, uint8_t *state);
/* A regular file for reading, beneath the directory root, if a guest with this root may see it: descriptor or -errno. */
int qv_file_open(int root, uint64_t hidden_dev, uint64_t hidden_ino, const char *name);
/* Handle `index` of a file as qv_recipes_save wrote it: its descriptor, which stays the machine's, or -errno. */
int qv_handle_fd(struct qv *vm, uint32_t index);
/* Opens the files of volumes that were taken over with qv_recipes_load. Those that cannot be, as "ROOT NUL NAME NUL", into buf; bytes or -errno. */
int64_t qv_volumes_check(struct qv *vm, char *buf, size_t max);
/* Calls seen(arg) whenever fd has one of the EPOLL* events, on the vCPU's thread or on another of this machine, also on both at once. (Not for Python.) */
int qv_watch(struct qv *vm, int fd, uint32_t events, void (*seen)(void *), void *arg);
/* For the pager: page-aligned addresses of pending faults (0: none now), and waking those who wait on a range. */
int qp_read_faults(int uffd, uint64_t *addresses, int max);
int qp_wake(int uffd, uint64_t start, uint64_t len);

/* Messages with at most 64 descriptors (wire.c). connect: `directory` holds pager.sock. receive: missing descriptors are -1; -EMSGSIZE: it is larger. */
int qc_connect(int directory);
int qc_pair(int *fds);
int qc_send(int sock, const void *message, size_t n, const int *fds, int nfds);
int64_t qc_receive(int sock, void *buf, size_t max, int *fds, int fds_max);

/* Blocks the signals that belong to the guest in this thread and returns a signalfd for them (SIGINT SIGTERM SIGHUP SIGQUIT SIGWINCH SIGUSR1 SIGUSR2). */
int qv_signals(void);

#endif
