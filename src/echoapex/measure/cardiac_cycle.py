"""Find end-diastole, end-systole and beats in an LV volume curve, with the EF of each beat and the heart rate.

End-diastole is the frame with the largest cavity of a beat, end-systole the frame with the smallest (Lang et al.,
ASE/EACVI 2015, doi 10.1016/j.echo.2014.10.003, section 1). Volumes may be in mL or relative, because only their ratios
are used. First the curve is conditioned: gaps filled, outlying frames replaced, resampled evenly, smoothed.
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
from echoapex.measure.lv_volume import ejection_fraction_percent
from echoapex.measure.outline import MeasureError
from echoapex.measure.reference_limits import (
    LEAST_FRAMES_PER_BEAT,
    LONGEST_BEAT_S,
    LONGEST_SYSTOLE_S,
    SHORTEST_BEAT_S,
    SHORTEST_SYSTOLE_S,
    is_possible_beat,
    is_possible_systole,
)

_LEAST_RELATIVE_AMPLITUDE = 0.04  # of the median volume: a smaller amplitude is noise, not a beat
_LEAST_AMPLITUDE_OF_NOISE = 4.0  # in standard deviations of single frames: 9 of 10 curves of pure noise stay below
_LEAST_PROMINENCE = 0.3  # of the curve's amplitude
_LEAST_SEPARATION = 0.6  # of a beat, between two end-systoles
_STEEP_EDGE = 0.5  # of the steepest slope: if the first or last frame is so steep, the beat is cut there
_R_WAVE_REACH = 0.15  # of a beat: largest distance between an R wave and the largest volume
_FEWEST_DIFFERENCES = 8  # fewest differences from which the noise of single frames is estimated
_RATES_AGREE_WITHIN = 0.2  # of the smaller rate: two kinds of marks then agree on the heart rate

HARDLY_CHANGES = "the volume hardly changes over the clip: no beat seen"
NOISE = "the volume changes from frame to frame as much as over the clip: no beat seen"
TOO_SHORT = "the clip is too short: it does not hold both an end-diastole and the end-systole after it"
NO_SYSTOLE = (
    "no beat seen: no fall of the volume lasts as long as a systole, which takes "
    f"{SHORTEST_SYSTOLE_S:g} to {LONGEST_SYSTOLE_S:g} s"
)

_LARGEST_MISSING_SHARE = 0.5
_MOST_OUTLIERS = 50
_OUTLIER_DEVIATIONS, _OUTLIER_OF_SPREAD = 5.0, 0.35
_SMOOTHING_OF_BEAT, _SMOOTHING_WITHOUT_BEAT_S = 0.2, 0.12
_LEAST_AUTOCORRELATION, _FIRST_OF_HIGHEST = 0.3, 0.6

Samples = Float[np.ndarray, " frames"]


@dataclass(frozen=True, eq=False)
class VolumeSignal:
    """Smoothed volumes at the times of the frames, and the period of the beat in s (None if nothing repeats)."""

    times_s: Samples
    smoothed: Samples
    period_s: float | None

    @property
    def amplitude(self) -> float:
        """Range of the smoothed curve without its outermost 2 %."""
        low, high = np.quantile(self.smoothed, [0.02, 0.98])
        return float(high - low)


def condition_volumes(times_s: Samples, volumes: Samples, period_s: float | None = None) -> VolumeSignal:
    """Fill, clean and smooth a volume curve; NaN means a frame without volume.

    ``period_s`` is the RR interval, if the ECG gives it; else the period is found by autocorrelation. Single frames
    with a failed segmentation are replaced. Then a cubic Savitzky-Golay filter (Anal. Chem. 1964, doi
    10.1021/ac60214a047) over a fifth of a beat smooths the curve; it preserves the height of the extremes.

    Raises:
        MeasureError: fewer than three frames, times that do not increase, or more than half the volumes missing.
    """
    times, values = np.asarray(times_s, dtype=np.float64), np.asarray(volumes, dtype=np.float64)
    if times.ndim != 1 or times.shape != values.shape or times.size < 3:
        raise MeasureError(f"beats need at least three volumes with their times, got {values.shape} and {times.shape}")
    if not (np.diff(times) > 0).all():
        raise MeasureError("frame times must increase; sort the frames")
    known = np.isfinite(values)
    if known.mean() < _LARGEST_MISSING_SHARE:
        raise MeasureError(f"{int((~known).sum())} of {known.size} frames have no volume; too few to find beats")
    step = float(np.median(np.diff(times)))
    even = np.arange(times[0], times[-1] + step / 2, step)
    cleaned = _replace_outliers(np.interp(times, times[known], values[known]))
    on_grid = np.interp(even, times, cleaned)
    period = period_s or _repeat_interval(on_grid, step)
    smoothed = _smooth(on_grid, step, period)
    return VolumeSignal(times, np.interp(times, even, smoothed), period)


def _replace_outliers(values: Samples) -> Samples:
    """Replace single frames that are far from the cubic through two neighbours on each side.

    The cubic follows the sharp turn at end-systole even at few frames per beat; a median filter would cut it off.
    """
    cleaned = values.copy()
    for _ in range(min(_MOST_OUTLIERS, values.size // 10)):
        before, after = cleaned[1:-3], cleaned[3:-1]
        expected = (4 * (before + after) - cleaned[:-4] - cleaned[4:]) / 6
        deviation = np.abs(cleaned[2:-2] - expected)
        worst = int(deviation.argmax())
        spread = float(np.subtract(*np.quantile(cleaned, [0.95, 0.05])))
        if deviation[worst] <= max(_OUTLIER_DEVIATIONS * 1.4826 * np.median(deviation), _OUTLIER_OF_SPREAD * spread):
            break
        cleaned[worst + 2] = expected[worst]
    return cleaned


def _repeat_interval(values: Samples, step_s: float) -> float | None:
    """Lag of the first clear peak of the unbiased autocorrelation in the range of heart rates, or None."""
    centred = signal.detrend(values)
    energy = float(np.square(centred).mean())
    lags = np.arange(1, int(min(LONGEST_BEAT_S / step_s, 0.75 * values.size)) + 1)
    if energy == 0 or lags.size < 3 or lags[-1] * step_s < SHORTEST_BEAT_S:
        return None
    products = signal.correlate(centred, centred, mode="full", method="fft")[values.size :][: lags.size]
    correlation = products / (values.size - lags) / energy
    peaks, _ = signal.find_peaks(correlation, height=_LEAST_AUTOCORRELATION)
    peaks = peaks[lags[peaks] * step_s >= SHORTEST_BEAT_S]
    if not peaks.size:
        return None
    # the first high peak is the beat; later peaks are its multiples, too high because few frames overlap
    first = peaks[correlation[peaks] >= _FIRST_OF_HIGHEST * correlation[peaks].max()][0]
    return float(lags[first] * step_s)


def _smooth(values: Samples, step_s: float, period_s: float | None) -> Samples:
    width_s = _SMOOTHING_OF_BEAT * period_s if period_s else _SMOOTHING_WITHOUT_BEAT_S
    window = min(2 * round(width_s / step_s / 2) + 1, values.size - 1 + values.size % 2)
    if window < 5:
        return values
    return np.asarray(signal.savgol_filter(values, window, polyorder=3, mode="interp"))


@dataclass(frozen=True)
class Beat:
    """One beat: frame indices into the curve, smoothed volumes in the curve's unit, EF in percent.

    ``next_ed_frame`` is None, and ``is_complete`` False, if the clip ends before the next end-diastole.
    """

    ed_frame: int
    es_frame: int
    next_ed_frame: int | None
    end_diastolic_volume: float
    end_systolic_volume: float
    ef_percent: float

    @property
    def is_complete(self) -> bool:
        """Whether the clip contains the beat from end-diastole to end-diastole."""
        return self.next_ed_frame is not None


@dataclass(frozen=True)
class RateMarks:
    """The marks from which a heart rate was determined: marks of one kind, each one beat apart.

    Attributes:
        kind: ``end-systole``, ``end-diastole`` or ``R wave``.
        intervals_s: times from one mark to the next; the rate is 60 divided by their median.
        frames: frame indices of both ends of each interval; empty for R waves.
    """

    kind: str
    intervals_s: tuple[float, ...]
    frames: tuple[tuple[int, int], ...] = ()

    @property
    def rate_bpm(self) -> float:
        """Beats per minute."""
        return 60 / float(np.median(self.intervals_s))


@dataclass(frozen=True, eq=False)
class CardiacCycles:
    """All beats of a clip, with ejection fraction and heart rate.

    ``ef_percent`` is the mean over complete beats; if there is none, over incomplete beats (flagged
    ``INCOMPLETE_BEAT``). ``reason`` says why no beat was found; it is empty if there is one. ``smoothed`` has one
    volume per frame of the curve.
    """

    beats: tuple[Beat, ...]
    smoothed: Float[np.ndarray, " frames"]
    ef_percent: float | None
    rate_marks: RateMarks | None
    flags: tuple[Flag, ...]
    reason: str = ""

    @property
    def heart_rate_bpm(self) -> float | None:
        """Beats per minute; None if there are too few marks, or if they contradict each other."""
        return self.rate_marks.rate_bpm if self.rate_marks else None

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
        """Standard deviation of EF over the beats (n - 1); None for fewer than two beats."""
        values = [beat.ef_percent for beat in _beats_to_average(self.beats)]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


def detect_cardiac_cycles(
    times_s: ArrayLike, volumes: ArrayLike, r_wave_times_s: Sequence[float] = ()
) -> CardiacCycles:
    """Find the beats of a volume curve.

    ``volumes`` has one value per frame; NaN means that the frame was not measured. If R waves are known, each
    end-diastole is the largest volume near an R wave. R waves that contradict the curve (wrong time stamps) are
    ignored.

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
    intervals = intervals[[is_possible_beat(interval) for interval in intervals]]
    rr_s = float(np.median(intervals)) if intervals.size else None
    curve = condition_volumes(np.asarray(times_s, float), np.asarray(volumes, float), rr_s)
    if curve.amplitude <= _LEAST_RELATIVE_AMPLITUDE * abs(float(np.median(curve.smoothed))):
        return CardiacCycles((), curve.smoothed, None, None, (), HARDLY_CHANGES)
    if curve.amplitude < _LEAST_AMPLITUDE_OF_NOISE * _frame_noise(np.asarray(volumes, float)):
        return CardiacCycles((), curve.smoothed, None, None, (), NOISE)
    extremes = _extremes_at_r_waves(curve, r_waves) or _extremes_of_curve(curve)
    beats = _pair_beats(curve, extremes)
    if not beats:
        falls = any(first.is_maximum for first, _ in pairwise(extremes))
        return CardiacCycles((), curve.smoothed, None, None, (), NO_SYSTOLE if falls else TOO_SHORT)
    averaged = _beats_to_average(beats)
    flags = () if averaged[0].is_complete else (Flag.INCOMPLETE_BEAT,)
    ef = float(np.mean([beat.ef_percent for beat in averaged]))
    marks = RateMarks("R wave", tuple(intervals.tolist())) if rr_s else _rate_marks(curve, beats)
    return CardiacCycles(beats, curve.smoothed, ef, marks, flags)


