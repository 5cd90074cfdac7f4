"""Writing a pack: chunks are compressed and sealed by threads, written in order by another, and durable before anybody can see them."""

from __future__ import annotations

import os
import queue
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from snapshotd.store.backend import PACK
from snapshotd.store.errors import QuotaExceededError, StoreError
from snapshotd.store.layout import new_id
from snapshotd.store.pack import CHUNK_LIMIT, HEADER, ChunkRef, Encoder, PackFile, encode_chunk, pack_header

if TYPE_CHECKING:
    from concurrent.futures import Future

    from snapshotd.store.backend import Backend, Upload
    from snapshotd.store.cipher import Cipher

    Encoded = Future[list[tuple[bytes, bytes, int]]]

THREADS = 2
_GROUP = 8  # chunks that one thread encodes in one go: each hand-over costs two waits for the interpreter lock
_AHEAD = 8  # groups that wait for the writer: 4 MiB
_GATHER = 8  # groups in one write
_RECENT = 192  # chunks kept for comparing; more than can be on their way to the file


class PackWriter:
    """One new pack. Nothing is written until the first chunk comes.

    Args:
        backend: of the domain.
        domain_id: goes into the header.
        cipher: seals the chunks.
        room: bytes that the quota leaves, or None.

    Attributes:
        pack_id: of the new pack.
    """

    def __init__(self, backend: Backend, domain_id: bytes, cipher: Cipher, room: int | None) -> None:
        self.pack_id = new_id()
        self._backend = backend
        self._domain_id = domain_id
        self._cipher = cipher
        self._room = room
        self._upload: Upload | None = None
        self._end = 0
        self._encoder = Encoder()
        self._refs: list[ChunkRef] = []
        self._recent: OrderedDict[int, bytes] = OrderedDict()
        self._count = 0
        self._group: list[bytes] = []
        self._error: BaseException | None = None
        self._written = threading.Event()
        self._queue: queue.Queue[Encoded | None] = queue.Queue(_AHEAD)
        self._pool: ThreadPoolExecutor | None = None
        self._thread: threading.Thread | None = None

    @property
    def chunks(self) -> int:
        """Chunks added so far: the number that the next one gets."""
        return self._count

    def add(self, raw: bytes) -> None:
        """Append a chunk of 1 to 16 pages.

        Raises:
            DiskFullError, QuotaExceededError: it, or one before it, has no room.
        """
        if self._error is not None:
            raise self._error
        if self._count == CHUNK_LIMIT - 1:
            raise StoreError("a snapshot can have 1 TiB of new pages and this one has more")
        if self._pool is None:
            self._start()
        assert self._pool is not None
        self._recent[self._count] = raw
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        self._group.append(raw)
        self._count += 1
        if len(self._group) == _GROUP:
            self._submit()

    def raw(self, index: int) -> bytes:
        """The pages of a chunk that was added: of an older one, read back."""
        recent = self._recent.get(index)
        if recent is not None:
            return recent
        assert self._upload is not None
        return PackFile(self._upload, self.pack_id, self._domain_id, self._cipher).read(self._refs[index])

    def finish(self) -> tuple[list[ChunkRef], int]:
        """No more chunks: wait until they are written; returns them and the pack's size in bytes. The pack is about to be published."""
        self._submit()
        if self._thread is not None:
            self._queue.put(None)
            self._written.wait()
        if self._error is not None:
            raise self._error
        return self._refs, self._end

    def wait_published(self) -> None:
        """Until the pack is durable, after `finish`."""
        self._join()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Write no more; what was not published is dropped."""
        self._error = self._error or StoreError("the capture was given up")
        if self._thread is not None:
            self._queue.put(None)
        self._join()
        if self._upload is not None:
            self._upload.abandon()

    def abort(self) -> None:
        """Stop, and remove what was written, published or not."""
        self.stop()
        if self._upload is not None:
            self._backend.remove(PACK, self.pack_id)

    def _submit(self) -> None:
        """Pass the group on to the threads."""
        if self._group and self._pool is not None:
            group, first = self._group, self._count - len(self._group)
            self._group = []
            self._queue.put(self._pool.submit(self._encode, group, first))

    def _encode(self, group: list[bytes], first: int) -> list[tuple[bytes, bytes, int]]:
        return [encode_chunk(raw, first + i, self.pack_id, self._cipher, self._encoder) for i, raw in enumerate(group)]

    def _start(self) -> None:
        self._upload = self._backend.begin(PACK, self.pack_id)
        self._upload.append([pack_header(self.pack_id, self._domain_id)])
        self._end = HEADER.size
        self._pool = ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1), "quark-encode")
        self._thread = threading.Thread(target=self._write_all, name="quark-pack", daemon=True)
        self._thread.start()

    def _write_all(self) -> None:
        """The writing thread, which also publishes. After an error it goes on emptying the queue, so that add() never waits for ever."""
        ended = False
        while not ended:
            waiting = [self._queue.get()]
            while len(waiting) < _GATHER:
                try:
                    waiting.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            if waiting[-1] is None:
                ended = True
            if self._error is None:
                try:
                    self._write([chunk for encoded in waiting if encoded is not None for chunk in encoded.result()])
                except BaseException as error:  # noqa: BLE001 - add() and finish() raise it
                    self._error = error
        self._written.set()
        try:
            if self._error is None and self._upload is not None:
                self._upload.publish()
        except BaseException as error:  # noqa: BLE001 - wait_published() raises it
            self._error = error

    def _write(self, chunks: list[tuple[bytes, bytes, int]]) -> None:
        assert self._upload is not None
        buffers: list[bytes] = []
        refs: list[ChunkRef] = []
        at = self._end
        for header, payload, checksum in chunks:
            size = len(header) + len(payload)
            refs.append(ChunkRef(self.pack_id, len(self._refs) + len(refs), at, size, pages_of(header), checksum))
            buffers += (header, payload)
            at += size
        if self._room is not None and at > self._room:
            raise QuotaExceededError(
                f"{self._upload.name}: the snapshot needs more than the {self._room} bytes that the domain's quota leaves; "
                "delete snapshots and `gc`, or raise the quota"
            )
        self._upload.append(buffers)
        self._end = at
        self._refs += refs

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def pages_of(header: bytes) -> int:
    """The pages field of a chunk header."""
    return header[12]
