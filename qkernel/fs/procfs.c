/* The directories of processes in /proc; what is about the whole system is a tree of texts (fs/texttree.c). Inodes are made when they are looked up. */
#include "fdtable.h"
#include "mount.h"
#include "procfs.h"
#include "procnode.h"
#include "../proc/proc.h"
#include <asm/statfs.h>
#include <linux/capability.h>
#include <linux/fcntl.h>
#include <linux/magic.h>
#include <linux/stat.h>

static const struct inode_ops dir_ops, plain_link_ops, magic_link_ops, text_inode_ops, memory_inode_ops;
static const struct file_ops text_ops, dir_fops = {.lseek = dir_lseek};
/* Positions in directories, each kind of entry above the other (struct lister). */
#define KEY_LINKS (TREE_KEYS + 3)
#define KEY_NUMBERS (KEY_LINKS + 64)

/* The process and thread of a node; those of the caller for nodes of the whole system. */
bool procfs_find_subject(const struct node *n, struct subject *s)
{
	s->self = n->text;
	s->p = n->pid ? process_find(n->pid) : current->proc;
	s->t = !s->p ? NULL : !n->pid ? current : n->tid ? task_find(n->tid) : s->p->leader;
	s->fd = n->fd;
	s->of_thread = n->tid != 0;
	return s->p && s->t && s->t->proc == s->p;
}

bool procfs_subject(const struct file *f, struct subject *s)
{
	return procfs_find_subject(f->inode->priv, s);
}

/* ptrace(2), "Ptrace access mode checking", PTRACE_MODE_READ_FSCREDS. */
bool procfs_may_look(const struct process *p)
{
	const struct process *c = current->proc;
	if (p == c || (c->cap_eff & 1ul << CAP_SYS_PTRACE))
		return true;
	bool same_user = c->fsuid == p->uid && c->fsuid == p->euid && c->fsuid == p->suid;
	bool same_group = c->fsgid == p->gid && c->fsgid == p->egid && c->fsgid == p->sgid;
	return same_user && same_group && p->dumpable == 1 && !(p->cap_perm & ~c->cap_perm);
}

struct process *procfs_process(const struct file *f)
{
	const struct node *n = f->inode->priv;
	return f->ops == &dir_fops && n->kind == PROCESS_DIR && !n->tid ? process_find(n->pid) : NULL;
}

static struct inode *procfs_make(const struct node *like, enum kind kind, u32 mode)
{
	struct node *n = kmalloc(sizeof(*n));
	if (!n)
		return NULL;
	*n = *like;
	n->kind = kind;
	bool memory = kind == MEM_FILE || kind == PAGEMAP_FILE;
	const struct file_ops *fops = S_ISDIR(mode)          ? &dir_fops
				      : !S_ISREG(mode)       ? NULL
				      : kind == MEM_FILE     ? &proc_mem_ops
				      : kind == PAGEMAP_FILE ? &proc_pagemap_ops
							     : &text_ops;
	const struct inode_ops *ops = S_ISDIR(mode)       ? &dir_ops
				      : memory            ? &memory_inode_ops
				      : S_ISREG(mode)     ? &text_inode_ops
				      : kind >= SELF_LINK ? &plain_link_ops
							  : &magic_link_ops;
	struct inode *i = inode_new(ops, fops, mode, n);
	struct subject s;
	if (!i) {
		kfree(n);
		return NULL;
	}
	i->dev = proc_tree.dev;
	i->ino = hash_bytes(n, sizeof(*n)) | 1ul << 32;
	i->uid = i->gid = 0;
	if (n->pid && procfs_find_subject(n, &s)) {
		i->uid = s.p->euid;
		i->gid = s.p->egid;
	}
	if (S_ISDIR(mode))
		i->nlink = 2;
	return i;
}

static void procfs_evict(struct inode *i)
{
	kfree(i->priv);
}

static s32 procfs_number(const char *s)
{
	s64 n = 0;
	if (!*s || (*s == '0' && s[1]))
		return -1;
	for (; *s >= '0' && *s <= '9' && n < 1000000000; s++)
		n = n * 10 + (*s - '0');
	return *s ? -1 : (s32)n;
}

bool procfs_fd_open(const struct subject *s, int fd)
{
	const struct files *fs = s->t->files;
	return fs && fd >= 0 && (u32)fd < fs->cap && fs->fd[fd];
}

static const struct {
	const char *name;
	enum kind kind;
	u32 mode;
} process_nodes[] = {
	{"fd", FD_DIR, S_IFDIR | 0500},    {"fdinfo", FDINFO_DIR, S_IFDIR | 0555}, {"task", TASK_DIR, S_IFDIR | 0555},
	{"exe", EXE_LINK, S_IFLNK | 0777}, {"cwd", CWD_LINK, S_IFLNK | 0777},      {"root", ROOT_LINK, S_IFLNK | 0777},
	{"ns", NS_DIR, S_IFDIR | 0511},    {"mem", MEM_FILE, S_IFREG | 0600},      {"pagemap", PAGEMAP_FILE, S_IFREG | 0400},
};
static const struct {
	const char *name;
	enum kind kind;
} root_links[] = {{"self", SELF_LINK}, {"thread-self", THREAD_SELF_LINK}, {"mounts", MOUNTS_LINK}};

