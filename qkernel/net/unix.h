/* Unix domain sockets: their objects (net/unix.c), the system calls on them (net/sys_socket.c) and on their messages (net/sys_message.c). */
#ifndef UNIX_H
#define UNIX_H
#include "file.h"

#define UNIX_PATH 108
/* Types and flags of socket(2); the C library names them, not the kernel's headers. */
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_SEQPACKET 5
#define SOCK_CLOEXEC 02000000
#define SOCK_NONBLOCK 04000
#define FDS_MAX 253 /* SCM_MAX_FD */

/* A piece of data on its way: one send call (a datagram, or part of a stream). */
struct message {
	struct list node;
	u8 *data;
	u32 len, off;
	struct file **files; /* SCM_RIGHTS */
	u32 nfiles;
	s32 pid;
	u32 uid, gid;
	char from[UNIX_PATH + 1]; /* address of the sender, as bound */
	u32 from_len;
};
enum sock_state { SOCK_UNCONNECTED, SOCK_LISTENING, SOCK_CONNECTED };
struct usock {
	u32 refs; /* its file, its peer, the name it is bound to */
	int type; /* SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET */
	enum sock_state state;
	struct usock *peer;           /* referenced */
	struct list inbox;            /* of messages */
	u32 queued;                   /* bytes in it, and what keeping them takes */
	struct list backlog, pending; /* listening: connected sockets not yet accepted; node of one */
	u32 nbacklog, backlog_max;
	struct waitq wait;
	bool shut_read, shut_write, closed, passcred;
	bool reset;                   /* the peer closed with data unread */
	u32 rcvbuf, sndbuf;           /* what a queue holds is limited by who sends; rcvbuf is kept for who asks */
	u64 rcvtimeo_ns, sndtimeo_ns; /* UINT64_MAX: none */
	s32 peer_pid;
	u32 peer_uid, peer_gid;
	char name[UNIX_PATH + 1];
	u32 name_len;       /* 0: not bound; a name that begins with NUL is abstract */
	struct inode *node; /* bound in the file system */
	struct list bound;  /* of all abstract names */
	struct list all;    /* of all sockets */
	/* net/garbage.c */
	struct file *file;  /* not referenced; NULL: not accepted yet */
	u32 flying;         /* its descriptors inside queues */
	struct list flight; /* of all such sockets */
	struct list search; /* of one collection */
	u32 held_outside;   /* during it: by queues of sockets that are not suspects */
	bool maybe_lost;
};
extern struct list all_usocks; /* usock.all */
struct usock *usock_new(int type);
void usock_put(struct usock *s);
void usock_close(struct usock *s);
void usock_pair(struct usock *a, struct usock *b);
int usock_bind(struct usock *s, const char *name, u32 len);
struct usock *usock_find(const char *name, u32 len, int type, int *err); /* referenced */
int usock_connect(struct usock *s, const char *name, u32 len, bool nonblock);
struct usock *usock_accept(struct usock *s, bool nonblock, int *err);
/* Takes over `files` when it returns >= 0. to: destination of a datagram, NULL the peer. */
ssize_t usock_send(struct usock *s, struct usock *to, struct uio *u, struct file **files, u32 nfiles, u32 flags, bool nonblock);
/* *m gets the first message with its sender, files and length for the caller to read; peeked or half-read ones stay. */
ssize_t usock_receive(struct usock *s, struct uio *u, u32 flags, bool nonblock, struct message *info, u32 *msg_flags);
u32 usock_poll(struct usock *s, struct file *f, struct poll_table *pt);
u32 usock_readable(const struct usock *s);

/* Between the files of system calls. socket_get: referenced, its priv is the struct usock; NULL: -EBADF or -ENOTSOCK in *err. */
struct file *socket_get(u64 fd, long *err);
/* Name of an address: bytes, a path without its NUL or an abstract name. */
long address_from_user(u64 uaddr, u64 len, char name[UNIX_PATH + 1], u32 *name_len);
long address_to_user(const char *name, u32 name_len, u64 uaddr, u64 ulen); /* uaddr 0: nobody asked */
void files_free(struct file **files, u32 n);
struct usock *usock_of(struct file *f); /* NULL: not a socket */

/* net/garbage.c. A message with files has begun to fly when it is in a queue, and ended when it is out of it. */
bool flight_may_send(u32 nfiles); /* false: -ETOOMANYREFS */
void flight_begin(struct message *m);
void flight_end(struct message *m);
void message_bury(struct message *m); /* frees it and lets its files go */
void flight_closed(void);             /* a socket was closed: looks for circles when it is worth it */
void usock_drop_inbox(struct usock *s);
#endif
