"""Pixel spacing and frame times of an instance from its header, or a reason why there are none.

Spacing comes from the ultrasound regions (PS3.3 section C.8.5.5). Only 2D regions (spatial format 1) with axes in cm
are used. Spacing is determined per instance, and rows and columns may differ. The PixelSpacing element is not used: in
ultrasound it is missing, or a copy left behind by a converter.

An image that was scaled down still carries the regions of its original (one example is pydicom's
``examples_ybr_color.dcm``). Its spacing is corrected, with a flag, only if all of these hold: the region is larger than
the image along both axes; one whole-number reduction makes it fit; it then spans at least half of each axis; and the
sector seen in the picture is the reduced region. A cropped image also has a region that is too large, but its sector
lies elsewhere, so it gets no spacing.

Frame times and R waves come from the Cine module (PS3.3 section C.7.6.5) and the US Image module (C.8.5.6).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate

import cv2
import numpy as np
from jaxtyping import UInt8

from echoapex.domain import Sector, Spacing
from echoapex.io.clip_source import ReadFlag
from echoapex.io.sector import find_sector

Box = tuple[float, float, float, float]

_MM_PER_CM = 10.0
_CENTIMETRE = 3
_AGREEMENT = 0.01
_LARGEST_REDUCTION = 4
_SMALLEST_SPAN = 0.5
_OVERLAP = 0.75
_PLAUSIBLE_MM = (0.001, 5.0)

NOMINAL_RATE_HZ = 30.0
_PLAUSIBLE_STEP_S = (0.0005, 2.0)
_PLAUSIBLE_HEART_RATE_BPM = (10.0, 350.0)
_R_WAVE_MARGIN_S = 5.0


class SpatialFormat(IntEnum):
    """RegionSpatialFormat (0018,6012)."""

    NONE = 0
    TWO_D = 1
    M_MODE = 2
    SPECTRAL = 3
    WAVEFORM = 4
    GRAPHICS = 5


class RegionData(IntEnum):
    """RegionDataType (0018,6014): the values that are used here."""

    NONE = 0
    TISSUE = 1
    COLOUR_FLOW = 2
    PW_SPECTRAL = 3
    CW_SPECTRAL = 4
    GREY_BAR = 13
    COLOUR_BAR = 14


@dataclass(frozen=True)
class UltrasoundRegion:
    """One item of SequenceOfUltrasoundRegions; None where an element is missing.

    ``corners`` are (x0, y0, x1, y1), inclusive pixel indices as in DICOM. Deltas are in the region's own unit.
    """

    spatial_format: int | None
    data_type: int | None
    corners: tuple[int, int, int, int] | None
    unit_x: int | None
    unit_y: int | None
    delta_x: float | None
    delta_y: float | None

    @property
    def shows_a_plane(self) -> bool:
        """Whether this is a 2D image of the body, not a scale bar or a trace."""
        bars = (RegionData.GREY_BAR, RegionData.COLOUR_BAR)
        return self.spatial_format == SpatialFormat.TWO_D and self.data_type not in bars

    @property
    def box_xyxy(self) -> Box | None:
        """The region in pixel edges; None if it has no corners."""
        if self.corners is None:
            return None
        x0, y0, x1, y1 = self.corners
        return (float(x0), float(y0), float(x1 + 1), float(y1 + 1))


@dataclass(frozen=True)
class Calibration:
    """The result: a spacing, or the reason why there is none.

    Attributes:
        spacing: mm per pixel, or None.
        reason: why there is no spacing; empty when there is one.
        source: where the spacing came from, for evidence.
        flags: decisions that were made.
        reduction: how many times smaller the image is than its original; 1 for an original.
        sector: the box around the 2D regions, if they fit the image.
    """

    spacing: Spacing | None
    reason: str = ""
    source: str = ""
    flags: tuple[ReadFlag, ...] = ()
    reduction: int = 1
    sector: Sector | None = None


def calibrate(
    regions: Sequence[UltrasoundRegion],
    size: tuple[int, int],
    frames: Sequence[UInt8[np.ndarray, "height width *channels"]],
) -> Calibration:
    """Determine the pixel spacing of an instance from its regions.

    Args:
        regions: every region of the instance.
        size: (height, width) of the image.
        frames: some frames; only used when the regions do not fit the image.

    Returns:
        The spacing in mm per pixel, or the reason why there is none.
    """
    planes = [region for region in regions if region.shows_a_plane]
    if not regions:
        return Calibration(None, "the header has no ultrasound regions")
    if not planes:
        return Calibration(None, "the header has no 2D ultrasound region")
    refusal = next((reason for reason in map(_refusal, planes) if reason), "")
    if refusal:
        return Calibration(None, refusal)
    corners = _union(planes)
    reduction = _reduction(corners, size)
    if reduction is None:
        return Calibration(None, "an ultrasound region does not fit the image")
    box = _shrink(corners, reduction, size)
    if reduction > 1 and not _fills(frames, box):
        return Calibration(None, "an ultrasound region does not fit the image")
    if not _agree(planes):
        return Calibration(None, "several 2D ultrasound regions disagree about the pixel size", sector=Sector(box))
    return _accept(planes, reduction, Sector(box))


@dataclass(frozen=True)
class TimingElements:
    """The elements of a header that describe timing; empty or None if missing.

    Attributes:
        frame_time_vector_ms: FrameTimeVector, the time from the frame before to each frame.
        frame_time_ms: FrameTime, or ActualFrameDuration.
        rate_hz: CineRate, or RecommendedDisplayFrameRate; a display rate, not an acquisition rate.
        duration_s: EffectiveDuration of the whole clip.
        vector_is_pointed_to: whether FrameIncrementPointer names the vector.
    """

    frame_time_vector_ms: Sequence[float] = ()
    frame_time_ms: float | None = None
    rate_hz: float | None = None
    duration_s: float | None = None
    vector_is_pointed_to: bool = False


@dataclass(frozen=True)
class FrameTimes:
    """Times in seconds from the first frame; ``known`` is False if a nominal rate was assumed."""

    times_s: tuple[float, ...]
    known: bool
    flags: tuple[ReadFlag, ...] = ()


def build_frame_times(elements: TimingElements, frame_count: int) -> FrameTimes:
    """The time of each frame, from the first plausible element.

    The order is FrameTimeVector, FrameTime, the rates, the duration. A plausible FrameTime comes first, unless
    FrameIncrementPointer names the vector. A step outside 0.5 ms to 2 s is skipped with a flag. A single frame has the
    known time 0.

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
    """R-wave times in seconds from the first frame, in order; those far outside the clip are left out.

    >>> plausible_r_waves([812.0, 12.0, 9e9], clip_duration_s=1.0)
    (0.012, 0.812)
    """
    times = {time / 1000 for time in r_wave_times_ms if math.isfinite(time)}
    return tuple(sorted(t for t in times if -_R_WAVE_MARGIN_S <= t <= clip_duration_s + _R_WAVE_MARGIN_S))


