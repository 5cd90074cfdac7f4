/* The tree of /proc. Its inodes are made when they are looked up. */
#include "procfs.h"
#include <asm/statfs.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

enum kind {
	ROOT,
	SYSTEM_DIR, /* a prefix of names in system_texts */
	SYSTEM_TEXT,
	PROCESS_DIR, /* /proc/N, /proc/N/task/N */
	PROCESS_TEXT,
	TASK_DIR, /* /proc/N/task */
	FD_DIR,
	FDINFO_DIR,
	FDINFO_TEXT,
	FD_LINK,
	EXE_LINK,
	CWD_LINK,
	ROOT_LINK,
	SELF_LINK, /* from here on: links with a text */
	THREAD_SELF_LINK,
	MOUNTS_LINK,
};
struct node {
	enum kind kind;
	s32 pid, tid;
	int fd;
	const struct proc_text *text;
	char prefix[32]; /* SYSTEM_DIR, "sys/kernel/" */
};
static const struct inode_ops dir_ops, plain_link_ops, magic_link_ops, text_inode_ops;
static const struct file_ops text_ops, dir_fops = {.lseek = dir_lseek};
static u64 dev;

/* The process and thread of a node; those of the caller for nodes of the whole system. */
static bool find_subject(const struct node *n, struct subject *s)
{
	s->p = n->pid ? process_find(n->pid) : current->proc;
	s->t = !s->p ? NULL : !n->pid ? current : n->tid ? task_find(n->tid) : s->p->leader;
	s->fd = n->fd;
	return s->p && s->t && s->t->proc == s->p;
}

static struct inode *make(const struct node *like, enum kind kind, u32 mode)
{
	struct node *n = kmalloc(sizeof(*n));
	if (!n)
		return NULL;
	*n = *like;
	n->kind = kind;
	const struct inode_ops *ops = S_ISDIR(mode)       ? &dir_ops
				      : S_ISREG(mode)     ? &text_inode_ops
				      : kind >= SELF_LINK ? &plain_link_ops
							  : &magic_link_ops;
	struct inode *i = inode_new(ops, S_ISDIR(mode) ? &dir_fops : S_ISREG(mode) ? &text_ops : NULL, mode, n);
	struct subject s;
	if (!i) {
		kfree(n);
		return NULL;
	}
	i->dev = dev;
	i->ino = hash_bytes(n, sizeof(*n)) | 1ul << 32;
	i->uid = i->gid = 0;
	if (n->pid && find_subject(n, &s)) {
		i->uid = s.p->euid;
		i->gid = s.p->egid;
	}
	if (S_ISDIR(mode))
		i->nlink = 2;
	return i;
}

static void evict(struct inode *i)
{
	kfree(i->priv);
}

static s32 number(const char *s)
{
	s64 n = 0;
	if (!*s || (*s == '0' && s[1]))
		return -1;
	for (; *s >= '0' && *s <= '9' && n < 1000000000; s++)
		n = n * 10 + (*s - '0');
	return *s ? -1 : (s32)n;
}

static bool fd_open(const struct subject *s, int fd)
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
};
static const struct {
	const char *name;
	enum kind kind;
} root_links[] = {{"self", SELF_LINK}, {"thread-self", THREAD_SELF_LINK}, {"mounts", MOUNTS_LINK}};

/* A text, or a directory that is a prefix of texts. */
static struct inode *system_lookup(const struct node *dir, const char *name)
{
	size_t plen = strlen(dir->prefix), nlen = strlen(name);
	for (const struct proc_text *t = system_texts; t->name; t++) {
		if (strncmp(t->name, dir->prefix, plen) || strncmp(t->name + plen, name, nlen))
			continue;
		struct node like = {.text = t};
		char after = t->name[plen + nlen];
		if (!after)
			return make(&like, SYSTEM_TEXT, S_IFREG | 0444);
		if (after == '/' && plen + nlen + 2 <= sizeof(like.prefix)) {
			like.text = NULL;
			memcpy(like.prefix, t->name, plen + nlen + 1);
			return make(&like, SYSTEM_DIR, S_IFDIR | 0555);
		}
	}
	return NULL;
}

static struct inode *process_lookup(const struct node *dir, const char *name)
{
	for (const struct proc_text *t = process_texts; t->name; t++)
		if (!strcmp(t->name, name)) {
			struct node like = {.pid = dir->pid, .tid = dir->tid, .text = t};
			return make(&like, PROCESS_TEXT, S_IFREG | 0444);
		}
	for (unsigned k = 0; k < ARRAY_SIZE(process_nodes); k++)
		if (!strcmp(process_nodes[k].name, name) && !(dir->tid && process_nodes[k].kind == TASK_DIR))
			return make(dir, process_nodes[k].kind, process_nodes[k].mode);
	return NULL;
}

