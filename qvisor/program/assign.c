/* Makes a prepared machine the sandbox that a request asks for. */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <unistd.h>

static void assign_config(struct program *p)
{
	const struct qm_assign *a = &p->assign;
	struct qv_config c = {.ram_limit = a->boot.ram_limit, .nroots = (int)a->nroots, .hidden_dev = a->hidden_dev, .hidden_ino = a->hidden_ino};
	if (a->nroots < 1 || a->nroots > QM_ROOTS_MAX || a->boot.nmounts != a->nroots - 1)
		fail(FAIL_REQUEST, "the request for this sandbox has %u roots and %u volumes", a->nroots, a->boot.nmounts);
	if (c.ram_limit < qv_ram_bytes(p->vm))
		fail(FAIL_REQUEST, "the request for this sandbox has less memory than its machine");
	for (uint32_t i = 0; i < a->nroots; i++) {
		c.roots[i] = descriptor(&p->request, a->roots[i], "a root");
		c.root_flags[i] = a->root_flags[i];
	}
	for (int i = 0; i < 3; i++) {
		int fd = descriptor_or_none(&p->request, a->stdio[i], "a standard stream");
		if (fd >= 0)
			check(dup2(fd, i) < 0 ? -errno : close(fd), "take the standard streams");
		c.stdio[i] = i;
	}
	if (a->flags & QM_TTY)
		check(ioctl(0, TIOCSCTTY, 0) < 0 ? -errno : 0, "take the terminal");
	c.set_id = (a->flags & QM_SET_ID) != 0;
	c.signals = (int)check(qv_signals(), "take the signals");
	check(qv_configure(p->vm, &c), "configure the virtual machine");
}

/* cwd, host name, arguments, environment, mount points: as many strings as it says, and nothing behind them. */
static bool is_blob(const char *blob, const struct qk_boot *b)
{
	uint64_t strings = 2ull + b->argc + b->envc + b->nmounts, found = 0;
	for (uint32_t i = 0; i < b->blob_len; i++)
		found += !blob[i];
	return b->blob_len && !blob[b->blob_len - 1] && found == strings;
}

/* What the guest reads about itself. */
static void assign_comm(struct program *p)
{
	const struct qm_assign *a = &p->assign;
	struct qk_comm *comm = qv_comm(p->vm);
	char *blob = qv_comm_area(p->vm, QK_OFF_BOOT), *document = qv_comm_area(p->vm, QK_OFF_DOC);
	uint64_t ram_bytes = comm->boot.ram_bytes;
	int text = descriptor(&p->request, a->text, "the arguments");
	if (a->boot.blob_len > QK_BOOT_SIZE || a->document_len > QK_DOC_SIZE || pread(text, blob, a->boot.blob_len, 0) != (ssize_t)a->boot.blob_len ||
	    pread(text, document, a->document_len, a->boot.blob_len) != (ssize_t)a->document_len || !is_blob(blob, &a->boot))
		fail(FAIL_REQUEST, "the arguments of the request for this sandbox are not what it says of them");
	close(text);
	comm->boot = a->boot;
	comm->boot.ram_bytes = ram_bytes;
	comm->doc_len = a->document_len;
	comm->clone = p->prepare.flags & QM_CLONE;
	memcpy(comm->generation, a->generation, sizeof(comm->generation));
	if (getrandom(comm->entropy, sizeof(comm->entropy), 0) != (ssize_t)sizeof(comm->entropy))
		fail(FAIL_VM, "could not get random numbers: %s", strerror(errno));
}

/* The files that it has open, and those that it depends on; the sender has seen to it that they can be had. */
static void assign_files(struct program *p)
{
	const struct qm_assign *a = &p->assign;
	const struct layout *l = &p->layout;
	int table = descriptor_or_none(&p->request, a->files, "the table of files");
	int contents = descriptor_or_none(&p->request, a->contents, "the contents of files");
	check(qv_recipes_load(p->vm, l->recipes.at, l->recipes.bytes), "take over the open files");
	int r = table < 0 ? qv_files_load(p->vm, descriptor(&p->machine, p->prepare.layout, "the layout"), l->files_at, l->files_bytes, contents)
			  : qv_files_load(p->vm, table, 0, a->files_bytes, contents);
	if (check(r, "take over the files that the snapshot depends on"))
		fail(FAIL_REQUEST, "the request for this sandbox lacks the contents of files");
}

void assign_request(struct program *p)
{
	/* Where the log goes is the process's own standard error, not the guest's. */
	int log = p->assign.flags & QM_DEBUG ? (int)check(fcntl(2, F_DUPFD_CLOEXEC, 3), "keep standard error") : -1;
	assign_config(p);
	assign_comm(p);
	if (p->prepare.flags & QM_CLONE)
		assign_files(p);
	qv_debug_fd(p->vm, log);
	qv_want_ready(p->vm, (p->assign.flags & QM_WANT_READY) != 0);
	if (control_is_open())
		control_watch(p->vm, p->assign.flags & QM_STOPS);
	timeline_mark("take the request");
}
