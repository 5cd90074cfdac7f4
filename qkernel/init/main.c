/* Kernel entry in C: brings the layers up, from the lowest on, and becomes the first process. It alone knows all of them. */
#include "disk.h"
#include "host.h"
#include "ktime.h"
#include "mount.h"
#include "pagecache.h"
#include "qcall.h"
#include "random.h"
#include "../arch/ring.h"
#include "../proc/proc.h"

static void main_listen_to_host(void)
{
	static const struct event_sink sink = {
		.contact = host_contact, .event = host_event, .cut = window_lost, .look_again = hoststreams_look_again};
	events_set_sink(&sink);
}

noreturn void kmain(u32 ring)
{
	struct qk_comm *c = comm();
	cpu_boot(0);
	ring_mode = ring;
	c->ring = ring;
	if (c->abi_version != QK_ABI_VERSION)
		panic("QVisor speaks ABI version %u, this kernel %u", c->abi_version, QK_ABI_VERSION);
	if (c->boot.ring != QK_RING_AUTO && c->boot.ring != ring)
		panic("ring%u mode was asked for, but this host's KVM runs SYSCALL in ring %u", c->boot.ring == QK_RING_3 ? 3u : 0u,
		      ring == QK_RING_3 ? 3u : 0u);
	arch_init();
	main_listen_to_host();
	frame_init();
	filemap_init();
	oom_init();
	disk_set_limit((u64)c->boot.disk_mib << 20);
	random_init();
	time_init();
	vfs_init();
	start_init();
}
