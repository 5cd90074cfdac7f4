/* Between procfs.c and proclink.c: what an inode of /proc stands for. */
#ifndef PROCNODE_H
#define PROCNODE_H
#include "procfs.h"

enum kind {
	ROOT,
	PROCESS_DIR, /* /proc/N, /proc/N/task/N */
	PROCESS_TEXT,
	MEM_FILE,
	PAGEMAP_FILE,
	TASK_DIR, /* /proc/N/task */
	FD_DIR,
	FDINFO_DIR,
	FDINFO_TEXT,
	FD_LINK,
	EXE_LINK,
	CWD_LINK,
	ROOT_LINK,
	NS_DIR,
	NS_LINK,
	SELF_LINK, /* from here on: links with a text */
	THREAD_SELF_LINK,
	MOUNTS_LINK,
};
struct node {
	enum kind kind;
	s32 pid, tid;
	int fd; /* NS_LINK: row of namespaces */
	const struct proc_text *text;
};
#define PROC_NAMESPACES 10
struct proc_namespace {
	const char *name, *type;
	u64 ino;
};
extern const struct proc_namespace proc_namespaces[PROC_NAMESPACES];

/* The process and thread of a node; those of the caller for nodes of the whole system. False: gone. */
bool procfs_find_subject(const struct node *n, struct subject *s);
bool procfs_fd_open(const struct subject *s, int fd);
bool procfs_is_guarded(const struct node *n);
long proclink_read(struct inode *i, char *buf, size_t size);
int proclink_follow(struct inode *i, struct path *out);
#endif
