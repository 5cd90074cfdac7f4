"""Takes as many kernel objects of one kind as there are, and ends with the name of the error that stopped it. Run in a sandbox: exhaust.py KIND."""

import contextlib
import ctypes
import errno
import fcntl
import os
import resource
import select
import signal
import socket
import sys

libc = ctypes.CDLL(None, use_errno=True)
F_SETPIPE_SZ, IPC_NOWAIT, PR_SET_PDEATHSIG = 1031, 0o4000, 1
SYS_TIMER_CREATE, SYS_TIMER_SETTIME, SYS_RT_SIGQUEUEINFO, SYS_PIDFD_OPEN = 222, 223, 129, 434
PERIOD = (ctypes.c_long * 4)(0, 100000, 0, 100000)  # struct itimerspec, ns
kept = []


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result


def until_full(put):
    """Calls `put` until it would wait."""
    try:
        while True:
            put()
    except BlockingIOError:
        pass


def semaphores():
    checked(libc.semget(0, 32000, 0o600))


def messages():
    message = (ctypes.c_long * 1001)(1)
    queue = checked(libc.msgget(0, 0o600))
    until_full(lambda: checked(libc.msgsnd(queue, message, 8000, IPC_NOWAIT)))


def empty_messages():
    queue = checked(libc.msgget(0, 0o600))
    until_full(lambda: checked(libc.msgsnd(queue, (ctypes.c_long * 1)(1), 0, IPC_NOWAIT)))


def segments():
    checked(libc.shmget(0, 4096, 0o600))


def inotify():
    kept.append(checked(libc.inotify_init()))


def epolls():
    kept.append(select.epoll())


def epoll_entries():
    if not kept:
        read, _ = os.pipe()
        kept.extend(os.dup(read) for _ in range(1000))
    kept.append(select.epoll())
    for fd in kept[:1000]:
        kept[-1].register(fd)


def pipes():
    _, write = os.pipe()
    with contextlib.suppress(OSError):
        fcntl.fcntl(write, F_SETPIPE_SZ, 1 << 20)
    os.set_blocking(write, False)
    until_full(lambda: os.write(write, bytes(65536)))


def pair(kind, data):
    a, b = socket.socketpair(socket.AF_UNIX, kind)
    kept.append((a, b))
    a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 24)
    a.setblocking(False)
    return lambda: socket.send_fds(a, [b"x"], data) if isinstance(data, list) else a.send(data)


def streams():
    until_full(pair(socket.SOCK_STREAM, bytes(65536)))


def datagrams():
    until_full(pair(socket.SOCK_DGRAM, b""))


def descriptors_in_flight():
    until_full(pair(socket.SOCK_STREAM, [0] * 250))


def connections():
    if not kept:
        kept.append(socket.socket(socket.AF_UNIX))
        kept[0].bind("\0listener")
        kept[0].listen(1 << 30)
    kept.append(socket.socket(socket.AF_UNIX))
    kept[-1].setblocking(False)
    kept[-1].connect("\0listener")


def names():
    kept.append(socket.socket(socket.AF_UNIX))
    kept[-1].bind(f"\0{len(kept):0>90}")


def terminals():
    _, slave = os.openpty()
    os.set_blocking(slave, False)
    until_full(lambda: os.write(slave, bytes(4096)))


def timers():
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    number = ctypes.c_int()
    checked(libc.syscall(SYS_TIMER_CREATE, 1, 0, ctypes.byref(number)))
    checked(libc.syscall(SYS_TIMER_SETTIME, number, 0, PERIOD, 0))


def timerfds():
    checked(libc.timerfd_settime(checked(libc.timerfd_create(1, 0)), 0, PERIOD, 0))


def eventfds():
    checked(libc.eventfd(0, 0))


def memfds():
    os.write(checked(libc.memfd_create(b"x" * 200, 2)), bytes(65536))


def pidfds():
    checked(libc.syscall(SYS_PIDFD_OPEN, os.getpid(), 0))


def signals():
    resource.setrlimit(resource.RLIMIT_SIGPENDING, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
    info = (ctypes.c_int * 32)(signal.SIGRTMIN, 0, -1)
    for _ in range(1000):
        checked(libc.syscall(SYS_RT_SIGQUEUEINFO, os.getpid(), signal.SIGRTMIN, info))


def watches():
    kept.append(checked(libc.inotify_init()))
    for folder, _, files in os.walk("/usr/lib/python3"):
        for file in files:
            checked(libc.inotify_add_watch(kept[-1], os.path.join(folder, file).encode(), 0x2))


def attributes():
    fd = checked(libc.memfd_create(b"x", 0))
    os.setxattr(f"/proc/self/fd/{fd}", "user.a", bytes(60000))


def areas():
    libc.mmap.restype = ctypes.c_long
    checked(libc.mmap(None, 4096, 1 + 2 * (len(kept) & 1), 0x22, -1, ctypes.c_long(0)))
    kept.append(None)


def handler_stacks():
    """The frame of a signal needs memory that nobody has any more."""
    libc.mmap.restype = ctypes.c_long
    signal.signal(signal.SIGALRM, lambda *_: None)
    stack = checked(libc.mmap(None, 1 << 20, 3, 0x22, -1, ctypes.c_long(0)))
    checked(libc.sigaltstack((ctypes.c_ulong * 3)(stack, 0, 1 << 20), None))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    while True:
        kept.append(bytearray(65536))


def children():
    if os.fork() == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pause()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 20, 1 << 20))
    take = globals()[sys.argv[1]]
    try:
        while True:
            take()
    except OSError as error:
        print(errno.errorcode[error.errno or 0], flush=True)
    os._exit(0)
