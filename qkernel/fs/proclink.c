/* The links of /proc: self, and to the files, directories and namespaces of a process. */
#include "fdtable.h"
#include "fsctx.h"
#include "mount.h"
#include "procfs.h"
#include "procnode.h"
#include <linux/stat.h>

/* There is one of each; the numbers are those of Linux's first ones (linux/proc_ns.h), where it has fixed ones. */
const struct proc_namespace proc_namespaces[PROC_NAMESPACES] = {
	{"cgroup", "cgroup", 0xeffffffb}, {"ipc", "ipc", 0xefffffff},
	{"mnt", "mnt", 0xf0000000},       {"net", "net", 0xf0000001},
	{"pid", "pid", 0xeffffffc},       {"pid_for_children", "pid", 0xeffffffc},
	{"time", "time", 0xeffffffa},     {"time_for_children", "time", 0xeffffffa},
	{"user", "user", 0xeffffffd},     {"uts", "uts", 0xeffffffe},
};

static struct file *proclink_file(const struct node *n, const struct subject *s)
{
	if (n->kind == EXE_LINK)
		return s->t->mm ? s->t->mm->exe : NULL;
	return procfs_fd_open(s, n->fd) ? s->t->files->fd[n->fd] : NULL;
}

long proclink_read(struct inode *i, char *buf, size_t size)
{
	const struct node *n = i->priv;
	struct subject s;
	long r = -ENOENT;
	if (!procfs_find_subject(n, &s))
		return -ENOENT;
	if (procfs_is_guarded(n) && !procfs_may_look(s.p))
		return -EACCES;
	if (n->kind == SELF_LINK)
		return snprintf(buf, size, "%d", current->proc->pid);
	if (n->kind == THREAD_SELF_LINK)
		return snprintf(buf, size, "%d/task/%d", current->proc->pid, current->tid);
	if (n->kind == MOUNTS_LINK)
		return snprintf(buf, size, "self/mounts");
	if (n->kind == NS_LINK)
		return snprintf(buf, size, "%s:[%lu]", proc_namespaces[n->fd].type, proc_namespaces[n->fd].ino);
	if (n->kind == CWD_LINK || n->kind == ROOT_LINK) {
		char *text = !s.t->fs ? NULL : path_string(n->kind == CWD_LINK ? &s.t->fs->cwd : &s.t->fs->root);
		if (text)
			r = (long)MIN(strlcpy(buf, text, size), size - 1);
		kfree(text);
		return r;
	}
	const struct file *f = proclink_file(n, &s);
	if (!f)
		return -ENOENT;
	u32 type = f->inode->mode & S_IFMT;
	if (!f->path.str)
		return snprintf(buf, size, "%s:[%lu]", type == S_IFIFO ? "pipe" : type == S_IFSOCK ? "socket" : "anon_inode", f->inode->ino);
	bool gone = f->path.mnt && !f->inode->nlink;
	return MIN(snprintf(buf, size, "%s%s", f->path.str, gone ? " (deleted)" : ""), (int)size - 1);
}

int proclink_follow(struct inode *i, struct path *out)
{
	const struct node *n = i->priv;
	struct subject s;
	if (!procfs_find_subject(n, &s))
		return -ENOENT;
	if (!procfs_may_look(s.p))
		return -EACCES;
	if (n->kind == CWD_LINK || n->kind == ROOT_LINK)
		return s.t->fs ? path_copy(out, n->kind == CWD_LINK ? &s.t->fs->cwd : &s.t->fs->root) : -ENOENT;
	if (n->kind == NS_LINK) {
		struct inode *ns = anon_inode(S_IFREG | 0444);
		if (!ns)
			return -ENOMEM;
		ns->ino = proc_namespaces[n->fd].ino;
		*out = (struct path){.mnt = list_first(&all_mounts, struct mount, node), .inode = ns};
		return 0;
	}
	const struct file *f = proclink_file(n, &s);
	if (!f)
		return -ENOENT;
	*out = (struct path){.mnt = f->path.mnt ? f->path.mnt : list_first(&all_mounts, struct mount, node), .inode = f->inode};
	inode_get(f->inode);
	return 0;
}
