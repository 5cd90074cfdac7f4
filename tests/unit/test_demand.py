"""The controller of prepared machines, on a clock of its own."""

from hypothesis import given
from hypothesis import strategies as st

from snapshotd.daemon.demand import Demand

KEEP = 10.0


def demand(most=8):
    return Demand(most, KEEP)


def test_one_for_each_snapshot_in_use():
    d = demand()
    assert d.wanted(0.0) == {}
    d.asked("a", 0.0, 0)
    d.asked("b", 1.0, 0)
    assert d.wanted(2.0) == {"a": 1, "b": 1}
    assert d.wanted(10.5) == {"b": 1}
    d.settle(12.0, {})
    assert d.wanted(12.0) == {}


def test_it_grows_by_demand_and_shrinks_again():
    d = demand()
    for _ in range(4):
        d.asked("a", 0.0, 0)
    assert d.wanted(0.0) == {"a": 4}
    d.settle(0.5, {"a": 4})  # the period before was short of them
    for n in range(3):
        d.settle(1.0 + n, {"a": 4})
    assert d.wanted(4.0) == {"a": 1}
    d.settle(5.0, {"a": 1})
    assert d.wanted(5.0) == {"a": 1}


def test_a_period_that_used_all_of_them_keeps_the_number():
    d = demand()
    for _ in range(3):
        d.asked("a", 0.0, 0)
    d.settle(0.5, {"a": 3})
    for left in (3, 2, 1):
        d.asked("a", 0.6, left)
    d.settle(1.0, {"a": 3})
    assert d.wanted(1.0) == {"a": 3}


def test_no_more_than_so_many():
    d = demand(3)
    for _ in range(9):
        d.asked("a", 0.0, 0)
    assert d.wanted(0.0) == {"a": 3}
    for key in "bcde":
        d.asked(key, 1.0, 0)
    assert d.wanted(1.0) == {"e": 1, "d": 1, "c": 1}


def test_pinned_ones_stay():
    d = demand()
    d.pin("a", 2)
    d.settle(100.0, {"a": 2})
    assert d.wanted(100.0) == {"a": 2}
    d.asked("a", 100.0, 2)
    assert d.wanted(100.0) == {"a": 2}
    d.pin("a", 0)
    d.settle(120.0, {"a": 2})
    assert d.wanted(120.0) == {}
    d.pin("b", 1)
    d.forget("b")
    assert d.wanted(120.0) == {}


@given(
    st.integers(0, 5),
    st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 5), st.integers(0, 3), st.booleans()), max_size=40),
)
def test_whatever_comes_the_bound_holds(most, steps):
    d, now = demand(most), 0.0
    for key, later, left, settles in steps:
        now += later
        if settles:
            d.settle(now, {key: left})
        else:
            d.asked(key, now, left)
        wanted = d.wanted(now)
        assert sum(wanted.values()) <= most
        assert all(n >= 1 for n in wanted.values())
        if not settles and most:
            assert key in wanted
