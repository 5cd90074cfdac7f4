"""What --help prints, from the table of commands."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from quark.cli import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quark.cli.table import Command, Option

WIDTH = 120
COLUMN = 26


def overview(group: str) -> str:
    """All commands, or those of a group."""
    lines = [f"usage: quark [OPTIONS] {group + ' ' if group else ''}COMMAND ...", "", "commands:"]
    for name, command in table.COMMANDS.items():
        first, _, second = name.partition(" ")
        if name in table.HIDDEN or (group and first != group):
            continue
        if group or not second:
            lines.append(f"  {second or first:<12} {command.summary}")
        elif not any(line.startswith(f"  {first} ") for line in lines):
            lines.append(f"  {first:<12} {table.GROUPS[first]}")
    prefix = f"quark {group} COMMAND" if group else "quark COMMAND"
    if not group:
        lines += ["", "options, before or after the command:", *_options(table.options_of(None))]
    return "\n".join([*lines, "", f"`{prefix} --help` tells more. Exit statuses: docs/exit-codes.md"])


def page(command: Command) -> str:
    """One command."""
    head = f"quark {command.name}"
    lines = [f"{'usage:' if not i else '      '} {head} {s}".rstrip() for i, s in enumerate(command.synopsis)]
    lines += ["", f"{command.summary[:1].upper()}{command.summary[1:]}."]
    own = {o.name for o in command.options}
    if own:
        lines += ["", "options:", *_options(command.options)]
    lines += ["", "options of all commands:", *_options([o for o in table.COMMON if o.name not in own])]
    if command.text:
        lines += ["", *(part for line in command.text.splitlines() for part in textwrap.wrap(line, WIDTH))]
    return "\n".join(lines)


def _options(options: Sequence[Option]) -> list[str]:
    lines = []
    for o in options:
        names = f"  {o.name}{', ' + o.short if o.short else ''}{' ' + o.value if o.value else ''}"
        text = textwrap.wrap(o.help, WIDTH - COLUMN)
        if len(names) < COLUMN - 1:
            lines.append(f"{names:<{COLUMN}}{text[0]}")
            text = text[1:]
        else:
            lines.append(names)
        lines += [" " * COLUMN + line for line in text]
    return lines