static struct inode *lookup(struct inode *i, const char *name, int *err)
{
	const struct node *d = i->priv;
	struct node like = *d;
	struct subject s;
	struct inode *found = NULL;
	s32 n = number(name);
	*err = -ENOENT;
	if (!find_subject(d, &s))
		return NULL;
	switch (d->kind) {
	case ROOT:
		for (unsigned k = 0; k < ARRAY_SIZE(root_links); k++)
			if (!strcmp(root_links[k].name, name))
				return make(&like, root_links[k].kind, S_IFLNK | 0777);
		like.pid = n;
		if (n > 0 && process_find(n))
			return make(&like, PROCESS_DIR, S_IFDIR | 0555);
		found = system_lookup(d, name);
		break;
	case SYSTEM_DIR:
		found = system_lookup(d, name);
		break;
	case PROCESS_DIR:
		found = process_lookup(d, name);
		break;
	case TASK_DIR: {
		struct task *t = n > 0 ? task_find(n) : NULL;
		like.tid = n;
		if (t && t->proc == s.p)
			found = make(&like, PROCESS_DIR, S_IFDIR | 0555);
		break;
	}
	case FD_DIR:
	case FDINFO_DIR:
		like.fd = n;
		if (fd_open(&s, n))
			found = d->kind == FD_DIR ? make(&like, FD_LINK, S_IFLNK | 0700) : make(&like, FDINFO_TEXT, S_IFREG | 0444);
		break;
	default:
		*err = -ENOTDIR;
	}
	return found;
}

/* ---- reading directories: entry k has position k + 1 */
struct lister {
	u64 skip, at;
	bool (*emit)(void *ctx, const char *name, u64 ino, u8 type, u64 next_pos);
	void *ctx;
	u64 *pos;
	bool full;
};

static void list_name(struct lister *l, const char *name, u8 type)
{
	if (l->full || l->at++ < l->skip)
		return;
	if (l->emit(l->ctx, name, hash_bytes(name, strlen(name)), type, l->at))
		*l->pos = l->at;
	else
		l->full = true;
}

static void list_number(struct lister *l, s32 n, u8 type)
{
	char name[16];
	snprintf(name, sizeof(name), "%d", n);
	list_name(l, name, type);
}

static void list_system(struct lister *l, const struct node *d)
{
	size_t plen = strlen(d->prefix);
	char last[32] = "";
	for (const struct proc_text *t = system_texts; t->name; t++) {
		if (strncmp(t->name, d->prefix, plen))
			continue;
		const char *rest = t->name + plen, *slash = strchr(rest, '/');
		if (!slash) {
			list_name(l, rest, 8);
			continue;
		}
		char dir[32] = "";
		memcpy(dir, rest, MIN((size_t)(slash - rest), sizeof(dir) - 1));
		if (strcmp(dir, last)) /* the table keeps a directory's names together */
			list_name(l, dir, 4);
		memcpy(last, dir, sizeof(last));
	}
}

static int readdir(struct inode *i, u64 *pos, bool (*emit)(void *ctx, const char *name, u64 ino, u8 type, u64 next_pos), void *ctx)
{
	const struct node *d = i->priv;
	struct lister l = {.skip = *pos, .emit = emit, .ctx = ctx, .pos = pos};
	struct subject s;
	struct process *p;
	struct task *t;
	if (!find_subject(d, &s))
		return -ENOENT;
	list_name(&l, ".", 4);
	list_name(&l, "..", 4);
	switch (d->kind) {
	case ROOT:
		list_system(&l, d);
		for (unsigned k = 0; k < ARRAY_SIZE(root_links); k++)
			list_name(&l, root_links[k].name, 10);
		list_for_each (p, &all_processes, all)
			list_number(&l, p->pid, 4);
		break;
	case SYSTEM_DIR:
		list_system(&l, d);
		break;
	case PROCESS_DIR:
		for (const struct proc_text *x = process_texts; x->name; x++)
			list_name(&l, x->name, 8);
		for (unsigned k = 0; k < ARRAY_SIZE(process_nodes); k++)
			if (!(d->tid && process_nodes[k].kind == TASK_DIR))
				list_name(&l, process_nodes[k].name, (u8)(process_nodes[k].mode >> 12));
		break;
	case TASK_DIR:
		list_for_each (t, &s.p->tasks, group)
			list_number(&l, t->tid, 4);
		break;
	case FD_DIR:
	case FDINFO_DIR:
		for (u32 fd = 0; s.t->files && fd < s.t->files->cap; fd++)
			if (s.t->files->fd[fd])
				list_number(&l, (s32)fd, d->kind == FD_DIR ? 10 : 8);
		break;
	default:
		return -ENOTDIR;
	}
	return 0;
}

