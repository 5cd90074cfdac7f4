"""docs/attack-surface.md is of this source, and a hostile guest can reach no more than its bar; what counts follows calls and tables."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY / "mk"))

import attack_surface  # noqa: E402 - its folder is no package

SOURCE = """\
int called(int);
int only_in_a_table(int x)
{
\treturn x; /* a comment */
}

static int (*const table[])(int) = {only_in_a_table};
/* no
 * code */
int root(int x)
{
\tconst char *text = "/* no comment";
\treturn table[0](called(x)) + text[0];
}

int nobodys(int x)
{
\treturn x;
}
"""


def test_the_page():
    command = [sys.executable, "mk/attack_surface.py", "docs/attack-surface.md", "--check"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def units(tmp_path):
    (tmp_path / "a").mkdir()
    for name, text in (("x.c", SOURCE), ("y.c", "int called(int x)\n{\n\treturn x;\n}\n")):
        (tmp_path / "a" / name).write_text(text)
    return [attack_surface.compiled(tmp_path / "a" / name, str(tmp_path)) for name in ("x.c", "y.c")]


def test_calls_and_tables_are_followed(units):
    x, y = units
    found = attack_surface.reached(units, ["root"])
    assert {section for path, section in found if path == x.source and section.startswith(".text")} == {
        ".text.root",
        ".text.only_in_a_table",
    }
    assert (y.source, ".text.called") in found
    assert attack_surface.counted(x.source, {"root", "only_in_a_table"}) == (11, 15)
    assert attack_surface.counted(x.source, {"main"}) == (0, 0)


def test_a_root_that_is_gone_is_an_error(units):
    with pytest.raises(SystemExit, match="lost: defined 0 times"):
        attack_surface.reached(units, ["lost"])
