/* The entries of a directory kept in memory: a hash table by name and a list in order of creation, for readdir. */
#ifndef NAMES_H
#define NAMES_H
#include "inode.h"

enum entry_state {
	ENTRY_INODE, /* `inode` is it */
	ENTRY_GONE,  /* known not to exist */
	ENTRY_NAMED, /* exists, inode not looked up yet: ino and type are known */
};
struct entry {
	struct entry *chain;
	struct list order;
	u64 cookie; /* position for readdir: grows with every new entry, from NAMES_FIRST on */
	enum entry_state state;
	struct inode *inode; /* referenced */
	u64 ino;
	u8 type;        /* DT_* */
	u32 pass;       /* of memfs: the last one over the lower directory that found it there */
	bool only_here; /* of memfs: nothing below has that name */
	char name[];
};
#define NAMES_FIRST 3u
struct names {
	struct entry **bucket;
	u32 buckets, count;
	struct list order;
	u64 next;
};
void names_init(struct names *t);
struct entry *names_find(struct names *t, const char *name);
/* Sets or makes the entry; takes the reference of `inode` over (NULL: state GONE). NULL: out of memory (then the reference is dropped). */
struct entry *names_set(struct names *t, const char *name, struct inode *inode);
struct entry *names_set_named(struct names *t, const char *name, u64 ino, u8 type);
void names_del(struct names *t, struct entry *e);
void names_free(struct names *t);
static inline u8 mode_to_dt(u32 mode)
{
	return (u8)(mode >> 12 & 15);
}
#endif
