"""A file system (FUSE) with one file, `file`, that answers some operations only when it is let: what a network file system does that hangs.

Usage: slow_files.py DIRECTORY OPERATION..., of READ WRITE FSYNC OPEN GETATTR LOOKUP. Says `mounted`. While a file DIRECTORY.held exists, these operations have no answer.
Ends with its standard input, and takes the mount away then. Protocol: linux/fuse.h, version 7.31.
"""

import contextlib
import ctypes
import os
import select
import struct
import sys

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE = 1, 2, 3, 4, 14, 15, 16, 17, 18
FSYNC, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, BATCH_FORGET = 20, 25, 26, 27, 28, 29, 36, 42
NAMES = {"READ": READ, "WRITE": WRITE, "FSYNC": FSYNC, "OPEN": OPEN, "GETATTR": GETATTR, "LOOKUP": LOOKUP}
HEADER = struct.Struct("<IIQQIIIHH")
DIRECT_IO = 1
ROOT, FILE = 1, 2
SIZE = 4096
ENOENT, ENOSYS = 2, 38
MNT_DETACH = 2


def attributes(node):
    mode, size = (0o040755, 0) if node == ROOT else (0o100666, SIZE)
    return struct.pack("<6Q10I", node, size, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(op, node, body):
    """(errno, data), or None: nothing is to be said."""
    if op in {FORGET, BATCH_FORGET, INTERRUPT}:
        return None
    if op == INIT:
        return 0, struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 16, 12, 1 << 17, 1, 32, 0, 0)
    if op == LOOKUP:
        known = body.rstrip(b"\0") == b"file"
        return (0, struct.pack("<QQQQII", FILE, 0, 0, 0, 0, 0) + attributes(FILE)) if known else (ENOENT, b"")
    if op in {GETATTR, SETATTR}:
        return 0, struct.pack("<QII", 0, 0, 0) + attributes(node)
    if op in {OPEN, OPENDIR}:
        return 0, struct.pack("<QII", 0, DIRECT_IO if op == OPEN else 0, 0)
    if op == READ:
        return 0, b"x" * min(SIZE, struct.unpack_from("<QQI", body)[2])
    if op == READDIR:
        entry = struct.pack("<QQII8s", FILE, 1, 4, 8, b"file")
        return 0, entry if struct.unpack_from("<QQ", body)[1] == 0 else b""
    if op == WRITE:
        return 0, struct.pack("<II", struct.unpack_from("<QQI", body)[2], 0)
    if op == STATFS:
        return 0, struct.pack("<5Q4I24x", 1000, 1000, 1000, 10, 10, 4096, 255, 4096, 0)
    return (0, b"") if op in {RELEASE, RELEASEDIR, FSYNC, FLUSH} else (ENOSYS, b"")


def main(where, *operations):
    libc = ctypes.CDLL(None, use_errno=True)
    slow, held, waiting = {NAMES[o] for o in operations}, f"{where}.held", []
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if libc.mount(b"slow", where.encode(), b"fuse", 0, options):
        sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
    print("mounted", flush=True)

    def reply(unique, error, data):
        with contextlib.suppress(OSError):  # who asked has gone
            os.write(device, struct.pack("<IiQ", 16 + len(data), -error, unique) + data)

    try:
        while True:
            ready = select.select([device, sys.stdin], [], [], 0.02)[0]
            if sys.stdin in ready and not os.read(0, 1):
                return
            if not os.path.exists(held):
                while waiting:
                    reply(*waiting.pop())
            if device not in ready:
                continue
            request = os.read(device, 1 << 18)
            _, op, unique, node, *_ = HEADER.unpack_from(request)
            said = answer(op, node, request[HEADER.size :])
            if said is None:
                continue
            if op in slow and os.path.exists(held):
                waiting.append((unique, *said))
            else:
                reply(unique, *said)
    finally:
        libc.umount2(where.encode(), MNT_DETACH)
        os.close(device)


if __name__ == "__main__":
    main(*sys.argv[1:])
