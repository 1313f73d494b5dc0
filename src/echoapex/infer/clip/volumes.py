"""Volumes and ejection fraction of one apical clip, by two independent methods: discs on outlines, and regression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from echoapex.domain import Evidence, Flag, Measurement
from echoapex.infer.clip.cycle import DISCS_METHOD, LvCycle, is_lv_cut_off, probe_point
from echoapex.infer.clip.models import EjectionEstimate
from echoapex.infer.clip.outlines import (
    PROBE_POINT,
    ClipOutlines,
    collect_contours,
    shape_from_evidence,
)
from echoapex.infer.clip.reading import CERTAIN_STRUCTURE, ClipReading
from echoapex.measure import MeasureError, ejection_fraction_percent, single_plane_volume
from echoapex.measure.cardiac_cycle import RateMarks
from echoapex.measure.reference_limits import LARGEST_RATE_DIFFERENCE
from echoapex.vocabulary import Quantity, Structure

REGRESSION_METHOD = "regression from the clip"
BEATS_METHOD = "beats of the LV size over time"
_USELESS_HALF_INTERVAL = 25.0  # points: an EF known no better than this has no confidence
_LEAST_CONFIDENCE = 0.05
_OUTLINED = (Structure.LV_CAVITY, Structure.LEFT_ATRIUM)


def measure_regression_ef(reading: ClipReading, estimate: EjectionEstimate, cycle: LvCycle) -> Measurement:
    """The ejection fraction that the spatiotemporal decoder predicts from the whole clip.

    Its confidence falls linearly with the half-width of its interval, to 0 at 25 points.
    """
    half = (estimate.interval[1] - estimate.interval[0]) / 2
    confidence = float(np.clip(1 - half / _USELESS_HALF_INTERVAL, _LEAST_CONFIDENCE, 1))
    flags = [*reading.flags]
    if reading.header.frame_count == 1:
        flags.append(Flag.SINGLE_FRAME)
    elif cycle.cycles is None or not any(beat.is_complete for beat in cycle.beats):
        flags.append(Flag.INCOMPLETE_BEAT)
    frames = tuple(sorted({*cycle.averaged_ed_frames, *cycle.averaged_es_frames}))
    return Measurement(
        quantity=Quantity.LVEF,
        value=estimate.ef_percent,
        interval=estimate.interval,
        method=REGRESSION_METHOD,
        confidence=confidence,
        flags=tuple(flags),
        evidence=(reading.evidence(frames),),
        details={"view": reading.view.value},
    )


def measure_discs(reading: ClipReading, cycle: LvCycle, outlines: ClipOutlines) -> tuple[Measurement, ...]:
    """EF by discs, and EDV and ESV in mL if the clip is calibrated; nothing if no beat was outlined.

    Values are means over the complete beats. The evidence holds the contours of the LV and of the left atrium (which
    shows the mitral plane) on the ED and ES frames. Volumes are computed from these contours as they are written.
    """
    ends = [(cycle.frames[beat.ed_frame], cycle.frames[beat.es_frame]) for beat in cycle.beats]
    ends = [pair for pair in ends if all(frame in cycle.shapes for frame in pair)]
    contours = collect_contours(outlines, sorted({frame for pair in ends for frame in pair}), _OUTLINED)
    probe = probe_point(reading)
    points = {} if probe is None else {PROBE_POINT: probe}
    written = reading.evidence((), contours_xy=contours, points_xy=points)
    volumes = {pair: found for pair in ends if (found := _beat_volumes(written, pair)) is not None}
    if not volumes:
        return ()
    frames = sorted({frame for pair in volumes for frame in pair})
    evidence = written.model_copy(
        update={"frames": tuple(frames), "contours_xy": collect_contours(outlines, frames, _OUTLINED)}
    )
    confidence = outlines.overlap(frames, Structure.LV_CAVITY)
    flags = _disc_flags(reading, cycle, frames, confidence)
    details = {
        "view": reading.view.value,
        "beats": len(volumes),
        "ed_frames": [ed_frame for ed_frame, _ in volumes],
        "es_frames": [es_frame for _, es_frame in volumes],
    }
    values = {Quantity.LVEF_DISCS: float(np.mean([ejection_fraction_percent(*each) for each in volumes.values()]))}
    if reading.header.spacing is not None:
        values[Quantity.EDV] = float(np.mean([edv for edv, _ in volumes.values()]))
        values[Quantity.ESV] = float(np.mean([esv for _, esv in volumes.values()]))
    return tuple(
        Measurement(
            quantity=quantity,
            value=value,
            method=DISCS_METHOD,
            confidence=confidence,
            flags=flags,
            evidence=(evidence,),
            details=details,
        )
        for quantity, value in values.items()
    )


def why_no_discs(cycle: LvCycle) -> str:
    """Why there are no discs: no beat was found, or the outlines of no beat eject."""
    return cycle.reason or "at no beat is the outline larger at end-diastole than at end-systole"


def measure_heart_rate(reading: ClipReading, cycle: LvCycle) -> Measurement | None:
    """Heart rate: from the header, else from the file's R waves, else from the beats of the LV.

    ``details`` hold the marks from which the rate was computed. A header that contradicts the beats is flagged.
    """
    marks = cycle.cycles.rate_marks if cycle.cycles is not None else None
    if marks is not None and not marks.frames:
        method = "R waves of the file"
    else:
        method = BEATS_METHOD
        marks = marks if reading.header.frame_times_known else None
    told = _told_by(marks, cycle)
    rate, flags = reading.header.heart_rate_bpm, list(reading.flags)
    frames: tuple[int, ...] = ()
    if rate is not None:
        if marks is not None and abs(marks.rate_bpm - rate) > LARGEST_RATE_DIFFERENCE * rate:
            flags.append(Flag.METHODS_DISAGREE)
            told |= {"rate_of_marks": round(marks.rate_bpm, 2)}
        else:
            told = {}
        method = "header"
    elif marks is not None:
        rate, frames = marks.rate_bpm, _native_frames(marks, cycle)
    else:
        return None
    return Measurement(
        quantity=Quantity.HEART_RATE,
        value=rate,
        method=method,
        flags=tuple(flags),
        evidence=(reading.evidence(frames),),
        details=told,
    )


def _native_frames(marks: RateMarks, cycle: LvCycle) -> tuple[int, ...]:
    return tuple(sorted({cycle.frames[index] for pair in marks.frames for index in pair}))


def _told_by(marks: RateMarks | None, cycle: LvCycle) -> dict[str, object]:
    """Kind of the marks, intervals between them, and the native frames at both ends of each."""
    if marks is None:
        return {}
    ends = [[cycle.frames[first], cycle.frames[second]] for first, second in marks.frames]
    return {"marks": marks.kind, "intervals_s": list(marks.intervals_s), "interval_frames": ends}


def _beat_volumes(evidence: Evidence, ends: tuple[int, int]) -> tuple[float, float] | None:
    """EDV and ESV of one beat from the written contours; None where they are too small or do not eject."""
    try:
        edv, esv = (single_plane_volume(shape_from_evidence(evidence, frame)) for frame in ends)
        ejection_fraction_percent(edv, esv)
    except (KeyError, MeasureError):
        return None
    return edv, esv


def _disc_flags(
    reading: ClipReading, cycle: LvCycle, frames: Sequence[int], confidence: float | None
) -> tuple[Flag, ...]:
    flags: dict[Flag, None] = dict.fromkeys((*reading.flags, Flag.SINGLE_PLANE))
    if not any(beat.is_complete for beat in cycle.beats):
        flags[Flag.INCOMPLETE_BEAT] = None
    if any(is_lv_cut_off(reading, cycle.shapes[frame]) for frame in frames if frame in cycle.shapes):
        flags[Flag.STRUCTURE_CUT_OFF] = None
    if confidence is None or confidence < CERTAIN_STRUCTURE:
        flags[Flag.LOW_CONFIDENCE] = None
    return tuple(flags)
