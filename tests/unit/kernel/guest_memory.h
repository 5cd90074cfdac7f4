/* Puts what the kernel reaches by fixed addresses where a program on the host has it. Goes before everything in programs that ask for it. */
#ifndef GUEST_MEMORY_H
#define GUEST_MEMORY_H
#include "quark_abi.h"

/* Neither the program, its libraries nor AddressSanitizer lie there. */
#undef QK_DIRECT_BASE
#define QK_DIRECT_BASE 0x200000000000ull

extern char comm_area[QK_COMM_SIZE(1)];
#undef QK_COMM_BASE
#define QK_COMM_BASE ((uint64_t)comm_area)

/* A kernel image of 1 MiB. */
extern char _kernel_end[];
#define IMAGE_SIZE 0x100000ull
#undef QK_KERNEL_BASE
#define QK_KERNEL_BASE ((uint64_t)_kernel_end - IMAGE_SIZE)

#endif
