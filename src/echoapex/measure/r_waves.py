"""Find the R waves of an ECG, with the steps of Pan and Tompkins.

Band-pass, slope, square and moving average turn each QRS complex into one hump. Humps above a threshold that follows
the humps and the noise between them are beats; in a gap of more than 1.66 beats a lower threshold is tried (Pan and
Tompkins 1985, "A Real-Time QRS Detection Algorithm", doi 10.1109/TBME.1985.325532). Three things differ from the paper,
because a clip is short and known as a whole: the filters run forwards and backwards, so that nothing is delayed; the
first threshold comes from the humps of the whole clip, not from two seconds of learning; and a clip in which the humps
do not stand out of the noise has no R waves at all.

The R wave is then the largest deflection of the QRS complex in the direction that most complexes of the clip share, so
an inverted lead is marked at its main deflection too.
"""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import ndimage, signal

from echoapex.measure.outline import MeasureError

_LEAST_RATE_HZ = 50.0
_LEAST_SECONDS = 0.5
_QRS_BAND_HZ = (5.0, 15.0)
_WINDOW_S = 0.15
_REFRACTORY_S = 0.2
_T_WAVE_S = 0.36  # a hump this soon after a beat is a T wave if its slope is less than half of that beat's
_THRESHOLD = 0.25  # of the way from the noise to the signal
_MISSED_BEAT = 1.66  # of the mean interval
_SEGMENT_S = 1.5  # at least one beat lies in it from 40 per minute upwards
_QUIET_SHARE = 0.2  # between the beats even at 150 per minute
_STANDS_OUT = 6.0  # times the quiet level: the least for complexes that are alike
_STANDS_OUT_ALONE = 12.0  # the least for one or two complexes, which cannot be compared
_ALIKE = 0.75  # correlation of a complex with the mean of the others
_SEARCH_S = 0.1
_SHAPE_BAND_HZ = (0.7, 30.0)  # baseline wander is slower, mains hum faster
_SHAPE_S = 0.08
_PADDING_S = 0.5

Signal = Float[np.ndarray, " samples"]


