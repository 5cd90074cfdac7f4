/* Between path.c, open.c and the system calls on directories. */
#ifndef PATH_H
#define PATH_H
#include "fs.h"
#define NAME_MAX 255                                                               /* bytes of a component */
char *path_from_user(u64 upath, long *err);                                        /* kmalloc'd; NULL: -errno in *err */
char *path_text(const struct inode *dir, const struct mount *m, const char *name); /* of `name` (NULL: of dir itself), kmalloc'd */
int path_lookup(const struct path *dir, const char *name, const char *rest, struct path *out);
#endif
