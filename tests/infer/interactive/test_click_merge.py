"""Corrections change what was clicked on, and nothing else."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from echoapex.domain.prompts import Prompt
from echoapex.infer.interactive.clicks import merge_correction, obey

SIZE = (40, 40)


def block(rows: slice, columns: slice, sure: float = 3.0) -> np.ndarray:
    logits = np.full(SIZE, -sure, np.float32)
    logits[rows, columns] = sure
    return logits


def test_only_the_change_under_the_click_is_taken_over() -> None:
    previous = block(slice(5, 20), slice(5, 20))
    refined = block(slice(5, 20), slice(5, 25))  # grows to the right, as asked ...
    refined[30:35, 5:10] = 3  # ... and finds an island that nobody asked for
    refined[5:7, 5:7] = -3  # ... and loses a corner
    merged = merge_correction(refined, previous, Prompt(SIZE, positive_xy=((22.0, 10.0),)), 40) > 0
    assert np.array_equal(merged, block(slice(5, 20), slice(5, 25)) > 0)


def test_an_ignored_click_is_obeyed_nearby_and_nowhere_else() -> None:
    previous = block(slice(5, 20), slice(5, 20))
    merged = merge_correction(previous, previous, Prompt(SIZE, negative_xy=((12.0, 12.0),)), 40)
    assert merged[12, 12] < 0
    changed = (merged > 0) != (previous > 0)
    assert 1 <= changed.sum() <= 9
    rows, columns = np.nonzero(changed)
    assert np.hypot(rows - 12, columns - 12).max() < 3


def test_unsure_pixels_follow_farther_than_sure_ones() -> None:
    click = Prompt(SIZE, positive_xy=((20.0, 20.0),))
    unsure = np.full(SIZE, -0.2, np.float32)
    sure = np.full(SIZE, -4.0, np.float32)
    assert (merge_correction(unsure, unsure, click, 40) > 0).sum() > (merge_correction(sure, sure, click, 40) > 0).sum()


def test_an_obeyed_click_changes_nothing() -> None:
    logits = block(slice(5, 20), slice(5, 20))
    before = logits.copy()
    obey(logits, (10.0, 10.0), True, 2.0)
    obey(logits, (30.0, 30.0), False, 2.0)
    assert np.array_equal(logits, before)


pixel = st.tuples(st.integers(0, 39), st.integers(0, 39))


@settings(max_examples=60, deadline=None)
@given(st.lists(pixel, min_size=1, max_size=6, unique=True), st.integers(0, 10_000))
def test_every_click_holds_however_close_the_others_are(places: list[tuple[int, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, SIZE).astype(np.float32)
    kinds = rng.random(len(places)) < 0.5
    for count in range(1, len(places) + 1):
        now = [((float(x), float(y)), bool(kind)) for (x, y), kind in zip(places[:count], kinds, strict=False)]
        prompt = Prompt(SIZE, tuple(xy for xy, kind in now if kind), tuple(xy for xy, kind in now if not kind))
        logits = merge_correction(rng.normal(0, 3, SIZE).astype(np.float32), logits, prompt, 40)
        assert all((logits[int(y), int(x)] > 0) == kind for (x, y), kind in now)
