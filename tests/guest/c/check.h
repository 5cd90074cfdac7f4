/* One line a check: `name ok` or `name FAIL why`; the program's exit status is 1 when any check failed.
 * Lines carry only facts that Linux and the sandbox must agree on: never addresses, times or ids. */
#ifndef GUEST_CHECK_H
#define GUEST_CHECK_H

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static atomic_int check_failures;

/* One write(2) a line: threads do not mix lines, and nothing is lost when the program dies of a signal. */
UNUSED __attribute__((format(printf, 1, 2))) static void show(const char *fmt, ...)
{
	char line[512];
	va_list ap;
	va_start(ap, fmt);
	int length = vsnprintf(line, sizeof line - 1, fmt, ap);
	va_end(ap);
	if (length > (int)sizeof line - 2)
		length = (int)sizeof line - 2;
	line[length++] = '\n';
	for (int done = 0; done < length;) {
		ssize_t wrote = write(STDOUT_FILENO, line + done, (size_t)(length - done));
		if (wrote < 0 && errno != EINTR && errno != EAGAIN)
			_exit(120);
		if (wrote > 0)
			done += (int)wrote;
	}
}

UNUSED static const char *errno_name(int number)
{
	if (number == 0)
		return "0";
	const char *name = strerrorname_np(number);
	return name ? name : "E?";
}

UNUSED static void check_true(const char *name, int holds, const char *text, int line)
{
	if (holds) {
		show("%s ok", name);
		return;
	}
	atomic_fetch_add(&check_failures, 1);
	show("%s FAIL line %d: %s", name, line, text);
}

UNUSED static void check_equal(const char *name, long got, long want, int line)
{
	if (got == want) {
		show("%s ok", name);
		return;
	}
	atomic_fetch_add(&check_failures, 1);
	show("%s FAIL line %d: got %ld, want %ld", name, line, got, want);
}

/* `result` is what a call that sets errno returned. */
UNUSED static long check_result(const char *name, long result, int want_errno, int line)
{
	int got_errno = result == -1 ? errno : 0;
	if (got_errno == want_errno) {
		show("%s ok", name);
	} else {
		atomic_fetch_add(&check_failures, 1);
		show("%s FAIL line %d: got %s, want %s", name, line, errno_name(got_errno), errno_name(want_errno));
	}
	return result;
}

#define CHECK(name, condition) check_true(name, !!(condition), #condition, __LINE__)
#define CHECK_EQ(name, got, want) check_equal(name, (long)(got), (long)(want), __LINE__)
/* The call succeeds (does not return -1); the value of the macro is the call's. */
#define CHECK_OK(name, call) check_result(name, (long)(call), 0, __LINE__)
/* The call returns -1 with this errno. */
#define CHECK_ERR(name, call, want_errno) check_result(name, (long)(call), want_errno, __LINE__)
/* Set-up that the rest depends on: silent when it works. */
#define REQUIRE(condition) \
	do { \
		if (!(condition)) { \
			show("REQUIRE FAIL line %d: %s (%s)", __LINE__, #condition, errno_name(errno)); \
			_exit(121); \
		} \
	} while (0)

UNUSED static int check_done(void)
{
	int failures = atomic_load(&check_failures);
	show(failures ? "FAILED" : "passed");
	return failures ? 1 : 0;
}

UNUSED static long clock_ns(clockid_t clock)
{
	struct timespec t;
	REQUIRE(clock_gettime(clock, &t) == 0);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

UNUSED static long now_ms(void)
{
	return clock_ns(CLOCK_MONOTONIC) / 1000000;
}

UNUSED static void sleep_ms(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};
	while (nanosleep(&t, &t) == -1 && errno == EINTR) {}
}

#endif
