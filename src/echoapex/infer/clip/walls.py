"""Septum, cavity and posterior wall of one PLAX clip, from the wall end points at end-diastole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from echoapex.domain import Flag, Landmarks, Measurement, WallPoint
from echoapex.infer.clip.cycle import LvCycle
from echoapex.infer.clip.reading import ClipReading
from echoapex.measure import MeasureError
from echoapex.measure.lv_wall import WallThickness, measure_walls
from echoapex.vocabulary import Quantity

METHOD = "wall end points at end-diastole"
CERTAIN_POINT = 0.5
"""Mean confidence of the points below which a value is flagged."""

_ENDS = dict(zip((Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD), pairwise(WallPoint), strict=True))
_NEIGHBOURS = 1  # prepared frames at either side of ED that are measured too; the median is taken


def find_landmarks(reading: ClipReading, cycle: LvCycle) -> tuple[Landmarks, ...]:
    """Wall end points in native pixels on each end-diastolic frame and its neighbours.

    If no beat was found, end-diastole is the frame with the largest cavity.
    """
    largest = cycle.largest_frame
    ends = cycle.averaged_ed_frames or (() if largest is None else (largest,))
    last = len(reading.clip.frame_indices) - 1
    rows = sorted(
        {
            min(max(reading.row_of(frame) + step, 0), last)
            for frame in ends
            for step in range(-_NEIGHBOURS, _NEIGHBOURS + 1)
        }
    )
    home = reading.clip.transform.inverse
    return tuple(
        Landmarks(
            frame=reading.clip.frame_indices[row],
            points_xy=_named(home.map_points(points)),
            confidence=dict(zip(WallPoint, np.clip(confidence, 0, 1).tolist(), strict=True)),
        )
        for row, points, confidence in reading.interpreter.find_wall_points(reading.encoded, rows)
    )


def measure_wall_thickness(
    reading: ClipReading, cycle: LvCycle, landmarks: Sequence[Landmarks]
) -> tuple[Measurement, ...]:
    """IVSd, LVIDd and LVPWd in mm; nothing if the clip is not calibrated or no points were found.

    Each value is the median over the frames measured; the evidence holds the points of all of them. A length that
    begins or ends under colour Doppler is not measured: ``hidden_by_colour`` names it.
    """
    walls = _thicknesses(reading, landmarks)
    if not walls:
        return ()
    values = {
        Quantity.IVSD: [wall.ivsd_mm for wall in walls],
        Quantity.LVIDD: [wall.lvidd_mm for wall in walls],
        Quantity.LVPWD: [wall.lvpwd_mm for wall in walls],
    }
    hidden = hidden_by_colour(reading, landmarks)
    confidence = float(np.mean([value for item in landmarks for value in item.confidence.values()]))
    evidence = reading.evidence([item.frame for item in landmarks], points_xy=written_points(landmarks))
    return tuple(
        Measurement(
            quantity=quantity,
            value=float(np.median(lengths)),
            method=METHOD,
            confidence=confidence,
            flags=(*wall_flags(reading, cycle), *((Flag.LOW_CONFIDENCE,) if confidence < CERTAIN_POINT else ())),
            evidence=(evidence,),
            details={"view": reading.view.value, "per_frame_mm": [round(length, 3) for length in lengths]},
        )
        for quantity, lengths in values.items()
        if quantity not in hidden
    )


def hidden_by_colour(reading: ClipReading, landmarks: Sequence[Landmarks]) -> tuple[Quantity, ...]:
    """The lengths with an end point in the colour Doppler box on a measured frame, where the border is invisible."""
    return tuple(
        quantity
        for quantity, ends in _ENDS.items()
        if any(reading.in_colour([item.points_xy[end] for end in ends]) for item in landmarks)
    )


def _thicknesses(reading: ClipReading, landmarks: Sequence[Landmarks]) -> list[WallThickness]:
    spacing = reading.header.spacing
    if spacing is None:
        return []
    walls = []
    for item in landmarks:
        try:
            walls.append(measure_walls(item.points_xy, spacing))
        except MeasureError:  # points that coincide on this frame
            continue
    return walls


def _named(points: np.ndarray) -> Mapping[WallPoint, tuple[float, float]]:
    return {name: (round(float(x), 2), round(float(y), 2)) for name, (x, y) in zip(WallPoint, points, strict=True)}


def written_points(landmarks: Sequence[Landmarks]) -> dict[str, tuple[float, float]]:
    """The wall points by their names in evidence: ``septum_rv_side@12``."""
    return {f"{point}@{item.frame}": xy for item in landmarks for point, xy in item.points_xy.items()}


def wall_flags(reading: ClipReading, cycle: LvCycle) -> tuple[Flag, ...]:
    """Flags of what is measured on the frames of the wall points: those of the clip, and doubts about end-diastole."""
    flags = list(reading.flags)
    if reading.clip.colour is not None:
        flags.append(Flag.UNDER_COLOUR)
    if reading.header.frame_count == 1:
        flags.append(Flag.SINGLE_FRAME)
    elif not cycle.averaged_ed_frames:
        flags.append(Flag.INCOMPLETE_BEAT)
    return tuple(flags)
