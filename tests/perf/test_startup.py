"""Start-up latency and memory, as ratios measured in one run: `make bench-check`. Not part of `make test`: figures need an idle machine."""

import json

import pytest


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    from quark.cli import bench

    out = tmp_path_factory.mktemp("bench") / "out.json"
    assert bench.main(["startup", "--runs", "10", "--json", str(out)], None) == 0
    return {b["what"]: b for b in json.loads(out.read_text())["bars"]}


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "what",
    [
        "clone vs cold",
        "clone vs plain python app.py",
        "inside QVisor: VM ready to first answer, image hot",
        "getpid in the guest",
        "cold python3 -c 'print(1)' vs plain",
        "memory of the 10th clone vs the plain process",
    ],
)
def test_bar(bars, what):
    bar = bars[what]
    assert bar["reached"], f"{bar['value']:.2f} {bar['unit']}, the bar is {bar['bar']}"
