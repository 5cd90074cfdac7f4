/* /dev/quark: the program says that it is ready, may be captured there, and reads what its clone was started with. */
#include "file.h"
#include "park.h"
#include "qcall.h"
#include <linux/fcntl.h>

static ssize_t quark_write(struct file *f, struct uio *u, u64 *pos)
{
	char text[8] = {0};
	u64 n = u->resid;
	if (n > 6)
		return -EINVAL;
	ssize_t r = uio_read(u, text, n);
	if (r < 0)
		return r;
	if (strcmp(text, "ready\n") && strcmp(text, "ready"))
		return -EINVAL;
	seg_begin();
	if (qcall(QC_READY, 0, 0, 0, 0, 0, 0, 0) == 1)
		park_now();
	f->pos = 0; /* a read now gives the whole document */
	return (ssize_t)n;
}

static ssize_t quark_read(struct file *f, struct uio *u, u64 *pos)
{
	u64 len = MIN(comm()->doc_len, QK_DOC_SIZE), n;
	if (f->pos >= len)
		return 0;
	n = MIN(len - f->pos, u->resid);
	ssize_t r = uio_write(u, (const char *)(QK_COMM_BASE + QK_OFF_DOC) + f->pos, n);
	if (r > 0)
		f->pos += (u64)r;
	return r;
}

const struct file_ops dev_quark_ops = {.read = quark_read, .write = quark_write};
