/* Directories of the host, listed with the attributes of all entries by one request for each 64 KiB; the entries become inodes when they are looked up.
 * Few listings are kept, and only for as long as the host's word on attributes holds. */
#include "ktime.h"
#include "hostfs.h"
#include "qcall.h"
#include <linux/fcntl.h>
#include <linux/stat.h>

#define LISTING_MAX (1u << 20) /* bytes: a larger directory is read piece by piece, without attributes */
#define KEPT_MAX (4u << 20)    /* bytes of all listings */

struct listing {
	struct list lru;
	struct hostnode *owner;
	u64 checked, contact;
	u32 bytes, room, buckets;
	u32 *bucket; /* offset + 1 of the first entry, which go on by `chain` */
	char *raw;   /* struct qk_entry[], those of . and .. included */
};
static struct list listings = LIST_INIT(listings); /* least recently fetched first */
static u32 kept;

void host_drop_list(struct hostnode *n)
{
	struct listing *l = n->list;
	if (!l)
		return;
	n->list = NULL;
	kept -= l->room;
	list_del(&l->lru);
	kfree(l->bucket);
	kfree(l->raw);
	kfree(l);
}

static struct qk_entry *hostdir_entry_at(const struct listing *l, u32 off)
{
	return off < l->bytes ? (struct qk_entry *)(l->raw + off) : NULL;
}

static struct qk_entry *hostdir_entry_after(const struct listing *l, const struct qk_entry *e)
{
	return hostdir_entry_at(l, (u32)((const char *)e - l->raw) + e->len);
}

static bool hostdir_append(struct listing *l, u32 bytes)
{
	if (l->bytes + bytes > l->room) {
		u32 room = MAX(l->bytes + bytes, l->room * 2);
		char *raw = krealloc(l->raw, room);
		if (!raw)
			return false;
		kept += room - l->room;
		l->raw = raw;
		l->room = room;
	}
	memcpy(l->raw + l->bytes, comm_data(), bytes);
	l->bytes += bytes;
	return true;
}

static u32 hostdir_hash(const char *name)
{
	return hash_bytes(name, strlen(name));
}

static bool hostdir_index_names(struct listing *l)
{
	u32 n = 8, count = 0;
	for (struct qk_entry *e = hostdir_entry_at(l, 0); e; e = hostdir_entry_after(l, e))
		count++;
	while (n < count)
		n *= 2;
	l->bucket = kzalloc(n * sizeof(u32));
	if (!l->bucket)
		return false;
	l->buckets = n;
	for (struct qk_entry *e = hostdir_entry_at(l, 0); e; e = hostdir_entry_after(l, e)) {
		u32 *b = &l->bucket[hostdir_hash(e->name) & (n - 1)];
		e->chain = *b;
		*b = (u32)((char *)e - l->raw) + 1;
	}
	return true;
}

static int hostdir_fetch(struct inode *dir, struct listing *l)
{
	u64 cookie = 0;
	for (bool last = false; !last;) {
		if (!host_path(dir, comm_data(), PATH_MAX))
			return -ENAMETOOLONG;
		seg_begin();
		s64 n = qcall(QC_LIST, (u32)strlen(comm_data()) + 1, hostnode_of(dir)->root, cookie, 0, 0, 0, 0);
		last = qcall_out(0);
		if (n < 0)
			return (int)n;
		if (l->bytes + (u64)n > LISTING_MAX || (!n && !last))
			return -EFBIG;
		if (!hostdir_append(l, (u32)n))
			return -ENOMEM;
		const struct qk_entry *e = NULL;
		for (u32 off = l->bytes - (u32)n; off < l->bytes; off += e->len) {
			e = hostdir_entry_at(l, off);
			if (e->len < sizeof(*e) + 2 || off + e->len > l->bytes)
				return -EIO;
		}
		cookie = e ? e->cookie : 0;
	}
	return hostdir_index_names(l) ? 0 : -ENOMEM;
}

