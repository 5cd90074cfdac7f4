/* Unix sockets: bytes and datagrams arrive once and in order, descriptors go with them or come back, nothing is left when both ends are closed.
 * before: sys/stat.h
 * sources: net/unix.c net/unix_names.c net/garbage.c lib/string.c */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "fsctx.h"
#include "../../../qkernel/net/unix.h"

static struct process process = {.pid = 7, .euid = 8};
static struct fs_ctx fs;
static struct task task = {.proc = &process, .fs = &fs};
struct kstack_end host_stack = {.task = &task};
static int signals;

void *kmalloc(size_t n)
{
	return malloc(n);
}
void *kzalloc(size_t n)
{
	return calloc(1, n);
}
void kfree(void *p)
{
	free(p);
}
void file_put(struct file *f)
{
	f->refs--;
}
void files_free(struct file **files, u32 n)
{
	for (u32 k = 0; k < n; k++)
		file_put(files[k]);
	kfree(files);
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
int task_sleep(u64 deadline)
{
	(void)deadline;
	return -EINTR;
}
u64 deadline_of_ns(u64 ns)
{
	return ns;
}
int send_signal_task(struct task *t, int sig, const struct siginfo *info)
{
	(void)t, (void)sig, (void)info;
	signals++;
	return 0;
}
void poll_wait(struct file *f, struct waitq *q, struct poll_table *pt)
{
	(void)f, (void)q, (void)pt;
}
int path_walk(int dirfd, const char *path, u32 flags, struct path *out, char *last)
{
	(void)dirfd, (void)path, (void)flags, (void)out, (void)last;
	return -ENOENT;
}
void path_put(struct path *p)
{
	(void)p;
}
int inode_permission(struct inode *i, u32 may)
{
	(void)i, (void)may;
	return 0;
}
void inode_put(struct inode *i)
{
	(void)i;
}
int vfs_mknod(int dirfd, const char *path, u32 mode, u64 rdev, struct inode **out)
{
	(void)dirfd, (void)path, (void)mode, (void)rdev, (void)out;
	return -EROFS;
}
static ssize_t move(struct uio *u, void *k, size_t n, bool from)
{
	char *at = (char *)u->iov->base + u->off;
	memcpy(from ? k : at, from ? at : k, n);
	u->off += n;
	u->resid -= n;
	return (ssize_t)n;
}
ssize_t uio_read(struct uio *u, void *dst, size_t n)
{
	return move(u, dst, n, true);
}
ssize_t uio_write(struct uio *u, const void *src, size_t n)
{
	return move(u, (void *)src, n, false);
}

static const struct file_ops socket_ops;
struct usock *usock_of(struct file *f)
{
	return f->ops == &socket_ops ? f->priv : NULL;
}
static ssize_t send(struct usock *s, const char *text, size_t n, struct file **files, u32 nfiles)
{
	struct kiovec v = {(u64)text, n};
	struct uio u = {.iov = &v, .cnt = 1, .resid = n, .kernel = true};
	return usock_send(s, NULL, &u, files, nfiles, 0, true);
}

static char got[100];
static ssize_t receive(struct usock *s, size_t n, u32 flags, struct message *info)
{
	struct kiovec v = {(u64)got, n};
	struct uio u = {.iov = &v, .cnt = 1, .resid = n, .kernel = true};
	u32 msg_flags = 0;
	memset(got, 0, sizeof(got));
	*info = (struct message){0};
	return usock_receive(s, &u, flags, true, info, &msg_flags);
}

static struct file **one_file(struct file *f)
{
	struct file **files = malloc(sizeof(*files));
	f->refs++;
	files[0] = f;
	return files;
}

static void check(int type)
{
	struct usock *a = usock_new(type), *b = usock_new(type);
	struct message info;
	struct file f = {.refs = 1};
	usock_pair(a, b);
	assert(receive(b, 10, 0, &info) == -EAGAIN && !(usock_poll(b, NULL, NULL) & POLL_IN));
	assert(send(a, "hello", 5, NULL, 0) == 5 && send(a, "world", 5, NULL, 0) == 5);
	assert(usock_poll(b, NULL, NULL) & POLL_IN);
	assert(usock_readable(b) == (type == SOCK_STREAM ? 10 : 5));
	assert(receive(b, 3, 2 /* MSG_PEEK */, &info) == 3 && !memcmp(got, "hel", 3));
	ssize_t n = receive(b, 20, 0, &info);
	assert(info.pid == 7 && info.uid == 8);
	if (type == SOCK_STREAM)
		assert(n == 10 && !strcmp(got, "helloworld"));
	else
		assert(n == 5 && receive(b, 2, 0, &info) == 2 && !strcmp(got, "wo")); /* the rest of a datagram is lost */
	assert(receive(b, 10, 0, &info) == -EAGAIN);

	assert(send(a, "x", 1, one_file(&f), 1) == 1 && f.refs == 2);
	assert(receive(b, 1, 2, &info) == 1 && !info.nfiles);
	assert(receive(b, 1, 0, &info) == 1 && info.nfiles == 1 && info.files[0] == &f);
	files_free(info.files, info.nfiles);

	/* Nothing: on a stream nothing is sent, with its descriptors; a datagram of no bytes is one. */
	assert(send(a, "", 0, one_file(&f), 1) == 0);
	if (type == SOCK_STREAM) {
		assert(f.refs == 1 && !(usock_poll(b, NULL, NULL) & POLL_IN) && receive(b, 10, 0, &info) == -EAGAIN);
	} else {
		assert(f.refs == 2 && (usock_poll(b, NULL, NULL) & POLL_IN) && receive(b, 10, 0, &info) == 0 && info.nfiles == 1);
		files_free(info.files, info.nfiles);
	}
	assert(f.refs == 1);

	assert(send(a, "unread", 6, one_file(&f), 1) == 6);
	usock_close(b);
	assert(f.refs == 1);
	if (type != SOCK_DGRAM) {
		assert(receive(a, 10, 0, &info) == -ECONNRESET && receive(a, 10, 0, &info) == 0);
		assert(send(a, "x", 1, NULL, 0) == -EPIPE && signals);
	} else {
		assert(send(a, "x", 1, NULL, 0) == -ECONNREFUSED);
	}
	usock_close(a);
}

int main(void)
{
	check(SOCK_STREAM);
	check(SOCK_SEQPACKET);
	check(SOCK_DGRAM);
	return 0;
}
