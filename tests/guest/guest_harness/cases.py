"""The table of guest tests: which program, how it is linked and called, and what is compared."""

from __future__ import annotations

import dataclasses
from typing import Any

BOTH = ("static", "dynamic")
EVERY = ("static", "dynamic", "static-pie", "no-pie")

# A survivor ends on its own or by a signal that it brought on itself; every other status is the sandbox's own failure.
SURVIVED = frozenset({0, *range(129, 193)})


@dataclasses.dataclass(frozen=True)
class Case:
    """One program, run natively and in the sandbox in like scratch directories.

    name: the test's id. source: below tests/guest. link: how a C program is linked, empty for a script.
    memory: the sandbox's --memory. tree: the scratch directory begins with the folder `lower` of scratch.py.
    status: the exit status, 128 + N for signal N. numpy: the interpreter must have it.
    survives: run in the sandbox alone; it must end with one of these statuses, and its output is not compared.
    stderr: standard error is compared too. timeout: seconds, of a run that takes under one natively.
    """

    name: str
    source: str
    link: str = ""
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    stdin: bytes | None = None
    memory: str = ""
    tree: bool = False
    status: int = 0
    numpy: bool = False
    survives: frozenset[int] = frozenset()
    stderr: bool = True
    timeout: float = 60


def program(name: str, *args: str, links: tuple[str, ...] = BOTH, folder: str = "c", **options: Any) -> list[Case]:
    """The cases of one C program, one for each way to link it."""
    base = "-".join((name, *args)).replace("/", "_")
    return [Case(f"{base}-{link}", f"{folder}/{name}.c", link, args, **options) for link in links]


def script(name: str, *args: str, folder: str = "python", **options: Any) -> list[Case]:
    """The case of one Python or shell script."""
    return [Case("-".join((name, *args)), f"{folder}/{name}", "", args, **options)]


STATIC = ("static",)
ENDINGS = {
    "0": 0, "5": 5, "255": 255, "_exit": 7, "exit_group": 0x34, "thread": 9, "main_thread_exit": 0, "return_with_threads": 5,
    "abort": 134, "segv": 139, "fpe": 136, "ill": 132, "trap": 133, "privileged": 139, "hlt": 139, "noncanonical": 139,
    "kill": 137, "term": 143, "pipe": 141, "alarm": 142, "spin": 142,
}  # fmt: skip
LINES = b"".join(b"line %d of standard input\n" % n for n in range(5000)) + b"no newline at the end"

