/* What a snapshot depends on: a file of the rootfs that is open, mapped, or has content in memory has a handle when the sandbox parks, and no other
 * file has one. QVisor takes its list of files from there, and knows their content (docs/architecture.md, "Files of a snapshot"). */
#include "host.h"
#include "pagecache.h"
#include "hostfs.h"
#include "qcall.h"
#include <linux/fcntl.h>
#include <linux/stat.h>

struct list host_nodes = LIST_INIT(host_nodes);

static bool hostpark_is_needed(struct inode *i)
{
	const struct hostnode *n = hostnode_of(i);
	if (i->iflags & I_VOLATILE)
		return n->opens; /* a closed file of a volume is just a closed file */
	return S_ISREG(i->mode) && (n->opens || n->copies || pagecache_pages(i));
}

/* Opens the file that the guest knows; another one by now, or with other content, is none that it could go on with. */
static void hostpark_open_again(struct inode *i)
{
	struct hostnode *n = hostnode_of(i);
	if (n->stale || !host_path(i, comm_data(), PATH_MAX))
		return;
	seg_begin();
	s64 h = qcall(QC_OPEN, (u32)strlen(comm_data()) + 1, n->root, O_RDONLY, 0, 0, 0, 0);
	struct qk_stat st;
	memcpy(&st, comm_data(), sizeof(st));
	if (h < 0)
		return;
	if (st.ino == i->ino && st.size == i->size && st.mtime_ns == i->mtime_ns)
		host_adopt(i, (int)h, false);
	else
		qcall_close_later((int)h);
}

void hostfiles_before_park(void)
{
	struct hostnode *n;
	list_for_each (n, &host_nodes, all) {
		if (!hostpark_is_needed(n->inode))
			host_close(n);
		else if (n->handle < 0)
			hostpark_open_again(n->inode);
	}
}