def _frame_noise(volumes: Samples) -> float:
    """Standard deviation of the error of single frames, from third differences of neighbours; 0 if there are too few.

    A beat sampled at ten frames or more is nearly cubic over four frames, so the third differences are noise.
    """
    third = np.diff(volumes, 3)
    third = third[np.isfinite(third)]
    return float(1.4826 * np.median(np.abs(third)) / 20**0.5) if third.size >= _FEWEST_DIFFERENCES else 0.0


def _beats_to_average(beats: Sequence[Beat]) -> Sequence[Beat]:
    return [beat for beat in beats if beat.is_complete] or beats


@dataclass(frozen=True)
class _Extreme:
    frame: int
    is_maximum: bool


def _extremes_of_curve(curve: VolumeSignal) -> list[_Extreme]:
    """Alternating prominent maxima and minima of the smoothed curve; the ends of the clip count if they are flat."""
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
    """Peaks of a curve, including its first and last frame."""
    floor = float(values.min() - np.ptp(values) - 1)
    padded = np.concatenate([[floor], values, [floor]])
    peaks, _ = signal.find_peaks(padded, distance=separation, prominence=prominence)
    return [int(peak) - 1 for peak in peaks]


def _is_true_extreme(curve: VolumeSignal, frame: int) -> bool:
    """False for a first or last frame where the curve is steep, because the beat continues outside the clip."""
    last = curve.smoothed.size - 1
    if frame not in (0, last):
        return True
    # measured over 0.05 s or two frames, so that one noisy frame does not decide
    step = float(np.median(np.diff(curve.times_s)))
    reach = min(last, max(2, round(0.05 / step)))
    slopes = np.abs(curve.smoothed[reach:] - curve.smoothed[:-reach])
    at_edge = slopes[0] if frame == 0 else slopes[-1]
    return bool(at_edge < _STEEP_EDGE * slopes.max())


