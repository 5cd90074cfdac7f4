"""Runs every test_*.c of this folder."""

from pathlib import Path

import pytest


@pytest.mark.parametrize("name", sorted(path.stem for path in Path(__file__).parent.glob("test_*.c")))
def test_program(host_program, name):
    host_program(name)(b"")
