"""Entry point of `quark`: finds the command in the table, turns errors into one line and an exit status."""

from __future__ import annotations

import os
import sys

from quark.cli import table
from quark.cli.context import Context
from quark.cli.options import Parsed, parse
from quark.errors import FileAccessError, QuarkError, UsageError


def near(word: str, names: list[str]) -> str:
    """A question for who may have meant one of `names`, or nothing."""
    import difflib

    found = difflib.get_close_matches(word[:80], names)
    return f"did you mean {' or '.join(found)}? " if found else ""


def run(args: list[str], context: Context) -> int:
    """Run `quark ARGS`; returns the exit status.

    Raises:
        QuarkError: what went wrong.
    """
    before = Parsed()
    try:
        parse(args, table.options_of(None), "quark", before, program=True)
    finally:
        context.take(before)
    if before.flag("--version"):
        import quark

        print(f"quark {quark.__version__}")
        return 0
    command, n = table.find(before.rest)
    asks_help = before.flag("--help")
    if command is None:
        group = before.rest[0] if before.rest else ""
        if asks_help or (group in table.GROUPS and before.rest[1:] in (["--help"], ["-h"])):
            from quark.cli.help import overview

            print(overview(group if group in table.GROUPS else ""))
            return 0
        if group in table.GROUPS:
            inside = [name.partition(" ")[2] for name in table.COMMANDS if name.startswith(group + " ")]
            given = before.rest[1] if before.rest[1:] else ""
            raise UsageError(f"{near(given, inside)}give one of {', '.join(inside)}; see quark {group} --help")
        if group:
            names = [name for name in table.COMMANDS if name not in table.HIDDEN]
            raise UsageError(f"unknown command {group[:80]!r}; {near(group, [*names, *table.GROUPS])}see quark --help")
        from quark.cli.help import overview

        print(overview(""), file=sys.stderr)
        return UsageError.exit_code
    parsed = Parsed()
    try:
        parse(before.rest[n:], table.options_of(command), f"quark {command.name}", parsed, program=command.program)
    finally:
        context.take(parsed)
    if asks_help or parsed.flag("--help"):
        from quark.cli.help import page

        print(page(command))
        return 0
    context.command = command
    context.check()
    module, _, function = command.module.partition(":")
    home = __import__(f"quark.cli.{module}", fromlist=[function])
    return int(getattr(home, function)(context, parsed))


def report(e: QuarkError, context: Context, args: list[str]) -> None:
    """One line, or one object."""
    options = args[: args.index("--")] if "--" in args else args
    # An option that is wrong may stand before --json.
    if context.json or (isinstance(e, UsageError) and "--json" in options):
        import json

        print(
            json.dumps({"class": type(e).__name__, "message": str(e), "exit_code": e.exit_code}),
            file=sys.stderr,
        )
    else:
        print(f"quark: {e}", file=sys.stderr)


def forget_output(fd: int = 1) -> None:
    """What is still in the buffer must not be tried again at the end of the process: that would be its status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), fd)


def flush() -> None:
    """Everything that was printed goes out.

    Raises:
        FileAccessError: standard output does not take it.
    """
    if sys.stdout is None:  # closed by the caller
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as e:
        forget_output()
        raise FileAccessError(f"standard output: {e.strerror}") from e


def main(argv: list[str] | None = None) -> int:
    """Run `quark ARGS`; returns the exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    context = Context()
    try:
        status = run(args, context)
        flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        forget_output()  # nobody reads
        return 141
    except QuarkError as e:
        try:
            report(e, context, args)
        except OSError:
            forget_output(2)  # it takes no line; the status says it
        try:
            flush()
        except (OSError, QuarkError):
            forget_output()  # the first error counts
        return e.exit_code
    return status


if __name__ == "__main__":
    sys.exit(main())
