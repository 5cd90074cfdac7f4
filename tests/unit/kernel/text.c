/* Compares the kernel's strings and snprintf with the C library's. Input: records of a 24-byte header and two texts; output: their number.
 * sources: lib/string.c lib/format.c
 */
#include <stdio.h>
#include <stdlib.h>

#include "klib.h"

/* The C library's own, below the macros that give the kernel's the prefix. */
int libc_snprintf(char *buf, size_t size, const char *fmt, ...) __asm__("snprintf");
int libc_memcmp(const void *a, const void *b, size_t n) __asm__("memcmp");
size_t libc_strlen(const char *s) __asm__("strlen");
int libc_strcmp(const char *a, const char *b) __asm__("strcmp");
int libc_strncmp(const char *a, const char *b, size_t n) __asm__("strncmp");
char *libc_strchr(const char *s, int c) __asm__("strchr");
char *libc_strrchr(const char *s, int c) __asm__("strrchr");

struct record {
	u64 number;
	u8 kind, length_modifier, left, zero, width, precision, size, limit;
	u32 alen, blen; /* of the texts that follow */
};

static void fail(const char *what, const char *want, const char *got)
{
	printf("%s: the C library has [%s], the kernel [%s]\n", what, want, got);
	exit(1);
}

static int sign(int x)
{
	return (x > 0) - (x < 0);
}

static void check(bool ok, const char *what)
{
	if (!ok)
		fail(what, "one result", "another");
}

static void check_format(const struct record *r, const char *text)
{
	static const char conversions[] = "diuoxsc%";
	static const char *const modifiers[] = {"", "l", "ll", "z"};
	char conversion = conversions[r->kind % (sizeof(conversions) - 1)], fmt[64], want[300], got[300];
	const char *modifier = conversion == 's' || conversion == 'c' || conversion == '%' ? "" : modifiers[r->length_modifier % 4];
	/* C leaves 0 with - or with s undefined, and the kernel's %c and %% take no width */
	bool number = conversion != 's' && conversion != 'c' && conversion != '%', plain = conversion == 'c' || conversion == '%';
	const char *flag = plain ? "" : r->left % 2 ? "-" : number && r->zero % 2 ? "0" : "";
	if (plain)
		libc_snprintf(fmt, sizeof(fmt), "<%%%c>", conversion);
	else if (conversion == 's' && r->precision < 128)
		libc_snprintf(fmt, sizeof(fmt), "<%%%s%d.%ds>", flag, r->width % 40 + 1, r->precision);
	else
		libc_snprintf(fmt, sizeof(fmt), "<%%%s%d%s%c>", flag, r->width % 40 + 1, modifier, conversion);
	size_t size = r->size + 1u;
	char *kernel = malloc(size), *libc = malloc(size); /* exactly so large, for the sanitizer */
	int n, m;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
#pragma GCC diagnostic ignored "-Wformat-truncation"
	if (conversion == 's')
		n = libc_snprintf(libc, size, fmt, text), m = snprintf(kernel, size, fmt, text);
	else if (conversion == 'c')
		n = libc_snprintf(libc, size, fmt, 'a' + (int)(r->number % 26)), m = snprintf(kernel, size, fmt, 'a' + (int)(r->number % 26));
	else if (conversion == '%')
		n = libc_snprintf(libc, size, fmt), m = snprintf(kernel, size, fmt);
	else if (*modifier)
		n = libc_snprintf(libc, size, fmt, r->number), m = snprintf(kernel, size, fmt, r->number);
	else
		n = libc_snprintf(libc, size, fmt, (unsigned)r->number), m = snprintf(kernel, size, fmt, (unsigned)r->number);
#pragma GCC diagnostic pop
	if (n != m || libc_strcmp(kernel, libc)) {
		libc_snprintf(want, sizeof(want), "%s, %d", libc, n);
		libc_snprintf(got, sizeof(got), "%s, %d", kernel, m);
		fail(fmt, want, got);
	}
	free(kernel);
	free(libc);
}

static void check_strings(const struct record *r, const char *a, const char *b)
{
	size_t limit = r->limit, n = MIN(r->alen, r->blen), skip = r->left % (n + 1);
	int c = (u8)r->number;
	check(sign(memcmp(a + skip, b + skip, n - skip)) == sign(libc_memcmp(a + skip, b + skip, n - skip)), "memcmp");
	check(strlen(a) == libc_strlen(a), "strlen");
	check(strnlen(a, limit) == MIN(libc_strlen(a), limit), "strnlen");
	check(sign(strcmp(a, b)) == sign(libc_strcmp(a, b)), "strcmp");
	check(sign(strncmp(a, b, limit)) == sign(libc_strncmp(a, b, limit)), "strncmp");
	check(strchr(a, c) == libc_strchr(a, c), "strchr");
	check(strrchr(a, c) == libc_strrchr(a, c), "strrchr");
	char *copy = malloc(limit + 1);
	check(strlcpy(copy, a, limit + 1) == libc_strlen(a), "strlcpy's result");
	check(libc_strlen(copy) == MIN(libc_strlen(a), limit) && !libc_memcmp(copy, a, libc_strlen(copy)), "strlcpy");
	free(copy);
}

/* Moves within one buffer, both directions, against a byte-by-byte copy through a second one. */
static void check_moves(const struct record *r, const char *a)
{
	size_t from = r->size % (r->alen + 1u), to = r->limit % (r->alen + 1u), n = r->alen - MAX(from, to);
	char *moved = malloc(r->alen + 1u), *want = malloc(r->alen + 1u);
	for (size_t i = 0; i < r->alen; i++)
		moved[i] = want[i] = a[i];
	for (size_t i = 0; i < n; i++)
		want[to + i] = a[from + i];
	memmove(moved + to, moved + from, n);
	check(!libc_memcmp(moved, want, r->alen), "memmove");
	memset(moved, r->kind, r->alen);
	for (size_t i = 0; i < r->alen; i++)
		check((u8)moved[i] == r->kind, "memset");
	free(moved);
	free(want);
}

/* Reads n bytes into a new block with a NUL after them. */
static char *read_text(u32 n)
{
	char *text = malloc(n + 1u);
	check(fread(text, 1, n, stdin) == n, "the length of the input");
	text[n] = 0;
	return text;
}

int main(void)
{
	struct record r;
	unsigned long records = 0;
	for (; fread(&r, sizeof(r), 1, stdin) == 1; records++) {
		char *a = read_text(r.alen), *b = read_text(r.blen);
		check_format(&r, a);
		check_strings(&r, a, b);
		check_moves(&r, a);
		free(a);
		free(b);
	}
	printf("%lu\n", records);
	return 0;
}
