"""A volume curve is filled, cleaned and smoothed without flattening its extremes."""

import numpy as np
import pytest
from beating import beating_volume
from hypothesis import given, settings
from hypothesis import strategies as st

from echoapex.measure import MeasureError
from echoapex.measure.cardiac_cycle import condition_volumes

TIMES = np.arange(0, 3.2, 1 / 50)


@given(st.floats(0.42, 1.4), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_the_period_of_a_clean_curve_is_found(period_s: float, start: float) -> None:
    found = condition_volumes(TIMES, beating_volume(TIMES + start, period_s, 55)).period_s
    assert found == pytest.approx(period_s, rel=0.08)


def test_a_given_period_is_kept_and_noise_has_none() -> None:
    volumes = beating_volume(TIMES, 0.8, 55)
    assert condition_volumes(TIMES, volumes, period_s=0.81).period_s == 0.81
    assert condition_volumes(np.arange(40) / 50, np.linspace(120, 60, 40)).period_s is None
    assert condition_volumes(TIMES, np.full(TIMES.size, 90.0)).period_s is None


def test_a_failed_frame_is_replaced_and_the_rest_untouched() -> None:
    volumes = beating_volume(TIMES, 0.8, 55)
    marred = volumes.copy()
    marred[[20, 57, 103]] = [0, 400, 5]
    clean = condition_volumes(TIMES, volumes, 0.8).smoothed
    assert np.abs(condition_volumes(TIMES, marred, 0.8).smoothed - clean).max() < 3


@pytest.mark.parametrize("frames_per_beat", [12, 20, 40, 80])
def test_extremes_keep_their_height(frames_per_beat: int) -> None:
    times = np.arange(0, 3.0, 0.8 / frames_per_beat)
    smoothed = condition_volumes(times, beating_volume(times, 0.8, 60), 0.8).smoothed
    assert smoothed.max() == pytest.approx(120, abs=2.5)
    assert smoothed.min() == pytest.approx(48, abs=4)


def test_missing_frames_are_filled() -> None:
    volumes = beating_volume(TIMES, 0.8, 55)
    holes = volumes.copy()
    holes[::4] = np.nan
    filled = condition_volumes(TIMES, holes, 0.8).smoothed
    assert np.abs(filled - condition_volumes(TIMES, volumes, 0.8).smoothed).max() < 4


def test_uneven_frame_times_are_respected() -> None:
    uneven = np.cumsum(np.random.default_rng(1).uniform(0.012, 0.028, 160))
    found = condition_volumes(uneven, beating_volume(uneven, 0.8, 55))
    assert found.period_s == pytest.approx(0.8, rel=0.05)
    assert found.smoothed.shape == uneven.shape
    assert np.abs(found.smoothed - beating_volume(uneven, 0.8, 55)).max() < 6


@pytest.mark.parametrize(
    ("times", "volumes", "words"),
    [
        ([0.0, 0.1], [1.0, 2.0], "at least three"),
        ([0.0, 0.1, 0.2], [1.0, 2.0], "at least three"),
        ([0.0, 0.2, 0.1], [1.0, 2.0, 3.0], "increase"),
        ([0.0, 0.1, 0.2], [1.0, np.nan, np.nan], "2 of 3 frames have no volume"),
    ],
)
def test_what_is_no_curve_is_refused(times: list[float], volumes: list[float], words: str) -> None:
    with pytest.raises(MeasureError, match=words):
        condition_volumes(np.array(times), np.array(volumes))
