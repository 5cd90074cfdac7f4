"""`quark completion`: the scripts for bash, zsh and fish. They ask `quark complete` for what fits, which reads the table of commands."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from quark.cli import table
from quark.cli.options import exactly
from quark.errors import QuarkError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quark.cli.context import Context
    from quark.cli.options import Parsed
    from quark.cli.table import Command, Option

FILES, DIRECTORIES = ":file", ":dir"  # answers that leave it to the shell

BASH = """\
# Completion of quark for bash: eval "$(quark completion bash)"
_quark() {
    local cur=${COMP_WORDS[COMP_CWORD]} line
    COMPREPLY=()
    while IFS=$'\\t' read -r line _; do
        case $line in
            :file) compopt -o filenames; mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$cur") ;;
            :dir) compopt -o filenames; mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -d -- "$cur") ;;
            *) COMPREPLY+=("$line") ;;
        esac
    done < <("${COMP_WORDS[0]}" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _quark quark
"""
ZSH = """\
# Completion of quark for zsh: eval "$(quark completion zsh)"
_quark() {
    local line
    local -a found
    for line in "${(@f)$("${words[1]}" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        case $line in
            :file) _files ;;
            :dir) _files -/ ;;
            ?*) found+=("${line/$'\\t'/:}") ;;
        esac
    done
    (( $#found )) && _describe quark found
}
compdef _quark quark
"""
FISH = """\
# Completion of quark for fish: quark completion fish >~/.config/fish/completions/quark.fish
function __quark_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in ($words[1] complete -- $words[2..-1] 2>/dev/null)
        switch $line
            case :file
                __fish_complete_path (commandline -ct)
            case :dir
                __fish_complete_directories (commandline -ct)
            case '*'
                echo $line
        end
    end
end
complete -c quark -f -a '(__quark_complete)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def script(context: Context, parsed: Parsed) -> int:
    """Print the script for a shell."""
    (shell,) = exactly(parsed, context.command)
    if shell not in SCRIPTS:
        raise UsageError(f"shell {shell!r} is not one of {', '.join(SCRIPTS)}")
    print(SCRIPTS[shell], end="")
    return 0


def complete(context: Context, parsed: Parsed) -> int:
    """Print what fits the last of the words that follow `quark`, one a line, after a tab what it means."""
    words = parsed.rest or [""]
    with contextlib.suppress(QuarkError):  # there is nobody to tell
        for value, text in candidates(context, words[:-1], words[-1]):
            print(f"{value}\t{text}" if text else value)
    return 0


def candidates(context: Context, before: list[str], current: str) -> list[tuple[str, str]]:
    """(value, meaning) of what can stand at `current` after the words `before`."""
    command, options, words, waiting = _read(context, before)
    if waiting is not None:
        return _of_kind(context, waiting.kind, current)
    if command is not None and command.program and words:
        return [(FILES, "")]  # the program's own command line
    if current.startswith("-"):
        names = [(o.name, o.help) for o in options]
        return [(name, text) for name, text in names if name.startswith(current)]
    if command is None:
        return _commands(words, current)
    if command.program:
        return [(FILES, "")]
    kinds = command.words
    kind = kinds[min(len(words), len(kinds) - 1)] if kinds else ""
    return _of_kind(context, kind, current)


def _read(context: Context, before: Sequence[str]) -> tuple[Command | None, list[Option], list[str], Option | None]:
    """What the words say: the command, the options that may follow, its words, and the option that waits for its value."""
    command: Command | None = None
    options = table.options_of(None)
    words: list[str] = []
    waiting: Option | None = None
    for i, word in enumerate(before):
        if waiting is not None:
            _remember(context, waiting.name, word)
            waiting = None
        elif word == "--" or (command is not None and command.program and words):
            return command, options, [*words, *before[i:]], None
        elif word.startswith("-") and word != "-":
            name, has_value, value = word.partition("=")
            option = next((o for o in options if name in (o.name, o.short)), None)
            if option is not None and option.value and not has_value:
                waiting = option
            elif option is not None:
                _remember(context, option.name, value or "1")
        else:
            words.append(word)
            if command is None:
                command, used = table.find(words)
                if command is not None:
                    words, options = words[used:], table.options_of(command)
    return command, options, words, waiting


def _remember(context: Context, name: str, value: str) -> None:
    """Options that say where names are to be looked up."""
    if name == "--root":
        context.root_option = value
    elif name == "--daemon":
        context.daemon = value
    elif name == "--no-daemon":
        context.embedded = True
    elif name == "--domain":
        context.domain = value
    elif name == "--key":
        context.key = value


def _commands(words: list[str], current: str) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for name, command in table.COMMANDS.items():
        first, _, second = name.partition(" ")
        if name in table.HIDDEN:
            continue
        if words and words == [first] and second:
            found[second] = command.summary
        elif not words:
            found[first] = table.GROUPS[first] if second else command.summary
    return [(name, text) for name, text in found.items() if name.startswith(current)]


def _of_kind(context: Context, kind: str, current: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if kind.startswith("="):
        found = [(word, "") for word in kind[1:].split()]
    elif kind == "file":
        return [(FILES, "")]
    elif kind == "dir":
        return [(DIRECTORIES, "")]
    elif kind == "env":
        found = [(name, "") for name in sorted(os.environ)]
    elif kind == "snapshot":
        with context.backend() as backend:
            found = [(s["name"], f"layer on {s['parent']}" if s["parent"] else "") for s in backend.snapshots(current)]
    elif kind == "sandbox":
        with context.need_client() as client:
            found = [(s.id, s.snapshot or " ".join(s.argv)[:40]) for s in client.list_sandboxes()]
    return [(value, text) for value, text in found if value.startswith(current)]