def _alternate(values: Samples, extremes: Sequence[_Extreme]) -> list[_Extreme]:
    """Of neighbouring extremes of one kind keep the more extreme one, so that maxima and minima alternate."""
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
    """End-diastoles near the R waves, and the smallest volumes between them; empty if the curve contradicts them."""
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
    """Pair each maximum with the minimum after it, and with the next maximum if there is one."""
    beats = []
    frame_s = float(np.median(np.diff(curve.times_s)))
    for index, (start, end) in enumerate(pairwise(extremes)):
        if not start.is_maximum:
            continue
        following = extremes[index + 2].frame if index + 2 < len(extremes) else None
        beat_s = None if following is None else float(curve.times_s[following] - curve.times_s[start.frame])
        if beat_s is not None and not is_possible_beat(beat_s):
            following, beat_s = None, None
        if not is_possible_systole(float(curve.times_s[end.frame] - curve.times_s[start.frame]), frame_s, beat_s):
            continue
        volumes = (float(curve.smoothed[start.frame]), max(0.0, float(curve.smoothed[end.frame])))
        try:
            ef = ejection_fraction_percent(*volumes)
        except MeasureError:  # no cavity at end-diastole: not a beat
            continue
        beats.append(Beat(start.frame, end.frame, following, *volumes, ef))
    return tuple(beats)


