/* The steps of a clone's way from the request to its first output, and what `quark run --timing` prints of them. */
#include "program.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STEPS_MAX 24
#define PAGE_KIB 4
#define JSON_MAX 4096

static struct qm_step steps[STEPS_MAX];
static unsigned count;
static uint64_t last_ns;

uint64_t clock_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void timeline_start(uint64_t now_ns)
{
	last_ns = now_ns;
}

void timeline_add(const char *step, uint64_t us)
{
	if (count == STEPS_MAX)
		return;
	struct qm_step *s = &steps[count++];
	size_t n = strnlen(step, sizeof(s->name) - 1);
	memcpy(s->name, step, n);
	s->name[n] = 0;
	s->us = us;
}

void timeline_mark(const char *step)
{
	uint64_t now = clock_ns();
	timeline_add(step, (now - last_ns) / 1000);
	last_ns = now;
}

/* The sender's steps come first. What was done before there was a request is none of its steps. */
void timeline_take(const struct qm_assign *assign, uint64_t started_ns)
{
	struct qm_step own[STEPS_MAX];
	bool ahead = assign->sent_ns > last_ns;
	unsigned n = ahead ? 0 : count;
	if (ahead)
		last_ns = started_ns = clock_ns();
	memcpy(own, steps, sizeof(own));
	count = 0;
	for (unsigned i = 0; i < assign->nsteps && i < QM_STEPS_MAX; i++) {
		char name[QM_STEP_NAME];
		memcpy(name, assign->steps[i].name, sizeof(name));
		name[sizeof(name) - 1] = 0;
		timeline_add(name, assign->steps[i].us);
	}
	timeline_add("start QVisor", started_ns > assign->sent_ns ? (started_ns - assign->sent_ns) / 1000 : 0);
	for (unsigned i = 0; i < n; i++)
		timeline_add(own[i].name, own[i].us);
}

void timeline_fields(struct fields *f)
{
	for (unsigned i = 0; i < count; i++) {
		fields_add(f, steps[i].name);
		fields_number(f, steps[i].us);
	}
}

static size_t timeline_json(const struct outcome *o, uint64_t total, char *out, size_t size)
{
	char name[6 * QM_STEP_NAME + 16];
	size_t n = (size_t)snprintf(out, size, "{\"steps\": [");
	for (unsigned i = 0; i < count && n < size; i++) {
		json_quote(steps[i].name, name, sizeof(name));
		n += (size_t)snprintf(out + n, size - n, "%s{\"name\": %s, \"us\": %llu}", i ? ", " : "", name, (unsigned long long)steps[i].us);
	}
	if (n < size)
		n += (size_t)snprintf(
			out + n, size - n,
			"], \"total_us\": %llu, \"pages_mapped_ahead\": %llu, \"faults\": %llu, \"fault_pages\": %llu, \"exit_status\": %d}\n",
			(unsigned long long)total, (unsigned long long)o->prefetched, (unsigned long long)o->faults,
			(unsigned long long)o->fault_pages, o->status);
	return n < size ? n : size - 1;
}

static void timeline_text(const struct outcome *o, uint64_t total)
{
	for (unsigned i = 0; i < count; i++)
		dprintf(2, "quark: %9.3f ms  %s\n", (double)steps[i].us / 1e3, steps[i].name);
	dprintf(2, "quark: %9.3f ms  from the request to the first output\n", (double)total / 1e3);
	dprintf(2, "quark: %llu pages mapped ahead, %llu faults answered by the pager, %llu KiB read for them\n", (unsigned long long)o->prefetched,
		(unsigned long long)o->faults, (unsigned long long)o->fault_pages * PAGE_KIB);
}

void timeline_report(const struct outcome *o, bool text, bool json, int file)
{
	static char document[JSON_MAX];
	uint64_t total = 0;
	for (unsigned i = 0; i < count; i++)
		total += steps[i].us;
	size_t n = timeline_json(o, total, document, sizeof(document));
	if (file >= 0 && write(file, document, n) != (ssize_t)n)
		fail(FAIL_FILE, "the timing cannot be written: %s; give a file that can be written with --timing-file", strerror(errno));
	if (text && json)
		dprintf(2, "%s", document);
	else if (text)
		timeline_text(o, total);
}