int host_list(struct inode *dir)
{
	struct hostnode *d = hostnode_of(dir);
	host_drop_list(d);
	while (kept > KEPT_MAX && !list_empty(&listings))
		host_drop_list(list_first(&listings, struct listing, lru)->owner);
	struct listing *l = kzalloc(sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->owner = d;
	l->checked = mono_ns();
	l->contact = host_contacts;
	list_add_tail(&l->lru, &listings);
	d->list = l;
	int r = hostdir_fetch(dir, l);
	const struct qk_entry *self = r ? NULL : hostdir_entry_at(l, 0);
	if (!r && (!self || self->name[0] || !host_same(dir, &self->st)))
		r = -ESTALE; /* another directory has that name now */
	if (r) {
		host_drop_list(d);
		return r;
	}
	d->list = NULL; /* setting the attributes drops a listing that is older than they are */
	host_set_stat(dir, &self->st);
	d->list = l;
	return 0;
}

int host_find(struct inode *dir, const char *name, const struct qk_entry **out)
{
	const struct listing *l = hostnode_of(dir)->list;
	if (!l)
		return -1;
	if (!host_fresh(dir, l->checked, l->contact)) {
		host_drop_list(hostnode_of(dir));
		return -1;
	}
	for (u32 at = l->bucket[hostdir_hash(name) & (l->buckets - 1)]; at;) {
		const struct qk_entry *e = hostdir_entry_at(l, at - 1);
		if (!strcmp(e->name, name)) { /* NOLINT(clang-analyzer-unix.cstring.NullArg): a bucket names an entry that is there */
			*out = e;
			return 1;
		}
		at = e->chain;
	}
	return 0;
}

static int hostdir_emit_list(const struct listing *l, u64 *pos, bool (*emit)(void *ctx, const char *name, u64 ino, u8 type, u64 next_pos), void *ctx)
{
	const struct qk_entry *e = hostdir_entry_at(l, 0); /* the directory itself, cookie 0 */
	while (e && e->cookie != *pos)
		e = hostdir_entry_after(l, e);
	for (e = e ? hostdir_entry_after(l, e) : NULL; e; e = hostdir_entry_after(l, e)) {
		if (!emit(ctx, e->name, e->st.ino, mode_to_dt(e->st.mode), e->cookie))
			break;
		*pos = e->cookie;
	}
	return 0;
}

struct dirent_header { /* struct linux_dirent64 */
	u64 ino;
	s64 off;
	u16 len;
	u8 type;
	char name[];
} __attribute__((packed));

/* Of a directory that is too large for a listing. */
static int hostdir_emit_pieces(struct inode *i, u64 *pos, bool (*emit)(void *ctx, const char *name, u64 ino, u8 type, u64 next_pos), void *ctx)
{
	int h = host_handle(i, false);
	char *copy = kmalloc(QK_DATA_SIZE);
	int r = h < 0 ? h : copy ? 0 : -ENOMEM;
	bool more = true;
	while (!r && more) {
		seg_begin();
		s64 n = qcall(QC_READDIR, 0, (u64)h, *pos, 0, 0, 0, 0);
		if (n <= 0) {
			r = (int)n;
			break;
		}
		n = MIN(n, (s64)QK_DATA_SIZE);
		memcpy(copy, comm_data(), (size_t)n); /* emit may call the host */
		for (s64 at = 0; more && at + (s64)sizeof(struct dirent_header) < n;) {
			const struct dirent_header *d = (void *)(copy + at);
			if (d->len <= sizeof(*d) || at + d->len > n || strnlen(d->name, d->len - sizeof(*d)) == d->len - sizeof(*d)) {
				r = -EIO;
				break;
			}
			more = emit(ctx, d->name, d->ino, d->type, (u64)d->off);
			if (more)
				*pos = (u64)d->off;
			at += d->len;
		}
	}
	kfree(copy);
	return r;
}

int host_readdir(struct inode *i, u64 *pos, bool (*emit)(void *ctx, const char *name, u64 ino, u8 type, u64 next_pos), void *ctx)
{
	const struct hostnode *n = hostnode_of(i);
	bool fetched = n->list && host_fresh(i, n->list->checked, n->list->contact);
	int r = 0;
	/* From the start on it is the directory of now; then the listing that this began with, or the host's own cookies. */
	if (!*pos && !fetched)
		r = host_list(i);
	if (!r && n->list)
		return hostdir_emit_list(n->list, pos, emit, ctx);
	return r && r != -EFBIG && r != -ENOMEM ? r : hostdir_emit_pieces(i, pos, emit, ctx);
}
