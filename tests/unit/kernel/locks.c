/* Drives record locks. Input: commands; output of each: its result and, of F_GETLK, the lock that is in the way.
 * sources: fs/lock.c */
#include <stdio.h>
#include <stdlib.h>

#include "../../../qkernel/fs/lock.h"

#define PROCESSES 3
#define FILES 4

enum { SET, ASK, FLOCK, CLOSE, RELEASE };
struct command {
	u32 kind, process, file, cmd;
	s32 type, whence;
	s64 start, len;
};

static struct process process[PROCESSES];
static struct task task[PROCESSES];
struct kstack_end host_stack = {.task = task};
static struct inode inode;
static struct file file[FILES];

void *kmalloc(size_t n)
{
	return malloc(n);
}
void kfree(void *p)
{
	free(p);
}
ssize_t file_size(struct file *f)
{
	(void)f;
	return 20;
}
int task_sleep(u64 deadline)
{
	(void)deadline;
	return -EINTR;
}
void waitq_add(struct waitq *q, struct waiter *w)
{
	(void)q, (void)w;
}
void waitq_del(struct waiter *w)
{
	(void)w;
}
void waitq_wake(struct waitq *q, u32 events, int max)
{
	(void)q, (void)events, (void)max;
}

/* The files are of no volume: the host knows nothing of their locks. */
int hostlock_set(struct inode *i, const void *owner, bool flock, int type, u64 start, u64 end)
{
	(void)i, (void)owner, (void)flock, (void)type, (void)start, (void)end;
	return 0;
}
bool hostlock_test(struct inode *i, bool exclusive, u64 start, u64 end, int *type, u64 *conflict_start, u64 *conflict_end)
{
	(void)i, (void)exclusive, (void)start, (void)end, (void)type, (void)conflict_start, (void)conflict_end;
	return false;
}
void hostlock_drop(struct inode *i, const void *owner, bool flock)
{
	(void)i, (void)owner, (void)flock;
}
void host_say(struct inode *i, const char *what)
{
	(void)i, (void)what;
}
u64 deadline_of_ns(u64 ns)
{
	return ns;
}

int main(void)
{
	struct command c;
	for (int i = 0; i < PROCESSES; i++) {
		process[i].pid = 100 + i;
		task[i].proc = &process[i];
	}
	for (int i = 0; i < FILES; i++)
		file[i] = (struct file){.flags = O_RDWR, .pos = 10, .inode = &inode};
	while (fread(&c, sizeof(c), 1, stdin) == 1) {
		struct file *f = &file[c.file];
		struct flock l = {(short)c.type, (short)c.whence, c.start, c.len, 0};
		s64 r = 0;
		current = &task[c.process];
		if (c.kind == SET || c.kind == ASK)
			r = lock_fcntl(f, c.cmd, &l);
		else if (c.kind == FLOCK)
			r = lock_flock(f, c.cmd);
		else if (c.kind == CLOSE)
			locks_release_process(f, current->proc);
		else
			locks_release_file(f);
		s64 out[] = {r, l.l_type, l.l_start, l.l_len, l.l_pid};
		fwrite(out, sizeof(out), 1, stdout);
	}
	for (int p = 0; p < PROCESSES; p++)
		locks_release_process(file, &process[p]);
	for (int i = 0; i < FILES; i++)
		locks_release_file(&file[i]);
	free(inode.locks); /* what is left of a lock after this is a leak, which the sanitizer tells of */
	return 0;
}