static struct inode *procfs_process_lookup(const struct node *dir, const char *name)
{
	for (const struct proc_text *t = process_texts; t->name; t++)
		if (!strcmp(t->name, name)) {
			struct node like = {.pid = dir->pid, .tid = dir->tid, .text = t};
			return procfs_make(&like, PROCESS_TEXT, S_IFREG | (t->mode ? t->mode : t->write ? 0644 : 0444));
		}
	if (!strcmp(name, "net"))
		return text_tree_lookup(&proc_tree, "", "net");
	for (unsigned k = 0; k < ARRAY_SIZE(process_nodes); k++)
		if (!strcmp(process_nodes[k].name, name) && !(dir->tid && process_nodes[k].kind == TASK_DIR))
			return procfs_make(dir, process_nodes[k].kind, process_nodes[k].mode);
	return NULL;
}

/* Nodes that show what a process works with are for those who may look into it, whatever their mode says. */
bool procfs_is_guarded(const struct node *n)
{
	switch (n->kind) {
	case FD_DIR:
	case FDINFO_DIR:
	case FDINFO_TEXT:
	case NS_DIR:
	case NS_LINK:
	case FD_LINK:
	case EXE_LINK:
	case CWD_LINK:
	case ROOT_LINK:
		return true;
	default:
		return n->kind == PROCESS_TEXT && n->text->guarded;
	}
}

static struct inode *procfs_lookup(struct inode *i, const char *name, int *err)
{
	const struct node *d = i->priv;
	struct node like = *d;
	struct subject s;
	struct inode *found = NULL;
	s32 n = procfs_number(name);
	*err = -ENOENT;
	if (!procfs_find_subject(d, &s))
		return NULL;
	if (procfs_is_guarded(d) && !procfs_may_look(s.p)) {
		*err = -EACCES;
		return NULL;
	}
	switch (d->kind) {
	case ROOT:
		for (unsigned k = 0; k < ARRAY_SIZE(root_links); k++)
			if (!strcmp(root_links[k].name, name))
				return procfs_make(&like, root_links[k].kind, S_IFLNK | 0777);
		like.pid = n;
		if (n > 0 && process_find(n))
			return procfs_make(&like, PROCESS_DIR, S_IFDIR | 0555);
		found = strcmp(name, "sys") ? text_tree_lookup(&proc_tree, "", name) : text_tree_root(&sysctl_tree);
		break;
	case PROCESS_DIR:
		found = procfs_process_lookup(d, name);
		break;
	case TASK_DIR: {
		struct task *t = n > 0 ? task_find(n) : NULL;
		like.tid = n;
		if (t && t->proc == s.p)
			found = procfs_make(&like, PROCESS_DIR, S_IFDIR | 0555);
		break;
	}
	case FD_DIR:
	case FDINFO_DIR:
		like.fd = n;
		if (procfs_fd_open(&s, n))
			found = d->kind == FD_DIR ? procfs_make(&like, FD_LINK, S_IFLNK | 0700) : procfs_make(&like, FDINFO_TEXT, S_IFREG | 0444);
		break;
	case NS_DIR:
		for (unsigned k = 0; k < PROC_NAMESPACES; k++)
			if (!strcmp(proc_namespaces[k].name, name)) {
				like.fd = (int)k;
				return procfs_make(&like, NS_LINK, S_IFLNK | 0777);
			}
		break;
	default:
		*err = -ENOTDIR;
	}
	return found;
}

/* Numbers above the position, in ascending order, whatever comes and goes between two calls. */
static void procfs_list_tasks(struct lister *l, const struct process *of)
{
	for (u64 n = MAX(*l->pos, KEY_NUMBERS) - KEY_NUMBERS + 1; n < PID_MAX && !l->full; n++) {
		const struct task *t = of ? task_find((s32)n) : NULL;
		if (of ? t && t->proc == of : process_find((s32)n) != NULL)
			list_number(l, KEY_NUMBERS + n, (s32)n, 4);
	}
}

