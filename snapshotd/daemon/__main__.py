"""Entry point of `snapshotd`."""

from __future__ import annotations

import argparse
import logging
import os
import sys

import quark
from quark.errors import QuarkError


def main(argv: list[str] | None = None) -> int:
    """Read the configuration and serve; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="snapshotd", description="Serve the snapshot API of a state directory (docs/daemon.md)."
    )
    parser.add_argument("--config", metavar="FILE", help="TOML file; without one everything has its default")
    parser.add_argument("--root", metavar="DIR", help="state directory, instead of the configuration's")
    parser.add_argument("--check", action="store_true", help="check the configuration and end")
    parser.add_argument("--version", action="version", version=f"snapshotd {quark.__version__}")
    args = parser.parse_args(argv)
    from snapshotd.daemon import config

    try:
        loaded = config.load(args.config, **({"root": args.root} if args.root else {}))
        if args.check:
            print("the configuration is valid")
            return 0
        from snapshotd.daemon import server

        server.main(loaded)
    except QuarkError as e:
        print(f"snapshotd: {e}", file=sys.stderr)
        return e.exit_code
    except OSError as e:
        print(
            f"snapshotd: {e.filename or 'the daemon'}: {e.strerror}; check the path and its permissions",
            file=sys.stderr,
        )
        return QuarkError.exit_code
    # Python would wait for threads, and one of them may wait for files of the host that never answer.
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
