/* snprintf: the conversions that the kernel uses. */
#include "klib.h"

struct out {
	char *buf;
	size_t size, len;
};

static void format_put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len] = c;
	o->len++;
}

static void format_put_number(struct out *o, u64 v, unsigned base, bool neg, int width, char pad, bool left)
{
	char tmp[24];
	int n = 0;
	do {
		tmp[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	int total = n + neg;
	if (neg && pad == '0')
		format_put(o, '-');
	for (int i = total; !left && i < width; i++)
		format_put(o, pad);
	if (neg && pad != '0')
		format_put(o, '-');
	while (n)
		format_put(o, tmp[--n]);
	for (int i = total; left && i < width; i++)
		format_put(o, ' ');
}

static void format_put_string(struct out *o, const char *s, int width, int prec, bool left)
{
	if (!s)
		s = "(null)";
	int n = (int)(prec >= 0 ? strnlen(s, (size_t)prec) : strlen(s));
	for (int i = n; !left && i < width; i++)
		format_put(o, ' ');
	for (int i = 0; i < n; i++)
		format_put(o, s[i]);
	for (int i = n; left && i < width; i++)
		format_put(o, ' ');
}

int vsnprintf(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct out o = {.buf = buf, .size = size};
	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			format_put(&o, *fmt);
			continue;
		}
		bool left = false;
		char pad = ' ';
		int width = 0, prec = -1, longs = 0;
		for (fmt++; *fmt == '-' || *fmt == '0'; fmt++) {
			if (*fmt == '-')
				left = true;
			else
				pad = '0';
		}
		if (*fmt == '*') {
			width = va_arg(ap, int);
			fmt++;
		}
		for (; *fmt >= '0' && *fmt <= '9'; fmt++)
			width = width * 10 + *fmt - '0';
		if (*fmt == '.') {
			fmt++;
			prec = 0;
			if (*fmt == '*') {
				prec = va_arg(ap, int);
				fmt++;
			}
			for (; *fmt >= '0' && *fmt <= '9'; fmt++)
				prec = prec * 10 + *fmt - '0';
		}
		for (; *fmt == 'l' || *fmt == 'z' || *fmt == 'h'; fmt++)
			longs += *fmt != 'h';
		switch (*fmt) {
		case 'd':
		case 'i': {
			s64 v = longs ? va_arg(ap, s64) : va_arg(ap, int);
			format_put_number(&o, v < 0 ? -(u64)v : (u64)v, 10, v < 0, width, pad, left);
			break;
		}
		case 'u':
			format_put_number(&o, longs ? va_arg(ap, u64) : va_arg(ap, unsigned), 10, false, width, pad, left);
			break;
		case 'o':
			format_put_number(&o, longs ? va_arg(ap, u64) : va_arg(ap, unsigned), 8, false, width, pad, left);
			break;
		case 'x':
			format_put_number(&o, longs ? va_arg(ap, u64) : va_arg(ap, unsigned), 16, false, width, pad, left);
			break;
		case 'p':
			format_put_number(&o, (u64)va_arg(ap, void *), 16, false, width, pad, left);
			break;
		case 's':
			format_put_string(&o, va_arg(ap, const char *), width, prec, left);
			break;
		case 'c':
			format_put(&o, (char)va_arg(ap, int));
			break;
		case '%':
			format_put(&o, '%');
			break;
		default: /* unknown conversion: shown as it is */
			format_put(&o, '%');
			if (!*fmt)
				fmt--;
			else
				format_put(&o, *fmt);
		}
	}
	if (size)
		buf[MIN(o.len, size - 1)] = 0;
	return (int)o.len;
}

int snprintf(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(buf, size, fmt, ap);
	va_end(ap);
	return n;
}