static int procfs_readdir(struct inode *i, u64 *pos, bool (*emit)(void *ctx, const char *name, u64 ino, u8 type, u64 next_pos), void *ctx)
{
	const struct node *d = i->priv;
	struct lister l = {.pos = pos, .emit = emit, .ctx = ctx};
	struct subject s;
	u64 key = 3;
	if (!procfs_find_subject(d, &s))
		return -ENOENT;
	if (procfs_is_guarded(d) && !procfs_may_look(s.p))
		return -EACCES;
	if (d->kind == ROOT) {
		text_tree_list(&l, &proc_tree, "");
		for (unsigned k = 0; k < ARRAY_SIZE(root_links); k++)
			list_name(&l, KEY_LINKS + k, root_links[k].name, 10);
		list_name(&l, KEY_LINKS + ARRAY_SIZE(root_links), "sys", 4);
		procfs_list_tasks(&l, NULL);
		return 0;
	}
	list_name(&l, 1, ".", 4);
	list_name(&l, 2, "..", 4);
	switch (d->kind) {
	case PROCESS_DIR:
		for (const struct proc_text *x = process_texts; x->name; x++)
			list_name(&l, key++, x->name, 8);
		list_name(&l, key++, "net", 4);
		for (unsigned k = 0; k < ARRAY_SIZE(process_nodes); k++, key++)
			if (!(d->tid && process_nodes[k].kind == TASK_DIR))
				list_name(&l, key, process_nodes[k].name, (u8)(process_nodes[k].mode >> 12));
		break;
	case TASK_DIR:
		procfs_list_tasks(&l, s.p);
		break;
	case NS_DIR:
		for (unsigned k = 0; k < PROC_NAMESPACES; k++)
			list_name(&l, key++, proc_namespaces[k].name, 10);
		break;
	case FD_DIR:
	case FDINFO_DIR:
		for (u64 fd = MAX(*pos, KEY_NUMBERS - 1) - (KEY_NUMBERS - 1); s.t->files && fd < s.t->files->cap && !l.full; fd++)
			if (s.t->files->fd[fd])
				list_number(&l, KEY_NUMBERS + fd, (s32)fd, d->kind == FD_DIR ? 10 : 8);
		break;
	default:
		return -ENOTDIR;
	}
	return 0;
}

static int procfs_statfs(struct inode *i, void *out)
{
	*(struct statfs *)out = (struct statfs){.f_type = PROC_SUPER_MAGIC, .f_bsize = PAGE_SIZE, .f_frsize = PAGE_SIZE, .f_namelen = 255};
	return 0;
}

/* Nothing is made here: a new name is as absent as before. */
static int procfs_create(struct inode *dir, const char *name, u32 mode, u64 rdev, struct inode **out)
{
	return -ENOENT;
}

/* Opened with O_TRUNC, as the shell's `>` does: there is nothing to cut. */
static int procfs_setattr(struct inode *i, u32 mask, const struct qk_stat *st)
{
	return mask & ~QK_ATTR_SIZE ? -EPERM : 0;
}

static const struct inode_ops dir_ops = {
	.lookup = procfs_lookup, .create = procfs_create, .readdir = procfs_readdir, .statfs = procfs_statfs, .evict = procfs_evict};
static int procfs_text_open(struct inode *i, struct file *f)
{
	const struct node *n = i->priv;
	struct subject s;
	return procfs_is_guarded(n) && procfs_find_subject(n, &s) && !procfs_may_look(s.p) ? -EACCES : 0;
}

static const struct inode_ops text_inode_ops = {.open = procfs_text_open, .setattr = procfs_setattr, .statfs = procfs_statfs, .evict = procfs_evict};
static const struct inode_ops memory_inode_ops = {.open = procmem_open, .setattr = procfs_setattr, .statfs = procfs_statfs, .evict = procfs_evict};
static const struct inode_ops plain_link_ops = {.readlink = proclink_read, .evict = procfs_evict};
static const struct inode_ops magic_link_ops = {.readlink = proclink_read, .follow = proclink_follow, .evict = procfs_evict};

/* ---- texts of processes */
static int procfs_fill(struct inode *i, struct text *t)
{
	const struct node *n = i->priv;
	struct subject s;
	if (!procfs_find_subject(n, &s))
		return -ESRCH;
	if (n->kind != FDINFO_TEXT)
		return text_make(t, &s);
	text_fdinfo(t, &s);
	return 0;
}

static ssize_t procfs_read(struct file *f, struct uio *u, u64 *pos)
{
	return text_read(f, u, pos, procfs_fill);
}

static ssize_t procfs_write(struct file *f, struct uio *u, u64 *pos)
{
	struct subject s;
	return procfs_find_subject(f->inode->priv, &s) ? text_write(u, s.self, &s) : -ESRCH;
}

static const struct file_ops text_ops = {.read = procfs_read, .write = procfs_write, .lseek = dir_lseek, .release = text_release};

struct inode *procfs_root(void)
{
	struct node like = {.kind = ROOT};
	proc_tree.dev = sysctl_tree.dev = inode_new_dev();
	struct inode *i = procfs_make(&like, ROOT, S_IFDIR | 0555);
	if (i)
		i->parent = i;
	return i;
}
