"""Progress of long work: a bar when standard error is a terminal, plain lines now and then otherwise. rich is loaded only for the bar."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from quark.cli.output import megabytes
from quark.errors import FileAccessError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import BinaryIO, Self

LINE_SECONDS = 2.0  # between two lines; shorter work prints none


class Progress:
    """Of one piece of work. Use it in a `with`.

    Args:
        what: the work, as in "exporting demo".
        quiet: show nothing.
        frames: steps are pages of guest memory; else bytes.
    """

    def __init__(self, what: str, *, quiet: bool = False, frames: bool = False) -> None:
        self.what = what
        self.frames = frames
        self.done = self.total = 0
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        if self._quiet:
            return self
        if sys.stderr.isatty():
            self._show_bar()
        else:
            self._thread = threading.Thread(target=self._lines, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._bar is not None:
            self._bar.stop()
        if self._thread is not None:
            self._thread.join()

    def step(self, done: int, total: int = 0) -> None:
        """So much of so much, 0: nobody knows."""
        self.done, self.total = done, total
        if self._bar is not None:
            size = 4096 if self.frames else 1
            self._bar.update(self._task, completed=done * size, total=(total * size) or None)

    def _show_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            "{task.description}",
            BarColumn(),
            DownloadColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(self.what, total=None)
        self._bar.start()

    def _lines(self) -> None:
        while not self._ended.wait(LINE_SECONDS):
            print(f"quark: {self.what}: {self._state()}", file=sys.stderr, flush=True)

    def _state(self) -> str:
        size = 4096 if self.frames else 1
        if self.total:
            done, total = megabytes(self.done * size), megabytes(self.total * size)
            return f"{100 * self.done // self.total}% ({done} of {total})"
        return megabytes(self.done * size) if self.done else f"{time.monotonic() - self._started:.0f} s"


class Counted:
    """The file called `name`, which tells how much has been read from it or written to it, of `total` if that is known.

    Its errors are the command's own (FileAccessError): the store would take them for its.
    """

    def __init__(self, name: str, file: BinaryIO, progress: Progress, total: int = 0) -> None:
        self._name = name
        self._file = file
        self._progress = progress
        self._total = total
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        """As a file's."""
        try:
            data = self._file.read(size)
        except OSError as e:
            raise FileAccessError(f"{self._name}: {e.strerror}; give what export wrote") from e
        self._add(len(data))
        return data

    def write(self, data: bytes | memoryview) -> int:
        """As a file's."""
        try:
            with memoryview(data) as left:
                at = 0
                while at < len(left):
                    at += self._file.write(left[at:])  # a device may take less
        except BrokenPipeError:
            raise
        except OSError as e:
            raise FileAccessError(f"{self._name}: {e.strerror}; the export is not complete") from e
        self._add(len(data))
        return len(data)

    def flush(self) -> None:
        """As a file's."""
        self._file.flush()

    def _add(self, count: int) -> None:
        self.count += count
        self._progress.step(self.count, self._total)


def each(names: list[str], verb: str, *, quiet: bool) -> Iterator[tuple[str, Progress]]:
    """The same work for several snapshots, each with its progress."""
    for name in names:
        with Progress(f"{verb} {name}", quiet=quiet) as progress:
            yield name, progress
