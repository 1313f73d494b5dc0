from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from echoapex.infer.clip.analyze import SPAN_S, choose_cycle_rows


@given(count=st.integers(1, 3000), rate=st.floats(5, 200), limit=st.integers(1, 200))
def test_rows_are_bounded_even_and_start_at_the_first(count: int, rate: float, limit: int) -> None:
    times = [index / rate for index in range(count)]
    rows = choose_cycle_rows(times, limit)
    assert 1 <= len(rows) <= limit
    assert rows[0] == 0
    assert rows[-1] < count
    assert len({b - a for a, b in pairwise(rows)}) <= 1


def test_a_long_clip_is_followed_densely_for_three_seconds() -> None:
    times = [index / 50 for index in range(2000)]
    rows = choose_cycle_rows(times, 96)
    assert times[rows[-1]] <= SPAN_S
    assert times[rows[-1]] > 0.9 * SPAN_S


def test_a_short_clip_is_taken_whole() -> None:
    assert choose_cycle_rows([0.0, 1.0, 2.0, 30.0], 96) == (0, 1, 2, 3)
