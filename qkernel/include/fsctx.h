/* Working directory, root and umask of a task (fs/fsctx.c). */
#ifndef FSCTX_H
#define FSCTX_H
#include "path.h"

struct fs_ctx {
	u32 refs;
	u32 umask;
	struct path cwd, root;
};
struct fs_ctx *fs_ctx_new(void);
struct fs_ctx *fs_ctx_clone(struct fs_ctx *src);
void fs_ctx_put(struct fs_ctx *c);

#endif
