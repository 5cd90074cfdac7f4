"""The os module and ctypes on system calls: epoll, eventfd, memfd, pipes, socket pairs with descriptors, getrandom, ids."""

import array
import ctypes
import gc
import os
import random
import resource
import select
import socket
import sys
import sysconfig

epoll = select.epoll()
event = os.eventfd(0, os.EFD_NONBLOCK)
epoll.register(event, select.EPOLLIN | select.EPOLLET)
os.eventfd_write(event, 41)
os.eventfd_write(event, 1)
print("epoll", epoll.poll(0) == [(event, select.EPOLLIN)], os.eventfd_read(event), epoll.poll(0))
memory = os.memfd_create("python")
os.write(memory, b"memfd")
print("memfd", os.pread(memory, 10, 1), os.fstat(memory).st_size)

a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
socket.send_fds(a, [b"message"], [memory, 1])
data, descriptors, _, _ = socket.recv_fds(b, 100, 2)
print("descriptors", data, len(descriptors), os.pread(descriptors[0], 5, 0))
read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
written = 0
try:
    while True:
        written += os.write(write_end, b"x" * 4096)
except BlockingIOError:
    print("pipe", written, len(os.read(read_end, 100000)))
print("inheritable", os.get_inheritable(read_end))
os.writev(write_end, [b"one", b"two"])
buffers = [bytearray(2), bytearray(10)]
print("readv", os.readv(read_end, buffers), buffers[0], bytes(buffers[1][:4]))

libc = ctypes.CDLL(None, use_errno=True)
print("ctypes", libc.abs(-5), libc.getpid() == os.getpid())
print("errno", libc.close(999), ctypes.get_errno())
compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
numbers = (ctypes.c_int * 8)(5, 3, 8, 1, 9, 2, 7, 4)
libc.qsort(numbers, 8, 4, compare(lambda x, y: x[0] - y[0]))  # a callback: code made at run time
print("callback", list(numbers))

print("random", len({os.urandom(8) for _ in range(200)}), len(os.getrandom(16)))
random.seed(7)
print("seeded", [random.randrange(1000) for _ in range(6)], round(random.gauss(0, 1), 12))
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
opened = []
try:
    while True:
        opened.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    print("limit", error.errno, opened[-1])
for descriptor in opened:
    os.close(descriptor)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print("affinity", len(os.sched_getaffinity(0)) >= 1, (os.cpu_count() or 0) >= 1)
print("uname", os.uname().sysname, os.uname().machine, sys.platform, sysconfig.get_platform())
print("argv", sys.argv[1:], os.environ.get("TEST_PYTHON"))


def recurse(n):
    return 0 if n == 0 else 1 + recurse(n - 1)


sys.setrecursionlimit(20000)
print("recursion", recurse(15000))
try:
    recurse(30000)
except RecursionError:
    print("recursion error")
big = [array.array("d", range(10000)) for _ in range(100)]
total = sum(sum(part) for part in big)
big.append(big)
del big
print("memory", total, gc.collect() >= 1)
try:
    bytearray(1 << 46)
except MemoryError:
    print("memory error")
print("exit next", flush=True)
sys.exit(17)
