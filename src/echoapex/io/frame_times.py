"""When each frame of a clip was acquired, and when the heart beat (PS3.3 sections C.7.6.5 Cine, C.8.5.6 US Image)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from echoapex.io.clip_source import ReadFlag

NOMINAL_RATE_HZ = 30.0
_PLAUSIBLE_STEP_S = (0.0005, 2.0)
_PLAUSIBLE_HEART_RATE_BPM = (10.0, 350.0)
_R_WAVE_MARGIN_S = 5.0


@dataclass(frozen=True)
class TimingElements:
    """The elements of a header that say something about time; empty or None where it has none.

    Attributes:
        frame_time_vector_ms: FrameTimeVector, the step to each frame from the one before.
        frame_time_ms: FrameTime, or ActualFrameDuration.
        rate_hz: CineRate, or RecommendedDisplayFrameRate; a display rate, so the last resort.
        duration_s: EffectiveDuration of the whole clip.
        vector_is_pointed_to: FrameIncrementPointer names the vector.
    """

    frame_time_vector_ms: Sequence[float] = ()
    frame_time_ms: float | None = None
    rate_hz: float | None = None
    duration_s: float | None = None
    vector_is_pointed_to: bool = False


@dataclass(frozen=True)
class FrameTimes:
    """Times in seconds from the first frame; ``known`` is False when a nominal rate was assumed."""

    times_s: tuple[float, ...]
    known: bool
    flags: tuple[ReadFlag, ...] = ()


def build_frame_times(elements: TimingElements, frame_count: int) -> FrameTimes:
    """The time of each frame from the best element that is plausible.

    The order is FrameTimeVector, FrameTime (the first two swapped where only FrameTime is pointed to), the rates, the
    duration; a step outside 0.5 ms to 2 s is passed over with a flag. A single frame is at 0 and known.

    >>> build_frame_times(TimingElements(frame_time_ms=20.0), 3).times_s
    (0.0, 0.02, 0.04)
    """
    if frame_count == 1:
        return FrameTimes((0.0,), known=True)
    vector = (any(elements.frame_time_vector_ms), _from_vector(elements.frame_time_vector_ms, frame_count))
    constant = _candidate(elements.frame_time_ms, 1e-3, frame_count)
    candidates = [vector, constant] if elements.vector_is_pointed_to or constant[1] is None else [constant, vector]
    candidates.append(_candidate(1 / elements.rate_hz if elements.rate_hz else None, 1.0, frame_count))
    candidates.append(_candidate(elements.duration_s, 1 / frame_count, frame_count))
    flags: tuple[ReadFlag, ...] = ()
    for is_given, times in candidates:
        if times is not None:
            return FrameTimes(times, known=True, flags=flags)
        if is_given:
            flags = (ReadFlag.FRAME_TIMES_IMPLAUSIBLE,)
    return FrameTimes(_constant_times(1 / NOMINAL_RATE_HZ, frame_count), known=False, flags=flags)


def plausible_r_waves(r_wave_times_ms: Sequence[float], clip_duration_s: float) -> tuple[float, ...]:
    """R-wave times in seconds from the first frame, in order; those far outside the clip are dropped.

    >>> plausible_r_waves([812.0, 12.0, 9e9], clip_duration_s=1.0)
    (0.012, 0.812)
    """
    times = {time / 1000 for time in r_wave_times_ms if math.isfinite(time)}
    return tuple(sorted(t for t in times if -_R_WAVE_MARGIN_S <= t <= clip_duration_s + _R_WAVE_MARGIN_S))


def plausible_heart_rate(heart_rate_bpm: float | None) -> float | None:
    """The heart rate per minute, or None where it is absent, 0 (which machines write for unknown) or impossible."""
    low, high = _PLAUSIBLE_HEART_RATE_BPM
    return heart_rate_bpm if heart_rate_bpm is not None and low <= heart_rate_bpm <= high else None


def _from_vector(steps_ms: Sequence[float], frame_count: int) -> tuple[float, ...] | None:
    """Times from the steps between frames; the first of ``frame_count`` values belongs to the first frame and is 0."""
    steps = tuple(steps_ms)
    if len(steps) == frame_count - 1:  # writers that leave out the first frame's 0
        steps = (0.0, *steps)
    if len(steps) < frame_count:
        return None
    seconds = [step / 1000 for step in steps[1:frame_count]]
    if not all(_is_plausible(step) for step in seconds):
        return None
    return (0.0, *accumulate(seconds))


def _candidate(value: float | None, seconds_per_unit: float, frame_count: int) -> tuple[bool, tuple[float, ...] | None]:
    """Whether an element is given (0 means it is not), and the times of a constant step where it is plausible."""
    if not value:
        return False, None
    step_s = value * seconds_per_unit
    return True, _constant_times(step_s, frame_count) if _is_plausible(step_s) else None


def _constant_times(step_s: float, frame_count: int) -> tuple[float, ...]:
    return tuple(index * step_s for index in range(frame_count))


def _is_plausible(step_s: float) -> bool:
    return _PLAUSIBLE_STEP_S[0] <= step_s <= _PLAUSIBLE_STEP_S[1]
