"""The daemon's configuration: a TOML file in which everything has a default that works. docs/daemon.md describes it."""

from __future__ import annotations

import grp
import os
import pwd
import tomllib
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator

from quark.errors import ConfigError
from quark.paths import state_root
from snapshotd.store.layout import check_name

if TYPE_CHECKING:
    from collections.abc import Callable


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tcp(_Section):
    """TCP with mutual TLS; there is no other TCP."""

    listen: str
    certificate: str
    key: str
    client_ca: str


class Domain(_Section):
    """A sharing domain and who may use it.

    Attributes:
        name: of the domain.
        users, groups: whose processes may, on the unix socket (names or numbers).
        certificates: common names or DNS subject alternative names of client certificates that may, on TCP.
        paths: host directories that rootfs and volumes must be in; None: anywhere. Only the daemon's user is trusted with "anywhere".
        quota: bytes in the store, or None.
        key: of the domain's encryption, `file:PATH` or `command:COMMAND`; empty: not encrypted.
    """

    name: str
    users: list[str | int] = []
    groups: list[str | int] = []
    certificates: list[str] = []
    paths: list[str] | None = None
    quota: Annotated[int, Field(gt=0)] | None = None
    key: str = ""
    _caller: tuple[int, int] | None = PrivateAttr(None)

    @property
    def caller(self) -> tuple[int, int] | None:
        """UID and GID of whose request this is, as far as it is known."""
        return self._caller

    def of(self, uid: int, gid: int) -> Domain:
        """The same for a request of this user."""
        found = self.model_copy()
        found._caller = (uid, gid)  # noqa: SLF001 - its own
        return found

    @field_validator("name")
    @classmethod
    def _valid_name(cls, name: str) -> str:
        check_name(name, "domain")
        return name

    @field_validator("paths")
    @classmethod
    def _real_paths(cls, paths: list[str] | None) -> list[str] | None:
        if paths is None:
            return None
        for path in paths:
            if not os.path.isdir(path):
                raise ValueError(f"{path} is not a directory")
        return [os.path.realpath(p) for p in paths]

    @field_validator("users")
    @classmethod
    def _known_users(cls, users: list[str | int]) -> list[str | int]:
        return [_number(u, lambda n: pwd.getpwnam(n).pw_uid, "user") for u in users]

    @field_validator("groups")
    @classmethod
    def _known_groups(cls, groups: list[str | int]) -> list[str | int]:
        return [_number(g, lambda n: grp.getgrnam(n).gr_gid, "group") for g in groups]

    @model_validator(mode="after")
    def _others_need_paths(self) -> Domain:
        if self.paths is None and (self.users or self.groups or self.certificates) and self.users != [os.geteuid()]:
            raise ValueError(
                f"domain {self.name!r} is open to others, so it needs `paths`: the host directories they may use"
            )
        return self


class Config(_Section):
    """All of it.

    Attributes:
        root: state directory.
        socket: path of the gRPC unix socket; empty: run/snapshotd.sock below root.
        tcp: listen on TCP too.
        metrics: HOST:PORT of the Prometheus endpoint; empty: none.
        pool: idle workers kept ready.
        prepared: machines kept prepared for snapshots that are in use; 0: none.
        prepared_bytes: of their own, together.
        prepared_seconds: after its last request a snapshot has one as long.
        prepared_reserve: while the host has less memory available, there are none.
        sandboxes_max: running at a time, all domains together.
        output_bytes: kept of each standard stream of a sandbox.
        keep_ended: ended sandboxes that can still be asked for.
        gc_seconds: between two collections; 0: only when asked.
        cgroup: "auto": every sandbox has a control group where the host allows it; "none": none has.
        log: "text" or "json", to standard error.
        log_level: debug, info, warning or error.
        otlp: endpoint of an OpenTelemetry collector (gRPC), or empty.
        any_owner: root's sandboxes keep the capabilities to use files of rootfs and volumes whoever owns them.
        require_confinement: no sandbox starts that this host could not confine in every way.
        domains: besides `default`, which belongs to the daemon's user.
    """

    root: str = Field(default_factory=lambda: state_root(None))
    socket: str = ""
    tcp: Tcp | None = None
    metrics: str = ""
    pool: Annotated[int, Field(ge=0, le=256)] = 2
    prepared: Annotated[int, Field(ge=0, le=1024)] = 16
    prepared_bytes: Annotated[int, Field(ge=0)] = 256 << 20
    prepared_seconds: Annotated[float, Field(gt=0)] = 10
    prepared_reserve: Annotated[int, Field(ge=0)] = 512 << 20
    sandboxes_max: Annotated[int, Field(gt=0)] = 1000
    output_bytes: Annotated[int, Field(gt=0, le=1 << 30)] = 1 << 20
    keep_ended: Annotated[int, Field(ge=0)] = 1000
    gc_seconds: Annotated[float, Field(ge=0)] = 300
    cgroup: Annotated[str, Field(pattern="^(auto|none)$")] = "auto"
    log: Annotated[str, Field(pattern="^(text|json)$")] = "text"
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"
    otlp: str = ""
    any_owner: bool = False
    require_confinement: bool = False
    domains: list[Domain] = []

    @model_validator(mode="after")
    def _distinct(self) -> Config:
        names = [d.name for d in self.domains]
        if len(names) != len(set(names)):
            raise ValueError("two domains have the same name")
        return self

    @field_validator("root", "socket")
    @classmethod
    def _absolute(cls, path: str) -> str:
        return os.path.abspath(path) if path else ""

    @model_validator(mode="after")
    def _others_reach_the_socket(self) -> Config:
        for domain in self.domains:
            if (domain.groups or set(domain.users) - {os.geteuid()}) and not self.socket:
                raise ValueError(
                    f"domain {domain.name!r} is open to other users, so `socket` is needed: only their owner may enter the state directories"
                )
        return self

    @property
    def socket_path(self) -> str:
        """Of the gRPC socket."""
        return self.socket or os.path.join(self.root, "run", "snapshotd.sock")

    def all_domains(self) -> dict[str, Domain]:
        """By name, `default` included."""
        found = {"default": Domain(name="default")}
        found.update({d.name: d for d in self.domains})
        return found


def _number(who: str | int, find: Callable[[str], int], what: str) -> int:
    if isinstance(who, int):
        return who
    try:
        return find(who)
    except KeyError:
        raise ValueError(f"there is no {what} {who!r}") from None


def load(path: str | None, **overrides: str) -> Config:
    """Read the file, or take the defaults.

    Args:
        path: of a TOML file, or None.
        overrides: values that count instead of the file's.

    Raises:
        ConfigError: with the file, the key and what is wrong.
    """
    data: dict[str, object] = {}
    if path is not None:
        try:
            with open(path, "rb") as f:
                data = tomllib.load(f)
        except OSError as e:
            raise ConfigError(f"{path}: {e.strerror}; give a readable file with --config") from e
        except tomllib.TOMLDecodeError as e:
            raise ConfigError(f"{path}: not TOML: {e}") from e
    data.update(overrides)
    try:
        config = Config.model_validate(data)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path or 'configuration'}: {where or 'document'}: {first['msg']}") from e
    for socket in (config.socket_path, os.path.join(config.root, "run", "snapshotd.sock")):
        if len(os.fsencode(socket)) > 107:
            raise ConfigError(
                f"socket path {socket} is longer than the 107 bytes of unix(7); choose a shorter `root` or `socket`"
            )
    return config