def find_r_waves(samples: ArrayLike, rate_hz: float) -> tuple[float, ...]:
    """Times of the R waves in s from the first sample, in order; empty if no beat stands out.

    Amplitude, unit, polarity and a slow drift do not matter.

    >>> times = np.arange(0, 3, 1 / 250)
    >>> ecg = sum(np.exp(-(((times - beat) / 0.012) ** 2)) for beat in (0.5, 1.3, 2.1))
    >>> find_r_waves(ecg, 250)
    (0.5, 1.3, 2.1)

    Args:
        samples: one lead, evenly sampled, in any unit.
        rate_hz: samples a second, at least 50.

    Raises:
        MeasureError: samples that are not finite, fewer than 50 a second, or less than half a second of them.
    """
    values = np.asarray(samples, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise MeasureError("an ECG is one row of finite samples")
    if not rate_hz >= _LEAST_RATE_HZ or values.size < _LEAST_SECONDS * rate_hz:
        raise MeasureError("R waves are found in at least half a second of an ECG with at least 50 samples a second")
    if float(np.ptp(values)) == 0.0:
        return ()
    values = (values - np.median(values)) / float(np.ptp(values))
    narrow = _filtered(values, signal.butter(2, _QRS_BAND_HZ, "bandpass", fs=rate_hz, output="sos"), rate_hz)
    slopes = np.abs(np.gradient(narrow) * rate_hz)
    humps = ndimage.uniform_filter1d(slopes**2, max(1, round(_WINDOW_S * rate_hz)), mode="nearest")
    complexes, contrast = _beats(humps, slopes, rate_hz)
    if not complexes:
        return ()
    shape = _shape(values, rate_hz)
    places = _peaks(shape, narrow, complexes, rate_hz)
    likeness = _likeness(shape, places, rate_hz)
    is_clear = contrast >= _STANDS_OUT_ALONE if likeness is None else likeness >= _ALIKE
    return tuple(round(place / rate_hz, 4) for place in places) if is_clear else ()


def _shape(values: Signal, rate_hz: float) -> Signal:
    """The ECG without baseline wander and, where the rate allows it, without mains hum."""
    slowest, fastest = _SHAPE_BAND_HZ
    shape = _filtered(values, signal.butter(2, slowest, "highpass", fs=rate_hz, output="sos"), rate_hz)
    if rate_hz <= 2.5 * fastest:
        return shape
    return _filtered(shape, signal.butter(4, fastest, "lowpass", fs=rate_hz, output="sos"), rate_hz)


def _filtered(values: Signal, sos: Float[np.ndarray, "sections 6"], rate_hz: float) -> Signal:
    padding = min(values.size - 1, round(_PADDING_S * rate_hz))
    found: Signal = signal.sosfiltfilt(sos, values, padtype="even", padlen=padding)
    return found


def _beats(humps: Signal, slopes: Signal, rate_hz: float) -> tuple[list[int], float]:
    """Samples at which humps of QRS complexes are highest, and how many times the quiet level they are."""
    found, _ = signal.find_peaks(np.pad(humps, 1), distance=max(1, round(_REFRACTORY_S * rate_hz)))
    candidates = [int(index) - 1 for index in found]
    if not candidates:
        return [], 0.0
    strong = float(np.median(ndimage.maximum_filter1d(humps, max(1, round(_SEGMENT_S * rate_hz)), mode="nearest")))
    floor = float(np.quantile(humps, _QUIET_SHARE))
    if strong < _STANDS_OUT * floor or strong <= 0:
        return [], 0.0
    level, noise = strong, floor
    reach = round(_SEARCH_S * rate_hz)
    steepness = {each: float(slopes[max(0, each - reach) : each + reach + 1].max()) for each in candidates}
    beats: list[int] = []
    for each in candidates:
        is_t_wave = (
            bool(beats) and each - beats[-1] < _T_WAVE_S * rate_hz and steepness[each] < 0.5 * steepness[beats[-1]]
        )
        if humps[each] > noise + _THRESHOLD * (level - noise) and not is_t_wave:
            beats.append(each)
            level += (min(float(humps[each]), 2 * level) - level) / 8
        else:
            noise += (float(humps[each]) - noise) / 8
    complete = _with_missed(beats, candidates, humps, noise + _THRESHOLD / 2 * (level - noise))
    return complete, strong / max(floor, np.finfo(float).tiny)


def _with_missed(beats: list[int], candidates: list[int], humps: Signal, lower: float) -> list[int]:
    """The beats, and in gaps of more than 1.66 intervals the highest hump above the lower threshold."""
    if len(beats) < 3:
        return beats
    usual = float(np.median(np.diff(beats)))
    missed = []
    for first, second in itertools.pairwise(beats):
        if second - first > _MISSED_BEAT * usual:
            between = [c for c in candidates if first + usual / 2 < c < second - usual / 2 and humps[c] > lower]
            missed += [max(between, key=lambda each: humps[each])] if between else []
    return sorted((*beats, *missed))


def _likeness(shape: Signal, places: list[float], rate_hz: float) -> float | None:
    """Median correlation of a complex with the mean of the others; None if fewer than three are whole."""
    reach = max(2, round(_SHAPE_S * rate_hz))
    whole = [round(place) for place in places if reach <= round(place) < shape.size - reach]
    if len(whole) < 3:
        return None
    complexes = np.stack([shape[place - reach : place + reach + 1] for place in whole])
    complexes -= complexes.mean(axis=1, keepdims=True)
    others = complexes.sum(axis=0) - complexes
    norms = np.linalg.norm(complexes, axis=1) * np.linalg.norm(others, axis=1)
    return float(np.median((complexes * others).sum(axis=1) / np.maximum(norms, np.finfo(float).tiny)))


def _peaks(shape: Signal, narrow: Signal, complexes: list[int], rate_hz: float) -> list[float]:
    """Place of the main deflection of each complex in samples; between samples by a parabola."""
    reach = max(1, round(_SEARCH_S * rate_hz))
    windows = [slice(max(0, each - reach), each + reach + 1) for each in complexes]
    up, down = (float(np.median([(way * narrow[window]).max() for window in windows])) for way in (1, -1))
    sign = 1.0 if up >= down else -1.0
    places = []
    for window in windows:
        # near the steepest part, so that a tall T wave at the edge of the window is not taken
        centre = window.start + int(np.argmax(sign * narrow[window]))
        near = slice(max(0, centre - reach // 2), centre + reach // 2 + 1)
        index = near.start + int(np.argmax(sign * shape[near]))
        offset = 0.0
        if 0 < index < shape.size - 1:
            before, here, after = (float(sign * shape[index + step]) for step in (-1, 0, 1))
            bend = before - 2 * here + after
            offset = 0.5 * (before - after) / bend if bend < 0 else 0.0
        places.append(index + offset)
    return places
