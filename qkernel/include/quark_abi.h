/* The host/guest ABI: everything QVisor and QKernel agree on. docs/abi.md explains it; a test pins every size and offset. */
#ifndef QUARK_ABI_H
#define QUARK_ABI_H

#ifdef __QKERNEL__
#include "types.h"
#else
#include <stdint.h>
#endif

#define QK_ABI_VERSION 3u
#define QK_PAGE_SIZE 4096u

/* ---- Guest-physical layout --------------------------------------------------------------------
 * RAM is contiguous from GPA 0 and grows by whole slots (memslots cost by their size, so they are small and few).
 * The comm area is a memslot of its own, never part of a snapshot. 60 GiB keeps it below a 36-bit MAXPHYADDR. */
#define QK_SLOT_SIZE (64ull << 20)
#define QK_COMM_GPA (60ull << 30)
#define QK_COMM_SIZE(vcpus) QK_OFF_VCPU(vcpus)
#define QK_RAM_MAX QK_COMM_GPA
/* Host files that are mapped shared: a memslot of its own, made when it is first used, of chunks that each show one piece of a file (QC_MAP). */
#define QK_WINDOW_GPA (61ull << 30)
#define QK_WINDOW_CHUNK (2ull << 20)
#define QK_WINDOW_CHUNKS 512u

/* First pages of RAM, written by QVisor before the first instruction. */
#define QK_GPA_PML4 0x1000ull /* initial page tables: PML4, then tables up to QK_GPA_TABLES_END */
#define QK_GPA_TABLES_END 0x10000ull
#define QK_GPA_KERNEL 0x200000ull /* the kernel ELF's segments are loaded here (p_vaddr - QK_KERNEL_BASE + this) */

/* Descriptor tables lie at fixed offsets of the kernel image (linker.ld), so that QVisor can load GDTR, IDTR and TR itself. */
#define QK_KOFF_GDT 0x0000ull
#define QK_KOFF_IDT 0x1000ull
#define QK_KOFF_TSS 0x2000ull
#define QK_GDT_LIMIT 0x7fu
#define QK_IDT_LIMIT 0xfffu
#define QK_TSS_STRIDE 0x200ull                       /* from the TSS of one vCPU to that of the next */
#define QK_TSS_LIMIT (104u + QK_PORT_LAST / 8u + 1u) /* up to the end of the I/O bitmap, its 0xff byte included */

/* ---- Guest-virtual layout (the same in both ring modes, below 1 << 47 because software KVM runs nothing natively above) */
#define QK_USER_TOP 0x7f8000000000ull    /* user addresses are below */
#define QK_DIRECT_BASE 0x7f8000000000ull /* direct map of RAM, 2 MiB pages */
#define QK_KERNEL_BASE 0x7fc000000000ull /* kernel image */
#define QK_COMM_BASE 0x7fe000000000ull   /* comm area */

/* ---- Exits: 32-bit OUT to these ports. The value written is ignored. In ring3 mode the TSS I/O bitmap opens just these. */
#define QK_PORT_CALL 0x500  /* this vCPU's block holds a request; it is completed when the OUT returns */
#define QK_PORT_WAIT 0x502  /* no task can run: return at an event or after this vCPU's wait_ns */
#define QK_PORT_PARK 0x504  /* quiescent: every task's state is in memory. The capture point; clones start here */
#define QK_PORT_NUDGE 0x503 /* this vCPU's timer_ns is well before its tick_ns: the host looks at it now */
#define QK_PORT_FIRST 0x500
#define QK_PORT_LAST 0x507

#define QK_IRQ_VECTOR 0x20 /* KVM_INTERRUPT: "look at the event ring and the clock" */

/* ---- Selectors: those of Linux, because software KVM runs ring 3 on the host's own. */
#define QK_SEL_KCS 0x10
#define QK_SEL_KDS 0x18
#define QK_SEL_UCS32 0x23
#define QK_SEL_UDS 0x2b
#define QK_SEL_UCS 0x33
#define QK_SEL_TSS 0x40

enum qk_ring { QK_RING_AUTO = 0, QK_RING_0 = 1, QK_RING_3 = 2 };

