"""RV internal diameter of one PLAX clip at end-diastole, from the line of the walls and the outline of the RV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from echoapex.domain import RV_ANTERIOR_BORDER, Evidence, Flag, Landmarks, Measurement, WallPoint
from echoapex.infer.clip.cycle import LvCycle, doubtful_frames
from echoapex.infer.clip.outlines import (
    ClipOutlines,
    collect_contours,
    contour_key,
    outline_from_evidence,
    spacing_of_evidence,
)
from echoapex.infer.clip.reading import CERTAIN_STRUCTURE, ClipReading
from echoapex.infer.clip.walls import CERTAIN_POINT, wall_flags, written_points
from echoapex.measure import MeasureError
from echoapex.measure.rv_diameter import RvDiameter, measure_rv_diameter, require_border_in_image
from echoapex.vocabulary import Quantity, Structure

METHOD = "line of the walls through the right ventricle at end-diastole"
NO_DIAMETER = "no RVIDd: "
"""Begins the note of a clip that says why it has none."""
LEAST_SHARE = 0.5
"""Least share of the outlined end-diastolic frames that must give a value, so that no single frame decides (ours)."""

_RV = Structure.RIGHT_VENTRICLE


def measure_rv_diameter_of_clip(
    reading: ClipReading, cycle: LvCycle, landmarks: Sequence[Landmarks], outlines: ClipOutlines
) -> Measurement:
    """RVIDd in mm: the median over the frames with wall points on which the RV was outlined.

    The evidence holds the outline of the RV, the wall points and the anterior border on each of these frames.

    Raises:
        MeasureError: there is no value; the message is the reason, in one line.
    """
    if reading.header.spacing is None:
        raise MeasureError(reading.header.spacing_reason or "the clip is not calibrated")
    if reading.clip.colour is not None:
        raise MeasureError("colour Doppler hides the borders")
    if not landmarks:
        raise MeasureError("no wall points were found")
    outlined = [item for item in landmarks if item.frame in outlines.labels]
    written = reading.evidence(
        [item.frame for item in outlined],
        collect_contours(outlines, [item.frame for item in outlined], (_RV,)),
        written_points(outlined),
    )
    found: dict[int, RvDiameter] = {}
    reasons: Counter[str] = Counter()
    for item in outlined:
        try:
            found[item.frame] = _on_frame(reading, outlines, written, item.frame)
        except MeasureError as error:
            reasons[str(error)] += 1
    if not found or len(found) < LEAST_SHARE * len(outlined):
        raise MeasureError(reasons.most_common(1)[0][0] if reasons else "no frame with wall points was outlined")
    used = [item for item in outlined if item.frame in found]
    of_outline = outlines.overlap(list(found), _RV) or 0.0
    of_points = float(np.mean([value for item in used for value in item.confidence.values()]))
    is_doubtful = of_outline < CERTAIN_STRUCTURE or of_points < CERTAIN_POINT
    lengths = [diameter.length_mm for diameter in found.values()]
    return Measurement(
        quantity=Quantity.RVIDD,
        value=float(np.median(lengths)),
        method=METHOD,
        confidence=min(of_outline, of_points),
        flags=(*wall_flags(reading, cycle), *((Flag.LOW_CONFIDENCE,) if is_doubtful else ())),
        evidence=(_with_borders(written, used, found),),
        details={"view": reading.view.value, "per_frame_mm": [round(length, 3) for length in lengths]},
    )


def rv_diameter_from_evidence(evidence: Evidence, frame: int) -> RvDiameter:
    """RVIDd on one frame, from the contour and the wall points that are written in the evidence.

    Whether the sector cuts the border off is not looked at: the evidence has no sector.

    Raises:
        MeasureError: the frame has no contour of the RV, the clip is not calibrated, or as of
            :func:`echoapex.measure.rv_diameter.measure_rv_diameter`.
    """
    spacing = spacing_of_evidence(evidence)
    if spacing is None:
        raise MeasureError("a diameter is measured in mm, but the evidence has no calibration")
    if contour_key(_RV.key, frame) not in evidence.contours_xy:
        raise MeasureError("the right ventricle was not outlined at end-diastole")
    points = {point: evidence.points_xy[f"{point}@{frame}"] for point in WallPoint}
    return measure_rv_diameter(points, outline_from_evidence(evidence, _RV, frame), spacing)


def _on_frame(reading: ClipReading, outlines: ClipOutlines, written: Evidence, frame: int) -> RvDiameter:
    spacing = reading.header.spacing
    diameter = rv_diameter_from_evidence(written, frame)
    if not outlines.trust(frame, _RV) or frame in doubtful_frames(outlines, _RV):
        raise MeasureError("the outline of the right ventricle is in doubt at end-diastole")
    assert spacing is not None  # else there was no diameter
    return require_border_in_image(diameter, spacing, reading.header.size, reading.clip.sector)


def _with_borders(written: Evidence, used: Sequence[Landmarks], found: dict[int, RvDiameter]) -> Evidence:
    """The evidence of the frames that were measured, with the anterior border on each."""
    borders = {
        f"{RV_ANTERIOR_BORDER}@{frame}": (round(diameter.anterior_xy[0], 2), round(diameter.anterior_xy[1], 2))
        for frame, diameter in found.items()
    }
    contours = {key: written.contours_xy[key] for key in (contour_key(_RV.key, frame) for frame in found)}
    update = {"frames": tuple(found), "contours_xy": contours, "points_xy": {**written_points(used), **borders}}
    return written.model_copy(update=update)
