/* High-water marks: VmHWM and VmPeak of /proc/self/status, ru_maxrss of getrusage(2) and wait4(2). Sizes are checked against what was used, roughly. */
#include "check.h"
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define SIZE (48ul << 20)
#define KIB (SIZE / 1024)

static long field(const char *name)
{
	char line[256];
	long value = -1;
	FILE *f = fopen("/proc/self/status", "r");
	REQUIRE(f);
	while (value < 0 && fgets(line, sizeof line, f))
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
			value = atol(line + strlen(name) + 1);
	fclose(f);
	return value;
}

static long maxrss(int who)
{
	struct rusage r;
	REQUIRE(getrusage(who, &r) == 0);
	return r.ru_maxrss;
}

static void use_and_free(void)
{
	char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	REQUIRE(p != MAP_FAILED);
	memset(p, 1, SIZE);
	munmap(p, SIZE);
}

int main(void)
{
	long size = field("VmSize"), rss = field("VmRSS");
	CHECK("no mark is below what it marks", field("VmHWM") >= rss && field("VmPeak") >= size);
	/* ru_maxrss is of the process, whatever it ran before: natively that of the test's own memory, before execve(2). */
	long before = maxrss(RUSAGE_SELF);
	CHECK("little at first", field("VmHWM") < (long)KIB && maxrss(RUSAGE_CHILDREN) == 0);
	struct rusage r;
	int status;
	pid_t child = fork();
	if (!child) {
		use_and_free();
		CHECK("after", field("VmRSS") < (long)KIB && field("VmHWM") >= (long)KIB && field("VmPeak") >= field("VmSize") + (long)KIB / 2);
		CHECK("by getrusage", maxrss(RUSAGE_SELF) >= (long)KIB);
		_exit(0);
	}
	REQUIRE(wait4(child, &status, 0, &r) == child);
	CHECK("the child's by wait4", r.ru_maxrss >= (long)KIB);
	CHECK("and of all children", maxrss(RUSAGE_CHILDREN) >= (long)KIB);
	CHECK("the own is another", maxrss(RUSAGE_SELF) < before + (long)KIB && field("VmHWM") < (long)KIB);
	use_and_free();
	child = fork();
	if (!child)
		_exit(field("VmHWM") >= (long)KIB);
	REQUIRE(wait4(child, &status, 0, &r) == child);
	CHECK_EQ("a child begins anew", status, 0);
	return check_done();
}
