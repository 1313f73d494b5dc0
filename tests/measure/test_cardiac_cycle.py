"""ED, ES, beats, EF and heart rate of curves for which they are known."""

import numpy as np
import pytest
from beating import ES_PHASE, beating_volume
from hypothesis import example, given, settings
from hypothesis import strategies as st

from echoapex.domain import Flag
from echoapex.measure import MeasureError, detect_cardiac_cycles
from echoapex.measure.cardiac_cycle import NO_SYSTOLE, NOISE, RateMarks
from echoapex.measure.reference_limits import is_possible_systole


def nearest_phase(times_s: np.ndarray, period_s: float, phase: float) -> np.ndarray:
    """Distance of each time from the nearest moment of that phase, in beats."""
    return np.abs((times_s / period_s - phase + 0.5) % 1 - 0.5)


@given(
    rate=st.floats(45, 140), ef=st.floats(12, 75), start=st.floats(0, 1), beats=st.floats(2.1, 6), fps=st.floats(25, 90)
)
@example(rate=105.0, ef=12.0, start=0.21875, beats=3.0, fps=25.0)  # begins in the last two frames of a systole
@settings(max_examples=60, deadline=None)
def test_every_beat_of_a_clean_clip_is_found(rate: float, ef: float, start: float, beats: float, fps: float) -> None:
    period = 60 / rate
    times = np.arange(0, beats * period, 1 / fps)
    moved = times + start * period
    cycles = detect_cardiac_cycles(times, beating_volume(moved, period, ef))
    one_frame = 1 / fps / period
    assert abs(len(cycles.beats) - beats) < 1.6
    assert nearest_phase(moved[list(cycles.ed_frames)], period, 0).max() < 0.1 + one_frame
    assert nearest_phase(moved[list(cycles.es_frames)], period, ES_PHASE).max() < 0.1 + one_frame
    assert cycles.ef_percent == pytest.approx(ef, abs=3)
    assert cycles.heart_rate_bpm == pytest.approx(rate, rel=0.15)


def test_noise_of_five_percent_moves_the_mean_ef_by_a_few_points_only() -> None:
    errors = []
    for seed in range(30):
        generator = np.random.default_rng(seed)
        times, ef = np.arange(0, 4, 1 / 50), generator.uniform(20, 70)
        volumes = beating_volume(times + generator.uniform(0, 0.8), 0.8, ef)
        noisy = volumes * (1 + 0.05 * generator.standard_normal(times.size))
        errors.append(detect_cardiac_cycles(times, noisy).ef_percent - ef)
    assert np.mean(np.abs(errors)) < 3
    assert np.max(np.abs(errors)) < 10


def test_two_thousand_frames_are_fifty_beats() -> None:
    times = np.arange(2000) / 50
    volumes = beating_volume(times, 0.8, 55) * (1 + 0.03 * np.random.default_rng(0).standard_normal(2000))
    cycles = detect_cardiac_cycles(times, volumes)
    assert len(cycles.beats) == 50
    assert cycles.heart_rate_bpm == pytest.approx(75, abs=1)
    assert cycles.ef_spread_percent is not None
    assert cycles.ef_spread_percent < 4


def test_r_waves_pin_end_diastole_where_noise_would_move_it() -> None:
    generator = np.random.default_rng(5)
    with_ecg, without = [], []
    for _ in range(20):
        times, start = np.arange(0, 3, 1 / 40), generator.uniform(0, 0.8)
        noisy = beating_volume(times + start, 0.8, 40) * (1 + 0.06 * generator.standard_normal(times.size))
        r_waves = [beat * 0.8 - start for beat in range(1, 5) if beat * 0.8 - start <= times[-1]]
        for found, cycles in (
            (with_ecg, detect_cardiac_cycles(times, noisy, r_waves)),
            (without, detect_cardiac_cycles(times, noisy)),
        ):
            found.extend(nearest_phase((times + start)[list(cycles.ed_frames)], 0.8, 0))
    assert np.mean(with_ecg) < np.mean(without)
    assert np.max(with_ecg) < 0.2


def test_heart_rate_comes_from_the_ecg_where_there_is_one() -> None:
    times = np.arange(0, 3, 1 / 50)
    cycles = detect_cardiac_cycles(times, beating_volume(times, 0.8, 55), r_wave_times_s=(0.01, 0.82, 1.59, 2.42))
    assert cycles.heart_rate_bpm == pytest.approx(60 / np.median(np.diff([0.01, 0.82, 1.59, 2.42])))
    assert cycles.ed_frames[:3] == pytest.approx((0, 40, 80), abs=2)


def test_r_waves_that_contradict_the_curve_are_left_aside() -> None:
    times = np.arange(0, 3.1, 1 / 50)
    volumes = beating_volume(times, 0.8, 55)
    wrong = tuple(0.8 * ES_PHASE + 0.8 * np.arange(4))  # stamped half a beat late
    assert detect_cardiac_cycles(times, volumes, wrong).ed_frames == detect_cardiac_cycles(times, volumes).ed_frames


def test_a_clip_from_ed_to_es_gives_its_ef_and_says_that_the_beat_is_incomplete() -> None:
    times = np.arange(0, 0.8 * ES_PHASE + 0.01, 1 / 50)
    cycles = detect_cardiac_cycles(times, beating_volume(times, 0.8, 55))
    assert cycles.ed_frames == pytest.approx((0,), abs=1)
    assert cycles.es_frames == pytest.approx((times.size - 1,), abs=1)
    assert cycles.ef_percent == pytest.approx(55, abs=2)
    assert cycles.flags == (Flag.INCOMPLETE_BEAT,)
    assert cycles.heart_rate_bpm is None


