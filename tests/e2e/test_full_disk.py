"""A state directory without a free byte: what is stored can be listed, cloned and deleted, with and without a daemon."""

import os
import subprocess
from pathlib import Path

import pytest

QUARK = Path(__file__).parents[2] / ".venv" / "bin" / "quark"
SNAPSHOTD = QUARK.with_name("snapshotd")
# In a mount namespace of its own, on a file system of its own.
SCRIPT = """
set -u
mount -t tmpfs -o size=40m none "$1"
export QUARK_ROOT=$1/state
quark=$2 snapshotd=$3 with_daemon=$4
if [ "$with_daemon" = yes ]; then
    "$snapshotd" >/dev/null 2>"$1.log" &
    daemon=$!
    while [ ! -S "$QUARK_ROOT/run/session.sock" ]; do sleep 0.05; done
fi
ends_pagers() { for p in $(pgrep -f "snapshotd.pager $QUARK_ROOT"); do kill "$p"; done; }
trap 'ends_pagers; [ "$with_daemon" = no ] || { kill "$daemon"; wait "$daemon"; }' EXIT
for name in a b; do
    "$quark" snapshot create "$name" --ready-file -- /bin/sh -c 'echo ready >/dev/quark; echo on' </dev/null 2>&1
done | grep -c stored
ends_pagers
cat /dev/zero >"$1/fill" 2>/dev/null
stat -f -c 'free %a' "$1"
run() { echo "== $*"; timeout 60 "$quark" "$@" </dev/null 2>&1; echo "status $?"; }
run run --from-snapshot a
run --json snapshot rm b
run run --from-snapshot a
run snapshot rm nobody
run --json snapshot list
rm "$1/fill"
run snapshot rm a
run --json snapshot list
"""


MAPPED = """
set -eu
mount -t tmpfs -o size=2m none "$1"
timeout 60 "$2" "$1" >"$4" 2>&1 || echo "status $?" >>"$4"
rm -f "$1"/*
timeout 60 "$3" run -v "$1:/full" -v "$2:/mapping:ro" -- /mapping /full
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a file system of its own")
def test_a_mapping_without_room(tmp_path):
    """SIGBUS for the program that touches such a page, and EFAULT for its system call, as natively."""
    place, program, natively = tmp_path / "full", tmp_path / "mapping", tmp_path / "natively"
    place.mkdir()
    subprocess.run(["cc", "-O1", "-static", "-o", program, Path(__file__).with_name("full_mapping.c")], check=True)
    command = ["unshare", "-m", "bash", "-c", MAPPED, "script", place, program, QUARK, natively]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert (done.stdout, done.stderr) == (natively.read_text(), "")
    assert "SIGBUS, some pages touched: 1" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a file system of its own")
@pytest.mark.parametrize("with_daemon", ["no", "yes"])
def test_no_byte_free(tmp_path, with_daemon):
    place = tmp_path / "full"
    place.mkdir()
    command = ["unshare", "-m", "bash", "-c", SCRIPT, "script", place, QUARK, SNAPSHOTD, with_daemon]
    out = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False).stdout
    head, *parts = out.split("== ")
    assert head == "2\nfree 0\n"
    statuses = [part.rstrip().rpartition("status ")[2] for part in parts]
    assert statuses == ["0", "0", "0", "40", "0", "0", "0"], out
    assert parts[0].startswith("run --from-snapshot a\non\n")
    assert parts[2].startswith("run --from-snapshot a\non\n")
    assert '"name": "a"' in parts[4]
    assert '"name": "b"' not in parts[4]
    assert parts[6].splitlines()[1] == "[]"
