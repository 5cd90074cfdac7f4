/* /proc/net/unix. */
#include "../fs/procfs.h"
#include "unix.h"

#define ACCEPTS 0x10000u /* __SO_ACCEPTCON */
#define SS_UNCONNECTED 1
#define SS_CONNECTED 3

void text_unix_sockets(struct text *t, const struct subject *subject)
{
	const struct usock *s;
	text_add(t, "Num       RefCount Protocol Flags    Type St Inode Path\n");
	list_for_each (s, &all_usocks, all) {
		if (!s->file)
			continue;
		text_add(t, "%016lx: %08X 00000000 %08X %04X %02X %5lu", 0ul, s->refs, s->state == SOCK_LISTENING ? ACCEPTS : 0, (u32)s->type,
			 s->state == SOCK_CONNECTED ? SS_CONNECTED : SS_UNCONNECTED, s->file->inode->ino);
		if (s->name_len)
			text_add(t, s->name[0] ? " %s" : " @%s", s->name[0] ? s->name : s->name + 1);
		text_add(t, "\n");
	}
}
