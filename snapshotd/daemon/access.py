"""Who calls: from the peer credentials of the unix socket or the certificate of a TLS connection to the sharing domain.

gRPC's Python server cannot say who is at the other end of a unix socket, so a relay (relay.py) accepts the connections, asks the kernel, and
carries the bytes to gRPC's own socket from a socket that it has bound to an abstract name. That name is gRPC's `peer`, and the daemon remembers
whose it is. Names are random, a new one for each connection: whoever sees one (/proc/net/unix shows them) can neither use it, because only the
daemon's user reaches gRPC's own socket, nor take the next one before the relay does.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from quark.errors import AccessError
from qvisor.owner import group_ids

if TYPE_CHECKING:
    import grpc.aio

    from snapshotd.daemon.config import Config, Domain

DOMAIN_KEY = "quark-domain"  # metadata: the domain that a caller who may use several wants
NAMES = (
    "x509_common_name",
    "peer_dns",
    "peer_ip",
)  # of a certificate: not its e-mail addresses and URIs, which say nothing of a host
PEER = "unix-abstract:"
TOKEN_BYTES = 16


class Caller(NamedTuple):
    """Who calls, for the log, and the domain that the call is about."""

    who: str
    domain: Domain


class Access:
    """The rules of one configuration."""

    def __init__(self, config: Config) -> None:
        self.domains = config.all_domains()
        self.me = os.geteuid()
        self.open_to_others = any(d.users or d.groups for d in config.domains)
        self._peers: dict[str, tuple[int, int]] = {}

    def admit(self, uid: int, gid: int) -> str:
        """A new abstract name (without its leading NUL) for a connection of this user; `forget` it when the connection has ended."""
        name = f"quark/{secrets.token_hex(TOKEN_BYTES)}"
        self._peers[name] = uid, gid
        return name

    def forget(self, name: str) -> bool:
        """The connection of that name has ended; False: that was known."""
        return self._peers.pop(name, None) is not None

    def caller(self, context: grpc.aio.ServicerContext[object, object]) -> Caller:
        """Of a gRPC call.

        Raises:
            AccessError: unknown, or the domain is not theirs.
        """
        metadata = dict(context.invocation_metadata() or ())
        wanted = metadata.get(DOMAIN_KEY, "")
        wanted = wanted if isinstance(wanted, str) else ""
        peer = unquote(context.peer() or "")
        if peer.startswith(PEER):
            user = self._peers.get(peer.removeprefix(PEER))
            if user is None:
                raise AccessError("the connection is not one that the daemon accepted; use its public socket")
            return self.local(*user, wanted)
        names = [n.decode(errors="replace") for key in NAMES for n in (context.auth_context() or {}).get(key, ())]
        allowed = [d for d in self.domains.values() if set(names) & set(d.certificates)]
        return self.choose(f"certificate {names[0] if names else '(none)'}", allowed, wanted)

    def local(self, uid: int, gid: int, wanted: str) -> Caller:
        """Of a process on this host.

        Raises:
            AccessError: unknown, or the domain is not theirs.
        """
        if uid in {0, self.me}:
            allowed = list(self.domains.values())
        else:
            groups = group_ids(uid, gid)
            allowed = [d for d in self.domains.values() if uid in d.users or groups & set(d.groups)]
        found = self.choose(f"uid {uid}", allowed, wanted)
        return found._replace(domain=found.domain.of(uid, gid))

    @staticmethod
    def choose(who: str, allowed: list[Domain], wanted: str) -> Caller:
        """The domain of a caller who may use `allowed`.

        Raises:
            AccessError: none, or not the one wanted.
        """
        if not allowed:
            raise AccessError(
                f"{who} has no domain here; ask who runs the daemon to add it to a domain's configuration"
            )
        for domain in allowed:
            if domain.name == wanted or (not wanted and domain is allowed[0]):
                return Caller(who, domain)
        raise AccessError(
            f"{who} may not use domain {wanted!r}, or there is none; theirs: {', '.join(d.name for d in allowed)}"
        )
