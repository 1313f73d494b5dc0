"""The ECG of a clip: samples on the clip's own time, and the thinned trace that goes into reports.

Time is in seconds from the first frame, as in ``ClipHeader.frame_times_s``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float
from pydantic import Field

from echoapex.config import Config

SLOWEST_HZ, FASTEST_HZ = 50.0, 5000.0
"""Sampling rates of an ECG: below, an R wave falls between two samples; no machine samples faster."""
_DRAWN_HZ = 250.0
_MOST_DRAWN = 6000
_STEPS_OF_RANGE = 1000


class EcgOrigin(StrEnum):
    """Where an ECG was stored."""

    CURVE = "curve"
    """In the clip's file, as a curve (PS3.3-2004 section C.10.2, retired)."""
    WAVEFORM = "waveform"
    """In the clip's file, as a waveform (PS3.3 section C.10.9)."""
    WAVEFORM_OBJECT = "waveform_object"
    """In a waveform object beside the clip, synchronised with it (PS3.3 section C.7.4.2)."""


class RWaveSource(StrEnum):
    """Where the times of R waves come from."""

    FILE = "file"
    """The file names them (R Wave Time Vector, PS3.3 section C.7.6.5)."""
    ECG_TRACE = "ecg_trace"
    """They were found in the ECG."""


@dataclass(frozen=True, eq=False)
class Ecg:
    """One lead of an ECG, evenly sampled.

    Attributes:
        samples: float32, read-only.
        start_s: time of the first sample; negative if the ECG begins before the first frame.
        rate_hz: samples a second.
        unit: of the samples, in UCUM (``mV``); empty if the file does not say.
        origin: where it was stored.

    Raises:
        ValueError: fewer than two samples, a sample that is not finite, no finite start, or a rate outside
            50 to 5000 Hz.
    """

    samples: Float[np.ndarray, " samples"]
    start_s: float
    rate_hz: float
    unit: str
    origin: EcgOrigin

    def __post_init__(self) -> None:
        samples = np.array(self.samples, dtype=np.float32)
        if samples.ndim != 1 or samples.size < 2 or not np.isfinite(samples).all():
            raise ValueError("an ECG has at least two samples, all of them finite")
        if not (math.isfinite(self.start_s) and SLOWEST_HZ <= self.rate_hz <= FASTEST_HZ):
            raise ValueError(f"an ECG begins at a known time and has {SLOWEST_HZ:g} to {FASTEST_HZ:g} samples a second")
        samples.setflags(write=False)
        object.__setattr__(self, "samples", samples)

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same samples at the same times."""
        if not isinstance(other, Ecg):
            return NotImplemented
        mine, others = ((one.start_s, one.rate_hz, one.unit, one.origin) for one in (self, other))
        return mine == others and np.array_equal(self.samples, other.samples)

    __hash__ = None  # type: ignore[assignment]

    @property
    def end_s(self) -> float:
        """Time of the last sample."""
        return self.start_s + (self.samples.size - 1) / self.rate_hz

    def between(self, start_s: float, end_s: float) -> Ecg | None:
        """The part from ``start_s`` to ``end_s``; None if fewer than two samples lie there."""
        first = max(0, math.ceil((start_s - self.start_s) * self.rate_hz - 1e-6))
        last = min(self.samples.size - 1, math.floor((end_s - self.start_s) * self.rate_hz + 1e-6))
        if last - first < 1:
            return None
        begin = self.start_s + first / self.rate_hz
        return Ecg(self.samples[first : last + 1], begin, self.rate_hz, self.unit, self.origin)


class ReportedEcg(Config):
    """The ECG of a clip as it is drawn: from the first frame to the end of the last, at most 250 values a second."""

    start_s: float = Field(description="time of the first value, on the clip's time")
    rate_hz: float = Field(gt=0, description="values a second")
    unit: str = Field(default="", description="UCUM unit of the values; empty where the file does not say")
    origin: EcgOrigin
    values: tuple[float, ...] = Field(min_length=2)

    @property
    def times_s(self) -> tuple[float, ...]:
        """Time of each value."""
        return tuple(round(self.start_s + index / self.rate_hz, 6) for index in range(len(self.values)))


def report_ecg(ecg: Ecg, end_s: float) -> ReportedEcg | None:
    """The trace from the first frame (0 s) to ``end_s``; None if the ECG does not reach into it.

    Neighbouring samples are averaged, so that there are at most 250 values a second and 6,000 in all. Values are
    rounded to a thousandth of their range or finer.
    """
    part = ecg.between(0.0, end_s)
    if part is None:
        return None
    each = max(math.ceil(part.rate_hz / _DRAWN_HZ), math.ceil(part.samples.size / _MOST_DRAWN))
    whole = part.samples.size // each
    if whole < 2:
        return None
    means = part.samples[: whole * each].astype(float).reshape(whole, each).mean(axis=1)
    span = float(np.ptp(means))
    digits = math.ceil(math.log10(_STEPS_OF_RANGE / span)) if span > 0 else 6
    return ReportedEcg(
        start_s=round(part.start_s + (each - 1) / 2 / part.rate_hz, 6),
        rate_hz=part.rate_hz / each,
        unit=part.unit,
        origin=part.origin,
        values=tuple(round(value, digits) for value in means.tolist()),
    )
