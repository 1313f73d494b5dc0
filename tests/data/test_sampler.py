"""The order of examples is a pure function of seed and position, and visits everything equally often."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoapex.data import batch
from echoapex.data.batch import balanced_example, scattered_index, shuffled_index

seeds = st.integers(0, 1000)
quick = settings(max_examples=30, deadline=None)


@quick
@given(seeds, st.integers(1, 40), st.integers(0, 5))
def test_every_epoch_visits_every_example_once(seed: int, count: int, epoch: int) -> None:
    visited = [shuffled_index(seed, epoch * count + within, count) for within in range(count)]
    assert sorted(visited) == list(range(count))


def test_epochs_and_seeds_differ() -> None:
    orders = {tuple(shuffled_index(seed, epoch * 30 + i, 30) for i in range(30)) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4


@quick
@given(seeds, st.lists(st.integers(0, 500), min_size=1, max_size=20))
def test_a_resumed_run_sees_what_an_uninterrupted_one_would(seed: int, positions: list[int]) -> None:
    groups = [[0, 1, 2], [3], [4, 5, 6, 7]]
    in_order = {position: balanced_example(seed, position, groups) for position in range(max(positions) + 1)}
    batch._permutation.cache_clear()
    for position in positions:
        assert balanced_example(seed, position, groups) == in_order[position]


@quick
@given(seeds, st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(0, 9))
def test_groups_take_turns_whatever_their_size(seed: int, sizes: list[int], window: int) -> None:
    groups = [[(number, member) for member in range(size)] for number, size in enumerate(sizes)]
    flat = [pair for group in groups for pair in group]
    numbered = [[flat.index(pair) for pair in group] for group in groups]
    first = window * len(groups)
    turns = [flat[balanced_example(seed, first + i, numbered)][0] for i in range(len(groups))]
    assert sorted(turns) == list(range(len(groups)))


def test_members_of_a_group_are_visited_equally_often() -> None:
    groups = [[0, 1, 2, 3], [4, 5]]
    visits = Counter(balanced_example(3, position, groups) for position in range(2 * 20))
    assert visits == {0: 5, 1: 5, 2: 5, 3: 5, 4: 10, 5: 10}


def test_a_group_given_twice_gets_two_turns_in_orders_of_its_own() -> None:
    members = list(range(8))
    picks = [balanced_example(0, position, [members, members]) for position in range(16)]
    assert Counter(picks) == dict.fromkeys(members, 2)
    assert len(set(picks[:8])) < 8 or picks[0::2] != picks[1::2]


def test_nothing_cannot_be_sampled() -> None:
    with pytest.raises(ValueError, match="empty set"):
        shuffled_index(0, 0, 0)
    with pytest.raises(ValueError, match="empty set"):
        balanced_example(0, 0, [])


@quick
@given(seeds, st.integers(1, 300), st.integers(0, 5))
def test_a_scattered_epoch_visits_every_example_once(seed: int, count: int, epoch: int) -> None:
    visited = [scattered_index(seed, epoch * count + within, count) for within in range(count)]
    assert sorted(visited) == list(range(count))


def test_scattered_epochs_differ_and_neighbours_are_far_apart() -> None:
    count = 5000
    epochs = [np.array([scattered_index(3, epoch * count + i, count) for i in range(count)]) for epoch in (0, 1)]
    assert (epochs[0] == epochs[1]).mean() < 0.01
    assert abs(np.corrcoef(epochs[0][:-1], epochs[0][1:])[0, 1]) < 0.05
    assert abs(np.corrcoef(np.arange(count), epochs[0])[0, 1]) < 0.05
    assert np.abs(np.diff(epochs[0])).mean() > count / 4


def test_scattering_many_millions_needs_no_table() -> None:
    count = 20_000_000
    found = [scattered_index(0, position, count) for position in range(1000)]
    assert len(set(found)) == 1000
    assert 0 <= min(found) < max(found) < count
    with pytest.raises(ValueError, match="empty set"):
        scattered_index(0, 0, 0)
