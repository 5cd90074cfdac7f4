"""Functions that are warmed in a sandbox and called in clones: what the SDK's two clients share of it.

`Plan` says how a function is warmed, and when a snapshot is still the function asked for; `Exchange` is one call, without any input or output of its own
(quark_guest/function.py is the other side).
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quark.errors import QuarkError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from quark.api import SandboxState, Snapshot

SERIALIZERS = {"json", "pickle"}
PIECE = 1 << 18  # bytes of one message
WINDOW = 1 << 19  # bytes of an answer that may be under way; quark_guest/function.py has the same number
INSTALLED = "import importlib.metadata as m, json, sys; print(json.dumps([sys.version, sorted((d.name, d.version) for d in m.distributions())]))"
INSTALLED_SECONDS = 60


class FunctionError(QuarkError):
    """A warmed function could not be imported, raised an exception, or its sandbox ended without an answer.

    Attributes:
        kind: name of the exception's class, or empty when there was none.
        traceback: the traceback as text.
        exception: the exception itself where it can be had: of a built-in class, or any with `serializer="pickle"`. It is the `__cause__`, too.
        stdout, stderr: what the call had written.
    """

    exit_code = 84
    grpc_code = "ABORTED"

    def __init__(
        self,
        message: str,
        *,
        kind: str = "",
        traceback: str = "",
        exception: BaseException | None = None,
        stdout: bytes = b"",
        stderr: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.traceback = traceback
        self.exception = exception
        self.stdout = stdout
        self.stderr = stderr
        self.__cause__ = exception


class FunctionChangedError(FunctionError):
    """The snapshot holds another function, or this one as it was before a change, and was not to be replaced."""


@dataclass(frozen=True)
class Call:
    """What a call gave: the result, and what it wrote (of standard error the last bytes, as many as the daemon keeps)."""

    result: Any
    stdout: bytes
    stderr: bytes
    sandbox: SandboxState


class Plan:
    """How a function is warmed. `argv` ends with a digest of all that it depends on.

    Raises:
        UsageError: no such function can be.
    """

    def __init__(
        self, name: str, function: str, python: str, serializer: str, depends: Sequence[str], spec: Mapping[str, Any]
    ) -> None:
        import quark_guest

        self.name = name
        source, _, attribute = function.rpartition(":")
        if not source or not attribute.isidentifier():
            raise UsageError(f"{function!r} is not FILE.py:FUNCTION or MODULE:FUNCTION")
        if serializer not in SERIALIZERS:
            raise UsageError(f"serializer={serializer!r} is not one of json, pickle")
        if source.endswith(".py"):
            source = os.path.abspath(source)
            if not os.path.isfile(source):
                raise UsageError(f"{source} does not exist; give the file that defines {attribute}")
        self.function = function
        self.runner = os.path.join(os.path.dirname(os.path.abspath(quark_guest.__file__)), "function.py")
        try:
            digest = self._digest(source, python, depends, spec)
        except OSError as e:
            raise UsageError(f"{e.filename}: {e.strerror}; {function} cannot be warmed without it") from None
        self.argv = [python, self.runner, source, attribute, serializer, digest]
        self._stderr = bytearray()

    def _digest(self, source: str, python: str, depends: Sequence[str], spec: Mapping[str, Any]) -> str:
        digest = hashlib.sha256()

        def add(*parts: object) -> None:
            digest.update(json.dumps(parts, sort_keys=True, default=str).encode())

        add(spec, _installed(python, str(spec.get("rootfs", "/"))))
        files = [self.runner, *_sources(source), *(f for path in depends for f in _files(path))]
        for file in dict.fromkeys(files):
            with open(file, "rb") as f:
                add(file, hashlib.file_digest(f, "sha256").hexdigest())
        return digest.hexdigest()

    def is_held_by(self, snapshot: Snapshot, *, replace: bool) -> bool:
        """Whether the snapshot is this function, as it is now.

        Raises:
            NameTakenError: it is no warmed function at all.
            FunctionChangedError: it is another, and not to be replaced.
        """
        from quark.store_errors import NameTakenError

        if list(snapshot.argv) == self.argv:
            return True
        if len(snapshot.argv) < 2 or not snapshot.argv[1].endswith("/quark_guest/function.py"):
            raise NameTakenError(f"snapshot {self.name!r} exists, and is no warmed function; choose another name")
        if not replace:
            raise FunctionChangedError(
                f"snapshot {self.name!r} is not {self.function} as it is now: function, source, packages, interpreter or options differ; "
                f"delete it, or let warm() replace it"
            )
        return False

    def on_output(self, _: bytes, stderr: bytes) -> None:
        """Keep what the warm-up says."""
        self._stderr += stderr

    def failed(self, e: QuarkError) -> QuarkError:
        """What to raise for an error of the capture."""
        text = self._stderr.decode(errors="replace").strip()
        if type(e).__name__ != "CaptureError" or not text:
            return e
        kind = text.rpartition("\n")[2].partition(":")[0]
        return FunctionError(
            f"{self.function} could not be warmed: {e}\n{text}", kind=kind, traceback=text, stderr=bytes(self._stderr)
        )


def _installed(python: str, rootfs: str) -> object:
    """The interpreter and the packages that it finds, with their versions; of another root file system the interpreter's file only."""
    if os.path.realpath(rootfs) != "/":
        found = os.stat(os.path.join(rootfs, python.lstrip("/")))
        return [python, found.st_size, found.st_mtime_ns]
    if python == sys.executable:
        return [sys.version, sorted((d.name, d.version) for d in importlib.metadata.distributions())]
    try:
        done = subprocess.run([python, "-c", INSTALLED], capture_output=True, check=True, timeout=INSTALLED_SECONDS)
    except (OSError, subprocess.SubprocessError) as e:
        raise UsageError(f"python={python!r} cannot be run: {e}") from None
    return json.loads(done.stdout)