/* ---- links */
static struct file *link_file(const struct node *n, const struct subject *s)
{
	if (n->kind == EXE_LINK)
		return s->t->mm ? s->t->mm->exe : NULL;
	return fd_open(s, n->fd) ? s->t->files->fd[n->fd] : NULL;
}

static long readlink(struct inode *i, char *buf, size_t size)
{
	const struct node *n = i->priv;
	struct subject s;
	long r = -ENOENT;
	if (!find_subject(n, &s))
		return -ENOENT;
	if (n->kind == SELF_LINK)
		return snprintf(buf, size, "%d", current->proc->pid);
	if (n->kind == THREAD_SELF_LINK)
		return snprintf(buf, size, "%d/task/%d", current->proc->pid, current->tid);
	if (n->kind == MOUNTS_LINK)
		return snprintf(buf, size, "self/mounts");
	if (n->kind == CWD_LINK || n->kind == ROOT_LINK) {
		char *text = !s.t->fs ? NULL : path_string(n->kind == CWD_LINK ? &s.t->fs->cwd : &s.t->fs->root);
		if (text)
			r = (long)MIN(strlcpy(buf, text, size), size - 1);
		kfree(text);
		return r;
	}
	const struct file *f = link_file(n, &s);
	if (!f)
		return -ENOENT;
	u32 type = f->inode->mode & S_IFMT;
	if (!f->path.str)
		return snprintf(buf, size, "%s:[%lu]", type == S_IFIFO ? "pipe" : type == S_IFSOCK ? "socket" : "anon_inode", f->inode->ino);
	bool gone = f->path.mnt && !f->inode->nlink;
	return MIN(snprintf(buf, size, "%s%s", f->path.str, gone ? " (deleted)" : ""), (int)size - 1);
}

static int follow(struct inode *i, struct path *out)
{
	const struct node *n = i->priv;
	struct subject s;
	if (!find_subject(n, &s))
		return -ENOENT;
	if (n->kind == CWD_LINK || n->kind == ROOT_LINK)
		return s.t->fs ? path_copy(out, n->kind == CWD_LINK ? &s.t->fs->cwd : &s.t->fs->root) : -ENOENT;
	const struct file *f = link_file(n, &s);
	if (!f)
		return -ENOENT;
	*out = (struct path){.mnt = f->path.mnt ? f->path.mnt : list_first(&all_mounts, struct mount, node), .inode = f->inode};
	inode_get(f->inode);
	return 0;
}

static int statfs(struct inode *i, void *out)
{
	*(struct statfs *)out = (struct statfs){.f_type = 0x9fa0, .f_bsize = PAGE_SIZE, .f_frsize = PAGE_SIZE, .f_namelen = 255};
	return 0;
}

/* Nothing is made here: a new name is as absent as before. */
static int create(struct inode *dir, const char *name, u32 mode, u64 rdev, struct inode **out)
{
	return -ENOENT;
}

static const struct inode_ops dir_ops = {.lookup = lookup, .create = create, .readdir = readdir, .statfs = statfs, .evict = evict};
static const struct inode_ops text_inode_ops = {.statfs = statfs, .evict = evict};
static const struct inode_ops plain_link_ops = {.readlink = readlink, .evict = evict};
static const struct inode_ops magic_link_ops = {.readlink = readlink, .follow = follow, .evict = evict};

/* ---- texts: made at the first read, kept with the file */
static ssize_t read(struct file *f, struct uio *u, u64 *pos)
{
	const struct node *n = f->inode->priv;
	struct text *t = f->priv;
	struct subject s;
	if (!t || *pos == 0) {
		if (!find_subject(n, &s))
			return -ESRCH;
		struct text *fresh = kzalloc(sizeof(*fresh));
		if (!fresh)
			return -ENOMEM;
		if (n->kind == FDINFO_TEXT)
			text_fdinfo(fresh, &s);
		else
			n->text->fn(fresh, &s);
		if (t)
			kfree(t->buf);
		kfree(t);
		f->priv = t = fresh;
		if (t->failed)
			return -ENOMEM;
	}
	if (*pos >= t->len)
		return 0;
	ssize_t r = uio_write(u, t->buf + *pos, MIN(u->resid, t->len - *pos));
	if (r > 0)
		*pos += (u64)r;
	return r;
}

static void release(struct file *f)
{
	struct text *t = f->priv;
	if (t)
		kfree(t->buf);
	kfree(t);
}

static const struct file_ops text_ops = {.read = read, .lseek = dir_lseek, .release = release};

struct inode *procfs_root(void)
{
	struct node like = {.kind = ROOT};
	dev = inode_new_dev();
	struct inode *i = make(&like, ROOT, S_IFDIR | 0555);
	if (i)
		i->parent = i;
	return i;
}
