"""The generator of the syscall table and its documentation."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

KERNEL = Path(__file__).parents[2] / "qkernel"
TABLE = """# a comment
1\twrite\tsys_write\tfull\t
0\tread\tsys_read\tpartial\tno O_DIRECT | no timeouts

29\tshmget\t-\tnone\t
"""


def generate(*args, cwd=None):
    command = [sys.executable, KERNEL / "gen_syscalls.py", *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_table_compiles_to_dispatch_and_names(tmp_path):
    (tmp_path / "t.tbl").write_text(TABLE)
    assert generate("t.tbl", "--table", "table.inc", cwd=tmp_path).returncode == 0
    (tmp_path / "t.c").write_text("""
        #include <stdio.h>
        static int sys_read(void) { return 10; }
        static int sys_write(void) { return 11; }
        int main(void) {
        #define SYSCALL(nr, name, fn) [nr] = fn,
        #define SYSCALL_NAME(nr, name) [nr] = #name,
            static int (*const calls[])(void) = {
        #undef SYSCALL_NAME
        #include "table.inc"
            };
        #define SYSCALL_NAME(nr, name) [nr] = #name,
            static const char *const names[SYSCALL_TABLE_SIZE] = {
        #include "table.inc"
            };
            printf("%d %d %s %s %d", calls[0](), calls[1](), names[1], names[29], SYSCALL_TABLE_SIZE);
        }""")
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", "-o", "t", "t.c"], cwd=tmp_path, check=True)
    assert subprocess.check_output([tmp_path / "t"], text=True) == "10 11 write shmget 30"


def test_documentation_lists_levels_and_notes(tmp_path):
    (tmp_path / "t.tbl").write_text(TABLE)
    assert generate("t.tbl", "--doc", "t.md", cwd=tmp_path).returncode == 0
    text = (tmp_path / "t.md").read_text()
    assert "| 0 | read | no O_DIRECT \\| no timeouts |" in text
    assert "shmget (29)" in text
    assert generate("t.tbl", "--check-doc", "t.md", cwd=tmp_path).returncode == 0


def test_stale_documentation_fails(tmp_path):
    (tmp_path / "t.tbl").write_text(TABLE)
    generate("t.tbl", "--doc", "t.md", cwd=tmp_path)
    (tmp_path / "t.tbl").write_text(TABLE + "30\tshmat\t-\tnone\t\n")
    done = generate("t.tbl", "--check-doc", "t.md", cwd=tmp_path)
    assert done.returncode == 1
    assert "make docs" in done.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 open sys_open full", "1 columns"),
        ("x\topen\tsys_open\tfull\t", "not a number"),
        ("2\to pen\tsys_open\tfull\t", "not a name"),
        ("2\topen\tsys open\tfull\t", "C identifier"),
        ("2\topen\tsys_open\tmostly\t", "none of full, partial, none"),
        ("2\topen\t-\tfull\t", "has no handler"),
        ("2\topen\tsys_open\tpartial\t", "note must say"),
        ("0\topen\tsys_open\tfull\t", "0 is there twice"),
        ("2\tread\tsys_read\tfull\t", "read is there twice"),
    ],
)
def test_bad_line_is_named(tmp_path, line, message):
    (tmp_path / "t.tbl").write_text(TABLE + line + "\n")
    done = generate("t.tbl", "--table", "table.inc", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("gen_syscalls.py: t.tbl:6: ")
    assert message in done.stderr
    assert not (tmp_path / "table.inc").exists()


def test_numbers_are_those_of_linux():
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text()
    linux = dict(re.findall(r"#define __NR_(\w+) (\d+)", header))
    ours = re.findall(r"^(\d+)\t(\w+)\t", (KERNEL / "syscalls.tbl").read_text(), re.MULTILINE)
    assert len(ours) > 300
    assert [(nr, name) for nr, name in ours if linux.get(name, nr) != nr] == []
