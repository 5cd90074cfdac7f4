/* System V message queues: order and choice by type, limits, waiting on both sides, removal. */
#include "check.h"
#include <signal.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/wait.h>

struct message {
	long type;
	char text[9000];
};
static struct message m;

static int send(int id, long type, const char *text, int flags)
{
	m.type = type;
	strcpy(m.text, text);
	return msgsnd(id, &m, strlen(text), flags);
}

static void take(int id, long type, int flags)
{
	memset(&m, 0, sizeof m);
	long n = msgrcv(id, &m, sizeof m.text, type, flags | IPC_NOWAIT);
	if (n < 0)
		show("take %ld: %s", type, errno_name(errno));
	else
		show("take %ld: %ld bytes of type %ld: %.10s", type, n, m.type, m.text);
}

static void order(void)
{
	int id = (int)CHECK_OK("create", msgget(IPC_PRIVATE, 0600));
	send(id, 3, "three", 0);
	send(id, 1, "one", 0);
	send(id, 2, "two", 0);
	send(id, 1, "again one", 0);
	struct msqid_ds ds;
	CHECK_OK("stat", msgctl(id, IPC_STAT, &ds));
	CHECK("its fields", ds.msg_qnum == 4 && ds.msg_cbytes == 20 && ds.msg_qbytes == 16384 && ds.msg_lspid == getpid() && !ds.msg_lrpid);
	take(id, 2, 0);
	take(id, -2, 0);
	take(id, 3, MSG_EXCEPT);
	take(id, 7, 0);
	CHECK_ERR("too small", msgrcv(id, &m, 2, 0, 0), E2BIG);
	CHECK_EQ("cut", msgrcv(id, &m, 2, 0, MSG_NOERROR), 2);
	take(id, 0, 0);
	CHECK_OK("empty text", send(id, 9, "", 0));
	take(id, 0, 0);
	CHECK_ERR("type 0", send(id, 0, "x", 0), EINVAL);
	m.type = 1;
	CHECK_ERR("too long", msgsnd(id, &m, 8193, 0), EINVAL);
	CHECK_OK("just so long", msgsnd(id, &m, 8192, 0));
	CHECK_OK("twice", msgsnd(id, &m, 8192, 0));
	CHECK_ERR("full", send(id, 1, "x", IPC_NOWAIT), EAGAIN);
	CHECK_OK("remove", msgctl(id, IPC_RMID, NULL));
	CHECK("gone", send(id, 1, "x", 0) == -1 && (errno == EINVAL || errno == EIDRM));
}

static int ends_with(pid_t child)
{
	int status;
	REQUIRE(waitpid(child, &status, 0) == child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void waiting(void)
{
	int id = (int)CHECK_OK("create", msgget(IPC_PRIVATE, 0600));
	pid_t c = fork();
	if (!c)
		_exit(msgrcv(id, &m, sizeof m.text, 5, 0) == 4 && !memcmp(m.text, "five", 4) ? 0 : 1);
	sleep_ms(20);
	send(id, 4, "four", 0);
	send(id, 5, "five", 0);
	CHECK_EQ("got its own", ends_with(c), 0);
	m.type = 1;
	REQUIRE(msgsnd(id, &m, 8000, 0) == 0 && msgsnd(id, &m, 8000, 0) == 0);
	c = fork();
	if (!c)
		_exit(msgsnd(id, &m, 8000, 0) ? errno : 0);
	sleep_ms(20);
	REQUIRE(msgrcv(id, &m, sizeof m.text, 1, 0) == 8000);
	CHECK_EQ("sent when there was room", ends_with(c), 0);
	c = fork();
	if (!c)
		_exit(msgrcv(id, &m, sizeof m.text, 77, 0) < 0 ? errno : 0);
	sleep_ms(50);
	CHECK_OK("remove", msgctl(id, IPC_RMID, NULL));
	int e = ends_with(c);
	CHECK("removed under it", e == EIDRM || e == EINVAL);
}

int main(void)
{
	order();
	waiting();
	return check_done();
}
