/* Random numbers (proc/random.c): ChaCha20, seeded from comm->entropy, reseeded when comm->generation changes. */
#ifndef RANDOM_H
#define RANDOM_H
#include "types.h"

void random_init(void);
void random_bytes(void *dst, size_t n);

#endif
