/* A file system of texts in a table of paths. Its inodes are made when they are looked up. */
#include "procfs.h"
#include <asm/statfs.h>
#include <linux/stat.h>

#define PREFIX_MAX 64
#define WRITE_MAX 512 /* of one write to a text */

struct tree_node {
	struct text_tree *tree;
	const struct proc_text *text; /* NULL: a directory, the texts below `prefix` */
	char prefix[PREFIX_MAX];      /* "sys/kernel/" */
};
static const struct inode_ops tree_dir_ops, tree_text_ops;
static const struct file_ops tree_text_fops, tree_dir_fops = {.lseek = dir_lseek};

/* ---- texts */
void text_bytes(struct text *t, const char *p, size_t n)
{
	if (t->failed)
		return;
	if (t->len + n + 1 > t->cap) {
		size_t cap = MAX(t->cap * 2, t->len + n + 1024);
		char *grown = krealloc(t->buf, cap);
		if (!grown) {
			t->failed = true;
			return;
		}
		t->buf = grown;
		t->cap = cap;
	}
	memcpy(t->buf + t->len, p, n);
	t->len += n;
}

void text_add(struct text *t, const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	text_bytes(t, line, (size_t)MIN(n, (int)sizeof(line) - 1));
}

int text_make(struct text *t, const struct subject *s)
{
	if (s->self->fixed)
		text_bytes(t, s->self->fixed, strlen(s->self->fixed));
	else
		s->self->fn(t, s);
	return 0;
}

ssize_t text_read(struct file *f, struct uio *u, u64 *pos, int (*make)(struct inode *i, struct text *t))
{
	struct text *t = f->priv;
	if (!t || *pos == 0) {
		struct text *fresh = kzalloc(sizeof(*fresh));
		if (!fresh)
			return -ENOMEM;
		int r = make(f->inode, fresh);
		if (r || fresh->failed) {
			kfree(fresh->buf);
			kfree(fresh);
			return r ? r : -ENOMEM;
		}
		text_release(f);
		f->priv = t = fresh;
	}
	if (*pos >= t->len)
		return 0;
	ssize_t r = uio_write(u, t->buf + *pos, MIN(u->resid, t->len - *pos));
	if (r > 0)
		*pos += (u64)r;
	return r;
}

ssize_t text_write(struct uio *u, const struct proc_text *text, const struct subject *s)
{
	char data[WRITE_MAX];
	u64 n = u->resid;
	if (!text || !text->write)
		return -EACCES;
	if (n >= sizeof(data))
		return -EINVAL;
	ssize_t got = uio_read(u, data, n);
	if (got < 0)
		return got;
	data[got] = 0;
	if (got && data[got - 1] == '\n')
		data[got - 1] = 0;
	int r = text->write(s, data);
	return r ? r : (ssize_t)n;
}

void text_release(struct file *f)
{
	struct text *t = f->priv;
	if (t)
		kfree(t->buf);
	kfree(t);
	f->priv = NULL;
}

/* ---- reading directories */
void list_name(struct lister *l, u64 key, const char *name, u8 type)
{
	if (l->full || key <= *l->pos)
		return;
	if (l->emit(l->ctx, name, hash_bytes(name, strlen(name)), type, key))
		*l->pos = key;
	else
		l->full = true;
}

void list_number(struct lister *l, u64 key, s32 n, u8 type)
{
	char name[16];
	if (l->full || key <= *l->pos)
		return;
	snprintf(name, sizeof(name), "%d", n);
	list_name(l, key, name, type);
}

void text_tree_list(struct lister *l, const struct text_tree *tree, const char *prefix)
{
	size_t plen = strlen(prefix);
	char last[PREFIX_MAX] = "";
	u64 key = 3;
	list_name(l, 1, ".", 4);
	list_name(l, 2, "..", 4);
	for (const struct proc_text *t = tree->texts; t->name; t++, key++) {
		if (strncmp(t->name, prefix, plen))
			continue;
		const char *rest = t->name + plen, *slash = strchr(rest, '/');
		if (!slash) {
			if (*rest) /* a row that ends with a slash is a directory and nothing in it */
				list_name(l, key, rest, 8);
			continue;
		}
		char dir[PREFIX_MAX] = "";
		memcpy(dir, rest, MIN((size_t)(slash - rest), sizeof(dir) - 1));
		if (strcmp(dir, last))
			list_name(l, key, dir, 4);
		memcpy(last, dir, sizeof(last));
	}
}

