"""The statistics of the regression tests, on measurements whose truth is known."""

import random

import pytest

from quark.bench import verdict as v
from quark.bench.history import History, judge


def pairs(chance, slower, blocks=4, size=8, noise=0.1):
    """Pairs with noise on each measurement, drift that both sides share, and a bias of each block's processes."""
    made = []
    for _ in range(blocks):
        bias = chance.gauss(1, 0.02)
        block = []
        for _ in range(size):
            drift = chance.uniform(1, 2)
            block.append(
                (slower * bias * drift * chance.lognormvariate(0, noise), drift * chance.lognormvariate(0, noise))
            )
        made.append(block)
    return made


def test_the_interval_holds_the_truth():
    chance = random.Random(1)
    found = [v.ratio(pairs(chance, 1.2)) for _ in range(50)]
    assert sum(r.low <= 1.2 <= r.high for r in found) >= 46
    assert all(r.low <= r.ratio <= r.high for r in found)


def test_a_fifth_more_is_never_ok_and_nothing_is_never_slower():
    chance = random.Random(2)
    slower = [v.verdict(v.ratio(pairs(chance, 1.2, blocks=8)), noise=1.06, limit=1.19) for _ in range(30)]
    same = [v.verdict(v.ratio(pairs(chance, 1.0, blocks=8)), noise=1.06, limit=1.19) for _ in range(30)]
    assert slower.count(v.SLOWER) >= 27
    assert v.OK not in slower
    assert same.count(v.OK) >= 27
    assert v.SLOWER not in same


def test_drift_of_the_machine_is_not_a_verdict():
    drifting = [[(float(i), float(i)) for i in range(1, 9)] for _ in range(4)]
    assert v.ratio(drifting) == v.Interval(1.0, 1.0, 1.0)


@pytest.mark.parametrize("blocks", [[], [[]], [[(1.0, 0.0)]]])
def test_no_baseline(blocks):
    with pytest.raises(ValueError, match="above 0"):
        v.ratio(blocks)


def run(ratio, machine="m"):
    return {"machine": machine, "figures": {"f": {"ratio": ratio, "steps": {"s": ratio / 2}}}}


def test_the_history_knows_its_spread(tmp_path):
    history = History(tmp_path / "h.json")
    assert history.record("m", "f") is None
    for ratio in (4.0, 5.0, 4.0):
        history.add(run(ratio))
    history.add(run(100.0, "another"))
    record = History(tmp_path / "h.json").record("m", "f")
    assert record == (4.0, 1.25, 3)
    assert history.record("m", "f", "s") == (2.0, 1.25, 3)
    assert judge(v.Interval(5.0, 4.9, 5.1), record) == v.OK
    assert judge(v.Interval(6.0, 5.5, 6.5), record) == v.UNCLEAR
    assert judge(v.Interval(6.6, 6.1, 7.0), record) == v.SLOWER


def test_the_history_forgets_old_runs(tmp_path):
    history = History(tmp_path / "h.json")
    for i in range(40):
        history.add(run(float(i + 1)))
    assert len(history.runs) == 30
    assert history.runs[0]["figures"]["f"]["ratio"] == 11.0
