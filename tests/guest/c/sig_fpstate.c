/* x87, SSE and AVX registers survive handlers that overwrite them, timer ticks, blocking and other threads. */
#include "check.h"
#include <fenv.h>
#include <immintrin.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

static volatile int ticks, handler_control_default;

__attribute__((target("avx"))) static void scribble_avx(void)
{
	__asm__ volatile("vcmpps $15, %%ymm0, %%ymm0, %%ymm0\n vmovaps %%ymm0, %%ymm1\n vmovaps %%ymm0, %%ymm7\n vmovaps %%ymm0, %%ymm8\n"
			 "vmovaps %%ymm0, %%ymm15\n" ::
				 : "xmm0", "xmm1", "xmm7", "xmm8", "xmm15");
}

static void scribble(void)
{
	__asm__ volatile("fninit\n fldpi\n fldpi\n fldpi\n fstp %st(0)\n fstp %st(0)\n fstp %st(0)");
	if (__builtin_cpu_supports("avx"))
		scribble_avx();
	else
		__asm__ volatile("cmpps $0, %%xmm0, %%xmm0\n movaps %%xmm0, %%xmm15" ::: "xmm0", "xmm15");
}

static void handler(int signal)
{
	unsigned control;
	(void)signal;
	__asm__ volatile("stmxcsr %0" : "=m"(control));
	handler_control_default = (control & 0xff80) == 0x1f80;
	scribble();
	control = 0x7f80; /* round to zero, gone after the handler */
	__asm__ volatile("ldmxcsr %0" ::"m"(control));
	ticks++;
}

/* Loads 4 YMM registers, runs for `spin` rounds (or one system call), and says how many bytes changed. */
__attribute__((target("avx"), noinline)) static int avx_held(unsigned char seed, long spin, long syscall_number)
{
	unsigned char in[4][32], out[4][32];
	for (int i = 0; i < 128; i++)
		in[i / 32][i % 32] = (unsigned char)(seed + i * 7);
	long result;
	__asm__ volatile("vmovups (%[in]), %%ymm0\n vmovups 32(%[in]), %%ymm7\n vmovups 64(%[in]), %%ymm8\n vmovups 96(%[in]), %%ymm15\n"
			 "1: dec %[spin]\n jnz 1b\n"
			 "test %%rax, %%rax\n js 2f\n syscall\n 2:"
			 "vmovups %%ymm0, (%[out])\n vmovups %%ymm7, 32(%[out])\n vmovups %%ymm8, 64(%[out])\n vmovups %%ymm15, 96(%[out])\n"
			 "vzeroupper"
			 : "=a"(result), [spin] "+r"(spin)
			 : "0"(syscall_number), [in] "r"(in), [out] "r"(out), "D"(0), "S"(0), "d"(0)
			 : "rcx", "r11", "memory", "xmm0", "xmm7", "xmm8", "xmm15");
	int wrong = 0;
	for (int i = 0; i < 128; i++)
		wrong += in[i / 32][i % 32] != out[i / 32][i % 32];
	return wrong;
}

static void *holds(void *arg)
{
	long wrong = 0;
	for (int i = 0; i < 300; i++)
		wrong += avx_held((unsigned char)((long)arg * 31 + i), 20000, 24 /* sched_yield */);
	return (void *)wrong;
}

static void *rounds(void *arg)
{ /* each thread has its own rounding mode in MXCSR and the x87 control word */
	static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
	long wrong = 0;
	fesetround(modes[(long)arg]);
	for (int i = 0; i < 100; i++) {
		volatile double one = 1, three = 3;
		volatile long double lone = 1, lthree = 3;
		double third = one / three;
		long double lthird = lone / lthree;
		sched_yield();
		wrong += third != (modes[(long)arg] == FE_UPWARD ? 0x1.5555555555556p-2 : 0x1.5555555555555p-2);
		wrong += (lthird > 0x1.5555555555555554p-2L) != (modes[(long)arg] == FE_UPWARD || modes[(long)arg] == FE_TONEAREST);
		wrong += fegetround() != modes[(long)arg];
	}
	return (void *)wrong;
}

int main(void)
{
	struct sigaction act = {.sa_handler = handler, .sa_flags = SA_RESTART};
	struct itimerval each = {{0, 1000}, {0, 1000}}, off = {{0, 0}, {0, 0}};
	int avx = __builtin_cpu_supports("avx");
	show("avx %s", avx ? "present" : "absent");
	REQUIRE(sigaction(SIGALRM, &act, NULL) == 0 && sigaction(SIGUSR1, &act, NULL) == 0);

	fesetround(FE_DOWNWARD);
	volatile long double before = 1.0L / 3;
	raise(SIGUSR1);
	CHECK("handler.default_control", handler_control_default);
	CHECK_EQ("rounding.after_handler", fegetround(), FE_DOWNWARD);
	volatile long double one = 1, three = 3;
	CHECK("x87.after_handler", one / three <= before);
	fesetround(FE_TONEAREST);

	long double x87[2];
	long pid = getpid();
	__asm__ volatile("fldpi\n fldl2e\n mov $62, %%eax\n mov %[pid], %%rdi\n mov $10, %%esi\n syscall\n" /* kill(self, SIGUSR1) */
			 "fstpt %0\n fstpt %1"
			 : "=m"(x87[0]), "=m"(x87[1])
			 : [pid] "r"(pid)
			 : "rax", "rdi", "rsi", "rcx", "r11", "memory");
	CHECK("x87.stack_kept", x87[0] == 0x1.71547652b82fe178p+0L && x87[1] == 0x1.921fb54442d1846ap+1L);

	ticks = 0;
	REQUIRE(setitimer(ITIMER_REAL, &each, NULL) == 0);
	int wrong = 0;
	for (int i = 0; avx && i < 20000 && ticks < 15; i++)
		wrong += avx_held((unsigned char)i, 100000, -1);
	CHECK_EQ("avx.kept_over_ticks", wrong, 0);
	CHECK("avx.ticked", !avx || ticks >= 15);
	REQUIRE(setitimer(ITIMER_REAL, &off, NULL) == 0);
	if (avx)
		wrong += avx_held(3, 1, 39 /* getpid */) + avx_held(4, 1, 24 /* sched_yield */);
	CHECK_EQ("avx.kept_over_syscall", wrong, 0);

	pthread_t threads[4];
	void *result;
	for (int kind = 0; kind < 2; kind++) {
		wrong = 0;
		for (long i = 0; i < 4; i++)
			REQUIRE(pthread_create(&threads[i], NULL, kind || !avx ? rounds : holds, (void *)i) == 0);
		for (int i = 0; i < 4; i++) {
			REQUIRE(pthread_join(threads[i], &result) == 0);
			wrong += (int)(long)result;
		}
		CHECK_EQ(kind ? "threads.rounding" : "threads.avx", wrong, 0);
	}
	return check_done();
}