/* ---- the tree */
static struct inode *tree_make(struct text_tree *tree, const struct proc_text *text, const char *prefix, size_t prefix_len)
{
	bool kept = !text && tree->mountpoint && strlen(tree->mountpoint) == prefix_len && !strncmp(prefix, tree->mountpoint, prefix_len);
	if (kept && tree->covered) {
		inode_get(tree->covered);
		return tree->covered;
	}
	struct tree_node *n = kzalloc(sizeof(*n));
	if (!n)
		return NULL;
	n->tree = tree;
	n->text = text;
	memcpy(n->prefix, prefix, MIN(prefix_len, sizeof(n->prefix) - 1));
	u32 mode = text ? S_IFREG | (text->write ? 0644 : 0444) : S_IFDIR | 0555;
	struct inode *i = inode_new(text ? &tree_text_ops : &tree_dir_ops, text ? &tree_text_fops : &tree_dir_fops, mode, n);
	if (!i) {
		kfree(n);
		return NULL;
	}
	i->dev = tree->dev;
	i->ino = hash_bytes(n, sizeof(*n)) | 1ul << 32;
	i->nlink = text ? 1 : 2;
	if (kept) {
		inode_get(i);
		tree->covered = i;
	}
	return i;
}

struct inode *text_tree_lookup(struct text_tree *tree, const char *prefix, const char *name)
{
	size_t plen = strlen(prefix), nlen = strlen(name);
	for (const struct proc_text *t = tree->texts; t->name; t++) {
		if (strncmp(t->name, prefix, plen) || strncmp(t->name + plen, name, nlen))
			continue;
		char after = t->name[plen + nlen];
		if (!*name)
			continue;
		if (!after)
			return tree_make(tree, t, "", 0);
		if (after == '/' && plen + nlen + 2 <= PREFIX_MAX)
			return tree_make(tree, NULL, t->name, plen + nlen + 1);
	}
	return NULL;
}

static struct inode *tree_lookup(struct inode *dir, const char *name, int *err)
{
	const struct tree_node *n = dir->priv;
	*err = -ENOENT;
	return text_tree_lookup(n->tree, n->prefix, name);
}

static int tree_readdir(struct inode *i, u64 *pos, bool (*emit)(void *ctx, const char *name, u64 ino, u8 type, u64 next_pos), void *ctx)
{
	const struct tree_node *n = i->priv;
	struct lister l = {.pos = pos, .emit = emit, .ctx = ctx};
	text_tree_list(&l, n->tree, n->prefix);
	return 0;
}

static int tree_statfs(struct inode *i, void *out)
{
	const struct tree_node *n = i->priv;
	*(struct statfs *)out = (struct statfs){.f_type = (long)n->tree->magic, .f_bsize = PAGE_SIZE, .f_frsize = PAGE_SIZE, .f_namelen = 255};
	return 0;
}

/* Nothing is made here: a new name is as absent as before. */
static int tree_create(struct inode *dir, const char *name, u32 mode, u64 rdev, struct inode **out)
{
	return -ENOENT;
}

/* Opened with O_TRUNC, as the shell's `>` does: there is nothing to cut. */
static int tree_setattr(struct inode *i, u32 mask, const struct qk_stat *st)
{
	return mask & ~QK_ATTR_SIZE ? -EPERM : 0;
}

static void tree_evict(struct inode *i)
{
	kfree(i->priv);
}

static int tree_fill(struct inode *i, struct text *t)
{
	const struct tree_node *n = i->priv;
	return text_make(t, &(struct subject){.self = n->text, .p = current->proc, .t = current});
}

static ssize_t tree_read(struct file *f, struct uio *u, u64 *pos)
{
	return text_read(f, u, pos, tree_fill);
}

static ssize_t tree_write(struct file *f, struct uio *u, u64 *pos)
{
	const struct tree_node *n = f->inode->priv;
	return text_write(u, n->text, &(struct subject){.self = n->text, .p = current->proc, .t = current});
}

static const struct inode_ops tree_dir_ops = {
	.lookup = tree_lookup, .create = tree_create, .readdir = tree_readdir, .statfs = tree_statfs, .evict = tree_evict};
static const struct inode_ops tree_text_ops = {.setattr = tree_setattr, .statfs = tree_statfs, .evict = tree_evict};
static const struct file_ops tree_text_fops = {.read = tree_read, .write = tree_write, .lseek = dir_lseek, .release = text_release};

struct inode *text_tree_root(struct text_tree *tree)
{
	return tree_make(tree, NULL, "", 0);
}

struct inode *text_tree_mount(struct text_tree *tree)
{
	tree->dev = inode_new_dev();
	struct inode *i = text_tree_root(tree);
	if (i)
		i->parent = i;
	return i;
}