/* ---- Comm area --------------------------------------------------------------------------------
 * What all vCPUs share, then a block for each vCPU: as many as qk_comm.nvcpus says, which the host decides. There is no memory behind the last one. */
#define QK_OFF_HEAD 0x00000u   /* struct qk_comm */
#define QK_OFF_EVENTS 0x08000u /* struct qk_event[QK_EVENT_MAX] */
#define QK_OFF_TRACE 0x20000u  /* text ring of the kernel log */
#define QK_OFF_DOC 0x40000u    /* the /dev/quark JSON document: QK_DOC_SIZE bytes at most */
#define QK_OFF_BOOT 0x80000u   /* boot blob: NUL-terminated strings, QK_BOOT_SIZE bytes at most */
#define QK_OFF_VCPU(i) (0x100000u + (i) * QK_VCPU_SIZE)
#define QK_EVENT_MAX 512u
#define QK_TRACE_SIZE 0x20000u
#define QK_DOC_SIZE 0x40000u
#define QK_BOOT_SIZE 0x80000u
/* Ahead of a request the document's place has two bitmaps of RAM's first frames: those that the working set has, and those of it that are written. */
#define QK_AHEAD_BYTES (QK_DOC_SIZE / 2)

/* The block of a vCPU: struct qk_vcpu, and what belongs to its requests. */
#define QK_VCPUS_MAX 16u
#define QK_VCPU_CLOSE 0x0100u /* struct qk_closes */
#define QK_VCPU_SEGS 0x1000u  /* struct qk_seg[QK_SEG_MAX] */
#define QK_VCPU_DATA 0x5000u  /* names, directory entries, stat arrays, reports: QK_DATA_SIZE bytes */
#define QK_VCPU_SIZE 0x15000u
#define QK_SEG_MAX 1024u
#define QK_DATA_SIZE 0x10000u

/* A piece of guest-physical memory; QVisor checks every one against RAM in a single place. */
struct qk_seg {
	uint64_t gpa;
	uint64_t len;
};

/* Handles that the guest is done with. QVisor closes them with the next request of this vCPU or when it waits, and sets count to 0. */
#define QK_CLOSE_MAX 959u
struct qk_closes {
	uint32_t count; /* guest */
	uint32_t handle[QK_CLOSE_MAX];
};

/* Host to guest: host handle `handle` became ready for `events` (poll(2) bits), or a control event with handle < 0. */
struct qk_event {
	int32_t handle;
	uint32_t events;
};
#define QK_EV_SIGNAL (-1)    /* events = signal number to deliver to the first process (Ctrl-C, terminate) */
#define QK_EV_WINCH (-2)     /* the terminal's window size changed */
#define QK_EV_CAPTURE (-3)   /* quiesce and PARK as soon as possible */
#define QK_EV_CUT (-5)       /* a file in the window is shorter than what the guest touched of it; that part reads as zeros until it is mapped anew */
#define QK_LOST_FULL 1u      /* events of QK_EV_CUT: no, the host had no room for what was touched; holes may be memory of nobody until mapped anew */
#define QK_EV_TICK (-4)      /* nothing but a look at the clock */
#define QK_MISSED_HANDLES 1u /* any handle may have become ready: ask for all of them again */
#define QK_MISSED_CAPTURE 2u

/* Clock sample: at host TSC value `tsc` CLOCK_MONOTONIC and CLOCK_REALTIME of the host were these; written by QVisor at each
 * QC_CLOCK of the vCPU. ns = (tsc delta * mult) >> 32. */
struct qk_clock {
	uint64_t tsc;
	uint64_t mono_ns;
	uint64_t real_ns;
	uint64_t boot_ns;
	uint64_t mult; /* ns per TSC tick, 32.32 fixed point */
};

/* One request at a time for each vCPU: guest fills op, arg, nseg; host fills ret (>= 0 or -errno) and out. */
struct qk_call {
	uint32_t state; /* QK_CALL_* */
	uint32_t op;    /* enum qk_op */
	uint64_t arg[6];
	uint32_t nseg;     /* entries of the segment array that belong to this request */
	uint32_t data_len; /* bytes of the data area that belong to this request, in; valid bytes, out */
	int64_t ret;
	uint64_t out[4];
};
enum { QK_CALL_IDLE = 0, QK_CALL_SUBMITTED = 1, QK_CALL_DONE = 2 };

