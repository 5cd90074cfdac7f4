/* System V shared memory: attachments and their count through fork, exec's like (exit) and removal, permissions, information. */
#include "check.h"
#include <fcntl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>

static long attaches(int id)
{
	struct shmid_ds ds;
	return shmctl(id, IPC_STAT, &ds) ? -errno : (long)ds.shm_nattch;
}

static void keys(void)
{
	key_t key = 0x51000000 | getpid();
	int id = (int)CHECK_OK("create", shmget(key, 5000, IPC_CREAT | IPC_EXCL | 0600));
	CHECK_ERR("create again", shmget(key, 5000, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
	CHECK_EQ("the same", shmget(key, 100, 0), id);
	CHECK_ERR("larger than it is", shmget(key, 8192 * 2, 0), EINVAL);
	CHECK_ERR("no such key", shmget(key ^ 0x800000, 1, 0), ENOENT);
	CHECK_ERR("size 0", shmget(IPC_PRIVATE, 0, 0600), EINVAL);
	struct shmid_ds ds;
	CHECK_OK("stat", shmctl(id, IPC_STAT, &ds));
	CHECK("its fields", ds.shm_segsz == 5000 && ds.shm_cpid == getpid() && ds.shm_lpid == 0 && ds.shm_nattch == 0 && ds.shm_atime == 0 &&
				    ds.shm_perm.mode == 0600 && ds.shm_ctime > 0);
	ds.shm_perm.mode = 0640;
	CHECK_OK("set", shmctl(id, IPC_SET, &ds));
	CHECK_OK("stat", shmctl(id, IPC_STAT, &ds));
	CHECK_EQ("mode", ds.shm_perm.mode, 0640);
	CHECK_OK("lock", shmctl(id, SHM_LOCK, NULL));
	CHECK_OK("stat", shmctl(id, IPC_STAT, &ds));
	CHECK_EQ("mode of a locked one", ds.shm_perm.mode, 02640);
	CHECK_OK("remove", shmctl(id, IPC_RMID, NULL));
	CHECK_ERR("gone", shmget(key, 1, 0), ENOENT);
	CHECK("gone by id", shmctl(id, IPC_STAT, &ds) == -1 && (errno == EINVAL || errno == EIDRM));
	CHECK_ERR("bad command", shmctl(id, 999, &ds), EINVAL);
	CHECK_ERR("negative id", shmctl(-1, IPC_STAT, &ds), EINVAL);
}

static void life(void)
{
	struct shmid_ds ds;
	int id = (int)CHECK_OK("create", shmget(IPC_PRIVATE, 3 * 4096, 0600)), status;
	char *a = shmat(id, NULL, 0), *b = shmat(id, NULL, SHM_RDONLY);
	CHECK("attached", a != (void *)-1 && b != (void *)-1 && a != b);
	CHECK_EQ("two", attaches(id), 2);
	strcpy(a, "hello");
	CHECK("shared", !strcmp(b, "hello") && a[4096] == 0);
	CHECK_ERR("a read-only one stays so", mprotect(b, 4096, PROT_READ | PROT_WRITE), EACCES);
	pid_t child = fork();
	if (!child) {
		CHECK_EQ("four after fork", attaches(id), 4);
		strcpy(a, "from the child");
		CHECK_OK("detach", shmdt(b));
		CHECK_EQ("three", attaches(id), 3);
		_exit(0);
	}
	REQUIRE(waitpid(child, &status, 0) == child);
	CHECK_EQ("two when it has ended", attaches(id), 2);
	CHECK_OK("stat", shmctl(id, IPC_STAT, &ds));
	CHECK("detached by its end, last used by it", ds.shm_dtime > 0 && ds.shm_lpid == child);
	CHECK("its text", !strcmp(b, "from the child"));
	CHECK_OK("a hole in the middle", munmap(a + 4096, 4096));
	CHECK_EQ("makes two of one", attaches(id), 3);
	CHECK_OK("remove", shmctl(id, IPC_RMID, NULL));
	CHECK_OK("still there", shmctl(id, IPC_STAT, &ds));
	CHECK("marked, without key", (ds.shm_perm.mode & SHM_DEST) && ds.shm_perm.__key == IPC_PRIVATE);
	char *c = shmat(id, NULL, 0);
	CHECK("can be attached", c != (void *)-1 && !strcmp(c, "from the child"));
	CHECK_OK("detach what is left of it", shmdt(a));
	CHECK_EQ("two", attaches(id), 2);
	CHECK_OK("detach", shmdt(c));
	CHECK_ERR("twice", shmdt(c), EINVAL);
	CHECK_OK("the last", shmdt(b));
	CHECK("gone with the last", shmctl(id, IPC_STAT, &ds) == -1 && (errno == EINVAL || errno == EIDRM));
}

static void places(void)
{
	int id = (int)CHECK_OK("create", shmget(IPC_PRIVATE, 8192, 0600));
	char *room = mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	REQUIRE(room != MAP_FAILED);
	CHECK("odd address", shmat(id, room + 1, 0) == (void *)-1 && errno == EINVAL);
	CHECK("over a mapping", shmat(id, room, 0) == (void *)-1 && errno == EINVAL);
	CHECK("rounded, over a mapping", shmat(id, room + 5000, SHM_RND | SHM_REMAP) == room + 4096);
	room[4096] = 1;
	CHECK("nowhere to remap", shmat(id, NULL, SHM_REMAP) == (void *)-1 && errno == EINVAL);
	REQUIRE(munmap(room + 65536, 65536) == 0);
	CHECK("where asked", shmat(id, room + 65536, 0) == room + 65536 && room[65536] == 1);
	CHECK_EQ("two", attaches(id), 2);
	CHECK_ERR("not an attachment", shmdt(room + 8192), EINVAL);
	CHECK_OK("remove", shmctl(id, IPC_RMID, NULL));
	CHECK_OK("detach", shmdt(room + 4096));
	CHECK_OK("detach", shmdt(room + 65536));
}

static void others(void)
{
	int id = (int)CHECK_OK("create", shmget(IPC_PRIVATE, 4096, 0600)), status;
	pid_t child = fork();
	if (!child) {
		REQUIRE(setgid(1234) == 0 && setuid(1234) == 0);
		struct shmid_ds ds;
		CHECK("attach", shmat(id, NULL, 0) == (void *)-1 && errno == EACCES);
		CHECK_ERR("stat", shmctl(id, IPC_STAT, &ds), EACCES);
		CHECK_ERR("remove", shmctl(id, IPC_RMID, NULL), EPERM);
		_exit(0);
	}
	REQUIRE(waitpid(child, &status, 0) == child);
	CHECK_OK("remove", shmctl(id, IPC_RMID, NULL));
}

static void information(void)
{
	struct shminfo info;
	struct shm_info now;
	CHECK("limits", shmctl(0, IPC_INFO, (struct shmid_ds *)&info) >= 0 && info.shmmni == 4096 && info.shmmin == 1);
	int id = (int)CHECK_OK("create", shmget(IPC_PRIVATE, 4096 * 4, 0600));
	CHECK("usage", shmctl(0, SHM_INFO, (void *)&now) >= 0 && now.used_ids >= 1 && now.shm_tot >= 4);
	char line[256], want[32];
	snprintf(want, sizeof want, " %d ", id);
	FILE *f = fopen("/proc/sysvipc/shm", "r");
	int found = 0;
	while (f && fgets(line, sizeof line, f))
		found |= strstr(line, want) != NULL;
	CHECK("/proc/sysvipc/shm", found);
	if (f)
		fclose(f);
	CHECK_OK("remove", shmctl(id, IPC_RMID, NULL));
}

int main(void)
{
	keys();
	life();
	places();
	if (!getuid())
		others();
	information();
	return check_done();
}
