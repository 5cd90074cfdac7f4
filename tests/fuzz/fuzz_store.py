"""Fuzzes what the store reads: streams of an import with right checksums, documents, packs, maps, rows of the catalogue, the version file, key files.

What is read is right, or is one clear error; of an import all is there, or nothing, and the store is sound.
"""

import io
import json
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path

from mutations import Lines, Run, mutate_bytes, mutate_json

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "store"))

from contents import FRAMES, MEMORY, pages, seen
from damaged import domain, read_all
from snapshots import document
from test_damage_catalogue import TABLES

import snapshotd
from quark.errors import QuarkError
from quark.store_errors import StoreError
from qvisor.spec import SandboxSpec
from snapshotd.keys import load_key
from snapshotd.layout import is_working_set
from snapshotd.metadata import Metadata
from snapshotd.store import Store
from snapshotd.store.records import END, RecordReader, RecordWriter

KEY = bytes(range(32))


class Sound:
    """A store, and a stream of it, as they should be."""

    def __init__(self, folder: Path, key: bytes | None) -> None:
        self.key, self.root = key, folder / ("sealed" if key else "plain")
        out = io.BytesIO()
        with Store.open(self.root, key=key) as store:
            store.create_snapshot("base", document(), pages({gfn: gfn + 1 for gfn in range(0, 60, 2)}), frames=FRAMES)
            store.create_snapshot("layer", document(), pages({7: 1000, 9: 0, 11: 5}), frames=FRAMES, parent="base")
            store.set_working_set("base", bytes(32))
            self.expected = seen(store)
            store.export("layer", out)
        self.stream = self.records(out.getvalue())

    def records(self, stream: bytes) -> list[tuple[int, bytes]]:
        reader, found = RecordReader(io.BytesIO(stream), self.key), []
        while not found or found[-1][0] != END:
            found.append(reader.read())
        return found


def write(records: list[tuple[int, bytes]], key: bytes | None) -> bytes:
    out = io.BytesIO()
    writer = RecordWriter(out, key)
    for kind, payload in records:
        writer.write(kind, payload)
    return out.getvalue()


class Streams:
    """Lists of records; those that reach new lines are mutated on."""

    def __init__(self, run: Run, sound: Sound, folder: Path) -> None:
        self.run, self.sound, self.folder = run, sound, folder
        self.lines = Lines(Path(snapshotd.__file__).parent)
        self.corpus = [sound.stream]

    def mutated(self) -> list[tuple[int, bytes]]:
        rng, records = self.run.rng, list(self.run.rng.choice(self.corpus))
        for _ in range(rng.choice((1, 1, 2, 3))):
            at = rng.randrange(len(records))
            kind, payload = records[at]
            what = rng.randrange(8)
            if what == 0:
                records[at] = (rng.randrange(9), payload)
            elif what == 1:
                records.insert(at, rng.choice(records))
            elif what == 2 and len(records) > 1:
                del records[at]
            elif what == 3:
                other = rng.randrange(len(records))
                records[at], records[other] = records[other], records[at]
            elif what == 4 and payload[:1] == b"{":
                try:
                    records[at] = (
                        kind,
                        json.dumps(mutate_json(rng, json.loads(payload))).encode("utf-8", "surrogatepass"),
                    )
                except (ValueError, RecursionError):
                    continue
            else:
                records[at] = (kind, mutate_bytes(rng, payload))
        return records

    def one(self) -> None:
        records = self.mutated()
        data = write(records, self.sound.key)
        if self.run.rng.random() < 0.1:
            data = mutate_bytes(self.run.rng, data)
        root = self.folder / "import"
        with self.run.allowing("stream", data):
            with Store.open(root, key=self.sound.key) as store:
                self.into(store, records, data)
            shutil.rmtree(root)

    def into(self, store: Store, records: list[tuple[int, bytes]], data: bytes) -> None:
        failure = ""

        def take() -> None:
            nonlocal failure
            try:
                store.import_(io.BytesIO(data), None, Metadata.load)
            except QuarkError as error:
                failure = str(error) or "no reason"

        if self.lines.run(take):
            self.corpus.append(records)
        if failure:
            assert "\n" not in failure, failure
            assert store.list() == []
            store.gc()
        else:
            seen(store)
        assert [p for p in store.fsck() if p.kind != "leftover"] == []


