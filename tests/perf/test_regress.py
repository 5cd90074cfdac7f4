"""Start-up latency regression: the demo application's figures against the recorded history, and the command that users have."""

import json
import subprocess
from pathlib import Path

import pytest

from quark.bench import regress
from quark.bench.arms import PACKAGES, Arm
from quark.bench.figures import Demo
from quark.bench.history import History
from tests.perf.test_planted import STEPS

# Revisions are looked for where there is a checkout; a copy of the files has none.
NO_REVISION = "no file, no snapshot and no revision" if (PACKAGES / ".git").exists() else "no file and no snapshot"
HISTORY = Path(__file__).with_name("history.json")


@pytest.mark.timeout(280)
def test_figures_against_the_history(capsys):
    with Demo() as demo:
        report = regress.against_record(demo.figures(), History(HISTORY), regress.say)
    with capsys.disabled():
        print(f"\n{report.table()}")
    error = report.error()
    assert not isinstance(error, regress.SlowerError), error


def bench(demo_root, *args):
    command = [".venv/bin/quark", "--root", demo_root, "bench", "regress", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def test_against_a_snapshot(demo_root, tmp_path):
    done = bench(demo_root, "demo", "--against", "demo", "--json", tmp_path / "out.json", "--", "5")
    assert done.returncode in {0, regress.UnclearError.exit_code}, done.stderr
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["lines"][0]["figure"] == "request to first output"
    assert {line["figure"] for line in document["lines"][1:]} >= set(STEPS)


OUTSIDE_BYTES_MAX = 400 << 10  # what the process that faces the guest may have for itself


def test_through_a_daemon(demo_root):
    with Arm("daemon", str(demo_root), "default", "demo", "5") as hot:
        assert 0 < hot.measure()[0] < 1
    with Arm("outside", str(demo_root), "default", "demo", "5") as outside:
        assert 0 < outside.measure()[0] <= OUTSIDE_BYTES_MAX


def test_against_a_record(demo_root, tmp_path):
    file = tmp_path / "history.json"
    done = bench(demo_root, "demo", "--record", file, "--", "5")
    assert done.returncode == 0, done.stderr
    history = json.loads(file.read_text())
    done = bench(demo_root, "demo", "--against", file, "--", "5")
    assert done.returncode in {0, regress.UnclearError.exit_code}, done.stderr
    # The same figure against a record that was twice as fast, as it would be after a change that doubled it.
    history["runs"][0]["figures"]["demo"]["ratio"] /= 2
    steps = history["runs"][0]["figures"]["demo"]["steps"]
    steps["map the working set"] /= 4
    file.write_text(json.dumps(history))
    done = bench(demo_root, "demo", "--against", file, "--", "5")
    assert done.returncode == regress.SlowerError.exit_code
    assert "moved: map the working set" in done.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["demo"], "say with what to compare"),
        (["demo", "--against", "no-such-thing"], NO_REVISION),
        (["nobody", "--record", "x.json"], "nobody"),
        (["a", "b", "--record", "x.json"], "'b' is too much"),
        (["demo", "--record", "x.json", "--against", "demo"], "--record keeps ratios"),
    ],
)
def test_one_clear_line(demo_root, args, says):
    done = bench(demo_root, *args)
    assert done.returncode not in {0, 1}
    assert done.stderr.count("\n") == 1
    assert says in done.stderr


def test_a_file_that_is_no_history(demo_root, tmp_path):
    file = tmp_path / "x.json"
    file.write_text("{}")
    done = bench(demo_root, "demo", "--against", file)
    assert done.returncode == 2
    assert "not a history" in done.stderr
