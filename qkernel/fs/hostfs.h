/* Files of the host behind an inode (between fs/hostfs.c, which names them, and fs/hostfile.c, which opens and reads them). */
#ifndef HOSTFS_H
#define HOSTFS_H
#include "names.h"

struct hostnode {
	u32 root;
	int handle;    /* -1: not open */
	bool writable; /* the handle is */
	u32 opens;     /* open files that need the handle to stay (volumes) */
	struct list lru;
	struct inode *inode;
	struct names kids; /* of a directory */
	char *link;        /* text of a symlink */
};
static inline struct hostnode *hostnode_of(const struct inode *i)
{
	return i->priv;
}
/* Path relative to the host root into buf: "" the root itself. false: too long. */
bool host_path(const struct inode *i, char *buf, size_t size);
void host_set_stat(struct inode *i, const struct qk_stat *st);
/* Host handle, opened when need be. */
int host_handle(struct inode *i, bool write);
void host_close(struct hostnode *n);
int host_file_open(struct inode *i, struct file *f);
int host_readpages(struct inode *i, u64 index, unsigned n, const paddr_t *frames);
int host_getpage(struct inode *i, u64 index, bool write, paddr_t *out);
int host_readdir(struct inode *i, u64 *pos, bool (*emit)(void *ctx, const char *name, u64 ino, u8 type, u64 next_pos), void *ctx);
extern const struct file_ops host_file_ops, volume_file_ops, host_dir_ops;
#endif
