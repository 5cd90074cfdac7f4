/* sched_* and prctl: affinity, policies, priorities, yields, names, no-new-privileges, dumpable, timer slack, capabilities. */
#include "check.h"
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static void *names(void *arg)
{
	char name[32] = "";
	(void)arg;
	pthread_setname_np(pthread_self(), "worker");
	prctl(PR_GET_NAME, name);
	return (void *)(long)strcmp(name, "worker");
}

int main(void)
{
	cpu_set_t set, one;
	CHECK_OK("getaffinity", sched_getaffinity(0, sizeof set, &set));
	CHECK("getaffinity.some", CPU_COUNT(&set) >= 1);
	CHECK("getaffinity.raw_size", syscall(SYS_sched_getaffinity, 0, sizeof set, &set) >= 8);
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set)) {
			CPU_SET(i, &one);
			break;
		}
	CHECK_OK("setaffinity", sched_setaffinity(0, sizeof one, &one));
	cpu_set_t now;
	CHECK("setaffinity.seen", sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(&now, &one));
	CHECK("setaffinity.moved", CPU_ISSET(sched_getcpu(), &one));
	CPU_ZERO(&now);
	CHECK_ERR("setaffinity.empty", sched_setaffinity(0, sizeof now, &now), EINVAL);
	CHECK_ERR("getaffinity.small", syscall(SYS_sched_getaffinity, 0, 3, &now), EINVAL);
	CHECK_ERR("getaffinity.no_process", sched_getaffinity(0x3ffffff, sizeof now, &now), ESRCH);

	CHECK_EQ("scheduler", sched_getscheduler(0), SCHED_OTHER);
	struct sched_param param = {77};
	CHECK("getparam", sched_getparam(0, &param) == 0 && param.sched_priority == 0);
	CHECK_OK("setscheduler.same", sched_setscheduler(0, SCHED_OTHER, &param));
	CHECK_OK("setscheduler.batch", sched_setscheduler(0, SCHED_BATCH, &param));
	CHECK_EQ("setscheduler.seen", sched_getscheduler(0), SCHED_BATCH);
	REQUIRE(sched_setscheduler(0, SCHED_OTHER, &param) == 0);
	param.sched_priority = 5;
	CHECK_ERR("setscheduler.priority", sched_setscheduler(0, SCHED_OTHER, &param), EINVAL);
	CHECK_ERR("setscheduler.policy", sched_setscheduler(0, 99, &param), EINVAL);
	CHECK("priority.range", sched_get_priority_min(SCHED_FIFO) == 1 && sched_get_priority_max(SCHED_FIFO) == 99);
	CHECK("priority.other", sched_get_priority_min(SCHED_OTHER) == 0 && sched_get_priority_max(SCHED_OTHER) == 0);
	CHECK_ERR("priority.policy", sched_get_priority_max(99), EINVAL);
	struct timespec interval = {-1, -1};
	CHECK("rr_interval", sched_rr_get_interval(0, &interval) == 0 && interval.tv_nsec >= 0);
	for (int i = 0; i < 100; i++)
		REQUIRE(sched_yield() == 0);

	char name[32] = "";
	CHECK("name.set", prctl(PR_SET_NAME, "a-name-longer-than-fifteen") == 0 && prctl(PR_GET_NAME, name) == 0);
	show("name %s", name);
	pthread_t thread;
	void *result;
	REQUIRE(pthread_create(&thread, NULL, names, NULL) == 0 && pthread_join(thread, &result) == 0);
	CHECK("name.thread_own", result == NULL && prctl(PR_GET_NAME, name) == 0 && strncmp(name, "a-name", 6) == 0);
	CHECK_EQ("dumpable", prctl(PR_GET_DUMPABLE), 1);
	CHECK("dumpable.set", prctl(PR_SET_DUMPABLE, 0) == 0 && prctl(PR_GET_DUMPABLE) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
	CHECK_ERR("dumpable.invalid", prctl(PR_SET_DUMPABLE, 7), EINVAL);
	int signal = -1;
	CHECK("pdeathsig", prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && prctl(PR_GET_PDEATHSIG, &signal) == 0 && signal == SIGTERM);
	CHECK_ERR("pdeathsig.invalid", prctl(PR_SET_PDEATHSIG, 99), EINVAL);
	CHECK("keepcaps", prctl(PR_GET_KEEPCAPS) == 0);
	CHECK("timerslack", prctl(PR_GET_TIMERSLACK) > 0);
	CHECK("no_new_privs", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	CHECK_ERR("no_new_privs.off", prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), EINVAL);
	CHECK_ERR("prctl.option", prctl(123456), EINVAL);

	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];
	CHECK_OK("capget", syscall(SYS_capget, &header, data));
	CHECK_OK("capset.same", syscall(SYS_capset, &header, data));
	header.version = 1;
	CHECK_ERR("capget.version", syscall(SYS_capget, &header, data), EINVAL);
	CHECK_EQ("capget.preferred", header.version, _LINUX_CAPABILITY_VERSION_3);
	return check_done();
}
