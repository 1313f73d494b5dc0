"""Frame times from every element that may carry them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoapex.io.calibration import TimingElements, build_frame_times, plausible_heart_rate, plausible_r_waves
from echoapex.io.clip_source import ReadFlag


def test_a_vector_gives_uneven_times() -> None:
    times = build_frame_times(TimingElements(frame_time_vector_ms=(0, 20, 30, 20)), 4)
    assert times.times_s == pytest.approx((0, 0.02, 0.05, 0.07))
    assert times.known and not times.flags


def test_a_vector_without_the_first_zero() -> None:
    assert build_frame_times(TimingElements(frame_time_vector_ms=(20, 30)), 3).times_s == pytest.approx((0, 0.02, 0.05))


def test_a_vector_longer_than_a_truncated_clip() -> None:
    assert build_frame_times(TimingElements(frame_time_vector_ms=(0, 20, 30, 20)), 2).times_s == (0.0, 0.02)


def test_the_element_that_is_pointed_to_wins() -> None:
    both = {"frame_time_vector_ms": (0, 10, 10), "frame_time_ms": 20.0}
    assert build_frame_times(TimingElements(**both, vector_is_pointed_to=True), 3).times_s[1] == 0.01
    assert build_frame_times(TimingElements(**both), 3).times_s[1] == 0.02


@pytest.mark.parametrize(
    ("elements", "step_s"),
    [
        (TimingElements(frame_time_ms=33.333), 0.033333),
        (TimingElements(rate_hz=50), 0.02),
        (TimingElements(duration_s=2), 0.2),
        (TimingElements(frame_time_ms=25, rate_hz=12), 0.025),
        (TimingElements(frame_time_ms=0, rate_hz=12.5), 0.08),
    ],
)
def test_constant_steps(elements: TimingElements, step_s: float) -> None:
    times = build_frame_times(elements, 10)
    assert np.diff(times.times_s) == pytest.approx(np.full(9, step_s))
    assert times.known and not times.flags


@pytest.mark.parametrize(
    "elements",
    [
        TimingElements(frame_time_ms=-5, rate_hz=20),
        TimingElements(frame_time_ms=1e7, rate_hz=20),
        TimingElements(frame_time_vector_ms=(0, 20, 0), rate_hz=20),
        TimingElements(frame_time_vector_ms=(0, 20), rate_hz=20, frame_time_ms=0.0001),
    ],
)
def test_an_impossible_element_is_passed_over_with_a_flag(elements: TimingElements) -> None:
    times = build_frame_times(elements, 3 if len(elements.frame_time_vector_ms) != 2 else 4)
    assert times.times_s[1] == pytest.approx(0.05)
    assert times.flags == (ReadFlag.FRAME_TIMES_IMPLAUSIBLE,)


def test_nothing_known_means_a_nominal_rate_that_is_marked() -> None:
    times = build_frame_times(TimingElements(), 4)
    assert times.times_s[3] == pytest.approx(0.1)
    assert not times.known and not times.flags


def test_only_an_impossible_rate_means_a_nominal_rate_with_a_flag() -> None:
    times = build_frame_times(TimingElements(rate_hz=1e9), 4)
    assert not times.known
    assert times.flags == (ReadFlag.FRAME_TIMES_IMPLAUSIBLE,)


def test_a_still_has_one_known_time() -> None:
    assert build_frame_times(TimingElements(), 1).times_s == (0.0,)
    assert build_frame_times(TimingElements(), 1).known


@pytest.mark.parametrize(("rate", "kept"), [(72.0, 72.0), (0.0, None), (None, None), (-3.0, None), (9999.0, None)])
def test_heart_rate(rate: float | None, kept: float | None) -> None:
    assert plausible_heart_rate(rate) == kept


def test_r_waves_are_sorted_and_near_the_clip() -> None:
    assert plausible_r_waves((1800, 900, float("nan"), 1e9), 2.0) == (0.9, 1.8)


@given(
    vector=st.lists(st.floats(-1e6, 1e6), max_size=12),
    step=st.none() | st.floats(-1e6, 1e6),
    rate=st.none() | st.floats(-1e6, 1e6),
    frames=st.integers(1, 12),
)
def test_times_always_increase_from_zero(
    vector: list[float], step: float | None, rate: float | None, frames: int
) -> None:
    times = build_frame_times(TimingElements(tuple(vector), step, rate), frames).times_s
    assert len(times) == frames
    assert times[0] == 0
    assert (np.diff(times) > 0).all()
