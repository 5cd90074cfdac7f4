"""fsck: reads all of a domain, compares everything with everything else, and names what is wrong. Changes nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import xxhash

from snapshotd.store import rows
from snapshotd.store.backend import MAP, PACK
from snapshotd.store.catalogue import CHUNK_BITS, checked
from snapshotd.store.errors import CorruptStoreError, KeyMissingError, StoreBusyError, StoreError
from snapshotd.store.layout import PAGE
from snapshotd.store.mapcheck import faults
from snapshotd.store.pack import CHUNK_PAGES, HEADER, ChunkRef, StoredPack
from snapshotd.store.reader import load_map
from snapshotd.store.rows import SnapshotRow
from snapshotd.store.sweep import strays

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from snapshotd.store.domain import Domain


class Problem(NamedTuple):
    """Something that fsck found.

    kind is one of: catalogue, domain, snapshot, blob, map, pack, chunk, page, refs, usage: damage; leftover: space that gc gives back.
    """

    kind: str
    where: str
    what: str
    advice: str

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.kind}: {self.where}: {self.what}; {self.advice}"


_BACKUP = "restore it from a backup, or delete the snapshots concerned"
_REBUILD = "only space and counts are concerned; export what matters and import it into a new domain"
_GC = "run gc"
_LOW = (1 << CHUNK_BITS) - 1


def check(domain: Domain, wait: float, progress: Callable[[int, int], None]) -> list[Problem]:
    """All problems of a domain; `progress` gets (bytes of chunks read, all bytes of chunks)."""
    if domain.cipher.sealed:
        domain.cipher.map_tag(b"")  # no key: say so now
    return _Fsck(domain, progress).run(wait)


def lost_catalogue(domain: Domain) -> list[Problem]:
    """Of a domain without a catalogue: whether packs and maps say that there was one."""
    if not os.path.isdir(domain.paths.directory):
        return []
    found = [domain.backend.name(kind, object_id) for kind in (PACK, MAP) for object_id in domain.backend.ids(kind)]
    if not found:
        return []
    what = f"the catalogue is missing, but there are {len(found)} packs and maps, as {found[0]}"
    return [Problem("catalogue", domain.paths.catalogue, what, "restore it from a backup")]


class _Fsck:
    def __init__(self, domain: Domain, progress: Callable[[int, int], None]) -> None:
        self._domain = domain
        self._progress = progress
        self._read = self._to_read = 0
        self._catalogue = domain.catalogue
        self._path = domain.catalogue.path
        self._problems: list[Problem] = []
        self._packs: dict[int, tuple[bytes, int, int]] = {}
        self._chunks: dict[int, ChunkRef] = {}
        self._refs: dict[int, int] = {}

    def run(self, wait: float) -> list[Problem]:
        try:
            for (line,) in self._catalogue.rows("PRAGMA integrity_check"):
                if line != "ok":
                    self._add("catalogue", self._path, str(line), _BACKUP)
            try:
                with self._domain.exclude(0):
                    for stray in strays(self._domain):
                        self._add("leftover", stray.name, "no snapshot needs this file", _GC)
            except StoreBusyError:
                pass  # somebody's work in progress looks like leftovers
            with self._domain.share(wait):
                self._check_all()
        except (KeyMissingError, StoreBusyError):
            raise
        except StoreError as error:
            # SQLite gave up in the middle: the rest cannot be checked.
            self._add("catalogue", self._path, str(error), _BACKUP)
        return self._problems

    def _add(self, kind: str, where: str, what: str, advice: str) -> None:
        self._problems.append(Problem(kind, where, what, advice))

    def _check_all(self) -> None:
        with self._catalogue.lock:
            snapshots = self._load_snapshots()
            self._load_chunks()
        named: dict[int, int] = {}
        for row in snapshots:
            for chunk in self._check_snapshot(row):
                named[chunk] = named.get(chunk, 0) + 1
        self._check_packs()
        self._check_pages_without_chunk()
        self._check_refs(named)
        self._check_usage()

    def _load_snapshots(self) -> list[SnapshotRow]:
        try:
            self._catalogue.quota_and_usage()
        except CorruptStoreError as error:
            self._add("domain", self._path, str(error), _BACKUP)
        snapshots = []
        columns = ", ".join(SnapshotRow._fields)
        for *values, found in self._catalogue.rows(f"SELECT {columns}, sum FROM snapshot ORDER BY key"):
            row = SnapshotRow(*values)
            where = f"{self._path}: snapshot {row.name!a}"
            try:
                checked(self._path, where, values[1:], found)
            except CorruptStoreError as error:
                self._add("snapshot", where, str(error), _BACKUP)
                continue
            snapshots.append(row)
            if row.state != rows.LIVE:
                self._add("leftover", where, "deleted, or left by an import that was interrupted", _GC)
            elif row.parent is not None and rows.by_id(self._catalogue, row.parent) is None:
                self._add("snapshot", where, f"its parent {row.parent.hex()} is not there", "flatten it")
        keys = {row.key for row in snapshots}
        for table in ("blob", "ref"):
            for (key,) in self._catalogue.rows(f"SELECT DISTINCT snapshot FROM {table}"):
                if key not in keys:
                    self._add(
                        "catalogue",
                        self._path,
                        f"table {table} has rows of snapshot key {key}, which is not there",
                        _REBUILD,
                    )
        return snapshots

    def _load_chunks(self) -> None:
        for key, pack_id, size, punch in self._catalogue.rows("SELECT key, id, bytes, punch FROM pack"):
            if not isinstance(pack_id, bytes):
                self._add("pack", f"{self._path}: pack key {key}", f"the row has the id {pack_id!a}", _BACKUP)
                continue
            self._packs[key] = (pack_id, size, punch)
        for chunk, offset, size, pages, checksum, refs in self._catalogue.rows(
            "SELECT id, offset, bytes, pages, checksum, refs FROM chunk"
        ):
            where = f"{self._path}: chunk {chunk & _LOW} of pack key {chunk >> CHUNK_BITS}"
            if chunk >> CHUNK_BITS not in self._packs:
                self._add("chunk", where, "the row names a pack that is not there", _BACKUP)
                continue
            if not all(isinstance(value, int) for value in (offset, size, pages, checksum, refs)):
                self._add("chunk", where, "the row holds values of wrong types", _BACKUP)
                continue
            self._chunks[chunk] = ChunkRef(
                self._packs[chunk >> CHUNK_BITS][0], chunk & _LOW, offset, size, pages, checksum % (1 << 64)
            )
            self._refs[chunk] = refs

    def _check_snapshot(self, row: SnapshotRow) -> set[int]:
        """Check documents and map of a snapshot; returns the ids of the chunks that its ref rows name."""
        where = f"snapshot {row.name!a}"
        kinds = [
            kind
            for (kind,) in self._catalogue.rows("SELECT kind FROM blob WHERE snapshot = ? ORDER BY kind", (row.key,))
        ]
        for kind in kinds:
            try:
                rows.get_blob(self._catalogue, self._domain.cipher, row, kind)
            except CorruptStoreError as error:
                self._add("blob", f"{self._path}: {where}", str(error), _BACKUP)
        if rows.META not in kinds or set(kinds) - {rows.META, rows.WORKING_SET, rows.IMPORTED}:
            self._add(
                "blob",
                f"{self._path}: {where}",
                f"it should have a 'meta' and perhaps 'working_set' and 'imported', and has {kinds}",
                _BACKUP,
            )
        claimed: set[int] = set()
        for first, last in self._catalogue.rows("SELECT first, last FROM ref WHERE snapshot = ?", (row.key,)):
            if (
                not isinstance(first, int)
                or not isinstance(last, int)
                or first >> CHUNK_BITS != last >> CHUNK_BITS
                or last < first
            ):
                self._add(
                    "refs", f"{self._path}: {where}", f"the range of chunks {first} .. {last} makes no sense", _REBUILD
                )
            else:
                claimed.update(range(first, last + 1))
        path = self._domain.backend.name(MAP, row.map)
        try:
            page_map = load_map(self._domain.backend, row.map, self._domain.cipher)
        except CorruptStoreError as error:
            self._add("map", path, f"{where}: {error}", _BACKUP)
            return claimed
        for fault in faults(page_map, row, self._domain.cipher):
            self._add("map", path, f"{where}: {fault}", _BACKUP)
        keys = {pack_id: key for key, (pack_id, _, _) in self._packs.items()}
        used = set()
        for i in range(page_map.chunk_count):
            ref = page_map.chunk(i)
            chunk = keys.get(ref.pack, -1) << CHUNK_BITS | ref.number
            if self._chunks.get(chunk) != ref:
                self._add(
                    "chunk",
                    path,
                    f"{where}: chunk {ref.number} of pack {ref.pack.hex()} is another one in the catalogue, or not there",
                    _BACKUP,
                )
            used.add(chunk)
        if used != claimed:
            self._add(
                "refs",
                f"{self._path}: {where}",
                f"{len(used ^ claimed)} chunks are in only one of its map and its ref rows",
                _REBUILD,
            )
        return claimed

    def _check_packs(self) -> None:
        self._to_read = sum(ref.bytes for ref in self._chunks.values())
        of_pack: dict[int, list[int]] = {}
        for chunk in sorted(self._chunks):
            of_pack.setdefault(chunk >> CHUNK_BITS, []).append(chunk)
        for key, (pack_id, size, punch) in self._packs.items():
            path = self._domain.backend.name(PACK, pack_id)
            chunks = of_pack.get(key, [])
            if punch:
                self._add("leftover", path, "dead chunks whose space is not given back yet", _GC)
                if not chunks:
                    continue  # gc may have been cut short after it unlinked the file
            try:
                file = StoredPack(self._domain.backend, pack_id, self._catalogue.domain_id, self._domain.cipher)
            except CorruptStoreError as error:
                self._add("pack", path, str(error), _BACKUP)
                continue
            try:
                self._check_pack(file, path, size, chunks)
            finally:
                file.close()

    def _check_pack(self, file: StoredPack, path: str, size: int, chunks: list[int]) -> None:
        actual = file.size()
        if actual != size:
            self._add("pack", path, f"the file has {actual} bytes and the catalogue says {size}", _BACKUP)
        end = HEADER.size
        for chunk in chunks:
            ref = self._chunks[chunk]
            if ref.offset < end:
                self._add("chunk", path, f"chunk {ref.number} overlaps the one before it", _BACKUP)
            end = ref.offset + ref.bytes
            self._read += ref.bytes
            self._progress(self._read, self._to_read)
            try:
                raw = file.read(ref)
            except CorruptStoreError as error:
                self._add("chunk", path, str(error), _BACKUP)
                continue
            self._check_pages(path, chunk, raw)

    def _check_pages(self, path: str, chunk: int, raw: bytes) -> None:
        first = chunk * CHUNK_PAGES
        found = self._catalogue.rows(
            "SELECT place, digest FROM page WHERE place BETWEEN ? AND ?", (first, first + CHUNK_PAGES - 1)
        )
        slots = [place - first for place, _ in found]
        digests = self._domain.cipher.mask(
            [xxhash.xxh3_128_digest(raw[slot * PAGE : (slot + 1) * PAGE]) for slot in slots]
        )
        for slot, digest, (_, stored) in zip(slots, digests, found, strict=True):
            if slot >= len(raw) // PAGE or digest != stored:
                self._add(
                    "page", path, f"the catalogue's digest of slot {slot} of chunk {chunk & _LOW} is wrong", _REBUILD
                )

    def _check_pages_without_chunk(self) -> None:
        for (chunk,) in self._catalogue.rows(f"SELECT DISTINCT place / {CHUNK_PAGES} FROM page"):
            if chunk not in self._chunks:
                self._add(
                    "page",
                    self._path,
                    f"rows name chunk {chunk & _LOW} of pack key {chunk >> CHUNK_BITS}, which is not there",
                    _REBUILD,
                )

    def _check_refs(self, named: dict[int, int]) -> None:
        for chunk in named.keys() | self._refs.keys():
            expected, found = named.get(chunk, 0), self._refs.get(chunk)
            where = f"{self._path}: chunk {chunk & _LOW} of pack key {chunk >> CHUNK_BITS}"
            if expected != found:
                self._add("refs", where, f"{expected} snapshots use it and its count is {found}", _REBUILD)
            elif not found:
                self._add("leftover", where, "no snapshot uses it", _GC)

    def _check_usage(self) -> None:
        sums = (
            "SELECT coalesce(sum(bytes), 0) FROM chunk",
            "SELECT coalesce(sum(map_bytes), 0) FROM snapshot",
            "SELECT coalesce(sum(length(data)), 0) FROM blob",
        )
        with self._catalogue.lock:
            expected = sum(self._number(sql) for sql in sums)
            found: Any = self._catalogue.rows("SELECT usage FROM domain")[0][0]
        if found != expected:
            self._add("usage", self._path, f"the domain's usage should be {expected} bytes and is {found}", _REBUILD)

    def _number(self, sql: str) -> int:
        return int(self._catalogue.rows(sql)[0][0])
