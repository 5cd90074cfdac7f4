"""`quark snapshot`: create, list, show, rm."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from quark.cli.options import Parsed, parse
from quark.cli.sandbox_options import HELP, VALUES, build_spec
from quark.errors import UsageError
from quark.paths import state_root

USAGE = f"""\
usage: quark snapshot create NAME TRIGGER [OPTIONS] -- PROGRAM [ARGS...]
       quark snapshot list [--json]
       quark snapshot show NAME [--json]
       quark snapshot rm NAME...

triggers of create, one of:
  --ready-file          the program writes `ready` to /dev/quark
  --ready-log REGEX     a line of its output matches
  --ready-after SECONDS so long after its start

{HELP}"""


def main(args: list[str], root: str | None) -> int:
    """Run the subcommand; returns the exit status."""
    commands = {"create": create, "list": list_, "show": show, "rm": remove}
    if args and args[0] in {"-h", "--help"}:
        print(USAGE)
        return 0
    if not args or args[0] not in commands:
        raise UsageError("give one of create, list, show, rm; see quark snapshot --help")
    flags = {"--help", "--json"}
    values: set[str] = set()
    if args[0] == "create":
        flags |= {"--ready-file", "--debug"}
        values = VALUES | {"--ready-log", "--ready-after"}
    parsed = parse(args[1:], flags, values, command="snapshot")
    if parsed.flag("--help"):
        print(USAGE)
        return 0
    return commands[args[0]](parsed, Path(state_root(root)))


def create(parsed: Parsed, root: Path) -> int:
    """Run the program to its capture point and store it."""
    from snapshotd.create import Trigger, create_snapshot

    if len(parsed.words) != 1:
        raise UsageError("give one NAME before the options: quark snapshot create NAME --ready-file -- PROGRAM")
    chosen = [o for o in ("--ready-file", "--ready-log", "--ready-after") if parsed.flag(o)]
    if len(chosen) != 1:
        raise UsageError("give one trigger: --ready-file, --ready-log REGEX or --ready-after SECONDS")
    trigger = Trigger.parse(chosen[0], parsed.one(chosen[0]))
    info, meta = create_snapshot(parsed.words[0], build_spec(parsed), trigger, root, debug=parsed.flag("--debug"))
    print(
        f"snapshot {info.name}: {meta.stats['data_pages']} pages stored in {info.bytes_stored / 1e6:.1f} MB "
        f"({meta.stats['zero_pages']} zero and {meta.stats['free_pages']} free pages left out), paused {meta.stats['pause_us'] / 1e3:.1f} ms",
        file=sys.stderr,
    )
    return 0


def list_(parsed: Parsed, root: Path) -> int:
    """Print a line a snapshot."""
    from snapshotd.store import Store

    infos = []
    if root.is_dir():
        with Store.open(root, create=False) as store:
            infos = list(store.list())
    if parsed.flag("--json"):
        print(json.dumps([i.to_dict() for i in infos]))
        return 0
    if not infos:
        print("no snapshots; make one with: quark snapshot create NAME --ready-file -- PROGRAM", file=sys.stderr)
        return 0
    print(f"{'NAME':<24} {'PAGES':>8} {'STORED':>10} {'PARENT':<16}")
    for i in infos:
        print(f"{i.name:<24} {i.pages_total:>8} {i.bytes_stored / 1e6:>7.1f} MB {i.parent or '-':<16}")
    return 0


def show(parsed: Parsed, root: Path) -> int:
    """Print all that is known of one snapshot."""
    from snapshotd.metadata import Metadata
    from snapshotd.store import Store
    from snapshotd.store.errors import SnapshotUnknownError

    if len(parsed.words) != 1:
        raise UsageError("give one NAME: quark snapshot show NAME")
    if not root.is_dir():
        raise SnapshotUnknownError(
            f"snapshot {parsed.words[0]!r} does not exist in {root}; `quark snapshot list` shows what does"
        )
    with Store.open(root, create=False) as store:
        info = store.get(parsed.words[0])
        meta = Metadata.load(info.meta)
        data = {
            **info.to_dict(),
            "kernel": meta.kernel,
            "ring": f"ring{0 if meta.ring == 1 else 3}",
            "argv": meta.spec["argv"],
            "rootfs": meta.spec["rootfs"],
            "ram_bytes": meta.ram_bytes,
            "stats": meta.stats,
            "trigger": meta.trigger,
            "working_set": store.working_set(info.name) is not None,
        }
    if parsed.flag("--json"):
        print(json.dumps(data))
    else:
        for key, value in data.items():
            print(f"{key:<14} {value}")
    return 0


def remove(parsed: Parsed, root: Path) -> int:
    """Delete snapshots; their pages go with the next collection, which follows at once."""
    from snapshotd.store import Store
    from snapshotd.store.errors import SnapshotUnknownError

    if not parsed.words:
        raise UsageError("give the NAME of a snapshot: quark snapshot rm NAME")
    if not root.is_dir():
        raise SnapshotUnknownError(
            f"snapshot {parsed.words[0]!r} does not exist in {root}; `quark snapshot list` shows what does"
        )
    with Store.open(root, create=False) as store:
        for name in parsed.words:
            store.delete(name)
        store.gc()
    return 0