/* Counters that the guest keeps for each vCPU, readable by the host at any time. */
struct qk_stats {
	uint64_t syscalls, faults, qcalls, switches;
};

/* The head of a vCPU's block. host: written by QVisor; guest: by QKernel on that vCPU. */
struct qk_vcpu {
	struct qk_call call;
	struct qk_clock clock; /* host */
	uint64_t wait_ns;      /* guest, for WAIT: at most this long; UINT64_MAX: until an event */
	uint64_t timer_ns;     /* guest: host CLOCK_MONOTONIC time at which it wants an interrupt even while user code runs; UINT64_MAX: none */
	uint64_t tick_ns;      /* host: CLOCK_MONOTONIC time of its next look at timer_ns while user code runs; 0: it looks before user code does */
	uint32_t irq_ready;    /* guest: its descriptor tables are in force: QK_IRQ_VECTOR may be injected */
	uint32_t poller_awake; /* host: a thread watches call.state; spin instead of OUT to QK_PORT_CALL */
	struct qk_stats stats; /* guest */
};

struct qk_boot {
	uint64_t ram_bytes; /* RAM present at boot, a multiple of QK_SLOT_SIZE */
	uint64_t ram_limit; /* RAM may grow to this, a multiple of QK_SLOT_SIZE */
	uint32_t ring;      /* enum qk_ring: forced mode */
	uint32_t flags;     /* QK_BOOT_* */
	uint32_t argc, envc, nmounts;
	uint32_t uid, gid;
	uint32_t blob_len;        /* QK_OFF_BOOT holds: cwd, hostname, argv[argc], envp[envc], mount points[nmounts], each NUL-terminated */
	uint32_t mount_flags[32]; /* QK_MOUNT_*; mount i is host root i+1; root 0 is the rootfs */
	uint32_t disk_mib;        /* what files in guest memory may hold; 0: half of ram_limit */
	uint64_t ignored_signals; /* bit n-1: the first program starts with signal n ignored, as nohup asks for */
};
#define QK_BOOT_TTY 1u   /* standard streams are a terminal: handle 0 speaks termios */
#define QK_BOOT_TRACE 2u /* log every syscall (quark run --debug) */
#define QK_MOUNT_RO 1u
#define QK_MOUNT_FILE 2u /* the mount is a single file */
#define QK_MOUNT_SLOT 4u /* another directory in every clone */

/* The head of the comm area. host: written by QVisor; guest: written by QKernel. */
struct qk_comm {
	uint32_t abi_version;       /* host */
	uint32_t ring;              /* guest: enum qk_ring in force, 0 until known */
	uint8_t generation[16];     /* host: new at boot and for every clone */
	uint8_t entropy[64];        /* host: fresh random bytes at boot and for every clone */
	uint32_t doc_len;           /* host: bytes of the /dev/quark document */
	uint32_t clone;             /* host: 0 original, 1 clone */
	struct qk_boot boot;        /* host */
	uint32_t nvcpus;            /* host: how many vCPUs there are, 1 to QK_VCPUS_MAX */
	uint32_t missed;            /* host ORs, guest takes: QK_MISSED_*, what a full event ring had no room for */
	uint32_t event_head;        /* host: next entry to write (free running) */
	uint32_t event_tail;        /* guest: next entry to read (free running) */
	uint64_t trace_pos;         /* guest: bytes ever written to the trace ring */
	uint64_t stat_enosys;       /* guest */
	uint64_t ram_used;          /* guest: frames in use * 4096 */
	uint64_t free_bitmap_gpa;   /* guest: bit per frame of RAM, 1 = free (its content does not matter); valid at PARK */
	uint64_t free_bitmap_len;   /* guest: bytes */
	uint64_t cache_dropped;     /* guest: bytes of cached file content given back just before the last PARK */
	uint32_t enosys_count[512]; /* guest: calls of each unimplemented syscall number */
	uint64_t missed_signals;    /* host ORs, guest takes: bit n-1: QK_EV_SIGNAL n, or QK_EV_WINCH, likewise */
	uint64_t ahead;             /* host, at a return from PARK: 1: there is no request yet; the working set is to be touched, then PARK again */
};

