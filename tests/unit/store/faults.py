"""Faults for the store's tests: a process that really stops at the k-th step that changes the disk, and power cuts.

A step is a call of durable.py, or a COMMIT of the catalogue. A write is two: it can stop with half of its bytes written.
"""

import os
import signal
import threading
import traceback
from contextlib import contextmanager

from snapshotd.store import durable
from snapshotd.store.catalogue import Catalogue

KILL, LOSE_BYTES, LOSE_ALL = "kill -9", "power cut, names survive", "power cut"


class Disk:
    """Follows every step of this process.

    Args:
        stop_at: number of the step to stop before; None to go on for ever.
        fault: what happens then. A power cut takes back what was not synced: bytes of files, and with LOSE_ALL also names made,
            changed or removed. What SQLite does about power cuts is SQLite's business.
        stash: directory on the same file system, for what a power cut brings back.
    """

    def __init__(self, stop_at=None, fault=KILL, stash=None):
        self.steps = 0
        self.log = []
        self._stop_at = stop_at
        self._fault = fault
        self._stash = stash
        self._lock = threading.RLock()
        self._written = {}  # path -> bytes that are durable
        self._undo = []  # (directory whose sync makes it durable, what takes it back)
        self._real = {
            name: getattr(durable, name)
            for name in ("make_directory", "create", "write", "sync", "sync_directory", "rename", "unlink", "punch")
        }
        self._run = Catalogue.run

    def install(self):
        """Stand between the store and durable.py."""
        for name in self._real:
            setattr(durable, name, getattr(self, name))
        disk = self

        def run(catalogue, sql, values=()):
            if sql != "COMMIT":
                return disk._run(catalogue, sql, values)
            disk.step("commit")
            result = disk._run(catalogue, sql, values)
            disk.step("committed")
            return result

        Catalogue.run = run

    def remove(self):
        """Undo install()."""
        for name, real in self._real.items():
            setattr(durable, name, real)
        Catalogue.run = self._run

    def step(self, name):
        """Count, and stop if this is the one."""
        with self._lock:
            self.log.append(name)
            if self.steps == self._stop_at:
                self.power_cut()
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()
            self.steps += 1

    def power_cut(self):
        """Take back what is not durable, unless the fault is a mere kill: then the kernel keeps it."""
        if self._fault == KILL:
            return
        for path, size in self._written.items():
            if os.path.exists(path):
                os.truncate(path, size)
        if self._fault == LOSE_ALL:
            for _, undo in reversed(self._undo):
                undo()

    def make_directory(self, path):
        self.step("make_directory")
        made = not os.path.exists(path)
        if made:
            self._undo.append((os.path.dirname(path), lambda: os.rmdir(path)))
        self._real["make_directory"](path)

    def create(self, path):
        self.step("create")
        fd = self._real["create"](path)
        self._written[path] = 0
        self._undo.append((os.path.dirname(path), lambda: os.path.exists(path) and os.unlink(path)))
        return fd

    def write(self, fd, buffers, path):
        self.step("write")
        content = b"".join(buffers)
        half = len(content) // 2
        self._real["write"](fd, [content[:half]], path)
        self.step("half written")
        self._real["write"](fd, [content[half:]], path)

    def sync(self, fd, path):
        self.step("sync")
        self._real["sync"](fd, path)
        self._written.pop(path, None)

    def sync_directory(self, path):
        self.step("sync_directory")
        self._real["sync_directory"](path)
        self._undo = [(directory, undo) for directory, undo in self._undo if directory != path]

    def rename(self, source, target):
        self.step("rename")
        self._real["rename"](source, target)
        if source in self._written:  # a name before its bytes
            self._written[target] = self._written.pop(source)
        self._undo.append((os.path.dirname(target), lambda: os.path.exists(target) and os.rename(target, source)))

    def unlink(self, path):
        self.step("unlink")
        if self._fault == LOSE_ALL and os.path.exists(path):
            kept = f"{self._stash}/{len(self.log)}"
            os.link(path, kept)
            self._undo.append((os.path.dirname(path), lambda: os.path.exists(path) or os.link(kept, path)))
        self._real["unlink"](path)

    def punch(self, fd, offset, length, path):
        self.step("punch")
        return self._real["punch"](fd, offset, length, path)


@contextmanager
def followed(disk):
    """`disk` installed for a while, in this process."""
    disk.install()
    try:
        yield disk
    finally:
        disk.remove()


def in_child(work):
    """Run `work` in a fork of this process, which is warm already; its wait status (os.waitstatus_to_exitcode). It must not raise."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - told by the parent
            os.write(writer, traceback.format_exc()[-4000:].encode())
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as file:
        told = file.read().decode()
    _, status = os.waitpid(pid, 0)
    assert not told, told
    return os.waitstatus_to_exitcode(status)
