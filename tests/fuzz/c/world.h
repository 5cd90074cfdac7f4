/* What a fuzzed machine has of the host: roots in a temporary directory, and beside them files that no guest may read or change. */
#ifndef WORLD_H
#define WORLD_H

#include "qvisor_api.h"

enum { ROOT_READ_ONLY, ROOT_VOLUME, ROOT_READ_ONLY_VOLUME, ROOT_FILE, ROOTS };
#define NAMES_MAX 30
extern const char *const world_names[NAMES_MAX]; /* components that are worth trying; [0] is no component */
#define WORLD_UP 6                               /* of them: ".." */
#define SECRET_SIZE 1029031u                     /* bytes of each file that is none of the guest's: no other file has so many */

/* Makes it. Its files are gone when this process exits. */
void world_make(void);
void world_fill(struct qv_config *config); /* roots, flags and what is hidden */
/* Gives the machine, which is configured, what a clone has: files that are open, files that its snapshot knows, contents from a store. */
void world_restore(struct qv *vm);
void world_renew_volume(void); /* what guests made in it goes */
/* Ends the process with a report if the host's files are not as they were, or a volume has what gives privileges. */
void world_check(void);
/* Is the descriptor of a file beneath that root? */
void world_check_descriptor(int fd, unsigned root);
int world_count(const char *directory); /* entries of /proc/self/fd or /proc/self/task */
void world_list(const char *directory); /* of links, with what they lead to */
/* Reports a violation and aborts: the fuzzer keeps the input. */
_Noreturn void violation(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
