"""The one table of commands and options: the parser, --help and the shells' completion all read it.

Plain classes and literals: it is part of every start of a clone.
"""

from __future__ import annotations


class Option:
    """An option of a command. `value` is the placeholder of its value, empty for a flag; `kind` is what completes it (completion.py)."""

    __slots__ = ("help", "kind", "name", "short", "value")

    def __init__(self, name: str, value: str, text: str, *, kind: str = "", short: str = "") -> None:
        self.name = name
        self.value = value
        self.help = text
        self.kind = kind
        self.short = short


class Command:
    """A command.

    Attributes:
        name: its words.
        module: below quark.cli, with its function: `module:function`.
        summary: one line.
        synopsis: what follows the name, one usage line each.
        options: its own, beside COMMON.
        words: kinds of its words, for completion; the last one repeats.
        program: the first word that is no option starts a program's command line.
        text: further help.
    """

    __slots__ = ("module", "name", "options", "program", "summary", "synopsis", "text", "words")

    def __init__(
        self,
        name: str,
        module: str,
        summary: str,
        synopsis: tuple[str, ...] = ("",),
        options: tuple[Option, ...] = (),
        *,
        words: tuple[str, ...] = (),
        program: bool = False,
        text: str = "",
    ) -> None:
        self.name = name
        self.module = module
        self.summary = summary
        self.synopsis = synopsis
        self.options = options
        self.words = words
        self.program = program
        self.text = text


HELP = Option("--help", "", "print this help", short="-h")
COMMON = (
    Option("--root", "DIR", "state directory (default QUARK_ROOT, else /var/lib/quark or ~/.local/share/quark)", kind="dir"),
    Option("--daemon", "SOCKET", "socket of the daemon to use (default QUARK_DAEMON, else run/snapshotd.sock below the state directory, if a daemon answers there)", kind="file"),
    Option("--no-daemon", "", "do the work in this process, whether or not a daemon runs"),
    Option("--domain", "NAME", "sharing domain (default: default, or the first one that the daemon lets you use)"),
    Option("--key", "SOURCE", "key of an encrypted domain, file:PATH or command:COMMAND; only without a daemon, which has its own"),
    Option("--json", "", "results as JSON on standard output, an error as one JSON object on standard error"),
    HELP,
)  # fmt: skip
SANDBOX = (
    Option("--memory", "SIZE", "limit of guest memory, 64M to 32G (default 1G); taken as it is used"),
    Option("--disk", "SIZE", "limit of what files in guest memory hold, 1M to 32G (default half of --memory); then they get ENOSPC"),
    Option("--rootfs", "DIR", "root file system, read-only under an overlay in guest memory (default /)", kind="dir"),
    Option("--env", "K=V", "environment variable (repeatable); K alone copies it from here", kind="env", short="-e"),
    Option("--cwd", "DIR", "working directory (default /)"),
    Option("--volume", "HOST:GUEST[:ro]", "a host directory or file (repeatable), read-write unless :ro; of a clone SLOT=HOSTDIR[:ro], or HOST:GUEST for a volume of its snapshot", kind="file", short="-v"),
    Option("--ring", "MODE", "where the guest kernel runs: auto (default, probed at boot), ring0, ring3", kind="=auto ring0 ring3"),
)  # fmt: skip
CONFINEMENT = (
    Option("--volume-user", "USER[:GROUP]", "the host user whose are new files in read-write volumes, with whose rights rootfs and volumes are used then (default: who runs the command); for root to choose"),
    Option("--allow-set-id", "", "the guest may set the set-user-id and set-group-id bits of files in read-write volumes"),
    Option("--any-owner", "", "root's sandbox uses files of rootfs and volumes whoever owns them; else as any user without capabilities"),
    Option("--require-confinement", "", "an error when this host cannot confine the sandbox's process in every way (docs/threat-model.md)"),
    Option("--unconfined", "", "do not confine the sandbox's process; runs without the daemon"),
)  # fmt: skip
LIMITS = (
    Option("--cpus", "N", "processors of the host, 0.01 to 4096, that it may take (with --cpus 1.5 one and a half); by a control group, as the next two"),
    Option("--pids", "N", "processes and threads of the host that it may have, 16 or more (those in the sandbox are none of them)"),
    Option("--io", "SIZE", "bytes a second that it may read from each of its disks, and as many that it may write"),
)  # fmt: skip
DEBUG = Option(
    "--debug", "", "log system calls and the guest kernel's messages to standard error; runs without the daemon"
)

