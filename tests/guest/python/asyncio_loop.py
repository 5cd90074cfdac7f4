"""asyncio: sleeping, gathering, queues, cancellation, socket pairs, unix servers, pipes, executors, signals, timeouts."""

import asyncio
import os
import signal
import socket


async def sleeps():
    order = []

    async def one(n):
        await asyncio.sleep(n / 100)
        order.append(n)

    await asyncio.gather(*(one(n) for n in (8, 0, 4, 2, 6)))
    print("sleep order", order)


async def queues():
    queue, total = asyncio.Queue(3), 0

    async def producer():
        for n in range(500):
            await queue.put(n)
        await queue.put(None)

    task = asyncio.create_task(producer())
    while (item := await queue.get()) is not None:
        total += item
    await task
    print("queue", total)


async def cancelling():
    task = asyncio.create_task(asyncio.sleep(100))
    await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        print("cancelled")
    try:
        async with asyncio.timeout(0.02):
            await asyncio.sleep(100)
    except TimeoutError:
        print("timed out")


async def sockets():
    loop = asyncio.get_running_loop()
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    payload = bytes(range(256)) * 2000

    async def send():
        await loop.sock_sendall(a, payload)
        a.close()

    task, received = asyncio.create_task(send()), b""
    while chunk := await loop.sock_recv(b, 10000):
        received += chunk
    await task
    b.close()
    print("socketpair", received == payload)


async def server():
    async def handle(reader, writer):
        while line := await reader.readline():
            writer.write(line[::-1])
            await writer.drain()
        writer.close()

    listener = await asyncio.start_unix_server(handle, "socket")

    async def client(n):
        reader, writer = await asyncio.open_unix_connection("socket")
        right = 0
        for i in range(20):
            writer.write(b"client %d message %d\n" % (n, i))
            reply = await reader.readexactly(len(b"client %d message %d\n" % (n, i)))
            right += reply[::-1] == b"client %d message %d\n" % (n, i)
        writer.close()
        await writer.wait_closed()
        return right

    print("unix server", await asyncio.gather(*(client(n) for n in range(10))))
    listener.close()
    await listener.wait_closed()


async def rest():
    loop = asyncio.get_running_loop()
    print("executor", await asyncio.gather(*(loop.run_in_executor(None, pow, 3, n) for n in (10, 20, 30))))
    read_end, write_end = os.pipe()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb"))
    os.write(write_end, b"through a pipe\n")
    os.close(write_end)
    print("pipe", await reader.read())
    transport.close()
    got = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, got.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(got.wait(), 10)
    print("signal")
    lock, value = asyncio.Lock(), 0

    async def locked():
        nonlocal value
        async with lock:
            seen = value
            await asyncio.sleep(0)
            value = seen + 1

    async with asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(locked())
    print("lock", value)


async def main():
    for part in (sleeps, queues, cancelling, sockets, server, rest):
        await part()


asyncio.run(main())
print("loop closed")
