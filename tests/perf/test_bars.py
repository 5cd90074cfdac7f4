"""The bars, as ratios measured in one run: `make bench-check`. Not part of `make test`: figures need an idle machine."""

import json

import pytest


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("what", "bars"), [("startup", 6), ("snapshots", 6)])
def test_bars(what, bars, tmp_path):
    from quark.cli import bench

    out = tmp_path / "out.json"
    assert bench.main([what, "--runs", "20", "--json", str(out)], None) == 0
    found = json.loads(out.read_text())["bars"]
    assert len(found) >= bars
    missed = [f"{b['what']}: {b['value']:.2f} {b['unit']}, the bar is {b['bar']}" for b in found if not b["reached"]]
    assert not missed, "\n".join(missed)