def _rate_marks(curve: VolumeSignal, beats: Sequence[Beat]) -> RateMarks | None:
    """Intervals from ES to ES, else from ED to ED, if a second kind of mark gives the same rate.

    End-systole is the sharper mark, because the cavity hardly changes between diastasis and end-diastole. The second
    kind is the other phase, or the period with which the whole curve repeats. If the marks contradict each other, there
    is no rate.
    """
    from_es = [(before.es_frame, after.es_frame) for before, after in pairwise(beats)]
    from_ed = [(beat.ed_frame, beat.next_ed_frame) for beat in beats if beat.next_ed_frame is not None]
    kinds = (("end-systole", from_es), ("end-diastole", from_ed))
    found = [marks for kind, pairs in kinds if (marks := _marks_of(curve, kind, pairs)) is not None]
    rates = [marks.rate_bpm for marks in found] + ([60 / curve.period_s] if curve.period_s else [])
    agreed = [abs(rate - rates[0]) <= _RATES_AGREE_WITHIN * min(rate, rates[0]) for rate in rates[1:]]
    return found[0] if found and any(agreed) else None


def _marks_of(curve: VolumeSignal, kind: str, pairs: Sequence[tuple[int, int]]) -> RateMarks | None:
    """The pairs that are one beat apart; None if there are none, or if too few frames lie between them."""
    spans = [(pair, float(curve.times_s[pair[1]] - curve.times_s[pair[0]])) for pair in pairs]
    kept = [(pair, s) for pair, s in spans if pair[1] - pair[0] >= LEAST_FRAMES_PER_BEAT and is_possible_beat(s)]
    return RateMarks(kind, tuple(s for _, s in kept), tuple(pair for pair, _ in kept)) if kept else None