LOADING = [
    *program("load_nolibc", "one", "two", links=("bare",), status=42),
    *program("load_hello", links=EVERY, status=3),
    *program(
        "load_args",
        "a",
        "b c",
        "",
        "d" * 3000,
        links=EVERY,
        env=(("TEST_A", "1"), ("TEST_B", "two words=x"), ("TEST_EMPTY", "")),
    ),
    *program("load_bss"),
    *program("load_stdin", stdin=LINES),
    *(case for how, status in ENDINGS.items() for case in program("load_exit", how, links=STATIC, status=status)),
    *program("load_exit", "main_thread_exit", links=("dynamic",)),
    *program("load_exit", "segv", links=("dynamic",), status=139),
]
MEMORY = [
    *(
        case
        for name in (
            "map",
            "protect",
            "remap",
            "brk",
            "advise",
            "file",
            "sparse",
            "stack",
            "fork",
            "seals",
            "mtime",
            "peak",
        )
        for case in program(f"mem_{name}")
    ),
    *program("mem_stack_dies", status=139),
    *program("mem_touch", "300", links=STATIC, memory="512M"),
    *program("mem_random", "1", "4000"),
    *program("mem_random", "2", "4000", links=STATIC),
    # More than the sandbox has: the program ends by SIGKILL or is refused the memory; the sandbox says nothing worse.
    *program("mem_touch", "301", links=STATIC, memory="128M", survives=frozenset({121, 137})),
]
THREADS = [
    *(case for name in ("basic", "sync", "tls", "robust", "preempt", "clone") for case in program(f"thread_{name}")),
    *program("futex_wait"),
    *program("futex_requeue"),
]
SIGNAL_PARTS = (
    "basic",
    "info",
    "restart",
    "stack",
    "wait",
    "thread",
    "timer",
    "fault",
    "jump",
    "fpstate",
    "wild",
    "limit",
    "unmapped",
)
SIGNALS = [case for name in SIGNAL_PARTS for case in program(f"sig_{name}")]
FILE_PARTS = (
    "open",
    "rw",
    "names",
    "dirs",
    "stat",
    "truncate",
    "at",
    "dup",
    "copy",
    "lock",
    "system",
    "stdio",
    "xattr",
    "semantics",
    "groups",
)
FILES = [
    *(case for name in FILE_PARTS for case in program(f"file_{name}")),
    *program("file_random", "1", "4000"),
    *program("file_random", "2", "4000", links=STATIC),
    *program("proc_self", "an argument", env=(("TEST_PROC", "yes"),)),
    *program("proc_memory"),
    *program("dev_nodes"),
    *program("overlay_write", tree=True),
    *program("overlay_names", tree=True),
]
EVENTS = [
    case
    for name in (
        *("pipe_basic", "pipe_atomic", "pipe_pingpong"),
        *("event_epoll", "event_epoll_many", "event_poll", "event_fds"),
        *("unix_stream", "unix_dgram", "unix_rights"),
        *("inotify_events", "sysv_shm", "sysv_sem", "sysv_msg"),
        *("deep_things", "nest_epoll", "nest_sockets", "pipe_packets"),
    )
    for case in program(name)
]
SYSTEM = [
    *(
        case
        for name in ("time_clocks", "time_sleep", "sys_misc", "sys_limits", "sys_sched", "cpu_kernels")
        for case in program(name)
    ),
    *(case for name in ("bad_pointers", "bad_kernel_range", "bad_arguments") for case in program(name, links=STATIC)),
    *program("fuzz", "1", "5000", "plan", links=STATIC),
    *(
        case
        for seed in range(1, 9)
        for case in program("fuzz", str(seed), "1500", "run", links=STATIC, survives=SURVIVED, timeout=120)
    ),
]
PROCESSES = [
    *program("proc_orphan"),
    *program("sched_share", links=STATIC),
    *program("time_cpu"),
    *program("file_deadlock"),
    *program("proc_pidfd"),
    *program("proc_guard"),
    *program("thread_many", memory="1G"),
    *program("proc_full", links=STATIC, survives=frozenset({0}), timeout=120),
]
PYTHON = [
    *(
        case
        for name in (
            "text_data",
            "compress_hash",
            "ssl_context",
            "sqlite_files",
            "asyncio_loop",
            "threads_queue",
            "sockets_passed",
            "own_name",
            "files_walk",
        )
        for case in script(f"{name}.py")
    ),
    *script("signals_time.py", status=139),
    *script("low_level.py", "x", "y z", status=17, env=(("TEST_PYTHON", "ünïcödé"),)),
    *script("numpy_kernels.py", numpy=True, memory="1G"),
    *script("proc_files.py"),
    *script("tty_discipline.py"),
]

DEFAULT = (*LOADING, *MEMORY, *THREADS, *SIGNALS, *FILES, *EVENTS, *SYSTEM, *PROCESSES, *PYTHON)

LONG = (
    *(
        case
        for name in ("hash_chain", "threads_mix", "files_churn", "pipes_ring", "timers_signals")
        for case in program(name, links=STATIC, folder="long")
    ),
    *(
        case
        for name in ("sockets_echo", "avx_threads", "sleepers", "output_stream")
        for case in program(name, links=("dynamic",), folder="long")
    ),
    *program("mem_random", "11", "60000", links=STATIC),
    *program("file_random", "11", "60000", links=STATIC),
    *script("python_mixed.py", folder="long"),
    *script("kernel_objects.py", folder="long"),
)
