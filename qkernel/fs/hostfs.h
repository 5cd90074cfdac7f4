/* Files of the host behind an inode: fs/hostfs.c names them and knows how long an answer holds, fs/hostdir.c lists directories, fs/hostfile.c opens
 * and reads, fs/volume.c changes names of volumes, fs/volfile.c reads and writes their files,
 * fs/hostpark.c says what a snapshot depends on. */
#ifndef HOSTFS_H
#define HOSTFS_H
#include "file.h"
#include "names.h"

extern struct list host_nodes;
extern u32 names_learned; /* fs/nameshrink.c: host inodes made since it last looked */
struct listing;           /* a directory with the attributes of its entries, as one request brought it (fs/hostdir.c) */
struct hostnode {
	u32 root;
	int handle;    /* -1: not open */
	bool writable; /* the handle is */
	bool created;  /* by us just now: the handle is as an open would find it */
	bool stale;    /* content changed while pages of the old one were mapped or copied from: no more of it is read */
	u32 opens;     /* open files (and mappings) that need the handle to stay */
	u32 copies;    /* files of the overlay whose content is still partly this one's */
	struct list lru, all;
	struct inode *inode;
	struct names kids; /* of a directory. Of a name that does not exist, `ino` is when that was said and `cookie` at which contact */
	char *link;        /* text of a symlink */
	u64 checked;       /* mono_ns of the host's last word on the attributes; 0: ask again */
	u64 contact;       /* host_contacts at that time */
	u32 park;          /* how often the sandbox had parked by then */
	u64 pages_until;   /* volumes: until then the cached pages are the content */
	u64 read_to;       /* volumes: where the last read ended */
	struct listing *list;
	u64 misses_since;
	u32 misses; /* names asked for one by one since then */
};
static inline struct hostnode *hostnode_of(const struct inode *i)
{
	return i->priv;
}
/* How long the host's word holds (docs/architecture.md). */
#define ROOTFS_VALID_NS 1000000000ul
#define VOLUME_VALID_NS 100000000ul
bool host_fresh(const struct inode *i, u64 checked, u64 contact); /* i: whose kind of mount decides */
bool host_is_fresh(const struct inode *i);                        /* its own attributes */
bool host_recent(u64 checked, u64 contact);                       /* the shorter of the two, with no contact since */
void host_checked(struct hostnode *n);
bool host_same(const struct inode *i, const struct qk_stat *st); /* is it still that file, or directory? */
void host_doubt(struct inode *i);                                /* ask again next time */
extern u64 host_contacts;

/* Path relative to the host root into buf: "" the root itself. false: too long. */
bool host_path(const struct inode *i, char *buf, size_t size);
/* What the host says now. -ESTALE: a file of the rootfs has other content than what is mapped; the inode is out of use, its name is looked up anew. */
int host_set_stat(struct inode *i, const struct qk_stat *st);
int host_set_tail(struct inode *i); /* the same from the out words of the last read, write or truncate */
struct inode *host_node_new(u32 root, bool is_volatile, const struct qk_stat *st); /* no name, no parent; NULL: out of memory */
/* The inode of `name` in dir by that answer, not referenced; NULL: out of memory. */
struct inode *host_learn(struct inode *dir, const char *name, const struct qk_stat *st, const char *link);
void host_forget(struct inode *dir, const char *name); /* after a change of ours */
int host_refetch(struct inode *i);
int host_getattr(struct inode *i, struct qk_stat *st);
struct inode *host_lookup_path(struct inode *dir, const char *name, const char *rest, int *err);
struct inode *host_lookup(struct inode *dir, const char *name, int *err);
long host_readlink(struct inode *i, char *buf, size_t size);
int host_statfs(struct inode *i, void *out);
void host_evict(struct inode *i);
long host_getxattr(struct inode *i, const char *name, char *value); /* fs/hostxattr.c */
long host_listxattr(struct inode *i, char *names);
int host_setxattr(struct inode *i, const char *name, const void *value, size_t size, u32 flags);
void host_say(const struct inode *i, const char *what); /* one line for the user that names the file; not many of them */

/* Host handle, opened when need be. */
int host_handle(struct inode *i, bool write);
void host_adopt(struct inode *i, int handle, bool writable); /* the handle is now i's */
void host_close(struct hostnode *n);
int host_hold(struct inode *i, u32 oflags); /* an open: as the file is now; its handle stays until host_unhold */
void host_unhold(struct inode *i);
int host_readpages(struct inode *i, u64 index, unsigned n, const paddr_t *frames);
int host_getpage(struct inode *i, u64 index, bool write, paddr_t *out);

int host_list(struct inode *dir); /* fetches the listing; -EFBIG: too large for one */
/* Looks in the listing, while it holds: 1 found, 0 certainly not there, -1 not known. */
int host_find(struct inode *dir, const char *name, const struct qk_entry **out);
void host_drop_list(struct hostnode *n);
int host_readdir(struct inode *i, u64 *pos, bool (*emit)(void *ctx, const char *name, u64 ino, u8 type, u64 next_pos), void *ctx);

int volume_open(struct inode *i, struct file *f);
extern const struct inode_ops volume_ops;
extern const struct file_ops host_file_ops, volume_file_ops, host_dir_ops;
#endif
