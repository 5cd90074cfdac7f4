/* How the program ends when something is wrong: one line that says what, and the exit status of the error's class in quark/errors.py. */
#include "program.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX 16384
#define TEXT_MAX 8320 /* of one error: the report of struct qv_exit, and what stands before it */

/* tests/unit/test_program.py compares it with the classes. */
static const struct {
	const char *name;
	int status;
} classes[] = {
	[FAIL_REQUEST] = {"QuarkError", 70},   [FAIL_PANIC] = {"GuestPanicError", 65},        [FAIL_VM] = {"VmError", 66},
	[FAIL_PAGER] = {"PagerLostError", 67}, [FAIL_UFFD] = {"UserfaultfdError", 73},        [FAIL_KERNEL] = {"KernelImageError", 72},
	[FAIL_FILE] = {"FileAccessError", 85}, [FAIL_CONFINEMENT] = {"ConfinementError", 58},
};
static bool in_json;

void fail_in_json(bool json)
{
	in_json = json;
}

void printable(char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (((unsigned char)text[i] < ' ' && text[i] != '\n' && text[i] != '\t') || text[i] == 0x7f)
			text[i] = '?';
}

void json_quote(const char *text, char *out, size_t size)
{
	size_t n = 0;
	out[n++] = '"';
	for (; *text && n + 8 < size; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\')
			n += (size_t)snprintf(out + n, size - n, "\\%c", c);
		else if (c < ' ' || c >= 0x7f)
			n += (size_t)snprintf(out + n, size - n, "\\u%04x", c);
		else
			out[n++] = (char)c;
	}
	out[n++] = '"';
	out[n] = 0;
}

/* The line that a user sees, with its newline; text is cut to fit. */
static void fail_line(enum failure kind, const char *text, char *line, size_t size)
{
	static char quoted[LINE_MAX];
	if (in_json) {
		json_quote(text, quoted, sizeof(quoted));
		snprintf(line, size, "{\"class\": \"%s\", \"message\": %s, \"exit_code\": %d}\n", classes[kind].name, quoted, classes[kind].status);
	} else {
		snprintf(line, size, "quark: %s\n", text);
	}
}

_Noreturn void fail(enum failure kind, const char *format, ...)
{
	static char text[TEXT_MAX], line[LINE_MAX + 128];
	va_list list;
	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	printable(text, strlen(text));
	if (control_is_open()) {
		static struct fields f;
		fields_begin(&f, "failed");
		fields_add(&f, classes[kind].name);
		fields_add(&f, text);
		control_send(&f);
		leave(classes[kind].status);
	}
	fail_line(kind, text, line, sizeof(line));
	if (write(2, line, strlen(line)) < 0)
		leave(classes[kind].status); /* nobody reads it */
	leave(classes[kind].status);
}

int64_t check(int64_t result, const char *what)
{
	if (result < 0)
		fail(FAIL_VM, "could not %s: %s", what, strerror((int)-result));
	return result;
}