def test_a_systole_cut_by_the_start_or_the_end_of_the_clip_gives_no_beat() -> None:
    falling = np.arange(0.15, 0.15 + 1.0, 1 / 50)  # begins in mid-ejection, at 0.8 s a beat
    cycles = detect_cardiac_cycles(falling - falling[0], beating_volume(falling, 0.8, 55))
    assert 0 not in cycles.ed_frames
    half_ejected = np.arange(0.0, 0.17, 1 / 50)
    cut = detect_cardiac_cycles(half_ejected, beating_volume(half_ejected, 0.8, 55))
    assert cut.beats == ()
    assert cut.ef_percent is None
    assert "too short" in cut.reason


def test_complete_beats_outrank_an_incomplete_one() -> None:
    times = np.arange(0, 0.8 * 2 + 0.8 * ES_PHASE + 0.01, 1 / 50)
    volumes = beating_volume(times, 0.8, 50)
    volumes[times > 1.6] += 20  # the last, incomplete systole ends higher
    cycles = detect_cardiac_cycles(times, volumes)
    assert [beat.is_complete for beat in cycles.beats] == [True, True, False]
    assert cycles.ef_percent == pytest.approx(np.mean([beat.ef_percent for beat in cycles.beats[:2]]))
    assert cycles.flags == ()


@pytest.mark.parametrize("volumes", [np.full(60, 80.0), np.zeros(60), 80 + 0.5 * np.sin(np.arange(60))])
def test_a_still_heart_has_no_beats_and_a_reason(volumes: np.ndarray) -> None:
    cycles = detect_cardiac_cycles(np.arange(60) / 30, volumes)
    assert cycles.beats == ()
    assert "hardly changes" in cycles.reason


def test_mostly_missing_volumes_are_refused() -> None:
    volumes = np.full(30, np.nan)
    volumes[::3] = 80
    with pytest.raises(MeasureError, match="20 of 30 frames"):
        detect_cardiac_cycles(np.arange(30) / 30, volumes)


@pytest.mark.parametrize("spread", [0.03, 0.08, 0.15])
def test_mere_noise_is_seldom_a_heart_and_never_a_slow_one(spread: float) -> None:
    """A rate of 32 per minute and a systole of 1.3 s came from such curves."""
    beating = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        times = np.arange(generator.integers(20, 120)) / generator.choice([15, 25, 30, 50, 60])
        cycles = detect_cardiac_cycles(times, 100 * (1 + spread * generator.standard_normal(times.size)))
        beating += bool(cycles.beats)
        assert cycles.beats or cycles.reason
        for beat in cycles.beats:
            assert times[beat.es_frame] - times[beat.ed_frame] < 0.75
        assert cycles.heart_rate_bpm is None or cycles.heart_rate_bpm > 40
    assert beating < 15


def test_noise_as_large_as_the_beat_is_told() -> None:
    volumes = 100 + 5 * np.random.default_rng(0).standard_normal(90)
    assert detect_cardiac_cycles(np.arange(90) / 50, volumes).reason == NOISE


def test_a_slow_drift_is_no_systole() -> None:
    times = np.arange(0, 4, 1 / 25)
    cycles = detect_cardiac_cycles(times, 100 + 30 * np.cos(np.pi * times / 1.3))
    assert cycles.beats == ()
    assert cycles.reason == NO_SYSTOLE
    assert cycles.heart_rate_bpm is None


def test_beats_and_systoles_that_are_told_are_a_hearts() -> None:
    generator = np.random.default_rng(3)
    for _ in range(40):
        frame_s = 1 / generator.uniform(15, 60)
        times = np.arange(0, generator.uniform(1, 4), frame_s)
        steps = np.convolve(generator.standard_normal(times.size + 6), np.ones(5) / 5, "same")[: times.size]
        cycles = detect_cardiac_cycles(times, 100 * (1 + 0.1 * steps))
        for beat in cycles.beats:
            assert is_possible_systole(times[beat.es_frame] - times[beat.ed_frame], frame_s)
            if beat.next_ed_frame is not None:
                assert 0.27 <= times[beat.next_ed_frame] - times[beat.ed_frame] <= 2.0


def test_a_rate_needs_two_kinds_of_marks_that_agree() -> None:
    times = np.arange(0, 2.45, 1 / 50)
    cycles = detect_cardiac_cycles(times, beating_volume(times, 0.8, 55))
    marks = cycles.rate_marks
    assert marks is not None
    assert marks.kind == "end-systole"
    assert marks.frames == tuple(zip(cycles.es_frames, cycles.es_frames[1:], strict=False))
    assert marks.intervals_s == pytest.approx([times[b] - times[a] for a, b in marks.frames])
    assert cycles.heart_rate_bpm == marks.rate_bpm == pytest.approx(75, abs=2)
    uneven = np.where(times < 0.9, beating_volume(times, 0.45, 55), beating_volume(times - 0.9, 1.5, 55))
    assert detect_cardiac_cycles(times, uneven).rate_marks is None


def test_a_rate_is_the_median_of_its_intervals_and_few_frames_tell_none() -> None:
    assert RateMarks("R wave", (0.8, 0.75, 1.6)).rate_bpm == pytest.approx(75)
    times = np.arange(0, 4, 0.15)  # five frames a beat
    assert detect_cardiac_cycles(times, beating_volume(times, 0.75, 60)).heart_rate_bpm is None
