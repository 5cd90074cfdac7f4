"""The zygote: what the processes that it starts leave behind."""

import contextlib
import os
import signal
import socket
import subprocess
import sys

from tests.conftest import alive
from tests.e2e.conftest import SECONDS, until

ORPHAN = """
#include <stdio.h>
#include <unistd.h>
int main(void)
{
	char message[65536];
	if (fork() == 0) {
		printf("%d\\n", getpid());
		fflush(stdout);
		pause();
	}
	while (read(3, message, sizeof(message)) > 0) {}
}
"""
ZYGOTE = "import sys; from qvisor import process; process.PATH = sys.argv[2]; from snapshotd import zygote; zygote.main(int(sys.argv[1]), int(sys.argv[3]), 0, '[]')"


def test_what_a_qvisor_leaves_behind_ends(tmp_path):
    """A guest that took its QVisor over can fork; the zygote ends what is left when the sandbox has ended."""
    program = tmp_path / "qvisor"
    (tmp_path / "orphan.c").write_text(ORPHAN)
    subprocess.run(["gcc", "-o", program, tmp_path / "orphan.c"], check=True)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(SECONDS)
    command = [sys.executable, "-P", "-c", ZYGOTE, str(theirs.fileno()), program, str(os.getpid())]
    orphans = []
    with subprocess.Popen(command, pass_fds=[theirs.fileno()], stdout=subprocess.PIPE) as zygote, ours, theirs:
        try:
            for _ in range(2):
                ours.send(b"qvisor")
                said, (sock, pidfd), _, _ = socket.recv_fds(ours, 4096, 2)
                assert said.startswith(b"process\0")
                os.close(pidfd)
                orphans.append((int(zygote.stdout.readline()), sock))
            (first, sock), (second, other) = orphans
            assert alive(first)
            os.close(sock)
            until(lambda: not alive(first), "the orphan is there")
            assert alive(second)
            os.close(other)
            until(lambda: not alive(second), "the other one is there")
        finally:
            for pid, _ in orphans:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        ours.close()
        assert zygote.wait(SECONDS) == 0
