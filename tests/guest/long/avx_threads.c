/* Floating point and AVX2 state alive all the time in four threads; sums are compared with the same work done alone. */
#include "../c/check.h"
#include <fenv.h>
#include <immintrin.h>
#include <pthread.h>
#include <stdint.h>

#define THREADS 4
static double results[THREADS][2];

__attribute__((target("avx2,fma"))) static double vector_work(long seed)
{
	__m256d a = _mm256_setr_pd(1.0 + (double)seed, 1.1, 1.2, 1.3), b = _mm256_setr_pd(0.999, 1.001, 0.998, 1.002), c = _mm256_set1_pd(1e-7);
	for (int i = 0; i < 8000000; i++) {
		a = _mm256_fmadd_pd(a, b, c);
		b = _mm256_permute4x64_pd(b, 0x93);
	}
	double out[4];
	_mm256_storeu_pd(out, a);
	return out[0] + out[1] + out[2] + out[3];
}

static double scalar_work(long seed)
{
	double a = 1.0 + (double)seed, b = 1.1;
	for (int i = 0; i < 8000000; i++) {
		a = a * 0.9999999 + b * 1e-7;
		b = b + a * 1e-9;
	}
	return a + b;
}

static double x87_work(long seed)
{
	volatile long double x = 1.0L + (long double)seed;
	for (int i = 0; i < 300000; i++)
		x = x * 1.0000001L + 1.0L / (i + 3);
	return (double)x;
}

static double work(long seed)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? vector_work(seed) : scalar_work(seed);
}

static void *body(void *arg)
{
	static const int modes[THREADS] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
	long me = (long)arg;
	fesetround(modes[me]);
	results[me][0] = work(me);
	results[me][1] = x87_work(me);
	return (void *)(long)(fegetround() != modes[me]);
}

int main(void)
{
	for (int round = 0; round < 9; round++) {
		pthread_t threads[THREADS];
		void *wrong;
		for (long i = 0; i < THREADS; i++)
			REQUIRE(pthread_create(&threads[i], NULL, body, (void *)i) == 0);
		for (int i = 0; i < THREADS; i++) {
			REQUIRE(pthread_join(threads[i], &wrong) == 0 && wrong == NULL);
			show("round %d thread %d %a %a", round, i, results[i][0], results[i][1]);
		}
	}
	return check_done();
}
