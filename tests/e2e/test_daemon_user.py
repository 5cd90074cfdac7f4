"""The daemon as a user in the group of /dev/kvm: his clones wait for what others have answered when it is touched (docs/daemon.md, "Life")."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.conftest import Quark

BIN = Path(__file__).parents[2] / ".venv" / "bin"
USER, GROUP = 65534, 12345
# A /dev/kvm of our own in a mount namespace of our own: the host's stays as it is.
PREPARE = f"""
set -e
mknod "$1/kvm" c $(stat -c '0x%t 0x%T' /dev/kvm)
chmod 660 "$1/kvm"; chgrp {GROUP} "$1/kvm"; mount --bind "$1/kvm" /dev/kvm
cd /
exec setpriv --reuid {USER} --regid {USER} --groups {GROUP} --inh-caps=-all bash -c "$2" bash "$1"
"""
SCRIPT = f"""
export QUARK_ROOT=$1/state HOME=$1 PATH={BIN}:$PATH
snapshotd 2>$1/log & daemon=$!
until [ -S $QUARK_ROOT/run/snapshotd.sock ]; do sleep 0.05; kill -0 $daemon || exit 1; done
quark run -- /bin/echo hello
quark snapshot create w --ready-file -- /usr/bin/python3.11 -c 'open("/dev/quark", "r+b", 0).write(b"ready\\n"); print("on")' 2>/dev/null
quark run --from-snapshot w; echo status $?
kill $daemon; wait $daemon; echo daemon $?
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make the device node and become another user")
@pytest.mark.skipif(
    Path("/proc/sys/vm/unprivileged_userfaultfd").read_text().strip() == "1"
    or os.stat("/dev/userfaultfd").st_mode & 0o006 == 0o006,
    reason="this host lets every user have userfaultfd",
)
def test_a_user_in_the_group_of_kvm():
    folder = tempfile.mkdtemp(prefix="quark-user-")
    os.chown(folder, USER, USER)
    try:
        command = ["unshare", "-m", "bash", "-c", PREPARE, "bash", folder, SCRIPT]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if "mknod" in done.stderr or "mount:" in done.stderr:
            pytest.skip(f"no device nodes or mount namespaces here: {done.stderr.strip()}")
        assert done.stdout.split("\n")[:4] == ["hello", "on", "status 0", "daemon 0"], done
    finally:
        quark = Quark(Path(folder) / "state")
        assert not quark.close()
        shutil.rmtree(folder)
