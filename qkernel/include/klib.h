/* Small library: strings, formatted text, intrusive lists, log, panic. Also compiles on the host for tests. */
#ifndef KLIB_H
#define KLIB_H

#include "types.h"

void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
size_t strnlen(const char *s, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
char *strrchr(const char *s, int c);
/* Copies at most size-1 bytes and terminates; returns strlen(src). */
size_t strlcpy(char *dst, const char *src, size_t size);
/* %d %u %x %lx %ld %lu %llx %s %c %p %zu %.*s %0Nd and widths. Returns the length the whole text would have. */
int snprintf(char *buf, size_t size, const char *fmt, ...) printf_like(3, 4);
int vsnprintf(char *buf, size_t size, const char *fmt, va_list ap);
u32 hash_bytes(const void *p, size_t n);

/* Log line into the trace ring of the comm area (visible with quark run --debug and in panic reports). */
void klog(const char *fmt, ...) printf_like(1, 2);
/* Broken kernel invariant: report and end the sandbox. Never for anything a program can cause. */
noreturn void panic(const char *fmt, ...) printf_like(1, 2);
/* What was asked for cannot be begun: a line for its user, and the sandbox ends with `status`. */
noreturn void end_unstarted(int status, const char *fmt, ...) printf_like(2, 3);
#define BUG_ON(c) \
	do { \
		if (unlikely(c)) \
			panic("%s:%d: %s", __FILE__, __LINE__, #c); \
	} while (0)

struct list {
	struct list *next, *prev;
};
#define LIST_INIT(l) {&(l), &(l)}
static inline void list_init(struct list *l) { l->next = l->prev = l; }
static inline bool list_empty(const struct list *l) { return l->next == l; }
static inline void list_insert(struct list *n, struct list *prev, struct list *next)
{
	next->prev = n;
	n->next = next;
	n->prev = prev;
	prev->next = n;
}
static inline void list_add(struct list *n, struct list *head) { list_insert(n, head, head->next); }
static inline void list_add_tail(struct list *n, struct list *head) { list_insert(n, head->prev, head); }
static inline void list_del(struct list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	n->next = n->prev = n;
}
#define list_entry(p, type, member) container_of(p, type, member)
#define list_first(l, type, member) list_entry((l)->next, type, member)
#define list_for_each(pos, head, member) \
	for ((pos) = list_entry((head)->next, __typeof__(*(pos)), member); &(pos)->member != (head); \
	     (pos) = list_entry((pos)->member.next, __typeof__(*(pos)), member))
#define list_for_each_safe(pos, tmp, head, member) \
	for ((pos) = list_entry((head)->next, __typeof__(*(pos)), member), (tmp) = list_entry((pos)->member.next, __typeof__(*(pos)), member); \
	     &(pos)->member != (head); (pos) = (tmp), (tmp) = list_entry((tmp)->member.next, __typeof__(*(tmp)), member))

#endif
