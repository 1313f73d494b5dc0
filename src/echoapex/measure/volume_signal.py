"""Prepare a volume curve for beat detection: fill gaps, replace outlying frames, resample evenly, smooth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import signal

from echoapex.measure.outline import MeasureError
from echoapex.measure.reference_limits import LONGEST_BEAT_S, SHORTEST_BEAT_S

_LARGEST_MISSING_SHARE = 0.5
_MOST_OUTLIERS = 50
_OUTLIER_DEVIATIONS = 5.0
_OUTLIER_OF_SPREAD = 0.35
_SMOOTHING_OF_BEAT = 0.2
_SMOOTHING_WITHOUT_BEAT_S = 0.12
_LEAST_AUTOCORRELATION = 0.3
_FIRST_OF_HIGHEST = 0.6

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
    window = 2 * round(width_s / step_s / 2) + 1
    window = min(window, values.size - 1 + values.size % 2)
    if window < 5:
        return values
    return np.asarray(signal.savgol_filter(values, window, polyorder=3, mode="interp"))
