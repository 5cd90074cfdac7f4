"""Entry point of `quark`: finds the subcommand, turns errors into one line and an exit status."""

from __future__ import annotations

import sys

COMMANDS = {
    "run": "run a program in a sandbox, cold or from a snapshot",
    "snapshot": "create, list, show and remove snapshots",
    "doctor": "say what this host can do, and what to do about what it cannot",
    "bench": "measure start-up latency and memory on this host",
}


def usage() -> str:
    """The overview that `quark --help` prints."""
    lines = ["usage: quark [--root DIR] COMMAND ...", "", "commands:"]
    lines += [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
    lines += ["", "`quark COMMAND --help` tells more. `quark --version` prints the version."]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run `quark ARGS`; returns the exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    root = None
    try:
        while args and args[0].startswith("-"):
            option = args.pop(0)
            if option in {"-h", "--help"}:
                print(usage())
                return 0
            if option == "--version":
                import quark

                print(f"quark {quark.__version__}")
                return 0
            if option.startswith("--root"):
                root = option.partition("=")[2] or (args.pop(0) if args else "")
                if root and option.partition("=")[0] == "--root":
                    continue
            print(f"quark: unknown option {option}; see quark --help", file=sys.stderr)
            return 2
        name = args.pop(0) if args else ""
        if name not in COMMANDS:
            print(f"quark: unknown command {name!r}\n{usage()}" if name else usage(), file=sys.stderr)
            return 2
        command = __import__(f"quark.cli.{name}", fromlist=["main"])
        return int(command.main(args, root))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141
    except Exception as e:
        from quark.errors import QuarkError

        if not isinstance(e, QuarkError):
            raise
        print(f"quark: {e}", file=sys.stderr)
        return e.exit_code


if __name__ == "__main__":
    sys.exit(main())