def damage_file(run: Run, root: Path) -> tuple[str, bytes]:
    """One file of a store."""
    files = [
        p for p in sorted(root.rglob("*")) if p.is_file() and p.stat().st_size and p.name not in {"reserve", "lock"}
    ]
    path = run.rng.choice(files)
    path.write_bytes(mutate_bytes(run.rng, path.read_bytes()))
    return path.name, path.read_bytes()


def damage_row(run: Run, root: Path) -> tuple[str, bytes]:
    """One value of the catalogue."""
    table = run.rng.choice(sorted(TABLES))
    column = run.rng.choice(sorted(TABLES[table]))
    db = sqlite3.connect(domain(root) / "catalogue.db")
    try:
        values = [v for (v,) in db.execute(f"SELECT {column} FROM {table}")]
        old = run.rng.choice(values) if values else 0
        new = mutate_bytes(run.rng, old) if isinstance(old, bytes) else mutate_json(run.rng, old)
        if isinstance(new, str):
            new = new.encode("utf-8", "replace").decode()
        with db:
            db.execute(f"UPDATE {table} SET {column} = ? WHERE {column} IS ?", (new, old))
    except (sqlite3.Error, OverflowError):
        return "", b""  # what SQLite does not hold
    finally:
        db.close()
    return f"{table}.{column}", repr((old, new)).encode()


def damaged_store(run: Run, sound: Sound, folder: Path) -> None:
    root = shutil.copytree(sound.root, folder / "damaged")
    where, data = damage_file(run, root) if run.rng.random() < 0.6 else damage_row(run, root)
    if where:
        with run.allowing(f"store-{where}", data):
            for error in read_all(root, sound.key, sound.expected, lost=True):
                assert isinstance(error, StoreError), error
                assert "\n" not in str(error), error
            try:
                with Store.open(root, key=sound.key) as store:
                    store.fsck()
                    store.gc()
            except StoreError:
                pass
    shutil.rmtree(root)


def small_parts(run: Run, folder: Path) -> None:
    """Parts that are read as a whole: documents, key files, working sets, tables of files."""
    raw = document()
    data = (
        json.dumps(mutate_json(run.rng, json.loads(raw))).encode()
        if run.rng.random() < 0.7
        else mutate_bytes(run.rng, raw)
    )
    with run.allowing("document", data, QuarkError):
        loaded = Metadata.load(data)
        assert loaded.self_contained in {True, False}
        SandboxSpec.from_dict(loaded.spec)
    key = folder / "key"
    data = mutate_bytes(run.rng, run.rng.choice((KEY, KEY.hex().encode(), b"")))
    key.write_bytes(data)
    with run.allowing("key", data, QuarkError):
        load_key(f"file:{key}")
    data = mutate_bytes(run.rng, bytes(64))
    with run.allowing("working-set", data):
        assert is_working_set(data, FRAMES) in {True, False}


def main() -> None:
    run = Run()
    with tempfile.TemporaryDirectory(prefix="quark-fuzz-", dir=MEMORY) as folder:
        place = Path(folder)
        stores = [Sound(place, None), Sound(place, KEY)]
        streams = [Streams(run, sound, place) for sound in stores]
        while run.goes_on():
            kind = run.rng.randrange(4)
            if kind < 2:
                run.rng.choice(streams).one()
            elif kind == 2:
                damaged_store(run, run.rng.choice(stores), place)
            else:
                small_parts(run, place)


if __name__ == "__main__":
    main()
