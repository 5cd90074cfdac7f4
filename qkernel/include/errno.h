/* Error numbers: the Linux ABI's, plus the internal ones that never reach a program. */
#ifndef KERRNO_H
#define KERRNO_H
#include <asm-generic/errno.h>
#define ERESTARTSYS 512           /* restart the syscall after the handler if SA_RESTART, else EINTR */
#define ERESTARTNOINTR 513        /* always restart */
#define ERESTARTNOHAND 514        /* restart only when no handler runs, else EINTR */
#define ERESTART_RESTARTBLOCK 516 /* nanosleep-like: restart with the remaining time through restart_syscall */
#endif
