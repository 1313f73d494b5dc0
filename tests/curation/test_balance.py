"""Shares are even where bounds permit, as near as they permit elsewhere, and sum to one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoapex.curation.balance import effective_number, even_out, fill, share_by_clusters
from echoapex.curation.clusters import Hierarchy


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=12), st.floats(1, 16), st.integers(0, 9))
def test_what_is_filled_sums_up_and_keeps_the_bounds(masses: list[float], most_weight: float, seed: int) -> None:
    even = np.array(masses) / sum(masses)
    wishes = np.random.default_rng(seed).uniform(0.1, 10, len(even))
    filled = fill(wishes, even, most_weight)
    assert filled.sum() == pytest.approx(1)
    assert (filled <= even * most_weight * (1 + 1e-9)).all()
    assert (filled >= even / most_weight * (1 - 1e-9)).all()
    free = (filled < even * most_weight * (1 - 1e-6)) & (filled > even / most_weight * (1 + 1e-6))
    if free.any():
        ratios = filled[free] / wishes[free]
        assert ratios == pytest.approx(ratios[0]), "who is not bounded gets what was wished for"


def test_what_has_no_frames_gets_nothing() -> None:
    assert fill(np.ones(3), np.array([0.0, 0.4, 0.6]), 4.0) == pytest.approx([0, 0.5, 0.5])


def test_clusters_share_level_by_level() -> None:
    # two coarse clusters: one of two fine ones with 6 and 2 frames, one of a single fine one with 2
    labels = np.array([0] * 6 + [1] * 2 + [2] * 2)
    hierarchy = Hierarchy(labels, (np.array([0, 0, 1]),), (3, 2), np.array([0, 6, 8]))
    shares = share_by_clusters(hierarchy, np.full(10, 0.1), most_weight=16)
    assert np.bincount(labels, shares) == pytest.approx([0.25, 0.25, 0.5])
    bounded = share_by_clusters(hierarchy, np.full(10, 0.1), most_weight=2)
    assert np.bincount(labels, bounded) == pytest.approx([0.3, 0.3, 0.4]), "2 of 10 frames may have 0.4 at most"


def test_a_cluster_whose_frames_are_left_out_gets_nothing() -> None:
    hierarchy = Hierarchy(np.array([0, 0, 1, 2]), (), (3,), np.array([0, 2, 3]))
    shares = share_by_clusters(hierarchy, np.array([0.5, 0.25, 0.25, 0.0]), most_weight=4)
    assert shares == pytest.approx([1 / 3, 1 / 6, 0.5, 0])


def crossed(counts: list[list[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Even shares and two factors with so many frames in each combination."""
    table = np.array(counts)
    first, second = (np.repeat(index.ravel(), table.ravel()) for index in np.indices(table.shape))
    return np.full(table.sum(), 1 / table.sum()), first, second


def test_factors_come_out_even_at_once() -> None:
    even, view, vendor = crossed([[60, 20], [15, 5]])
    shares = even_out(even, even, [view, vendor], most_weight=8)
    for groups in (view, vendor):
        assert np.bincount(groups, shares) == pytest.approx([0.5, 0.5], abs=1e-3)
    assert shares.sum() == pytest.approx(1)


def test_their_order_does_not_matter_even_where_they_disagree() -> None:
    even, view, vendor = crossed([[80, 0], [4, 16]])
    one, other = (even_out(even, even, factors, 4) for factors in ([view, vendor], [vendor, view]))
    assert one == pytest.approx(other, abs=1e-9)
    for groups in (view, vendor):
        before, after = (effective_number(np.bincount(groups, shares)) for shares in (even, one))
        assert after > before


def test_without_factors_nothing_changes() -> None:
    even = np.full(4, 0.25)
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    assert even_out(shares, even, [], 4) == pytest.approx(shares)


def test_the_effective_number_counts_even_groups() -> None:
    assert effective_number(np.full(7, 1 / 7)) == pytest.approx(7)
    assert effective_number(np.array([1.0, 0.0])) == pytest.approx(1)
    assert 1 < effective_number(np.array([0.9, 0.1])) < 2
