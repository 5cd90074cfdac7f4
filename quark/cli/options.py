"""A small option parser over the table of commands: argparse alone costs 10 ms, a good part of a clone's whole start."""

from __future__ import annotations

from quark.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from quark.cli.table import Command, Option


class Parsed:
    """Options by name (flags are "1"), repeated ones as lists, and what is left: words before `--` and all after it."""

    def __init__(self) -> None:
        self.options: dict[str, list[str]] = {}
        self.words: list[str] = []
        self.rest: list[str] = []

    def flag(self, name: str) -> bool:
        """Whether the option was given."""
        return name in self.options

    def one(self, name: str, default: str = "") -> str:
        """The last value of an option."""
        return self.options.get(name, [default])[-1]

    def many(self, name: str) -> list[str]:
        """All values of an option."""
        return self.options.get(name, [])


def parse(args: list[str], options: list[Option], where: str, parsed: Parsed, *, program: bool) -> None:
    """Split `args` by `options` into `parsed`, which keeps what was understood if this raises.

    Args:
        args: command line.
        options: what may be there.
        where: the command, for the advice of an error.
        parsed: takes the result.
        program: the first word starts `rest`, as if `--` stood before it.

    Raises:
        UsageError: an unknown option, or a value that is missing.
    """
    known = {o.name: o for o in options} | {o.short: o for o in options if o.short}
    queue = list(args)
    while queue:
        word = queue.pop(0)
        if word == "--":
            parsed.rest = queue
            return
        if not word.startswith("-") or word == "-":
            if program:
                parsed.rest = [word, *queue]
                return
            parsed.words.append(word)
            continue
        name, has_value, value = word.partition("=")
        option = known.get(name)
        if option is None or (has_value and not option.value):
            raise UsageError(f"unknown option {word}; see {where} --help")
        if option.value and not has_value:
            if not queue:
                raise UsageError(f"{name} needs a value, {option.value}; see {where} --help")
            value = queue.pop(0)
        parsed.options.setdefault(option.name, []).append(value if option.value else "1")


def exactly(parsed: Parsed, command: Command) -> list[str]:
    """The words of a command that takes one for each of `command.words`.

    Raises:
        UsageError: too many or too few.
    """
    if len(parsed.words) != len(command.words) or parsed.rest:
        raise UsageError(f"give {command.synopsis[0]}: quark {command.name} {command.synopsis[0]}")
    return parsed.words


def some(parsed: Parsed, command: Command) -> list[str]:
    """The words of a command that takes one or more.

    Raises:
        UsageError: none.
    """
    if not parsed.words or parsed.rest:
        raise UsageError(f"give {command.synopsis[0]}: quark {command.name} {command.synopsis[0]}")
    return parsed.words


def none(parsed: Parsed, command: Command) -> None:
    """For a command that takes no words.

    Raises:
        UsageError: there is one.
    """
    if parsed.words or parsed.rest:
        word = (parsed.words + parsed.rest)[0]
        raise UsageError(f"{word!r} is too much; see quark {command.name} --help")
