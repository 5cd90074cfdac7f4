/* /proc, /sys and the control groups' tree: files whose content is made when it is read. */
#ifndef PROCFS_H
#define PROCFS_H
#include "file.h"

struct text {
	char *buf;
	size_t len, cap;
	bool failed; /* out of memory */
};
void text_add(struct text *t, const char *fmt, ...) printf_like(2, 3);
void text_bytes(struct text *t, const char *p, size_t n);

/* What a text is about: its row of the table, and for files of a process or thread these (of the caller, for files of the whole system). */
struct subject {
	const struct proc_text *self;
	struct process *p;
	struct task *t;
	int fd;
	bool of_thread; /* below task/: t is meant, not all of p */
};
struct proc_text {
	const char *name; /* may hold slashes in a tree; a directory's names stand together; one that ends with a slash is an empty directory */
	void (*fn)(struct text *, const struct subject *);
	int (*write)(const struct subject *, char *data); /* NULL: read-only; data is what was written, without its newline. 0 or -errno */
	const char *fixed;                                /* the text itself, where it is always the same; fn is NULL then */
	u32 mode;                                         /* of a process's; 0: 0444, or 0644 if it can be written */
	bool guarded;                                     /* of a process's: for those alone who may look into it */
};

/* fs/texttree.c: a file system of such texts. Positions in its directories are rows of the table, so that they stay right. */
struct text_tree {
	const struct proc_text *texts; /* ended by name NULL */
	u64 magic;                     /* of statfs(2) */
	u64 dev;
	const char *mountpoint; /* a directory with a slash behind it, or NULL: it is always the same inode, so that a mount can cover it */
	struct inode *covered;
};
struct inode *text_tree_root(struct text_tree *tree);                                         /* its directory, inside another file system */
struct inode *text_tree_mount(struct text_tree *tree);                                        /* as a file system of its own */
struct inode *text_tree_lookup(struct text_tree *tree, const char *prefix, const char *name); /* prefix: "" or "sys/kernel/"; NULL: no such name */
#define TREE_KEYS 4096u                                                                       /* positions that text_tree_list uses */

/* Reading a directory: entries come with ascending keys, which are their positions. */
struct lister {
	u64 *pos;
	bool (*emit)(void *ctx, const char *name, u64 ino, u8 type, u64 next_pos);
	void *ctx;
	bool full;
};
void list_name(struct lister *l, u64 key, const char *name, u8 type);
void list_number(struct lister *l, u64 key, s32 n, u8 type);
void text_tree_list(struct lister *l, const struct text_tree *tree, const char *prefix); /* "." and ".." first */

/* The file operations of a text: `make` fills it at the first read, what is written goes to `store`. */
ssize_t text_read(struct file *f, struct uio *u, u64 *pos, int (*make)(struct inode *i, struct text *t));
ssize_t text_write(struct uio *u, const struct proc_text *text, const struct subject *s);
void text_release(struct file *f);
int text_make(struct text *t, const struct subject *s); /* of the row s->self */

bool procfs_subject(const struct file *f, struct subject *s); /* of an open file of a process; false: it is gone */
bool procfs_may_look(const struct process *p);                /* has the caller what ptrace(2) calls read access to p? */
struct process *procfs_process(const struct file *f); /* the process whose directory /proc/N is open; NULL: it is gone, or it is no such directory */
extern struct text_tree proc_tree;                    /* fs/procsystem.c: /proc but for processes and /proc/sys */
extern struct text_tree sysctl_tree;                  /* fs/sysctl.c: /proc/sys */
extern const struct proc_text process_texts[];        /* fs/proctext.c */
void text_unix_sockets(struct text *t, const struct subject *s); /* net/unix_proc.c */
void text_area(struct text *t, const struct vma *v);             /* a line of maps */
/* fs/procmem.c */
void text_smaps(struct text *t, const struct subject *s);
void text_smaps_rollup(struct text *t, const struct subject *s);
int procmem_open(struct inode *i, struct file *f);
extern const struct file_ops proc_mem_ops, proc_pagemap_ops;
/* Texts that other parts of the kernel make: ipc/, fs/inotify.c */
void proc_sysvipc_msg(struct text *t, const struct subject *s);
void proc_sysvipc_sem(struct text *t, const struct subject *s);
void proc_sysvipc_shm(struct text *t, const struct subject *s);
void proc_inotify_events(struct text *t, const struct subject *s);
void proc_inotify_instances(struct text *t, const struct subject *s);
void proc_inotify_watches(struct text *t, const struct subject *s);
void proc_limits_sem(struct text *t, const struct subject *s);
void proc_limits_shmmax(struct text *t, const struct subject *s);
void proc_limits_shmmni(struct text *t, const struct subject *s);
void proc_limits_msgmax(struct text *t, const struct subject *s);
void proc_limits_msgmnb(struct text *t, const struct subject *s);
void proc_limits_msgmni(struct text *t, const struct subject *s);
void text_fdinfo(struct text *t, const struct subject *s);
#endif
