/* System V semaphores: all or nothing, waiting and who waits, undo at exit, removal under a sleeper. */
#include "check.h"
#include <signal.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/wait.h>

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
	struct seminfo *info;
};

static int op(int id, unsigned num, int by, int flags)
{
	struct sembuf b = {(unsigned short)num, (short)by, (short)flags};
	return semop(id, &b, 1);
}

static int value(int id, int num)
{
	return semctl(id, num, GETVAL);
}

static int set_new(int n)
{
	int id = semget(IPC_PRIVATE, n, 0600);
	REQUIRE(id >= 0);
	return id;
}

/* Until `n` calls wait at the semaphore. */
static void until_waiting(int id, int num, int cmd, int n)
{
	for (int k = 0; k < 2000 && semctl(id, num, cmd) != n; k++)
		sleep_ms(5);
	CHECK_EQ("waiting", semctl(id, num, cmd), n);
}

static int ends_with(pid_t child)
{
	int status;
	REQUIRE(waitpid(child, &status, 0) == child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void basics(void)
{
	key_t key = 0x52000000 | getpid();
	int id = (int)CHECK_OK("create", semget(key, 3, IPC_CREAT | IPC_EXCL | 0600));
	CHECK_ERR("again", semget(key, 3, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
	CHECK_EQ("the same", semget(key, 2, 0), id);
	CHECK_ERR("more than it has", semget(key, 4, 0), EINVAL);
	CHECK_ERR("none", semget(IPC_PRIVATE, 0, 0600), EINVAL);
	unsigned short v[3] = {1, 2, 3}, got[3] = {0};
	CHECK_OK("SETALL", semctl(id, 0, SETALL, (union semun){.array = v}));
	CHECK_OK("GETALL", semctl(id, 0, GETALL, (union semun){.array = got}));
	CHECK("as set", !memcmp(v, got, sizeof v));
	CHECK_ERR("too large", semctl(id, 0, SETVAL, (union semun){.val = 32768}), ERANGE);
	CHECK_ERR("no such semaphore", semctl(id, 3, GETVAL), EINVAL);
	struct sembuf ops[3] = {{0, -1, 0}, {1, -2, 0}, {2, -4, IPC_NOWAIT}};
	CHECK_ERR("all or nothing", semop(id, ops, 3), EAGAIN);
	CHECK_EQ("nothing", value(id, 0) * 100 + value(id, 1) * 10 + value(id, 2), 123);
	ops[2].sem_op = -3;
	CHECK_OK("all", semop(id, ops, 3));
	CHECK_EQ("all zero", value(id, 0) + value(id, 1) + value(id, 2), 0);
	CHECK_EQ("who", semctl(id, 1, GETPID), getpid());
	CHECK_OK("is zero", op(id, 0, 0, 0));
	CHECK_ERR("overflow", op(id, 0, 32767, 0) || op(id, 0, 1, 0) ? -1 : 0, ERANGE);
	CHECK_ERR("not zero", op(id, 0, 0, IPC_NOWAIT), EAGAIN);
	CHECK_ERR("number", op(id, 9, 1, 0), EFBIG);
	CHECK_ERR("too many", semop(id, ops, 501), E2BIG);
	CHECK_ERR("none", semop(id, ops, 0), EINVAL);
	struct timespec t = {0, 20000000};
	ops[0] = (struct sembuf){1, -1, 0};
	CHECK_ERR("time limit", semtimedop(id, ops, 1, &t), EAGAIN);
	struct semid_ds ds;
	CHECK_OK("stat", semctl(id, 0, IPC_STAT, (union semun){.buf = &ds}));
	CHECK("its fields", ds.sem_nsems == 3 && ds.sem_otime > 0 && ds.sem_perm.mode == 0600);
	struct seminfo info;
	CHECK("limits", semctl(0, 0, IPC_INFO, (union semun){.info = &info}) >= 0 && info.semvmx == 32767 && info.semopm == 500);
	CHECK_OK("remove", semctl(id, 0, IPC_RMID));
	CHECK("gone", op(id, 0, 1, 0) == -1 && (errno == EINVAL || errno == EIDRM));
}

static void waiting(void)
{
	int id = set_new(2);
	pid_t a = fork();
	if (!a)
		_exit(op(id, 0, -2, 0) ? errno : 0);
	until_waiting(id, 0, GETNCNT, 1);
	pid_t b = fork();
	if (!b)
		_exit(op(id, 0, -1, 0) ? errno : 0);
	until_waiting(id, 0, GETNCNT, 2);
	CHECK_OK("one", op(id, 0, 1, 0));
	CHECK_EQ("the second can go on", ends_with(b), 0);
	CHECK_EQ("the first waits", semctl(id, 0, GETNCNT), 1);
	CHECK_OK("two", op(id, 0, 2, 0));
	CHECK_EQ("it went on", ends_with(a), 0);
	CHECK_EQ("who", semctl(id, 0, GETPID), a);
	REQUIRE(semctl(id, 1, SETVAL, (union semun){.val = 1}) == 0);
	pid_t z = fork();
	if (!z)
		_exit(op(id, 1, 0, 0) ? errno : 0);
	until_waiting(id, 1, GETZCNT, 1);
	CHECK_OK("to zero", op(id, 1, -1, 0));
	CHECK_EQ("seen", ends_with(z), 0);
	pid_t r = fork();
	if (!r)
		_exit(op(id, 0, -1, 0) ? errno : 0);
	until_waiting(id, 0, GETNCNT, 1);
	CHECK_OK("remove", semctl(id, 0, IPC_RMID));
	CHECK_EQ("removed under it", ends_with(r), EIDRM);
}

static void on_signal(int s)
{
	(void)s;
}

static void interrupted(void)
{
	int id = set_new(1);
	pid_t c = fork();
	if (!c) {
		struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
		sigaction(SIGUSR1, &sa, NULL);
		_exit(op(id, 0, -1, 0) ? errno : 0);
	}
	until_waiting(id, 0, GETNCNT, 1);
	kill(c, SIGUSR1);
	CHECK_EQ("a handler ends it, whatever SA_RESTART says", ends_with(c), EINTR);
	CHECK_EQ("nobody waits", semctl(id, 0, GETNCNT), 0);
	c = fork();
	if (!c)
		_exit(op(id, 0, -1, 0) ? errno : 0);
	until_waiting(id, 0, GETNCNT, 1);
	kill(c, SIGKILL);
	CHECK_EQ("killed", ends_with(c), 1000 + SIGKILL);
	CHECK_EQ("nobody waits", semctl(id, 0, GETNCNT), 0);
	semctl(id, 0, IPC_RMID);
}

static void undo(void)
{
	int id = set_new(2);
	REQUIRE(semctl(id, 0, SETVAL, (union semun){.val = 5}) == 0);
	pid_t c = fork();
	if (!c) {
		_exit(op(id, 0, -3, SEM_UNDO) || op(id, 1, 4, SEM_UNDO) || op(id, 0, -1, 0) || value(id, 0) != 1 || value(id, 1) != 4);
	}
	CHECK_EQ("it ended", ends_with(c), 0);
	CHECK_EQ("taken back, but for what had no flag", value(id, 0), 4);
	CHECK_EQ("and the other", value(id, 1), 0);
	CHECK_EQ("who", semctl(id, 0, GETPID), c);
	REQUIRE(semctl(id, 0, SETVAL, (union semun){.val = 1}) == 0);
	c = fork();
	if (!c) {
		op(id, 0, -1, SEM_UNDO);
		for (;;)
			pause();
	}
	for (int k = 0; k < 2000 && value(id, 0); k++)
		sleep_ms(5);
	pid_t w = fork();
	if (!w)
		_exit(op(id, 0, -1, 0) ? errno : 0);
	until_waiting(id, 0, GETNCNT, 1);
	kill(c, SIGKILL);
	CHECK_EQ("killed", ends_with(c), 1000 + SIGKILL);
	CHECK_EQ("its undo wakes who waits", ends_with(w), 0);
	semctl(id, 0, IPC_RMID);
}

int main(void)
{
	basics();
	waiting();
	interrupted();
	undo();
	return check_done();
}
