/* Random numbers: ChaCha20 (RFC 8439) with fast key erasure, seeded by the host at boot and again in every clone. */
#include "random.h"
#include "arch.h"
#include "proc.h"
#include "qcall.h"

static u32 key[8];
static u64 counter;

static u32 random_rotl(u32 v, int n)
{
	return v << n | v >> (32 - n);
}

#define QUARTER(a, b, c, d) \
	do { \
		a += b, d = random_rotl(d ^ a, 16); \
		c += d, b = random_rotl(b ^ c, 12); \
		a += b, d = random_rotl(d ^ a, 8); \
		c += d, b = random_rotl(b ^ c, 7); \
	} while (0)

static void random_block(u32 out[16])
{
	u32 in[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
	memcpy(in + 4, key, sizeof(key));
	in[12] = (u32)counter;
	in[13] = (u32)(counter >> 32);
	counter++;
	memcpy(out, in, sizeof(in));
	for (int i = 0; i < 10; i++) {
		QUARTER(out[0], out[4], out[8], out[12]);
		QUARTER(out[1], out[5], out[9], out[13]);
		QUARTER(out[2], out[6], out[10], out[14]);
		QUARTER(out[3], out[7], out[11], out[15]);
		QUARTER(out[0], out[5], out[10], out[15]);
		QUARTER(out[1], out[6], out[11], out[12]);
		QUARTER(out[2], out[7], out[8], out[13]);
		QUARTER(out[3], out[4], out[9], out[14]);
	}
	for (int i = 0; i < 16; i++)
		out[i] += in[i];
}

void random_bytes(void *dst, size_t n)
{
	u32 b[16];
	/* The first half of the first block becomes the next key: what was given out cannot be computed from what stays in memory. */
	random_block(b);
	memcpy(key, b, sizeof(key));
	size_t part = MIN(n, 32);
	memcpy(dst, b + 8, part);
	for (size_t done = part; done < n; done += part) {
		random_block(b);
		part = MIN(n - done, sizeof(b));
		memcpy((u8 *)dst + done, b, part);
	}
	memset(b, 0, sizeof(b));
	barrier();
}

void random_reseed(void)
{
	u32 seed[16], b[16];
	memcpy(seed, comm()->entropy, sizeof(seed));
	memset(comm()->entropy, 0, sizeof(comm()->entropy));
	for (int i = 0; i < 8; i++)
		key[i] ^= seed[i];
	random_block(b);
	for (int i = 0; i < 8; i++)
		key[i] = b[i] ^ seed[8 + i];
}

void random_init(void)
{
	random_reseed();
}

long sys_getrandom(u64 ubuf, u64 len, u64 flags)
{
	u8 buf[256];
	if (flags & ~7ul || (flags & 6) == 6)
		return -EINVAL;
	len = MIN(len, 0x7ffff000ul);
	u64 done = 0;
	while (done < len) {
		size_t n = MIN(len - done, sizeof(buf));
		random_bytes(buf, n);
		size_t got = copy_to_user_partial(UPTR(ubuf + done), buf, n);
		done += got;
		if (got < n)
			return done ? (long)done : -EFAULT;
		if (done % (64 * 1024) == 0 && signal_pending(current))
			break;
	}
	return (long)done;
}
