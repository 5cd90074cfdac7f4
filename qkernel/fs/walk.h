/* Between path.c, open.c and the system calls on directories. */
#ifndef WALK_H
#define WALK_H
#include "mount.h"
#include "path.h"
#define NAME_MAX 255                                                               /* bytes of a component */
int path_from_user(char **path, u64 upath);                                        /* 0 and *path, kmalloc'd; or -errno */
char *path_text(const struct inode *dir, const struct mount *m, const char *name); /* of `name` (NULL: of dir itself), kmalloc'd */
int path_lookup(const struct path *dir, const char *name, const char *rest, struct path *out);
#endif
