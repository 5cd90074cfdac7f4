/* Large static arrays: a 64 MB bss that is zero, costs nothing until touched, and keeps what is written. */
#include "check.h"

#define MB (1L << 20)
static unsigned char big[64 * MB];
static unsigned table[1 << 16] = {[0] = 1, [65535] = 7};
static __thread char tls_zero[5000];
static __thread int tls_set = 11;

int main(void)
{
	long nonzero = 0;
	for (long i = 0; i < 64 * MB; i += 4096)
		nonzero += big[i] + big[i + 4095];
	CHECK_EQ("bss.zero", nonzero, 0);
	for (long i = 0; i < 64 * MB; i += MB)
		big[i + i / MB] = (unsigned char)(i / MB + 1);
	long sum = 0;
	for (long i = 0; i < 64 * MB; i += MB)
		sum += big[i + i / MB];
	CHECK_EQ("bss.kept", sum, 64 * 65 / 2);
	CHECK_EQ("data.ends", table[0] + table[65535], 8);
	for (int i = 0; i < 1 << 16; i++)
		table[i] = (unsigned)i * 2654435761u;
	unsigned hash = 0;
	for (int i = 0; i < 1 << 16; i++)
		hash = hash * 33 ^ table[i];
	show("data.hash %08x", hash);
	for (unsigned i = 0; i < sizeof tls_zero; i++)
		nonzero += tls_zero[i];
	CHECK("tls", nonzero == 0 && tls_set == 11);
	return check_done();
}
