/* /proc: the tree (fs/procfs.c) and the texts of its files (fs/proctext.c). */
#ifndef PROCFS_H
#define PROCFS_H
#include "fs.h"

struct text {
	char *buf;
	size_t len, cap;
	bool failed; /* out of memory */
};
void text_add(struct text *t, const char *fmt, ...) printf_like(2, 3);
void text_bytes(struct text *t, const char *p, size_t n);

/* What a node of /proc is about. p and t are NULL for files of the whole system. */
struct subject {
	struct process *p;
	struct task *t;
	int fd;
};
struct proc_text {
	const char *name;
	void (*fn)(struct text *, const struct subject *);
};
extern const struct proc_text system_texts[], process_texts[]; /* ended by name NULL; a name may hold slashes in system_texts */
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
