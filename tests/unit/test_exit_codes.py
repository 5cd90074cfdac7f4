"""docs/exit-codes.md says what the error classes say, and a status means one thing."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "mk" / "exit_codes.py"
PAGE = REPOSITORY / "docs" / "exit-codes.md"


def check(page):
    return subprocess.run([sys.executable, SCRIPT, page, "--check"], capture_output=True, text=True, check=False)


def test_the_page_is_up_to_date():
    done = check(PAGE)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("old", "new"),
    [("| 77 | DaemonLostError |", "| 76 | DaemonLostError |"), ("NOT_FOUND", "INTERNAL"), (r"\| 85 .*\n", "")],
)
def test_a_page_that_says_something_else_is_noticed(tmp_path, old, new):
    page = tmp_path / "page.md"
    page.write_text(re.sub(old if "\\" in old else re.escape(old), new, PAGE.read_text(), count=1))
    assert page.read_text() != PAGE.read_text()
    done = check(page)
    assert done.returncode == 1
    assert "make docs" in done.stderr


def test_two_meanings_of_one_status_are_noticed():
    spec = importlib.util.spec_from_file_location("exit_codes", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    from quark.errors import DaemonLostError, KvmMissingError, QuarkError

    same = type("SameError", (QuarkError,), {"exit_code": KvmMissingError.exit_code, "__module__": "elsewhere"})
    kind = type("KindError", (KvmMissingError,), {"__module__": "elsewhere"})
    assert script.clashes([KvmMissingError, DaemonLostError, kind]) == []
    assert "60" in script.clashes([KvmMissingError, same])[0]
