/* Pure computation over 8 MB: a chain of hashes in registers and memory, with progress lines. No system calls in between. */
#include "../c/check.h"
#include <stdint.h>

#define WORDS (1 << 20)
static uint64_t table[WORDS];

int main(void)
{
	uint64_t x = 88172645463325252;
	for (int i = 0; i < WORDS; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		table[i] = x;
	}
	for (int round = 0; round < 6; round++) {
		for (int i = 0; i < 2500000; i++) {
			uint64_t *at = &table[x % WORDS];
			x = (x ^ *at) * 0x9e3779b97f4a7c15;
			x ^= x >> 29;
			*at += x;
		}
		show("round %d hash %016lx", round, x);
	}
	uint64_t sum = 0;
	for (int i = 0; i < WORDS; i++)
		sum = sum * 31 + table[i];
	show("table %016lx", sum);
	return check_done();
}
