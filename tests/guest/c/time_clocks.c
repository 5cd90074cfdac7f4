/* Clocks by the vDSO and by the raw call: they agree, never go back, resolutions, CPU-time clocks, time(), times(), errors. */
#include "check.h"
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/times.h>

static long raw_ns(clockid_t clock)
{
	struct timespec t;
	REQUIRE(syscall(SYS_clock_gettime, clock, &t) == 0);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void burn(long ms)
{
	for (long until = clock_ns(CLOCK_THREAD_CPUTIME_ID) + ms * 1000000; clock_ns(CLOCK_THREAD_CPUTIME_ID) < until;) {}
}

static void *burns(void *arg)
{
	burn(20);
	return (void *)(clock_ns(CLOCK_THREAD_CPUTIME_ID) / 1000000 + 0 * (long)arg);
}

static void interleaved(const char *name, clockid_t clock)
{
	long last = 0, back = 0;
	for (int i = 0; i < 500; i++) {
		long now = i % 2 ? raw_ns(clock) : clock_ns(clock);
		back += now < last;
		last = now;
	}
	CHECK_EQ(name, back, 0);
}

int main(void)
{
	struct timespec t;
	interleaved("monotonic.vdso_and_raw_agree", CLOCK_MONOTONIC);
	interleaved("realtime.vdso_and_raw_agree", CLOCK_REALTIME);
	interleaved("boottime.vdso_and_raw_agree", CLOCK_BOOTTIME);
	interleaved("monotonic_raw.agree", CLOCK_MONOTONIC_RAW);
	long last = 0, equal = 0, back = 0;
	for (int i = 0; i < 100000; i++) {
		long now = clock_ns(CLOCK_MONOTONIC);
		back += now < last;
		equal += now == last;
		last = now;
	}
	CHECK_EQ("monotonic.never_back", back, 0);
	CHECK("monotonic.fine", equal < 50000);
	long a = clock_ns(CLOCK_MONOTONIC), coarse = clock_ns(CLOCK_MONOTONIC_COARSE), b = clock_ns(CLOCK_MONOTONIC);
	CHECK("coarse.behind", coarse <= b && coarse > a - 50000000);
	a = clock_ns(CLOCK_REALTIME);
	struct timeval tv;
	REQUIRE(gettimeofday(&tv, NULL) == 0);
	b = clock_ns(CLOCK_REALTIME);
	long of_day = tv.tv_sec * 1000000000 + tv.tv_usec * 1000;
	CHECK("gettimeofday", of_day >= a - 1000 && of_day <= b);
	REQUIRE(syscall(SYS_gettimeofday, &tv, NULL) == 0);
	CHECK("gettimeofday.raw", tv.tv_sec * 1000000000 + tv.tv_usec * 1000 >= b - 1000);
	time_t now = time(NULL);
	CHECK("time", labs(now - clock_ns(CLOCK_REALTIME) / 1000000000) <= 1 && labs(syscall(SYS_time, NULL) - now) <= 1);
	CHECK("realtime.plausible", now > 1700000000 && now < 5000000000);
	CHECK("boottime.at_least_monotonic", clock_ns(CLOCK_BOOTTIME) >= a - a + clock_ns(CLOCK_MONOTONIC) - 1000000000);

	CHECK("getres", clock_getres(CLOCK_MONOTONIC, &t) == 0 && t.tv_sec == 0 && t.tv_nsec == 1);
	CHECK("getres.coarse", clock_getres(CLOCK_REALTIME_COARSE, &t) == 0 && t.tv_nsec >= 1000000 && t.tv_nsec <= 10000000);
	CHECK_ERR("error.clock", syscall(SYS_clock_gettime, 999, &t), EINVAL);
	CHECK_ERR("error.getres", clock_getres(999, &t), EINVAL);
	CHECK_ERR("error.settime_monotonic", clock_settime(CLOCK_MONOTONIC, &t), EINVAL);

	long before = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	sleep_ms(30);
	CHECK("cputime.not_asleep", clock_ns(CLOCK_PROCESS_CPUTIME_ID) - before < 20000000);
	before = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	long wall = clock_ns(CLOCK_MONOTONIC);
	burn(20);
	long used = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - before;
	CHECK("cputime.running", used >= 19900000 && used <= clock_ns(CLOCK_MONOTONIC) - wall + 5000000);
	pthread_t thread;
	void *result;
	long mine = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	before = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	REQUIRE(pthread_create(&thread, NULL, burns, NULL) == 0 && pthread_join(thread, &result) == 0);
	CHECK("cputime.thread_starts_at_zero", (long)result >= 20 && (long)result < 60);
	CHECK("cputime.thread_own", clock_ns(CLOCK_THREAD_CPUTIME_ID) - mine < 15000000);
	CHECK("cputime.process_sums", clock_ns(CLOCK_PROCESS_CPUTIME_ID) - before >= 19900000);
	clockid_t of_process;
	CHECK("clock_getcpuclockid", clock_getcpuclockid(0, &of_process) == 0 && clock_ns(of_process) > 0);
	struct rusage usage;
	REQUIRE(getrusage(RUSAGE_SELF, &usage) == 0);
	long total = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
	CHECK("getrusage", total >= 20000 && usage.ru_maxrss > 0);
	CHECK("getrusage.thread", getrusage(RUSAGE_THREAD, &usage) == 0);
	CHECK_ERR("getrusage.who", getrusage(77, &usage), EINVAL);
	struct tms tms;
	CHECK("times", times(&tms) != -1 && tms.tms_utime + tms.tms_stime >= 2 && tms.tms_cutime == 0);
	CHECK("clock", clock() >= 20000);
	return check_done();
}
