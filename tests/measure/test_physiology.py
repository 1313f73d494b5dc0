"""Limits of what a heart does: possible beats pass, impossible ones do not, and a lone jump is found."""

from __future__ import annotations

import numpy as np
import pytest
from beating import beating_volume

from echoapex.measure.reference_limits import (
    LONGEST_BEAT_S,
    SHORTEST_BEAT_S,
    expected_systole_s,
    impossible_jumps,
    is_possible_beat,
    is_possible_systole,
)
from echoapex.vocabulary import Quantity


@pytest.mark.parametrize(("rate", "qs2_ms"), [(30, 483), (60, 420), (75, 388.5), (140, 252)])
def test_systole_is_expected_as_weissler_measured_it(rate: float, qs2_ms: float) -> None:
    assert 1000 * expected_systole_s(60 / rate) == pytest.approx(qs2_ms)


@pytest.mark.parametrize("systole_s", [0.0, 0.05, 0.7, 1.3])
def test_times_that_are_no_systole(systole_s: float) -> None:
    assert not is_possible_systole(systole_s, frame_s=0.02)


@pytest.mark.parametrize("rate", [32, 45, 60, 75, 100, 140, 180])
def test_the_expected_systole_is_possible_at_its_rate(rate: float) -> None:
    beat_s = 60 / rate
    assert is_possible_systole(expected_systole_s(beat_s), 0.02, beat_s)


def test_the_rate_narrows_what_is_possible() -> None:
    assert is_possible_systole(0.24, 0.01)
    assert not is_possible_systole(0.24, 0.01, beat_s=1.9), "at 32 per minute systole takes 0.48 s"
    assert is_possible_systole(0.6, 0.01)
    assert not is_possible_systole(0.6, 0.01, beat_s=0.8), "at 75 per minute 0.39 s"
    assert not is_possible_systole(0.40, 0.01, beat_s=0.5), "nothing would be left of diastole"


def test_either_end_may_be_one_frame_off() -> None:
    assert not is_possible_systole(0.68, frame_s=0.02)
    assert is_possible_systole(0.68, frame_s=0.04)


def test_beats_are_those_of_the_plausible_heart_rates() -> None:
    assert [is_possible_beat(beat_s) for beat_s in (0.2, 0.27, 0.8, 2.0, 2.1)] == [False, True, True, True, False]
    low, high = Quantity.HEART_RATE.plausible_range
    assert low == 60 / LONGEST_BEAT_S
    assert high == pytest.approx(60 / SHORTEST_BEAT_S, abs=3)


@pytest.mark.parametrize("fps", [15, 25, 50, 90])
@pytest.mark.parametrize(("rate", "ef"), [(45, 60), (75, 75), (140, 70)])
def test_no_frame_of_a_beating_heart_is_a_jump(fps: float, rate: float, ef: float) -> None:
    times = np.arange(0, 2, 1 / fps)
    assert not impossible_jumps(times, beating_volume(times, 60 / rate, ef)).any()


@pytest.mark.parametrize("frame", [0, 1, 17, 58, 59])
@pytest.mark.parametrize("factor", [0.1, 2.5])
def test_a_lone_jump_is_found_wherever_it_lies(frame: int, factor: float) -> None:
    times = np.arange(60) / 50
    volumes = beating_volume(times, 0.8, 20)
    volumes[frame] *= factor
    assert np.flatnonzero(impossible_jumps(times, volumes)).tolist() == [frame]


def test_gaps_are_no_jumps_and_lengthen_the_time_that_a_change_may_take() -> None:
    times = np.arange(30) / 50
    volumes = np.full(30, 100.0)
    volumes[10:20] = np.nan
    volumes[20] = 60.0
    assert not impossible_jumps(times[:21], volumes[:21]).any(), "forty per cent in a fifth of a second"
    assert not impossible_jumps(times[:2], volumes[:2]).any()
