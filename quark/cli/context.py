"""What every command gets: the common options, and whether a daemon does the work."""

from __future__ import annotations

import os

from quark.errors import AccessError, DaemonLostError, UsageError
from quark.paths import daemon_socket, state_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from quark.cli.backend import Backend
    from quark.cli.options import Parsed
    from quark.cli.table import Command
    from quark.client import Client


class Context:
    """The common options of one command line."""

    def __init__(self) -> None:
        self.root_option: str | None = None
        self.daemon = ""
        self.embedded = False
        self.domain = ""
        self.key = ""
        self.json = False
        self.command: Command

    def take(self, parsed: Parsed) -> None:
        """From the options that were given, before or after the command."""
        self.root_option = parsed.one("--root") or self.root_option
        self.daemon = parsed.one("--daemon") or self.daemon
        self.embedded |= parsed.flag("--no-daemon")
        self.domain = parsed.one("--domain") or self.domain
        self.key = parsed.one("--key") or self.key
        # (A command may have a --json of its own, with a value.)
        self.json |= parsed.one("--json") == "1"

    def check(self) -> None:
        """Check that they go together.

        Raises:
            UsageError: they do not.
        """
        if self.embedded and self.daemon:
            raise UsageError("--daemon and --no-daemon contradict each other; give one of them")

    @property
    def root(self) -> str:
        """The state directory."""
        return state_root(self.root_option)

    @property
    def library_domain(self) -> str:
        """Sharing domain of work without a daemon."""
        return self.domain or "default"

    def connect(self, name: str = "") -> tuple[socket | None, str]:
        """Connection to the daemon, None if the work is to be done here; and the path of its gRPC socket.

        Args:
            name: another socket beside that one.

        Raises:
            DaemonLostError: no daemon answers where one was asked for.
            AccessError: it may not be used.
            UsageError: --key, when there is one.
        """
        if self.embedded:
            return None, ""
        path, asked = daemon_socket(self.root_option, self.daemon)
        at = os.path.join(os.path.dirname(path), name) if name else path
        if not asked and not os.path.exists(at):
            return None, ""  # without what it takes to ask: it would be in the memory of every clone
        from quark import session

        try:
            sock = session.connect(at, stream=not name)
        except OSError as e:
            if not asked:
                return None, ""
            if isinstance(e, PermissionError):
                raise AccessError(f"{at}: {e.strerror}; ask who runs the daemon to add you to a domain") from e
            raise DaemonLostError(
                f"no daemon answers at {at} ({e.strerror or e}); start it with `snapshotd`, or use --no-daemon"
            ) from e
        if self.key:
            sock.close()
            raise UsageError("--key is for work without a daemon, which has its own; leave it out or use --no-daemon")
        return sock, path

    def client(self) -> Client | None:
        """Client of the daemon, None if the work is to be done here."""
        sock, path = self.connect()
        if sock is None:
            return None
        sock.close()
        import quark.client

        return quark.client.connect(f"unix:{path}", domain=self.domain)

    def need_client(self) -> Client:
        """Client of the daemon, for what only a daemon can do.

        Raises:
            DaemonLostError: there is none.
        """
        client = self.client()
        if client is None:
            raise self.no_daemon()
        return client

    def no_daemon(self) -> DaemonLostError:
        """The error of a command that needs the daemon."""
        if self.embedded:
            return DaemonLostError(f"`quark {self.command.name}` needs the daemon; leave --no-daemon out")
        return DaemonLostError(
            f"`quark {self.command.name}` needs the daemon, and none runs for {self.root}; start it with `snapshotd --root {self.root}`"
        )

    def backend(self) -> Backend:
        """Who does the work on snapshots: the daemon when there is one, else this process. Close it, or use it in a `with`."""
        client = self.client()
        if client is not None:
            from quark.cli.service import Service

            return Service(client)
        from quark.cli.library import Library

        return Library(self.root, self.library_domain, self.key)
