/* getrlimit, setrlimit, prlimit: values that hold, inheritance into behaviour (NOFILE, AS, STACK), errors. */
#include "check.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static int sane(int which)
{
	struct rlimit r = {1, 0};
	return getrlimit(which, &r) == 0 && r.rlim_cur <= r.rlim_max;
}

int main(void)
{
	int good = 0;
	for (int which = 0; which < RLIM_NLIMITS; which++)
		good += sane(which);
	CHECK_EQ("all.sane", good, RLIM_NLIMITS);
	struct rlimit r, old, back;
	REQUIRE(getrlimit(RLIMIT_NOFILE, &old) == 0);
	CHECK("nofile.enough", old.rlim_cur >= 256);
	r = (struct rlimit){64, old.rlim_max};
	CHECK_OK("nofile.lower", setrlimit(RLIMIT_NOFILE, &r));
	CHECK("nofile.seen", getrlimit(RLIMIT_NOFILE, &back) == 0 && back.rlim_cur == 64 && back.rlim_max == old.rlim_max);
	CHECK_ERR("nofile.enforced", dup2(1, 64), EBADF);
	CHECK_EQ("nofile.below", dup2(1, 63), 63);
	CHECK_ERR("nofile.dupfd", fcntl(1, F_DUPFD, 64), EINVAL);
	CHECK_EQ("sysconf.open_max", sysconf(_SC_OPEN_MAX), 64);
	CHECK_OK("prlimit.old_and_new", prlimit(0, RLIMIT_NOFILE, &old, &back));
	CHECK_EQ("prlimit.old", back.rlim_cur, 64);
	CHECK_OK("prlimit.pid", prlimit(getpid(), RLIMIT_NOFILE, NULL, &back));
	CHECK_ERR("prlimit.no_process", prlimit(0x3ffffff, RLIMIT_NOFILE, NULL, &back), ESRCH);
	r = (struct rlimit){10, 5};
	CHECK_ERR("error.soft_above_hard", setrlimit(RLIMIT_NOFILE, &r), EINVAL);
	CHECK_ERR("error.which", getrlimit((__rlimit_resource_t)99, &r), EINVAL);
	CHECK_ERR("error.pointer", syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, 8, NULL), EFAULT);

	r = (struct rlimit){1UL << 30, RLIM_INFINITY};
	REQUIRE(getrlimit(RLIMIT_AS, &old) == 0);
	r.rlim_max = old.rlim_max;
	CHECK_OK("as.set", setrlimit(RLIMIT_AS, &r));
	CHECK_ERR("as.enforced", (long)mmap(NULL, 2UL << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
	CHECK("as.below", mmap(NULL, 64 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
	CHECK("as.malloc_fails_cleanly", malloc(4UL << 30) == NULL && errno == ENOMEM);
	CHECK_OK("as.back", setrlimit(RLIMIT_AS, &old));
	CHECK("as.free_again", mmap(NULL, 2UL << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED);
	r = (struct rlimit){0, 0};
	CHECK_OK("core.zero", setrlimit(RLIMIT_CORE, &r));
	CHECK("core.seen", getrlimit(RLIMIT_CORE, &back) == 0 && back.rlim_cur == 0 && back.rlim_max == 0);
	return check_done();
}