/* ---- QCall operations. Host handles are small integers >= 0; 0, 1, 2 are the standard streams. Every call is non-blocking:
 * streams answer -EAGAIN, and QC_POLL asks for an event. "name" is in the data area, NUL-terminated, relative to host root arg[0], "" the
 * root itself; it has no "..", and no component may be a symlink: QKernel resolves links itself. */
/* Where the text of QC_LOG goes: the debug log of QVisor; the user, as an error line; the user, and why the sandbox ended if it ends by SIGKILL. */
#define QK_LOG_DEBUG 0u
#define QK_LOG_ERROR 1u
#define QK_LOG_OOM 2u

enum qk_op {
	QC_NONE = 0,
	/* life cycle */
	QC_EXIT,  /* arg0 = exit status (0..255) or 128+signal; does not return */
	QC_PANIC, /* data = report text; does not return */
	QC_LOG,   /* data = text; arg0 = QK_LOG_* */
	QC_READY, /* the program wrote `ready` to /dev/quark; ret 1: QVisor wants a capture, PARK next; 0: go on */
	QC_STOPPED, /* the first program is about to stop, as after Ctrl-Z; ret 0: QVisor stops as well, if its caller can continue it, and sends SIGCONT then;
	             * -ENOSYS: it cannot, so the program had better not */
	QC_GROW,  /* one more slot of RAM; ret 0, out0 = gpa, out1 = bytes; -ENOMEM at the limit */
	QC_CLOCK, /* fills the vCPU's clock. Before the OUT the guest stores its own RDTSC in arg0 */
	/* files of a host root */
	QC_LOOKUP, /* arg0 root, data name: walks it; data out = struct qk_stat[ret], one for each component that exists (walk ends after a non-directory
	             * or at the first missing one); out0 = 0 or the errno that ended the walk early; when the last one is a symlink its target follows
	             * the array as a NUL-terminated string. Name "": the root's own stat, ret 1 */
	QC_OPEN,      /* arg0 root, arg1 flags (O_*), arg2 mode, data name: ret handle; data out = one struct qk_stat; segs (may be none): filled with
	               * the first bytes of a regular file, out0 = how many */
	QC_CLOSE,     /* arg0 handle */
	QC_PREAD,     /* arg0 handle, arg1 offset, segs: ret bytes. This and PWRITE, of files: out = size, mtime ns, ctime ns, blocks afterwards */
	QC_PWRITE,    /* arg0 handle, arg1 offset (QK_APPEND: at the end, out0 then tells where it ended), segs: ret bytes */
	QC_READDIR,   /* arg0 handle, arg1 cookie (0 = start): data out = struct linux_dirent64[], ret bytes (0 = end), out0 = next cookie */
	QC_FSTAT,     /* arg0 handle: data out = struct qk_stat */
	QC_STATFS,    /* arg0 root, data name: data out = struct statfs64 of the host ABI */
	QC_FTRUNCATE, /* arg0 handle, arg1 length */
	QC_FSYNC,     /* arg0 handle, arg1 datasync */
	QC_FALLOCATE, /* arg0 handle, arg1 mode, arg2 offset, arg3 len */
	QC_FLOCK,     /* arg0 handle, arg1 operation | LOCK_NB */
	/* changes, for read-write mounts only (-EROFS else) */
	QC_MKDIR,   /* arg0 root, arg1 mode, name */
	QC_UNLINK,  /* arg0 root, arg1 flags (AT_REMOVEDIR), name */
	QC_RENAME,  /* arg0 root, arg1 flags, data = old name NUL new name NUL */
	QC_LINK,    /* arg0 root, data = old NUL new NUL */
	QC_SYMLINK, /* arg0 root, data = name NUL target NUL */
	QC_SETATTR, /* arg0 root, name; arg1 = mask of QK_ATTR_*, arg2 mode or size, arg3 uid << 32 | gid, arg4 atime ns, arg5 mtime ns */
	/* streams: standard streams, ttys, (later) sockets */
	QC_READ,  /* arg0 handle, segs: ret bytes, 0 = end of file, -EAGAIN */
	QC_WRITE, /* arg0 handle, segs: ret bytes, -EAGAIN, -EPIPE */
	QC_POLL,  /* arg0 handle, arg1 events: ret = bits ready now. One struct qk_event comes when a bit that is not becomes ready; what earlier
	           * requests wait for stays asked for until that event comes */
	QC_IOCTL, /* arg0 handle, arg1 request (TCGETS, TCSETS*, TIOCGWINSZ, TIOCSWINSZ, FIONREAD), data in/out = the argument struct */
	/* more of files */
	QC_LIST, /* arg0 root, arg1 cookie (0 = start), data name: a directory with attributes; data out = struct qk_entry[], ret bytes; at cookie 0 the
	          * first is the directory itself, with no name; out0 = 1: that was all, else the next cookie is the last entry's */
	QC_FLAGS,  /* arg0 handle of a stream: ret = its O_* status flags; -EBADF: the program starts without it */
	QC_LSEEK,  /* arg0 handle of a stream, arg1 offset, arg2 whence: ret = position */
	QC_REOPEN, /* arg0 handle, arg1 access mode (O_*): ret another handle of the same file, its locks are of another owner */
	QC_LOCK,   /* arg0 handle, arg1 F_RDLCK, F_WRLCK or F_UNLCK | QK_LOCK_*, arg2 start, arg3 length (0: to the end): an open file description
	            * lock; -EAGAIN: another has it. QK_LOCK_TEST: ret 1: somebody has out0 (type), out1 (start), out2 (length); 0: nobody */
	QC_MAP, /* arg0 handle of a volume's file, arg1 chunk, arg2 offset in the file, arg3 1: writable. The chunk shows that piece from now on; if the
	            * host could not map it, nothing */
	QC_UNMAP, /* arg0 chunk: it shows nothing */
	/* extended attributes, user.* alone. arg0 root, data = name NUL attribute NUL [value]. arg2 1: of an open file, arg0 is its handle; no name */
	QC_GETXATTR,  /* data out = the value, ret its length */
	QC_SETXATTR,  /* arg1 flags (XATTR_CREATE, XATTR_REPLACE) */
	QC_LISTXATTR, /* data = name NUL; data out = names, each NUL-terminated, ret their length */
	QC_REMOVEXATTR,
	QC_MKNOD,   /* arg0 root, arg1 S_IFIFO or S_IFSOCK | permissions, name */
	QC_TMPFILE, /* arg0 root, arg1 permissions, name of a directory: as QC_OPEN, a file without a name, O_RDWR */
	QC_NAME,    /* arg0 root, arg1 handle of a file without a name, name: it gets that one */
	QC_OP_COUNT
};
#define QK_LOCK_FLOCK 0x100u /* as flock(2), of the whole file */
#define QK_LOCK_TEST 0x200u
#define QK_APPEND UINT64_MAX
#define QK_ATTR_MODE 1u
#define QK_ATTR_OWNER 2u
#define QK_ATTR_ATIME 4u
#define QK_ATTR_MTIME 8u
#define QK_ATTR_SIZE 16u   /* arg2 = size */
#define QK_ATTR_HANDLE 32u /* of an open file: arg0 is its handle; no name */

struct qk_stat {
	uint64_t dev, ino, size, blocks, rdev;
	uint32_t mode, nlink, uid, gid;
	int64_t atime_ns, mtime_ns, ctime_ns;
};

/* One of QC_LIST. The next begins len bytes further on, at a multiple of 8. */
struct qk_entry {
	struct qk_stat st;
	uint64_t cookie; /* behind this entry */
	uint32_t len;
	uint32_t chain; /* for the guest's use: 0 */
	char name[];    /* NUL-terminated; of a symlink the target follows, NUL-terminated */
};

#endif
