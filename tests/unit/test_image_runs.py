"""In how many pieces an image is mapped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapshotd.image import GAP_PAGES, map_runs, runs_max

LENGTHS = st.lists(st.tuples(st.integers(1, 3 * GAP_PAGES), st.integers(1, 5)), max_size=60)


def frames(runs):
    found = [gfn for first, end in runs for gfn in range(first, end)]
    assert len(found) == len(set(found))
    return set(found)


@given(LENGTHS, st.integers(1, 40))
def test_all_data_is_mapped_in_so_many_pieces_at_the_least_cost(lengths, most):
    data, at = [], 0
    for gap, pages in lengths:
        data.append((at + gap, pages))
        at += gap + pages
    runs, gaps, filled = map_runs(data, most)
    assert len(runs) <= most
    assert runs == sorted(runs)
    assert frames(runs) == frames([(gfn, gfn + pages) for gfn, pages in data]) | frames(gaps)
    assert frames(gaps).isdisjoint(frames([(gfn, gfn + pages) for gfn, pages in data]))
    wide = sorted(gap for gap, _ in lengths[1:] if gap > GAP_PAGES)
    too_many = max(len(wide) + 1 - most, 0) if data else 0
    assert filled == sum(wide[:too_many])


@pytest.mark.parametrize(("limit", "most"), [(65530, 30717), (5000, 452), (4096, 1), (100, 1)])
def test_the_hosts_limit(tmp_path, monkeypatch, limit, most):
    (tmp_path / "max_map_count").write_text(f"{limit}\n")
    monkeypatch.setattr("snapshotd.image.MAPS", str(tmp_path / "max_map_count"))
    assert runs_max() == most
