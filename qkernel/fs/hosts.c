/* The sandbox's own name in /etc/hosts: gethostbyname(gethostname()) must find it (hostname -f, Java's InetAddress.getLocalHost). The file is the
 * rootfs's, with one line more in the overlay, added when it is first looked up. */
#include "pagecache.h"
#include "../proc/proc.h"
#include "memfs.h"
#include <linux/stat.h>

#define HOSTS_MAX (64ul << 10) /* of the file: a longer one stays as it is */

static bool hosts_in_etc(const struct inode *dir)
{
	const struct inode *root = dir->parent;
	return dir->name && !strcmp(dir->name, "etc") && root && root->parent == root && memnode_of(dir)->super->lower;
}

/* Is `word` one of the names of the text? */
static bool hosts_has_word(const char *text, size_t n, const char *word)
{
	size_t len = strlen(word);
	bool comment = false, begin = true;
	for (size_t at = 0; at < n; at++) {
		char c = text[at];
		comment = c != '\n' && (comment || c == '#');
		if (begin && !comment && n - at >= len && !memcmp(text + at, word, len) && (n - at == len || strchr(" \t\r\n#", text[at + len])))
			return true;
		begin = c == ' ' || c == '\t' || c == '\n';
	}
	return false;
}

static ssize_t hosts_read_lower(struct inode *l, void *buf, size_t n)
{
	u64 pos = 0;
	struct kiovec v = {(u64)buf, n};
	struct uio u = {.iov = &v, .cnt = 1, .resid = n, .kernel = true};
	int r = l->ops->hold ? l->ops->hold(l) : 0; /* as an open of it would */
	if (r)
		return r;
	ssize_t got = pagecache_read_inode(l, &u, &pos);
	if (l->ops->unhold)
		l->ops->unhold(l);
	return got;
}

static int hosts_append(struct inode *i, const char *text, size_t n)
{
	for (size_t done = 0; done < n;) {
		paddr_t p;
		u64 in = i->size & (PAGE_SIZE - 1), part = MIN(n - done, PAGE_SIZE - in);
		int r = pagecache_get(i, i->size >> PAGE_SHIFT, true, &p);
		if (r)
			return r;
		memcpy((char *)phys_to_virt(p) + in, text + done, part);
		frame_put(p);
		i->size += part;
		done += part;
	}
	return 0;
}

void hosts_looked_up(const struct inode *dir, const char *name, struct inode *i)
{
	char line[160];
	if (strcmp(name, "hosts") != 0 || !hosts_in_etc(dir) || !S_ISREG(i->mode) || i->size > HOSTS_MAX || !*get_hostname())
		return;
	char *text = kmalloc(i->size + 1);
	ssize_t n = text ? hosts_read_lower(memnode_of(i)->lower, text, i->size) : -ENOMEM;
	if (n >= 0 && !hosts_has_word(text, (size_t)n, get_hostname())) {
		size_t len = (size_t)snprintf(line, sizeof(line), "%s127.0.1.1\t%s\n", n && text[n - 1] != '\n' ? "\n" : "", get_hostname());
		memfs_copy_up(i, i->size);
		memnode_of(i)->own = true;
		(void)hosts_append(i, line, len); /* out of memory: without the line, as before */
	}
	kfree(text);
}
