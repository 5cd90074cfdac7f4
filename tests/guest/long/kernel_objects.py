"""System V IPC, inotify, pidfds, pseudo-terminals, extended attributes and timers, round after round: what a capture may meet half-way.

Each round prints one line that depends on nothing but its number.
"""

import ctypes
import os
import pty
import select
import signal
import struct
import sys
import tempfile
import termios
import time

ROUNDS = 25
IPC_PRIVATE, IPC_RMID, IPC_CREAT, SETVAL = 0, 0, 0o1000, 16
IN_ALL = 0x00000FFF
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
libc.shmdt.argtypes = [ctypes.c_void_p]


def checked(result, what):
    if result == -1:
        raise OSError(ctypes.get_errno(), what)
    return result


def semop(sem, number, change):
    operation = struct.pack("Hhh", number, change, 0)
    while libc.semop(sem, operation, 1) == -1:
        if ctypes.get_errno() != 4:  # EINTR
            raise OSError(ctypes.get_errno(), "semop")


def system_v(n):
    """Two processes take turns on a word of shared memory, and the child says in a message how far it came."""
    shm = checked(libc.shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0o600), "shmget")
    sem = checked(libc.semget(IPC_PRIVATE, 2, IPC_CREAT | 0o600), "semget")
    queue = checked(libc.msgget(IPC_PRIVATE, IPC_CREAT | 0o600), "msgget")
    address = libc.shmat(shm, None, 0)
    word = ctypes.c_uint64.from_address(address)
    checked(libc.semctl(sem, 0, SETVAL, 1), "semctl")
    turns = 40
    pid = os.fork()
    mine = 0 if pid else 1
    for _ in range(turns):
        semop(sem, mine, -1)
        word.value = word.value * 3 + n + mine
        semop(sem, 1 - mine, 1)
    if not pid:
        checked(libc.msgsnd(queue, struct.pack("l8s", 7, b"turns%03d" % turns), 8, 0), "msgsnd")
        os._exit(n)
    message = ctypes.create_string_buffer(16)
    size = libc.msgrcv(queue, message, 8, 7, 0)
    while size == -1 and ctypes.get_errno() == 4:
        size = libc.msgrcv(queue, message, 8, 7, 0)
    _, status = os.waitpid(pid, 0)
    semop(sem, 0, -1)
    value = word.value
    libc.shmdt(address)
    for call, key in ((libc.shmctl, shm), (libc.msgctl, queue)):
        checked(call(key, IPC_RMID, None), "rmid")
    checked(libc.semctl(sem, 0, IPC_RMID), "rmid")
    return value, message.raw[8:16], os.waitstatus_to_exitcode(status)


def watched(n):
    """What inotify says of changes below a directory."""
    seen = []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        fd = libc.inotify_init1(os.O_NONBLOCK)
        checked(libc.inotify_add_watch(fd, folder.encode(), IN_ALL), "inotify_add_watch")
        path = os.path.join(folder, f"file{n}")
        with open(path, "w") as f:
            f.write("x" * n)
        os.setxattr(path, "user.round", b"%d" % n)
        os.rename(path, path + ".new")
        attribute = os.getxattr(path + ".new", "user.round")
        os.unlink(path + ".new")
        data = os.read(fd, 65536)
        os.close(fd)
        while data:
            _, mask, _, length = struct.unpack_from("iIII", data)
            seen.append((mask, data[16 : 16 + length].rstrip(b"\0").decode()))
            data = data[16 + length :]
    return seen, attribute


def child_by_descriptor(n):
    """A child that a signal through its pidfd ends."""
    ready, says_ready = os.pipe()
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGUSR1, lambda *_: os._exit(n))
        os.write(says_ready, b"x")
        while True:
            time.sleep(0.01)
    fd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    waiting = poll.poll(0)
    os.read(ready, 1)
    signal.pidfd_send_signal(fd, signal.SIGUSR1)
    ended = poll.poll()
    found = os.waitid(os.P_PIDFD, fd, os.WEXITED)
    for descriptor in (fd, ready, says_ready):
        os.close(descriptor)
    return waiting, [event for _, event in ended], found.si_pid == pid, found.si_code, found.si_status


def terminal(n):
    """A line that a child reads from its terminal, edited on the way, and what the terminal shows."""
    master, slave = pty.openpty()
    attributes = termios.tcgetattr(slave)
    pid = os.fork()
    if not pid:
        os.setsid()
        os.close(master)
        line = os.read(slave, 100)
        os.write(slave, b"got %s" % line.upper())
        os._exit(0)
    os.write(master, b"lime\x7f\x7fne %d\n" % n)
    os.waitpid(pid, 0)
    shown = b""
    while select.select([master], [], [], 0)[0]:
        shown += os.read(master, 1000)
    os.close(slave)
    os.close(master)
    return shown, attributes[3]


def timed(n):
    """A periodic timer that a signal counts."""
    ticks = []
    signal.signal(signal.SIGALRM, lambda *_: ticks.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    while len(ticks) < 3 + n % 3:
        time.sleep(0.01)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return len(ticks) >= 3


for number in range(1, ROUNDS + 1):
    print(
        number,
        system_v(number),
        watched(number),
        child_by_descriptor(number),
        terminal(number),
        timed(number),
        flush=True,
    )
sys.stdout.flush()
