/* System call handlers. `long sys_NAME(...)` takes up to six u64 arguments (user pointers wrapped with UPTR by the handler), returns >= 0 or -errno.
 * Handlers that need the caller's registers (clone, sigreturn, execve) use arch_task_frame(&current->arch). */
#ifndef SYSCALL_H
#define SYSCALL_H
#include "errno.h"
#include "types.h"
typedef long (*syscall_fn)(u64, u64, u64, u64, u64, u64);
#define SYSCALL(nr, name, fn) long fn();
#undef SYSCALL
#endif