def plausible_heart_rate(heart_rate_bpm: float | None) -> float | None:
    """The heart rate per minute; None if it is missing, 0 (which machines write for unknown) or impossible."""
    low, high = _PLAUSIBLE_HEART_RATE_BPM
    return heart_rate_bpm if heart_rate_bpm is not None and low <= heart_rate_bpm <= high else None


def _refusal(region: UltrasoundRegion) -> str:
    """Why a 2D region cannot be used; empty if it can."""
    if region.unit_x != _CENTIMETRE or region.unit_y != _CENTIMETRE:
        return "the unit of a 2D ultrasound region is not cm"
    if not region.delta_x or not region.delta_y or not math.isfinite(region.delta_x * region.delta_y):
        return "a 2D ultrasound region has a physical delta of zero or none"
    low, high = _PLAUSIBLE_MM
    if not all(low <= abs(delta) * _MM_PER_CM <= high for delta in (region.delta_x, region.delta_y)):
        return "a 2D ultrasound region has an impossible pixel size"
    if region.corners is None:
        return "a 2D ultrasound region has no location"
    x0, y0, x1, y1 = region.corners
    if x0 < 0 or y0 < 0 or x1 <= x0 or y1 <= y0:
        return "a 2D ultrasound region has an impossible location"
    return ""


def _union(planes: Sequence[UltrasoundRegion]) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = zip(*(plane.corners for plane in planes if plane.corners), strict=True)
    return (min(x0), min(y0), max(x1), max(y1))


