"""The host user whose are the files that a sandbox makes in its read-write volumes: who started it, unless `--volume-user` says otherwise."""

from __future__ import annotations

import os

from quark.errors import AccessError, UsageError
from qvisor.confinement import SET_ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

USER = "user="  # before UID:GID, a word of a request
GROUPS_MAX = 64  # QM_GROUPS_MAX; of a user with more the first ones count


class Owner:
    """A user with groups."""

    __slots__ = ("gid", "groups", "uid")

    def __init__(self, uid: int, gid: int) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = sorted(group_ids(uid, gid))[:GROUPS_MAX]


def group_ids(uid: int, gid: int) -> set[int]:
    """All groups of a user, by the host's databases."""
    import pwd

    try:
        return {gid, *os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)}
    except KeyError:
        return {gid}


def parse_user(text: str) -> str:
    """The word for `USER[:GROUP]`, names or numbers; the group is the user's own unless it is given.

    Raises:
        UsageError: there is no such user or group.
    """
    import grp
    import pwd

    user, colon, group = text.partition(":")
    try:
        known = pwd.getpwnam(user) if not user.isdecimal() else None
        uid = known.pw_uid if known else int(user)
        if colon:
            gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
        else:
            gid = (known or pwd.getpwuid(uid)).pw_gid
    except (KeyError, ValueError, OverflowError):
        raise UsageError(
            f"--volume-user {text!r}: no such user or group; give USER[:GROUP] by name, or by numbers as UID:GID"
        ) from None
    if max(uid, gid) >= (1 << 32) - 1:
        raise UsageError(f"--volume-user {text!r}: no user or group has such a number")
    return f"{USER}{uid}:{gid}"


def is_user(word: str) -> bool:
    """Whether it is one that `parse_user` gives."""
    uid, _, gid = word.removeprefix(USER).partition(":")
    return word.startswith(USER) and all(n.isdecimal() and int(n) < (1 << 32) - 1 for n in (uid, gid))


def choose(
    words: Sequence[str],
    caller: tuple[int, int] | None,
    groups: Callable[[int, int], set[int]] = group_ids,
    me: int | None = None,
) -> Owner | None:
    """Whose the files are to be, of a request with these words by `caller` (UID and GID; None: not known); None: this process's user's.

    `groups` gives a user's groups, `me` is this process's user.

    Raises:
        AccessError: that is not for the caller to choose.
        UsageError: this process cannot.
    """
    me = os.geteuid() if me is None else me
    wanted = None
    for word in words:
        if word.startswith(USER):
            uid, gid = word.removeprefix(USER).split(":")
            wanted = int(uid), int(gid)
    if wanted and caller is None:
        raise AccessError("--volume-user: who calls is known by a certificate alone; only root of this host may choose")
    if wanted and caller and caller[0] and (wanted[0] != caller[0] or wanted[1] not in groups(*caller)):
        raise AccessError(
            f"--volume-user: user {caller[0]} cannot have files made that are of user {wanted[0]}, group {wanted[1]}; only root may choose"
        )
    who = wanted or caller
    owner = who[0] if me == 0 and who else me
    if wanted and owner != wanted[0]:
        raise UsageError(f"--volume-user: files in volumes are those of user {me}, who is not root and cannot choose")
    if SET_ID in words and (caller is None or caller[0] not in {0, owner}):
        raise AccessError(
            f"--allow-set-id: files in volumes are those of user {owner}, who runs the daemon, and not the caller's"
        )
    return Owner(*who) if me == 0 and who and (who[0] or wanted) else None
