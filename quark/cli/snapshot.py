"""`quark snapshot`: create, list, show, rm, flatten, check, export, import, warm, cool."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, BinaryIO, cast

from quark.cli.options import exactly, some
from quark.cli.output import local_time, megabytes, print_fields, print_json, print_table
from quark.cli.progress import Counted, Progress, each
from quark.cli.sandbox_options import build_limits, build_spec, confinement_of
from quark.errors import FileAccessError, QuarkError, SnapshotFilesError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quark.cli.backend import Fields
    from quark.cli.context import Context
    from quark.cli.options import Parsed

STREAM = "-"  # instead of a file


def create(context: Context, parsed: Parsed) -> int:
    """Run the program to its capture point and store it."""
    if len(parsed.words) != 1:
        raise UsageError("give one NAME before the options: quark snapshot create NAME --ready-file -- PROGRAM")
    name = parsed.words[0]
    chosen = [o for o in ("--ready-file", "--ready-log", "--ready-after") if parsed.flag(o)]
    if len(chosen) != 1:
        raise UsageError("give one trigger: --ready-file, --ready-log REGEX or --ready-after SECONDS")
    from quark.cli.create import create_snapshot, parse_timeout

    value = "" if chosen[0] == "--ready-file" else parsed.one(chosen[0])
    spec = build_spec(parsed)
    spec.reseed = not parsed.flag("--no-reseed")
    timeout, debug = parse_timeout(parsed.one("--timeout")), parsed.flag("--debug")
    status = create_snapshot(
        context,
        name,
        spec,
        build_limits(parsed),
        chosen[0],
        value,
        self_contained=parsed.flag("--self-contained"),
        timeout=timeout,
        confine=confinement_of(parsed),
        debug=debug,
    )
    if status:
        return status
    with context.backend() as backend:
        report(context, backend.show(name))
    return 0


def report(context: Context, snapshot: Fields) -> None:
    """What has just been stored."""
    if context.json:
        print_json(snapshot)
        return
    print(
        f"snapshot {snapshot['name']}: {megabytes(snapshot['bytes_stored'])} stored for {megabytes(snapshot['memory_used_bytes'])} of guest "
        f"memory in use ({snapshot['pages_total']} pages, {snapshot['pages_new']} new to the store), paused {snapshot['pause_us'] / 1e3:.1f} ms",
        file=sys.stderr,
    )


def list_(context: Context, parsed: Parsed) -> int:
    """Print a line a snapshot."""
    if len(parsed.words) > 1 or parsed.rest:
        raise UsageError("give at most one PREFIX: quark snapshot list [PREFIX]")
    prefix, parent = parsed.words[0] if parsed.words else "", parsed.one("--parent")
    with context.backend() as backend:
        found = list(backend.snapshots(prefix, parent))
    if context.json:
        print_json(found)
        return 0
    if not found:
        what = "no snapshot matches" if prefix or parent else "no snapshots"
        print(f"{what}; make one with: quark snapshot create NAME --ready-file -- PROGRAM", file=sys.stderr)
        return 0
    rows = [
        (
            i["name"],
            str(i["pages_total"]),
            megabytes(i["bytes_stored"]),
            local_time(i["created_ns"]),
            i["parent"] or "-",
        )
        for i in found
    ]
    print_table(("NAME", "PAGES", "STORED", "CREATED", "PARENT"), rows, "PAGES STORED")
    return 0


def show(context: Context, parsed: Parsed) -> int:
    """Print all that is known of one snapshot."""
    (name,) = exactly(parsed, context.command)
    with context.backend() as backend:
        data = backend.show(name)
    if context.json:
        print_json(data)
    else:
        print_fields(data)
    return 0


def remove(context: Context, parsed: Parsed) -> int:
    """Delete snapshots; their pages go with the next collection, which follows at once."""
    from snapshotd.store.errors import StoreBusyError

    names = some(parsed, context.command)
    with context.backend() as backend:
        for name in names:
            backend.delete(name, cascade=parsed.flag("--cascade"))
        # While captures are under way nothing can be collected: the next collection does it.
        with contextlib.suppress(StoreBusyError), Progress("collecting", quiet=context.json):
            backend.gc()
    if context.json:
        print_json({"deleted": names})
    return 0


def flatten(context: Context, parsed: Parsed) -> int:
    """Make snapshots independent of their parents."""
    names = some(parsed, context.command)
    with context.backend() as backend:
        flat = [backend.flatten(name) for name, _ in each(names, "flattening", quiet=context.json)]
    if context.json:
        print_json(flat)
    return 0


def check(context: Context, parsed: Parsed) -> int:
    """Say which files a snapshot depends on, and whether this host has them."""
    (name,) = exactly(parsed, context.command)
    with context.backend() as backend:
        files = backend.check(name)
    satisfied = all(f["satisfied"] for f in files)
    if context.json:
        print_json({"name": name, "satisfied": satisfied, "files": files})
    else:
        rows = [
            (
                f["state"],
                megabytes(f["size"]),
                "volume" if f["volume"] else "yes" if f["contained"] else "no",
                f["path"],
            )
            for f in files
        ]
        print_table(("STATE", "SIZE", "CONTAINED", "FILE"), rows, "SIZE")
    return 0 if satisfied else SnapshotFilesError.exit_code


def export(context: Context, parsed: Parsed) -> int:
    """Write a snapshot with its chain to a file or to standard output."""
    name, path = exactly(parsed, context.command)
    if path == STREAM and sys.stdout.isatty():
        raise UsageError("standard output is a terminal; give a FILE, or send it on to another program")
    if path == STREAM and context.json:
        raise UsageError("standard output cannot be both the export and --json; give a FILE")
    with (
        context.backend() as backend,
        _target(path) as file,
        Progress(f"exporting {name}", quiet=context.json) as progress,
    ):
        counted = Counted(path, file, progress)
        backend.export(name, cast("BinaryIO", counted))
    if context.json:
        print_json({"name": name, "file": path, "bytes": counted.count})
    return 0


@contextlib.contextmanager
def _target(path: str) -> Iterator[BinaryIO]:
    """A file that gets its name when it is complete, and is not there at all otherwise; or standard output."""
    try:
        if path == STREAM:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        elif os.path.exists(path) and not os.path.isfile(path):  # a device or a pipe: nothing to rename
            with _open(path, "wb", buffering=0) as file:
                yield file
        else:
            partial = f"{path}.partial-{os.getpid()}"
            file = _open(partial, "xb")
            try:
                with file:
                    yield file
                os.replace(partial, path)
            except BaseException:
                os.unlink(partial)
                raise
    except BrokenPipeError:
        raise
    except QuarkError as e:
        if isinstance(e.__cause__, BrokenPipeError):  # of the store's writer; for this command: nobody reads
            raise e.__cause__ from e
        raise
    except OSError as e:
        raise FileAccessError(f"{path}: {e.strerror}; the export is not complete") from e


def _open(path: str, mode: str, buffering: int = -1) -> BinaryIO:
    try:
        return cast("BinaryIO", open(path, mode, buffering))
    except OSError as e:
        advice = "give a file in a directory that can be written" if "r" not in mode else "give what export wrote"
        raise FileAccessError(f"{path}: {e.strerror}; {advice}") from e


def import_(context: Context, parsed: Parsed) -> int:
    """Read what export wrote, from a file or from standard input."""
    (path,) = exactly(parsed, context.command)
    name = parsed.one("--name") or None
    with contextlib.ExitStack() as stack:
        file = sys.stdin.buffer if path == STREAM else stack.enter_context(_open(path, "rb"))
        size = os.fstat(file.fileno()).st_size
        backend = stack.enter_context(context.backend())
        progress = stack.enter_context(Progress(f"importing {path}", quiet=context.json))
        snapshot = backend.import_(
            cast("BinaryIO", Counted(path, file, progress, size)), name, host_paths=parsed.flag("--host-paths")
        )
    if context.json:
        print_json(snapshot)
    else:
        print(f"snapshot {snapshot['name']}: {megabytes(snapshot['bytes_stored'])} stored", file=sys.stderr)
    return 0


def warm(context: Context, parsed: Parsed) -> int:
    """Bring images into memory and keep them there."""
    names = some(parsed, context.command)
    sizes = {}
    text = parsed.one("--clones", "0")
    if not text.isdecimal() or int(text) >= 1 << 32:
        raise UsageError(f"--clones {text!r} is not a number")
    with context.backend() as backend:
        for name, progress in each(names, "warming", quiet=context.json):
            sizes[name] = backend.warm(name, progress.step, int(text))
    if context.json:
        print_json([{"name": name, "image_bytes": size} for name, size in sizes.items()])
    else:
        for name, size in sizes.items():
            print(f"snapshot {name}: {megabytes(size)} in memory", file=sys.stderr)
    return 0


def cool(context: Context, parsed: Parsed) -> int:
    """Let go of images in memory."""
    names = some(parsed, context.command)
    with context.backend() as backend:
        for name in names:
            backend.cool(name)
    if context.json:
        print_json([{"name": name, "image_bytes": 0} for name in names])
    return 0
