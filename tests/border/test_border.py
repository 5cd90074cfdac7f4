"""Guest programs that are hostile: they send requests to QVisor themselves."""

import subprocess
from pathlib import Path

import pytest

from snapshotd.metadata import hardware_kvm

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "c"

pytestmark = pytest.mark.skipif(hardware_kvm(), reason="the guest kernel is out of its programs' reach on hardware KVM")


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    """A root file system with all the programs."""
    folder = tmp_path_factory.mktemp("border")
    for source in PROGRAMS.glob("*.c"):
        command = ["gcc", "-O1", "-Wall", "-Werror", "-static", f"-I{REPOSITORY / 'qkernel' / 'include'}"]
        subprocess.run([*command, "-o", folder / source.stem, source], check=True)
    with (folder / "big").open("wb") as f:
        f.truncate(64 << 20)
        f.seek(-4096, 2)
        f.write(b"x" * 4096)
    return folder


@pytest.fixture
def hostile(quark, image):
    """Runs one of the programs."""

    def run(program, *options):
        return quark("run", "--rootfs", image, "--memory", "256M", *options, "--", f"/{program}")

    return run


def test_one_request_at_a_time(hostile):
    done = hostile("two_requests")
    assert done.out == "rounds 20 overlaps 0\n", done


def test_memory_ends_at_the_limit(hostile):
    done = hostile("grow_race")
    assert (done.status, done.out) == (0, "limit kept\n"), done


def test_a_handle_is_closed_once(hostile):
    done = hostile("closes")
    assert (done.status, done.out) == (0, "closed again 0\n"), done
