"""Whose files a sandbox makes: what a caller may choose."""

import pytest

from quark.errors import AccessError, UsageError
from qvisor.confinement import SET_ID
from qvisor.owner import choose, is_user, parse_user

ALICE, BOB = (1001, 100), (1002, 100)


def groups(_uid, gid):
    return {gid, 200}


def chosen(words, caller, me):
    owner = choose(words, caller, groups, me)
    return owner and (owner.uid, owner.gid)


@pytest.mark.parametrize(
    ("words", "caller", "me", "expected"),
    [
        ([], None, 0, None),  # by TLS
        ([], (0, 0), 0, None),
        ([], ALICE, 0, ALICE),
        ([], ALICE, ALICE[0], None),
        ([], BOB, ALICE[0], None),
        (["strict", "user=1001:200"], ALICE, 0, (1001, 200)),
        (["user=1001:100"], (0, 0), 0, ALICE),
        (["user=0:0"], (0, 0), 0, (0, 0)),
        (["user=1001:100"], ALICE, ALICE[0], None),
        ([SET_ID], ALICE, 0, ALICE),
        ([SET_ID], ALICE, ALICE[0], None),
        ([SET_ID, "user=1001:100"], (0, 0), 0, ALICE),
    ],
)
def test_may_be_chosen(words, caller, me, expected):
    assert chosen(words, caller, me) == expected


@pytest.mark.parametrize(
    ("words", "caller", "me", "error"),
    [
        (["user=1002:100"], ALICE, 0, AccessError),
        (["user=0:0"], ALICE, 0, AccessError),
        (["user=1001:0"], ALICE, 0, AccessError),
        (["user=1002:100"], ALICE, ALICE[0], AccessError),
        (["user=1002:100"], BOB, ALICE[0], UsageError),
        (["user=1001:100"], (0, 0), 4711, UsageError),
        ([SET_ID], BOB, ALICE[0], AccessError),
        (["user=1001:100"], None, 0, AccessError),
        (["user=1001:100"], None, ALICE[0], AccessError),
        ([SET_ID], None, 0, AccessError),
    ],
)
def test_may_not_be_chosen(words, caller, me, error):
    with pytest.raises(error):
        chosen(words, caller, me)


@pytest.mark.parametrize(
    ("text", "word"),
    [("root", "user=0:0"), ("0", "user=0:0"), ("4711:12", "user=4711:12"), ("root:daemon", "user=0:1")],
)
def test_users_are_named(text, word):
    assert parse_user(text) == word
    assert is_user(word)


@pytest.mark.parametrize(
    "text", ["", ":", "nosuchuser", "nosuch:0", "0:nosuch", "-1", "4294967295:0", "0:4294967295", "424242", "1:2:3"]
)
def test_no_users(text):
    with pytest.raises(UsageError):
        parse_user(text)


@pytest.mark.parametrize(
    "word", ["", "user=", "user=1", "user=1:", "user=a:b", "user=1:-1", "user=4294967295:0", "xuser=1:1"]
)
def test_no_words(word):
    assert not is_user(word)
