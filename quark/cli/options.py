"""A small option parser: argparse alone costs 10 ms, a good part of a clone's whole start."""

from __future__ import annotations

from quark.errors import UsageError


class Parsed:
    """Options by name (flags are "1"), repeated ones as lists, and what is left: words before `--` and all after it."""

    def __init__(self) -> None:
        self.options: dict[str, list[str]] = {}
        self.words: list[str] = []
        self.rest: list[str] = []

    def flag(self, name: str) -> bool:
        """Whether the flag was given."""
        return name in self.options

    def one(self, name: str, default: str = "") -> str:
        """The last value of an option."""
        return self.options.get(name, [default])[-1]

    def many(self, name: str) -> list[str]:
        """All values of an option."""
        return self.options.get(name, [])


def parse(args: list[str], flags: set[str], values: set[str], *, command: str, stop_at_word: bool = False) -> Parsed:
    """Split `args` by the options a command knows. `-v` stands for `--volume`, `-h` for `--help`.

    With `stop_at_word` the first word that is no option starts `rest`, as if `--` stood before it.

    Raises:
        UsageError: an unknown option, or a value that is missing.
    """
    parsed = Parsed()
    short = {"-v": "--volume", "-h": "--help", "-e": "--env"}
    queue = list(args)
    while queue:
        word = queue.pop(0)
        if word == "--":
            parsed.rest = queue
            break
        if not word.startswith("-") or word == "-":
            if stop_at_word:
                parsed.rest = [word, *queue]
                break
            parsed.words.append(word)
            continue
        name, has_value, value = short.get(word, word).partition("=")
        if name in flags and not has_value:
            parsed.options.setdefault(name, []).append("1")
        elif name in values:
            if not has_value:
                if not queue:
                    raise UsageError(f"{name} needs a value; see quark {command} --help")
                value = queue.pop(0)
            parsed.options.setdefault(name, []).append(value)
        else:
            raise UsageError(f"unknown option {word}; see quark {command} --help")
    return parsed