BENCH = (
    Option("--runs", "N", "of each kind, 2 to 1000 (default 20)"),
    Option("--json", "FILE", "write everything that was measured to FILE", kind="file"),
)
BENCH_STATUS = """Takes minutes; keep the machine idle.
exit status: 0 when it could be measured, whether or not every bar was reached"""
EXIT_STATUS = "exit status: the program's own; 128+N when signal N ended it; 126, 127 when it could not be started; others: docs/exit-codes.md"
NEEDS_DAEMON = "Needs the daemon (snapshotd)."

_COMMANDS = (
    Command(
        "run",
        "run:main",
        "run a program in a sandbox, cold or from a snapshot",
        (
            "[OPTIONS] [--] PROGRAM [ARGS...]",
            "--from-snapshot NAME [-e K=V] [-v SLOT=HOSTDIR] [--memory SIZE] [--timing] [--] [ARGS...]",
        ),
        (
            *SANDBOX,
            *LIMITS,
            Option("--from-snapshot", "NAME", "start a clone of a snapshot; ARGS, --env, --cwd and --payload reach it through /dev/quark", kind="snapshot"),
            Option("--host-paths", "", "a snapshot that was imported may have the rootfs and the volumes of this host that it names"),
            Option("--payload", "TEXT", "text for the clone's /dev/quark document"),
            Option("--timing", "", "print the restore timeline to standard error (with --json as one JSON object)"),
            Option("--timing-file", "FILE", "write the restore timeline to FILE, as JSON", kind="file"),
            Option("--prefetch", "MODE", "what of the image is mapped before the clone runs: working-set (default), none", kind="=working-set none"),
            Option("--detach", "", "leave it running in the daemon and print its id", short="-d"),
            Option("--tty", "", "with --detach: its standard streams are a terminal, for `quark attach`", short="-t"),
            *CONFINEMENT,
            DEBUG,
        ),
        program=True,
        text=EXIT_STATUS,
    ),
    Command("ps", "sandboxes:ps", "list sandboxes", ("[--all]",), (
        Option("--all", "", "those that have ended too", short="-a"),
        Option("--snapshot", "NAME", "only clones of this snapshot", kind="snapshot"),
        Option("--security", "", "what the process of each is confined by (docs/threat-model.md)"),
    ), text=NEEDS_DAEMON),
    Command("top", "top:main", "show live sandboxes with their memory", ("[--once]",), (
        Option("--once", "", "print one listing and end, as when standard output is no terminal"),
        Option("--interval", "SECONDS", "between two looks, 0.1 to 3600 (default 1)"),
    ), text=f"{NEEDS_DAEMON} Ctrl-C ends it."),
    Command("kill", "sandboxes:kill", "end sandboxes at once", ("ID...",), words=("sandbox",), text=NEEDS_DAEMON),
    Command("pause", "sandboxes:pause", "stop the processors of sandboxes", ("ID...",), words=("sandbox",), text=NEEDS_DAEMON),
    Command("resume", "sandboxes:resume", "let paused sandboxes go on", ("ID...",), words=("sandbox",), text=NEEDS_DAEMON),
    Command("attach", "attach:main", "connect to the standard streams of a sandbox", ("ID",), words=("sandbox",), text=f"""\
Output that the daemon kept comes first. On a terminal Ctrl-] detaches: the sandbox goes on, the exit status is 0. Signals go to the
sandbox, except SIGTERM and SIGHUP, which detach. {NEEDS_DAEMON}
exit status: the program's own, as of `quark run`"""),
    Command("capture", "sandboxes:capture", "store a running sandbox as a snapshot; it goes on", ("ID NAME [--flat] [--self-contained]",), (
        Option("--flat", "", "all pages, even of a clone (which otherwise is a layer on its snapshot)"),
        Option("--self-contained", "", "with the content of the files that it depends on"),
    ), words=("sandbox", ""), text=NEEDS_DAEMON),
    Command(
        "snapshot create",
        "snapshot:create",
        "run a program up to its capture point and store it",
        ("NAME TRIGGER [OPTIONS] -- PROGRAM [ARGS...]",),
        (
            Option("--ready-file", "", "trigger: the program writes `ready` to /dev/quark"),
            Option("--ready-log", "REGEX", "trigger: a line of its output matches"),
            Option("--ready-after", "SECONDS", "trigger: so long after its start"),
            Option("--timeout", "SECONDS", "give up, and store nothing, when it has not come so far by then"),
            *SANDBOX,
            *LIMITS,
            Option("--volume-slot", "NAME:GUEST[:ro][:optional]", "a directory that every clone fills with -v NAME=HOSTDIR (repeatable); empty until then"),
            Option("--self-contained", "", "with the content of the files that it depends on: it runs where these are gone or changed"),
            Option("--no-reseed", "", "do not preload the library that makes OpenSSL and others reseed in clones (docs/clones.md)"),
            *CONFINEMENT,
            DEBUG,
        ),
        words=("",),
        text="With --json the program's output comes first on standard output; the snapshot is the last line.",
    ),
    Command("snapshot list", "snapshot:list_", "list snapshots", ("[PREFIX] [--parent NAME]",), (
        Option("--parent", "NAME", "only layers on this snapshot", kind="snapshot"),
    ), words=("snapshot",)),
    Command("snapshot show", "snapshot:show", "print all that is known of a snapshot", ("NAME",), words=("snapshot",)),
    Command("snapshot rm", "snapshot:remove", "delete snapshots and collect what they leave", ("NAME... [--cascade]",), (
        Option("--cascade", "", "the layers on top of them too"),
    ), words=("snapshot",)),
    Command("snapshot flatten", "snapshot:flatten", "make snapshots independent of their parents", ("NAME...",), words=("snapshot",)),
    Command("snapshot check", "snapshot:check", "say which files a snapshot depends on, and whether this host has them", ("NAME",), words=("snapshot",), text="""\
Files of the root file system have to have the content that they had at the capture, at the same path; the snapshot may contain it (--self-contained).
exit status: 0 when clones can run here, 59 when not"""),
    Command("snapshot export", "snapshot:export", "write a snapshot with its chain to a file", ("NAME FILE|-",), words=("snapshot", "file"),
            text="FILE appears when it is complete. It has the content of the files that the snapshot depends on, too."),
    Command("snapshot import", "snapshot:import_", "read what export wrote", ("FILE|- [--name NAME] [--host-paths]",), (
        Option("--name", "NAME", "for the snapshot, instead of the one in the file"),
        Option("--host-paths", "", "its clones may have the rootfs and the volumes of this host that it names; else whoever runs one gives them"),
    ), words=("file",)),
    Command("snapshot warm", "snapshot:warm", "bring images into memory and keep them there", ("[--clones N] NAME...",), (
        Option("--clones", "N", "of each, keep N clones prepared, too, until `snapshot cool` (needs a daemon)"),
    ), words=("snapshot",), text="Without a daemon they stay until a minute has passed in which no clone ran."),
    Command("snapshot cool", "snapshot:cool", "let go of images in memory", ("NAME...",), words=("snapshot",)),
    Command("store gc", "store:gc", "give the space of deleted snapshots back"),
    Command("store fsck", "store:fsck", "read and verify the whole domain", text="exit status: 0 when all is well or only space is to be had back (`quark store gc`), 42 when there is damage"),
    Command("store stats", "store:stats", "numbers of the domain's store, its images in memory, and the daemon"),
    Command("doctor", "doctor:main", "say what this host can do, and what to do about what it cannot",
            text="exit status: 0 when everything that is needed is there, 1 when not"),
    Command("bench startup", "bench:run", "measure start-up latency and memory on this host", ("[--runs N] [--json FILE]",), BENCH, text=f"""\
Starts the demo application (quark/bench/app.py; it needs numpy) plainly, cold in a sandbox, and as clones of a snapshot, and prints the
medians and the bars. {BENCH_STATUS}"""),
    Command("bench snapshots", "bench:run", "measure captures, the daemon and the store on this host", ("[--runs N] [--json FILE]",), BENCH, text=f"""\
Captures the demo application, calls clones of it through a daemon, fills a store, and prints the medians and the bars. {BENCH_STATUS}"""),
    Command("bench native", "bench:run", "measure ordinary work in a sandbox against the same on this host", ("[--runs N] [--json FILE]",), BENCH, text=f"""\
Processes, memory, files of the root and of a volume, a gigabyte through the standard streams: natively and in a sandbox in turn, at most five
times each. Needs cc and git. {BENCH_STATUS}"""),
    Command("bench regress", "regress:main", "find out whether start-up has become slower", ("[NAME] --against FILE|SNAPSHOT|REVISION [--json FILE] [-- ARGS...]", "[NAME] --record FILE [-- ARGS...]"), (
        Option("--against", "WHAT", "a history file, a snapshot beside NAME, or a revision of quark (in a checkout; it is built)", kind="file"),
        Option("--record", "FILE", "append the ratios of this run to a history file", kind="file"),
        Option("--json", "FILE", "write everything that was measured to FILE", kind="file"),
    ), words=("snapshot",), text="""\
Measures in turn with what it is compared with, until 99 % intervals tell. NAME is a snapshot, whose clones get ARGS; without it the demo
application is measured (it needs numpy). Against a snapshot or a revision every step of the restore timeline has a verdict; a history has
ratios to baselines of the same run: fork of the warmed process, plain start, an empty sandbox.
exit status: 0 nothing is slower, 86 something is, 87 cannot tell"""),
    Command("completion", "completion:script", "print the script that makes a shell complete `quark`", ("bash|zsh|fish",), words=("=bash zsh fish",), text="""\
bash: eval "$(quark completion bash)" in ~/.bashrc       fish: quark completion fish >~/.config/fish/completions/quark.fish
zsh:  eval "$(quark completion zsh)" in ~/.zshrc, after compinit"""),
    Command("complete", "completion:complete", "", ("WORD...",), program=True),
)  # fmt: skip
COMMANDS = {command.name: command for command in _COMMANDS}
GROUPS = {
    "snapshot": "create, list, show, remove, move and warm snapshots",
    "store": "collect, check and count what snapshots take",
    "bench": "measure this host",
}
HIDDEN = {"complete"}  # what the completion scripts call


ALIASES = {"ls": "list"}  # the last word of a command


def find(words: list[str]) -> tuple[Command | None, int]:
    """The command that `words` begin with, and how many of them name it."""
    for n in (1, 2):
        names = [*words[: n - 1], ALIASES.get(words[n - 1], words[n - 1])] if len(words) >= n else []
        command = COMMANDS.get(" ".join(names))
        if command is not None:
            return command, n
    return None, 0


def options_of(command: Command | None) -> list[Option]:
    """All options that a command takes, or, for None, those that may stand before one. Its own hide common ones of the same name."""
    own = list(command.options) if command else [Option("--version", "", "print the version")]
    names = {o.name for o in own}
    return own + [o for o in COMMON if o.name not in names]
