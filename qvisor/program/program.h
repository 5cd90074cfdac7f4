/* The program QVisor as its files see it. */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "confine.h"
#include "message.h"
#include "qvisor_api.h"

#define PAGE 4096u

/* ---- fail.c: the end of this process */
enum failure { FAIL_REQUEST, FAIL_PANIC, FAIL_VM, FAIL_PAGER, FAIL_UFFD, FAIL_KERNEL, FAIL_FILE, FAIL_CONFINEMENT };
void fail_in_json(bool json);
_Noreturn void fail(enum failure kind, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* `could not WHAT: REASON`, of a result that is -errno; others are passed on. */
int64_t check(int64_t result, const char *what);
/* Text of the guest's without control characters, but for newlines and tabs. */
void printable(char *text, size_t n);
/* As a JSON string, quotes included; whole escapes, cut to fit. */
void json_quote(const char *text, char *out, size_t size);

/* ---- terminal.c */
void terminal_remember(void);
_Noreturn void leave(int status); /* ends the process; the terminal is as it was */

/* ---- receive.c: a message of exactly `size` bytes, which begins with its version, and its descriptors */
struct descriptors {
	int fd[QM_FDS_MAX];
	int count;
};
void receive(int sock, void *message, size_t size, struct descriptors *fds);
int descriptor(const struct descriptors *fds, int32_t index, const char *what); /* it must be there */
int descriptor_or_none(const struct descriptors *fds, int32_t index, const char *what);

/* ---- layout.c: the layout of a snapshot (snapshotd/layout.py), mapped and checked */
struct section {
	const void *at;
	size_t bytes;
};
struct layout {
	uint64_t ram_bytes;
	uint64_t files_at; /* offset of the table of files */
	uint64_t files_bytes;
	struct section runs, working_set, cpu_state, recipes;
};
void layout_map(int fd, struct layout *layout);
size_t layout_runs(const struct section *s, const struct qv_page_run **runs);

/* ---- pager.c: the clone's side of the pager's socket (docs/abi.md, "Pager") */
void pager_send_uffd(int sock, int uffd, const void *base);
void pager_await_prefetch(int sock);
void pager_send_working_set(int sock, int memfd, const struct qv_page_run *runs, size_t n);
void pager_stats(int sock, uint64_t *faults, uint64_t *pages);

/* Of a message that has NUL-separated fields; what does not fit is left out. */
#define FIELDS_MAX 16384
struct fields {
	size_t used;
	char data[FIELDS_MAX];
};

/* ---- timeline.c: the steps of a clone's way to its first output */
void timeline_start(uint64_t now_ns);
void timeline_mark(const char *step);
void timeline_take(const struct qm_assign *assign, uint64_t started_ns);
void timeline_add(const char *step, uint64_t us);
void timeline_fields(struct fields *f);
struct outcome {
	int status;
	uint64_t prefetched, faults, fault_pages;
};
/* To standard error if `text`, as JSON if `json`; and as JSON to `file`, if it is not -1. */
void timeline_report(const struct outcome *o, bool text, bool json, int file);
void counters_report(struct qv *vm); /* counters.c: the tail of the guest kernel's log, and its counters, to standard error */

/* ---- control.c: events and commands of one who is not alone */
void fields_begin(struct fields *f, const char *event);
void fields_add(struct fields *f, const char *text);
void fields_number(struct fields *f, uint64_t number);
void control_open(int sock);
bool control_is_open(void);
void control_close(void);
void control_send(const struct fields *f);
void control_tell(const char *event);
void control_watch(struct qv *vm, bool stops); /* from now on commands are followed while the machine runs */
void control_stand_still(void);                /* after QV_STOPPED: until `resume` */
/* After QV_PARKED: the socket of who wants to read the machine; -1: nobody. wait: until somebody does. */
int control_storer(bool wait);

/* ---- capture.c: lets a storer at the other end of sock read the parked machine. once: it stands still until that is done */
void capture_serve(struct qv *vm, int sock, bool once);
void capture_wait(void); /* for one that is under way */

struct program {
	struct qm_machine host;
	struct qm_prepare prepare;
	struct qm_assign assign;
	struct descriptors acquired, machine, request; /* of these messages */
	struct qv *vm;
	struct layout layout;
	int recorded;        /* memfd for the working set that it is the first to record; or -1 */
	uint64_t prefetched; /* pages of the working set that were mapped ahead */
};
void prepare_machine(struct program *p); /* prepare.c */
void assign_request(struct program *p);  /* assign.c */
uint64_t clock_ns(void);                 /* CLOCK_MONOTONIC */

#endif
