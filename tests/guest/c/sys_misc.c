/* Who and where am I: uname, sysinfo, ids, getrandom, umask, personality, getcpu, membarrier and other small calls. */
#include "check.h"
#include <fcntl.h>
#include <grp.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

static int distinct_bytes(const unsigned char *p, int n)
{
	int seen[256] = {0}, count = 0;
	for (int i = 0; i < n; i++)
		count += seen[p[i]]++ == 0;
	return count;
}

int main(void)
{
	struct utsname u;
	CHECK_OK("uname", uname(&u));
	show("%s %s", u.sysname, u.machine);
	int major_number = 0, minor_number = 0;
	CHECK("uname.release", sscanf(u.release, "%d.%d", &major_number, &minor_number) == 2 && major_number >= 4);
	CHECK("uname.nodename", u.nodename[0] != 0 && u.version[0] != 0);
	char host[65];
	CHECK("gethostname", gethostname(host, sizeof host) == 0 && strcmp(host, u.nodename) == 0);

	struct sysinfo info;
	CHECK_OK("sysinfo", sysinfo(&info));
	CHECK("sysinfo.memory", info.totalram * info.mem_unit > 16 << 20 && info.freeram <= info.totalram && info.mem_unit > 0);
	CHECK("sysinfo.rest", info.uptime > 0 && info.procs >= 1);

	CHECK("ids", getpid() > 0 && syscall(SYS_gettid) == getpid() && getppid() >= 0);
	CHECK("ids.group", getpgrp() == getpgid(0) && getsid(0) > 0);
	uid_t real, effective, saved;
	CHECK("getresuid", getresuid(&real, &effective, &saved) == 0 && real == getuid() && effective == geteuid());
	gid_t rgid, egid, sgid;
	CHECK("getresgid", getresgid(&rgid, &egid, &sgid) == 0 && rgid == getgid() && egid == getegid());
	CHECK_OK("setresuid.same", setresuid(real, effective, saved));
	CHECK_OK("setgid.same", setgid(getgid()));
	gid_t groups[100];
	int n = getgroups(100, groups);
	CHECK("getgroups", n >= 0 && getgroups(0, NULL) == n);
	CHECK_ERR("getgroups.negative", syscall(SYS_getgroups, -1, groups), EINVAL);
	CHECK_ERR("getpgid.no_process", getpgid(0x3ffffff), ESRCH);

	unsigned char random[256], other[256];
	CHECK_EQ("getrandom", getrandom(random, 256, 0), 256);
	CHECK("getrandom.random", distinct_bytes(random, 256) > 100);
	CHECK("getrandom.differs", getrandom(other, 256, GRND_NONBLOCK) == 256 && memcmp(random, other, 256) != 0);
	CHECK_EQ("getrandom.source", getrandom(random, 16, GRND_RANDOM), 16);
	static char large[100000];
	CHECK_EQ("getrandom.large", getrandom(large, sizeof large, 0), sizeof large);
	CHECK_EQ("getrandom.zero", getrandom(random, 0, 0), 0);
	CHECK_ERR("getrandom.flags", getrandom(random, 1, 0x80), EINVAL);

	CHECK("umask", umask(077) <= 0777 && umask(022) == 077 && umask(022 | 010000) == 022 && umask(0) == 022);
	CHECK("personality", personality(0xffffffff) >= 0);
	unsigned cpu = 9999, node = 9999;
	CHECK("getcpu", getcpu(&cpu, &node) == 0 && cpu < 4096 && node < 1024 && sched_getcpu() >= 0);
	CHECK("getcpu.raw", syscall(SYS_getcpu, &cpu, NULL, NULL) == 0);
	int barriers = (int)syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
	CHECK("membarrier.query", barriers > 0 && (barriers & MEMBARRIER_CMD_PRIVATE_EXPEDITED));
	CHECK_OK("membarrier.register", syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
	CHECK_OK("membarrier.private", syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
	CHECK_ERR("membarrier.command", syscall(SYS_membarrier, 1 << 30, 0, 0), EINVAL);
	errno = 0;
	CHECK("getpriority", getpriority(PRIO_PROCESS, 0) >= -20 && errno == 0);
	CHECK("nice.0", nice(0) >= -20 && errno == 0);
	CHECK_ERR("unknown.9999", syscall(9999), ENOSYS);
	CHECK_ERR("unknown.500000", syscall(500000), ENOSYS);
	CHECK_ERR("unknown.negative", syscall(-1), ENOSYS);
	CHECK_ERR("number.upper_half_ignored", syscall(1L << 40 | SYS_close, 999), EBADF);
	CHECK_ERR("unknown.tuxcall", syscall(SYS_tuxcall), ENOSYS);
	return check_done();
}
