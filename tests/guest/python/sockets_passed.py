"""Descriptors in the queues of sockets: circles of them are freed, what can still be reached stays; several control messages; POLLOUT."""

import array
import os
import select
import socket


def send(s, *files):
    s.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))])


def ended(reader):
    """Whether the other end of the pipe is gone; closing sockets is what makes the kernel look."""
    os.set_blocking(reader, False)
    for _ in range(100):
        a, b = socket.socketpair()
        a.close()
        b.close()
        if select.select([reader], [], [], 0.01)[0]:
            return os.read(reader, 1) == b""
    return False


def circle_of_two():
    reader, writer = os.pipe()
    a, b = socket.socketpair()
    send(a, b.fileno(), writer)
    send(b, a.fileno())
    for s in (a, b):
        s.close()
    os.close(writer)
    print("a circle of two is freed", ended(reader))


def long_circle():
    reader, writer = os.pipe()
    pairs = [socket.socketpair() for _ in range(100)]
    for k, (a, _) in enumerate(pairs):
        send(a, pairs[k - 1][0].fileno(), pairs[k - 1][1].fileno(), writer)
    os.close(writer)
    for pair in pairs:
        for s in pair:
            s.close()
    print("a circle of 200 is freed", ended(reader))


def listener():
    reader, writer = os.pipe()
    server, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    server.bind(b"\0passed-%d" % os.getpid())
    server.listen()
    client.connect(server.getsockname())
    send(client, server.fileno(), client.fileno(), writer)
    os.close(writer)
    server.close()
    client.close()
    print("a listener with itself in its backlog is freed", ended(reader))


def reachable():
    reader, writer = os.pipe()
    a, b = socket.socketpair()
    c, d = socket.socketpair()
    send(a, c.fileno(), writer)
    send(c, b.fileno())
    os.close(writer)
    b.close()
    c.close()
    print("what is held stays", not ended(reader))
    inner = take(d)
    take(inner)


def take(s):
    data, control, _, _ = s.recvmsg(1, 100)
    files = array.array("i", control[0][2])
    print(data, len(files))
    return socket.socket(fileno=files[0])


def two_messages():
    a, b = socket.socketpair()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd])) for fd in (0, 1, 2)]
    a.sendmsg([b"x"], rights)
    _, control, flags, _ = b.recvmsg(1, 1000)
    print("control messages", len(control), "descriptors", len(control[0][2]) // 4, flags)


def pollout(kind):
    a, b = socket.socketpair(socket.AF_UNIX, kind)
    a.setblocking(False)
    big = b"x" * (100_000 if kind != socket.SOCK_STREAM else 16 << 20)
    try:
        while True:
            a.send(big)
    except BlockingIOError:
        pass
    poller = select.poll()
    poller.register(a, select.POLLOUT)
    full = poller.poll(0)
    for _ in range(100):
        if poller.poll(0):
            break
        b.recv(65536)
    try:
        after = a.send(big) > 0
    except BlockingIOError:
        after = False
    print(kind.name, "full:", full, "and when it says so, send takes it:", after)


circle_of_two()
long_circle()
listener()
reachable()
two_messages()
for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
    pollout(kind)