def _sources(source: str) -> list[str]:
    """The file, and those beside it or below that it imports, directly or not, by import statements; of an installed module none."""
    if not source.endswith(".py"):
        spec = importlib.util.find_spec(source.partition(".")[0])
        if spec is None or not spec.origin or "site-packages" in spec.origin or not spec.origin.endswith(".py"):
            return []
        if spec.submodule_search_locations:
            return [f for place in spec.submodule_search_locations for f in _files(place) if f.endswith(".py")]
        source = spec.origin
    base, found, todo = os.path.dirname(source), {source: None}, [source]
    while todo:
        file = todo.pop()
        for candidate in _imported(file, base):
            if candidate not in found and os.path.isfile(candidate):
                found[candidate] = None
                todo.append(candidate)
    return list(found)


def _imported(file: str, base: str) -> Iterator[str]:
    """Where the modules of the import statements in `file` would be."""
    with open(file, "rb") as f:
        try:
            tree = ast.parse(f.read())
        except (SyntaxError, ValueError):
            return  # the warm-up will say so
    for node in ast.walk(tree):
        names: list[tuple[str, str]] = []
        if isinstance(node, ast.Import):
            names = [(base, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = base
            if node.level:
                start = os.path.dirname(file)
                for _ in range(node.level - 1):
                    start = os.path.dirname(start)
            module = node.module or ""
            names = [(start, module), *((start, f"{module}.{alias.name}".strip(".")) for alias in node.names)]
        for start, name in names:
            at = start
            for part in name.split("."):
                at = os.path.join(at, part)
                yield at + ".py"
                yield os.path.join(at, "__init__.py")


def _files(path: str) -> list[str]:
    """The file, or all files below the directory.

    Raises:
        UsageError: there is no such file.
    """
    if not os.path.exists(path):
        raise UsageError(f"{path} does not exist; `depends` lists files and directories")
    if os.path.isfile(path):
        return [os.path.abspath(path)]
    found = []
    for place, folders, names in os.walk(os.path.abspath(path)):
        folders[:] = [folder for folder in folders if folder != "__pycache__"]
        found += [os.path.join(place, name) for name in names]
    return sorted(found)


class Exchange:
    """One call: `first` and then `more` is what the clone reads, `feed` takes what it writes."""

    def __init__(self, name: str, serializer: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._name = name
        self._serializer = serializer
        data = pickle.dumps((args, kwargs)) if serializer == "pickle" else json.dumps([args, kwargs]).encode()
        head = b"%d\n" % len(data)
        self.first = head + data[:PIECE]  # goes with the request for the clone: it need not wait
        self.more = [data[at : at + PIECE] for at in range(PIECE, len(data), PIECE)]
        self._answer, self._stderr = bytearray(), bytearray()
        self._acknowledged = 0

    def feed(self, stream: str, data: bytes) -> bytes:
        """Take what came; what is to be written to the clone for it."""
        if stream == "stderr":
            self._stderr += data
            return b""
        self._answer += data
        windows = len(self._answer) // WINDOW - self._acknowledged
        self._acknowledged += windows
        return b"." * windows

    def _head(self) -> dict[str, int]:
        """The line before the answer, if all of both has come."""
        end = self._answer.find(b"\n")
        try:
            head = json.loads(self._answer[:end]) if end >= 0 else {}
            whole = bool(head) and len(self._answer) == end + 1 + head["size"] + head["stdout"]
        except (ValueError, KeyError, TypeError):
            whole = False
        return {**head, "at": end + 1} if whole else {}

    @property
    def returned(self) -> bool:
        """Whether the result has come; the sandbox is about to end."""
        head = self._head()
        return bool(head) and not head["raised"]

    def result(self) -> Any:
        """Of a call that has `returned`."""
        head = self._head()
        data = bytes(self._answer[head["at"] : head["at"] + head["size"]])
        return pickle.loads(data) if self._serializer == "pickle" else json.loads(data)  # noqa: S301 - the caller's choice

    def finish(self, sandbox: SandboxState, lost: int) -> Call:
        """The end of the sandbox has come.

        Raises:
            FunctionError: the function raised, or there is no (whole) answer.
        """
        stderr, head = bytes(self._stderr), self._head()
        if not head:
            why = (
                f"{lost} bytes of it were lost: the daemon keeps too little (output_bytes)"
                if lost
                else "no whole answer"
            )
            last = stderr.decode(errors="replace").strip().rpartition("\n")[2] or sandbox.error
            raise FunctionError(
                f"{self._name} ended with status {sandbox.exit_status} and {why}: {last}", stderr=stderr
            )
        end = head["at"] + head["size"]
        stdout = bytes(self._answer[end:])
        if head["raised"]:
            raise self._error(json.loads(self._answer[head["at"] : end]), stdout, stderr)
        return Call(self.result(), stdout, stderr, sandbox)

    def _error(self, told: dict[str, Any], stdout: bytes, stderr: bytes) -> FunctionError:
        exception: BaseException | None = None
        if self._serializer == "pickle" and told["pickle"]:
            exception = pickle.loads(bytes.fromhex(told["pickle"]))  # noqa: S301 - the caller's choice
        elif told["module"] == "builtins":
            kind = getattr(builtins, told["kind"], None)
            if isinstance(kind, type) and issubclass(kind, Exception) and told["args"] is not None:
                exception = kind(*told["args"])
        return FunctionError(
            f"{self._name} raised {told['kind']}: {told['message']}",
            kind=told["kind"],
            traceback=told["traceback"],
            exception=exception,
            stdout=stdout,
            stderr=stderr,
        )
