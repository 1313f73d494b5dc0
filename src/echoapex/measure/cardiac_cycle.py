"""End-diastole, end-systole and beats from an LV volume curve, with the EF of each beat and the heart rate.

End-diastole is the frame of largest, end-systole the frame of smallest cavity of a beat (Lang et al., ASE/EACVI 2015,
doi 10.1016/j.echo.2014.10.003, section 1). Volumes may be in mL or relative: only their ratios are used here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import signal

from echoapex.domain import Flag
from echoapex.measure.errors import MeasureError
from echoapex.measure.lv_volume import ejection_fraction_percent
from echoapex.measure.volume_signal import LONGEST_BEAT_S, SHORTEST_BEAT_S, Samples, VolumeSignal, condition_volumes

_LEAST_RELATIVE_AMPLITUDE = 0.04  # of the median volume: less is not a beating ventricle but noise
_LEAST_PROMINENCE = 0.3  # of the curve's amplitude
_LEAST_SEPARATION = 0.6  # of a beat, between two ends of systole
_SHORTEST_HALF_BEAT_S = 0.1
_STEEP_EDGE = 0.5  # of the steepest slope: a first or last frame so steep is no extreme, the beat is cut there
_R_WAVE_REACH = 0.15  # of a beat: how far from its R wave the largest volume may lie


@dataclass(frozen=True)
class Beat:
    """One beat: frame indices into the curve, smoothed volumes in the curve's unit, EF in percent.

    ``next_ed_frame`` is None, and ``is_complete`` False, when the clip ends before the next end-diastole.
    """

    ed_frame: int
    es_frame: int
    next_ed_frame: int | None
    end_diastolic_volume: float
    end_systolic_volume: float
    ef_percent: float

    @property
    def is_complete(self) -> bool:
        """Whether the clip holds the beat from end-diastole to end-diastole."""
        return self.next_ed_frame is not None


@dataclass(frozen=True, eq=False)
class CardiacCycles:
    """All beats of a clip and what follows from them.

    ``ef_percent`` is the mean over complete beats, or over the others where none is complete (then flagged
    ``INCOMPLETE_BEAT``); ``reason`` says why there is no beat, empty when there is one. ``smoothed`` has one volume per
    frame of the curve.
    """

    beats: tuple[Beat, ...]
    smoothed: Float[np.ndarray, " frames"]
    ef_percent: float | None
    heart_rate_bpm: float | None
    flags: tuple[Flag, ...]
    reason: str = ""

    @property
    def ed_frames(self) -> tuple[int, ...]:
        """End-diastolic frame of each beat."""
        return tuple(beat.ed_frame for beat in self.beats)

    @property
    def es_frames(self) -> tuple[int, ...]:
        """End-systolic frame of each beat."""
        return tuple(beat.es_frame for beat in self.beats)

    @property
    def ef_spread_percent(self) -> float | None:
        """Standard deviation of EF over the beats (n - 1), None for fewer than two."""
        values = [beat.ef_percent for beat in _beats_to_average(self.beats)]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


def detect_cardiac_cycles(
    times_s: ArrayLike, volumes: ArrayLike, r_wave_times_s: Sequence[float] = ()
) -> CardiacCycles:
    """Find the beats of a volume curve.

    ``volumes`` has one value per frame, NaN where a frame was not measured. Where R waves are known, each end-diastole
    is the largest volume near one; R waves that contradict the curve (a wrong time stamp) are left aside.

    >>> times = np.arange(0, 1.8, 0.02)
    >>> volumes = 90 + 30 * np.cos(2 * np.pi * times / 0.8)
    >>> cycles = detect_cardiac_cycles(times, volumes)
    >>> cycles.ed_frames, cycles.es_frames, round(cycles.ef_percent), round(cycles.heart_rate_bpm)
    ((0, 40), (20, 60), 50, 75)

    Raises:
        MeasureError: fewer than three frames, times that do not increase, or more than half the volumes missing.
    """
    r_waves = np.asarray(sorted(r_wave_times_s), dtype=np.float64)
    intervals = np.diff(r_waves)
    intervals = intervals[(intervals >= SHORTEST_BEAT_S) & (intervals <= LONGEST_BEAT_S)]
    rr_s = float(np.median(intervals)) if intervals.size else None
    curve = condition_volumes(np.asarray(times_s, float), np.asarray(volumes, float), rr_s)
    if curve.amplitude <= _LEAST_RELATIVE_AMPLITUDE * abs(float(np.median(curve.smoothed))):
        return CardiacCycles(
            (), curve.smoothed, None, None, (), "the volume hardly changes over the clip: no beat seen"
        )
    extremes = _extremes_at_r_waves(curve, r_waves) or _extremes_of_curve(curve)
    beats = _pair_beats(curve, extremes)
    if not beats:
        reason = "the clip is too short: it does not hold both an end-diastole and the end-systole after it"
        return CardiacCycles((), curve.smoothed, None, None, (), reason)
    averaged = _beats_to_average(beats)
    flags = () if averaged[0].is_complete else (Flag.INCOMPLETE_BEAT,)
    ef = float(np.mean([beat.ef_percent for beat in averaged]))
    return CardiacCycles(beats, curve.smoothed, ef, _heart_rate(curve, beats, rr_s), flags)


def _beats_to_average(beats: Sequence[Beat]) -> Sequence[Beat]:
    return [beat for beat in beats if beat.is_complete] or beats


@dataclass(frozen=True)
class _Extreme:
    frame: int
    is_maximum: bool


def _extremes_of_curve(curve: VolumeSignal) -> list[_Extreme]:
    """Alternating maxima and minima that stand out of the smoothed curve, edges of the clip included where flat."""
    step = float(np.median(np.diff(curve.times_s)))
    least_s = _LEAST_SEPARATION * curve.period_s if curve.period_s else SHORTEST_BEAT_S
    separation = max(1, int(least_s / step))
    prominence = _LEAST_PROMINENCE * curve.amplitude
    found = [
        _Extreme(int(frame), is_maximum)
        for is_maximum, sign in ((True, 1.0), (False, -1.0))
        for frame in _peaks(sign * curve.smoothed, separation, prominence)
        if _is_true_extreme(curve, int(frame))
    ]
    return _alternate(curve.smoothed, sorted(found, key=lambda extreme: extreme.frame))


def _peaks(values: Samples, separation: int, prominence: float) -> list[int]:
    """Peaks of a curve, those on its first and last frame too."""
    floor = float(values.min() - np.ptp(values) - 1)
    padded = np.concatenate([[floor], values, [floor]])
    peaks, _ = signal.find_peaks(padded, distance=separation, prominence=prominence)
    return [int(peak) - 1 for peak in peaks]


def _is_true_extreme(curve: VolumeSignal, frame: int) -> bool:
    """False for a first or last frame from which the curve leaves steeply: there the beat goes on outside the clip."""
    last = curve.smoothed.size - 1
    if frame not in (0, last):
        return True
    # over a twentieth of a second or two frames, so that one noisy frame does not decide
    step = float(np.median(np.diff(curve.times_s)))
    reach = min(last, max(2, round(0.05 / step)))
    slopes = np.abs(curve.smoothed[reach:] - curve.smoothed[:-reach])
    at_edge = slopes[0] if frame == 0 else slopes[-1]
    return bool(at_edge < _STEEP_EDGE * slopes.max())


def _alternate(values: Samples, extremes: Sequence[_Extreme]) -> list[_Extreme]:
    """Of neighbouring extremes of one kind keep the more extreme, so that maxima and minima take turns."""
    kept: list[_Extreme] = []
    for extreme in extremes:
        if kept and kept[-1].is_maximum == extreme.is_maximum:
            gain = values[extreme.frame] - values[kept[-1].frame]
            if (gain > 0) == extreme.is_maximum:
                kept[-1] = extreme
        else:
            kept.append(extreme)
    return kept


def _extremes_at_r_waves(curve: VolumeSignal, r_waves: Samples) -> list[_Extreme]:
    """End-diastoles near the R waves and the smallest volumes between them; empty when the curve contradicts them."""
    times, period = curve.times_s, curve.period_s
    inside = r_waves[(r_waves >= times[0] - 0.05) & (r_waves <= times[-1] + 0.05)]
    if inside.size < 2 or period is None:
        return []
    near = [np.flatnonzero(np.abs(times - r_wave) <= _R_WAVE_REACH * period) for r_wave in inside]
    maxima = [int(frames[curve.smoothed[frames].argmax()]) for frames in near if frames.size]
    last_systole = int(np.searchsorted(times, times[maxima[-1]] + 0.7 * period)) if maxima else 0
    bounds = [*maxima, min(last_systole, times.size)]
    extremes: list[_Extreme] = []
    for start, end in pairwise(bounds):
        extremes.append(_Extreme(start, True))
        if end - start >= 3:
            lowest = start + int(curve.smoothed[start:end].argmin())
            if _is_true_extreme(curve, lowest):
                extremes.append(_Extreme(lowest, False))
    falls = [
        float(curve.smoothed[a.frame] - curve.smoothed[b.frame])
        for a, b in pairwise(extremes)
        if a.is_maximum and not b.is_maximum
    ]
    trusted = bool(falls) and float(np.median(falls)) >= 0.5 * curve.amplitude
    return _alternate(curve.smoothed, extremes) if trusted else []


def _pair_beats(curve: VolumeSignal, extremes: Sequence[_Extreme]) -> tuple[Beat, ...]:
    """Each maximum with the minimum after it, and the next maximum where there is one."""
    beats = []
    for index, (start, end) in enumerate(pairwise(extremes)):
        half_beat_s = float(curve.times_s[end.frame] - curve.times_s[start.frame])
        if not start.is_maximum or not _SHORTEST_HALF_BEAT_S <= half_beat_s <= LONGEST_BEAT_S:
            continue
        following = extremes[index + 2].frame if index + 2 < len(extremes) else None
        volumes = (float(curve.smoothed[start.frame]), max(0.0, float(curve.smoothed[end.frame])))
        try:
            ef = ejection_fraction_percent(*volumes)
        except MeasureError:  # no cavity at end-diastole: nothing that beats
            continue
        beats.append(Beat(start.frame, end.frame, following, *volumes, ef))
    return tuple(beats)


def _heart_rate(curve: VolumeSignal, beats: Sequence[Beat], rr_s: float | None) -> float | None:
    """From RR intervals where known, else from ES to ES, else from the curve's own period, else from ED to ED.

    End-systole is the sharper mark: the cavity hardly changes between diastasis and end-diastole.
    """
    if rr_s:
        return 60 / rr_s
    times = curve.times_s
    from_es = [times[after.es_frame] - times[before.es_frame] for before, after in pairwise(beats)]
    from_ed = [times[beat.next_ed_frame] - times[beat.ed_frame] for beat in beats if beat.next_ed_frame is not None]
    for periods in (from_es, [curve.period_s] if curve.period_s else [], from_ed):
        likely = [period for period in periods if SHORTEST_BEAT_S <= period <= LONGEST_BEAT_S]
        if likely:
            return 60 / float(np.median(likely))
    return None
