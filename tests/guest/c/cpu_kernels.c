/* AVX2 and FMA kernels against plain C: integer hashing, dot products, matrix multiply, gathers; checksums are printed. */
#include "check.h"
#include <immintrin.h>
#include <math.h>
#include <stdint.h>

#define N 96
static float a[N][N], b[N][N], c[N][N];
static uint32_t words[4096];

static uint32_t fold(const void *data, size_t size)
{
	const unsigned char *p = data;
	uint32_t hash = 2166136261u;
	for (size_t i = 0; i < size; i++)
		hash = (hash ^ p[i]) * 16777619u;
	return hash;
}

__attribute__((target("avx2"))) static uint32_t mix_avx2(void)
{
	__m256i state = _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 8);
	for (int round = 0; round < 50; round++)
		for (int i = 0; i < 4096; i += 8) {
			__m256i w = _mm256_loadu_si256((const __m256i *)(words + i));
			state = _mm256_add_epi32(_mm256_mullo_epi32(state, _mm256_set1_epi32(0x01000193)), w);
			state = _mm256_xor_si256(state, _mm256_srli_epi32(state, 13));
			state = _mm256_permutevar8x32_epi32(state, _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 0));
		}
	uint32_t out[8];
	_mm256_storeu_si256((__m256i *)out, state);
	return fold(out, sizeof out);
}

static uint32_t mix_plain(void)
{
	uint32_t state[8] = {1, 2, 3, 4, 5, 6, 7, 8}, next[8];
	for (int round = 0; round < 50; round++)
		for (int i = 0; i < 4096; i += 8) {
			for (int j = 0; j < 8; j++) {
				uint32_t s = state[j] * 0x01000193u + words[i + j];
				next[(j + 7) % 8] = s ^ s >> 13;
			}
			memcpy(state, next, sizeof state);
		}
	return fold(state, sizeof state);
}

__attribute__((target("avx2,fma"))) static void multiply_fma(void)
{
	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j += 8) {
			__m256 sum = _mm256_setzero_ps();
			for (int k = 0; k < N; k++)
				sum = _mm256_fmadd_ps(_mm256_set1_ps(a[i][k]), _mm256_loadu_ps(&b[k][j]), sum);
			_mm256_storeu_ps(&c[i][j], sum);
		}
}

static int multiply_wrong(void)
{
	int wrong = 0;
	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++) {
			float sum = 0;
			for (int k = 0; k < N; k++)
				sum = fmaf(a[i][k], b[k][j], sum);
			wrong += sum != c[i][j];
		}
	return wrong;
}

__attribute__((target("avx2"))) static uint32_t gather_avx2(void)
{
	__m256i sum = _mm256_setzero_si256(), index = _mm256_setr_epi32(0, 511, 1022, 1533, 2044, 2555, 3066, 3577);
	for (int i = 0; i < 512; i++)
		sum = _mm256_add_epi32(sum, _mm256_i32gather_epi32((const int *)words, _mm256_add_epi32(index, _mm256_set1_epi32(i)), 4));
	uint32_t out[8];
	_mm256_storeu_si256((__m256i *)out, sum);
	return fold(out, sizeof out);
}

static uint32_t gather_plain(void)
{
	uint32_t sum[8] = {0};
	for (int i = 0; i < 512; i++)
		for (int j = 0; j < 8; j++)
			sum[j] += words[511 * j + i];
	return fold(sum, sizeof sum);
}

__attribute__((target("sse4.2"))) static uint32_t crc_hardware(void)
{
	uint32_t crc = ~0u;
	for (int i = 0; i < 4096; i++)
		crc = _mm_crc32_u32(crc, words[i]);
	return ~crc;
}

static uint32_t crc_plain(void)
{
	uint32_t crc = ~0u;
	const unsigned char *p = (const unsigned char *)words;
	for (size_t i = 0; i < sizeof words; i++) {
		crc ^= p[i];
		for (int k = 0; k < 8; k++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

int main(void)
{
	uint32_t seed = 12345;
	for (int i = 0; i < 4096; i++)
		words[i] = seed = seed * 1664525u + 1013904223u;
	for (int i = 0; i < N * N; i++) {
		a[i / N][i % N] = (float)(words[i % 4096] >> 8) / 65536.0f - 100;
		b[i / N][i % N] = (float)(words[(i * 7) % 4096] >> 8) / 65536.0f - 100;
	}
	show("avx2 %d fma %d sse4.2 %d", __builtin_cpu_supports("avx2") != 0, __builtin_cpu_supports("fma") != 0,
	     __builtin_cpu_supports("sse4.2") != 0);
	uint32_t mixed = mix_plain(), gathered = gather_plain(), crc = crc_plain();
	show("mix %08x gather %08x crc %08x", mixed, gathered, crc);
	if (__builtin_cpu_supports("avx2")) {
		CHECK_EQ("avx2.mix", mix_avx2(), mixed);
		CHECK_EQ("avx2.gather", gather_avx2(), gathered);
	}
	if (__builtin_cpu_supports("sse4.2"))
		CHECK_EQ("sse42.crc", crc_hardware(), crc);
	if (__builtin_cpu_supports("fma")) {
		multiply_fma();
		CHECK_EQ("fma.multiply", multiply_wrong(), 0);
		show("product %08x", fold(c, sizeof c));
	}
	double sum = 0;
	for (int i = 1; i < 20000; i++)
		sum += sin(i) * exp(-i / 5000.0) + sqrt(i) / log(i + 1.5) + pow(i, 0.3);
	show("libm %.9e", sum);
	long double x = 1;
	for (int i = 1; i < 30; i++)
		x = x * 1.0625L + 1.0L / i;
	show("x87 %.18Lg", x);
	return check_done();
}
