/* This process gives up what it does not need (docs/threat-model.md). */
#ifndef CONFINE_H
#define CONFINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- confine.c. What the host lacks is not had: confined_by has the QM_BY_* of what is. */
struct qv;
struct qm_machine;
struct qm_assign;
struct descriptors;
void confine(struct qv *vm, const struct qm_machine *host, const struct descriptors *fds);
/* The rest, when all has been opened that the request names. */
void confine_run(const struct qm_machine *host, const struct qm_assign *assign, const struct descriptors *fds);
/* user.c: has from now on the rights on files of the user that the request names; needs CAP_SETUID and CAP_SETGID. */
void user_take(const struct qm_machine *host, const struct qm_assign *a);
extern unsigned confined_by;
void confine_report(void); /* to standard error */

/* ---- seccomp.c */
enum { IN_PREPARE = 1, IN_RUN = 2, IN_VOLUME = 4, IN_CAPTURE = 8 };
enum seccomp_kind { END, ONE_OF, NO_BITS, BELOW, THIS_PROCESS };
struct seccomp_test { /* of an argument */
	enum seccomp_kind test;
	unsigned arg;
	uint32_t value;
	const uint32_t *values; /* ONE_OF: 0 is the end */
};
struct seccomp_rule {
	int number;
	unsigned stages; /* IN_* */
	const char *name;
	const struct seccomp_test *tests; /* of its arguments: all must hold; NULL: any will do */
	const char *tests_text;
	const char *reason; /* for docs/threat-model.md */
};
extern const struct seccomp_test seccomp_lacking[]; /* the tests of a call that is answered with ENOSYS */
extern const struct seccomp_rule seccomp_rules[];
extern const size_t seccomp_rule_count;
int seccomp_confine(unsigned stages); /* from now on anything but the rules of these stages is this process's end; 0 or -errno */

/* ---- landlock.c */
struct confined_root {
	int fd;
	bool file, writable;
};
/* From now on files are opened beneath these roots alone. -ENOSYS: the host has no Landlock that could do it. */
int landlock_confine(const struct confined_root *roots, unsigned n);
bool landlock_is_there(void);

#endif