def _reduction(corners: tuple[int, int, int, int], size: tuple[int, int]) -> int | None:
    """1 if the region fits the image; else the whole-number reduction that makes it fit, or None."""
    height, width = size
    x0, y0, x1, y1 = corners
    # some machines count the far corner from one (x1 = width)
    if x1 <= width and y1 <= height:
        return 1
    by_x, by_y = math.ceil(x1 / width), math.ceil(y1 / height)
    if by_x != by_y or by_x > _LARGEST_REDUCTION:
        return None
    span_x, span_y = (x1 - x0 + 1) / (by_x * width), (y1 - y0 + 1) / (by_y * height)
    return by_x if min(span_x, span_y) >= _SMALLEST_SPAN else None


def _shrink(corners: tuple[int, int, int, int], reduction: int, size: tuple[int, int]) -> Box:
    """The region in pixel edges of the reduced image."""
    height, width = size
    x0, y0, x1, y1 = corners
    right, bottom = min((x1 + 1) / reduction, float(width)), min((y1 + 1) / reduction, float(height))
    return (x0 / reduction, y0 / reduction, right, bottom)


def _fills(frames: Sequence[UInt8[np.ndarray, "height width *channels"]], box_xyxy: Box) -> bool:
    """Whether the sector seen in the picture is the reduced region: the two boxes overlap almost completely."""
    grey = np.stack([frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    seen = find_sector(grey)
    if seen is None:
        return False
    left, top, right, bottom = (*map(max, box_xyxy[:2], seen.box_xyxy[:2]), *map(min, box_xyxy[2:], seen.box_xyxy[2:]))
    shared = max(right - left, 0.0) * max(bottom - top, 0.0)
    return shared >= _OVERLAP * (_area(box_xyxy) + _area(seen.box_xyxy) - shared)


def _area(box_xyxy: Box) -> float:
    x0, y0, x1, y1 = box_xyxy
    return (x1 - x0) * (y1 - y0)


def _agree(planes: Sequence[UltrasoundRegion]) -> bool:
    for deltas in ([p.delta_x for p in planes], [p.delta_y for p in planes]):
        magnitudes = [abs(delta) for delta in deltas if delta]
        if max(magnitudes) > (1 + _AGREEMENT) * min(magnitudes):
            return False
    return True


def _accept(planes: Sequence[UltrasoundRegion], reduction: int, sector: Sector) -> Calibration:
    first = planes[0]
    assert first.delta_x is not None and first.delta_y is not None  # _refusal has checked it
    flags = [ReadFlag.NEGATIVE_DELTA] if min(first.delta_x, first.delta_y) < 0 else []
    flags += [ReadFlag.SEVERAL_2D_REGIONS] if len({plane.corners for plane in planes}) > 1 else []
    flags += [ReadFlag.CORRECTED_SPACING] if reduction > 1 else []
    spacing = Spacing(
        row_mm=abs(first.delta_y) * _MM_PER_CM * reduction, column_mm=abs(first.delta_x) * _MM_PER_CM * reduction
    )
    source = "SequenceOfUltrasoundRegions" + (f", image reduced {reduction} times" if reduction > 1 else "")
    return Calibration(spacing, source=source, flags=tuple(flags), reduction=reduction, sector=sector)


def _from_vector(steps_ms: Sequence[float], frame_count: int) -> tuple[float, ...] | None:
    """Times from the steps between frames; the first of ``frame_count`` steps belongs to the first frame and is 0."""
    steps = tuple(steps_ms)
    if len(steps) == frame_count - 1:  # some writers leave out the 0 of the first frame
        steps = (0.0, *steps)
    if len(steps) < frame_count:
        return None
    seconds = [step / 1000 for step in steps[1:frame_count]]
    if not all(_is_plausible(step) for step in seconds):
        return None
    return (0.0, *accumulate(seconds))


def _is_plausible(step_s: float) -> bool:
    return _PLAUSIBLE_STEP_S[0] <= step_s <= _PLAUSIBLE_STEP_S[1]


def _candidate(value: float | None, seconds_per_unit: float, frame_count: int) -> tuple[bool, tuple[float, ...] | None]:
    """Whether an element is given (0 means it is not), and the times with a constant step if that step is plausible."""
    if not value:
        return False, None
    step_s = value * seconds_per_unit
    return True, _constant_times(step_s, frame_count) if _is_plausible(step_s) else None


def _constant_times(step_s: float, frame_count: int) -> tuple[float, ...]:
    return tuple(index * step_s for index in range(frame_count))
