"""The program QVisor: its errors are those of quark/errors.py, and what is no request for it ends it with one line."""

import os
import re
import socket
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from quark import errors
from qvisor import process
from qvisor._native import ffi, lib

SOURCE = Path(__file__).parents[2] / "qvisor" / "program"


def run(*messages, argv=None):
    """What the program does with these messages, each (bytes, descriptors)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for data, fds in messages:
            socket.send_fds(ours, [data], fds) if fds else ours.send(data)
        ours.close()
        argv = argv or [str(theirs.fileno())]
        return subprocess.run(
            [process.PATH, *argv], pass_fds=(theirs.fileno(),), capture_output=True, text=True, timeout=60, check=False
        )


def test_its_errors_are_the_classes():
    table = re.findall(r'\{"(\w+)", (\d+)\}', (SOURCE / "fail.c").read_text())
    assert len(table) > 5
    assert {name: int(status) for name, status in table} == {name: getattr(errors, name).exit_code for name, _ in table}


@pytest.mark.parametrize("argv", [["1"], ["x"], ["-1"], ["7x"], ["99999999999"], ["3", "4"]], ids=" ".join)
def test_it_is_started_by_quark_alone(argv):
    done = run(argv=argv)
    assert (done.returncode, done.stdout) == (errors.QuarkError.exit_code, "")
    assert re.fullmatch(r"quark: .*started by quark.*\n", done.stderr)


def machine(**fields):
    message = process.machine(64 << 20, -1)
    message.fields.flags = lib.QM_ALONE
    for name, value in fields.items():
        setattr(message.fields, name, value)
    return bytes(ffi.buffer(message.fields))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\1\0\0\0",
        machine(version=lib.QM_VERSION + 1),
        machine() + b"\0",
        machine(kvm=0),
        machine(kvm=-2),
        machine(kvm=1 << 30),
        machine(),
    ],
    ids=["nobody", "short", "version", "long", "no such descriptor", "negative", "far", "no KVM"],
)
def test_a_message_that_is_none(message):
    done = run((message, []))
    assert (done.returncode, done.stdout) == (errors.QuarkError.exit_code, "")
    assert re.fullmatch(r"quark: the request for this sandbox .*\n", done.stderr)


def test_an_error_as_json():
    done = run((machine(flags=lib.QM_ALONE | lib.QM_JSON), []))
    assert done.returncode == errors.QuarkError.exit_code
    import json

    assert json.loads(done.stderr) == {
        "class": "QuarkError",
        "message": "the request for this sandbox lacks the descriptor of /dev/kvm",
        "exit_code": errors.QuarkError.exit_code,
    }


def test_it_is_installed():
    path = Path(str(resources.files("qvisor").joinpath("data/qvisor")))
    assert os.access(path, os.X_OK)
    # Of the host's libraries it needs the C library alone, or none.
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", subprocess.check_output(["readelf", "-dW", path], text=True))
    assert set(needed) <= {"libc.so.6"}
