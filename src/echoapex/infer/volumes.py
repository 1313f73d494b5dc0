"""Volumes and ejection fraction of one apical clip, by two independent routes: discs on outlines, and regression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from echoapex.domain import Evidence, Flag, Measurement
from echoapex.infer.contours import Contour, contour_key, trace_contour
from echoapex.infer.interpreter import EjectionEstimate
from echoapex.infer.lv_cycle import DISCS_METHOD, LvCycle, is_lv_cut_off
from echoapex.infer.outlines import Outlines
from echoapex.infer.quality import CERTAIN_STRUCTURE
from echoapex.infer.reading import ClipReading
from echoapex.measure import MeasureError, ejection_fraction_percent, single_plane_volume
from echoapex.vocabulary import Quantity, Structure

REGRESSION_METHOD = "regression from the clip"
_USELESS_HALF_INTERVAL = 25.0  # points: an EF known no better than this has no confidence
_LEAST_CONFIDENCE = 0.05
_OUTLINED = (Structure.LV_CAVITY, Structure.LEFT_ATRIUM)


def measure_regression_ef(reading: ClipReading, estimate: EjectionEstimate, cycle: LvCycle) -> Measurement:
    """The ejection fraction that the spatiotemporal decoder reads from the whole clip.

    Its confidence falls linearly with the half-width of its interval, to none at 25 points.
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


def measure_discs(reading: ClipReading, cycle: LvCycle, outlines: Outlines) -> tuple[Measurement, ...]:
    """EF by discs, and EDV and ESV in mL where the clip is calibrated; nothing where no beat was outlined.

    Values are means over the complete beats. The evidence holds the contours of the LV and of the left atrium (which
    shows the mitral plane) on the ED and ES frames, from which the volumes can be computed again.
    """
    volumes = _beat_volumes(cycle)
    if not volumes:
        return ()
    frames = sorted({*cycle.averaged_ed_frames, *cycle.averaged_es_frames})
    evidence = reading.evidence(frames, contours_xy=_contours(outlines, frames))
    confidence = outlines.overlap(frames, Structure.LV_CAVITY)
    flags = _disc_flags(reading, cycle, frames, confidence)
    details = {
        "view": reading.view.value,
        "beats": len(volumes),
        "ed_frames": list(cycle.averaged_ed_frames),
        "es_frames": list(cycle.averaged_es_frames),
    }
    values = {Quantity.LVEF_DISCS: float(np.mean([ejection_fraction_percent(*pair) for pair in volumes]))}
    if reading.header.spacing is not None:
        values[Quantity.EDV] = float(np.mean([edv for edv, _ in volumes]))
        values[Quantity.ESV] = float(np.mean([esv for _, esv in volumes]))
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


def measure_heart_rate(reading: ClipReading, cycle: LvCycle) -> Measurement | None:
    """Heart rate: of the header where it has one, else from the beats of the volume curve."""
    rate, method = reading.header.heart_rate_bpm, "header"
    if rate is None and cycle.cycles is not None and reading.header.frame_times_known:
        rate, method = cycle.cycles.heart_rate_bpm, "beats of the LV size over time"
    if rate is None:
        return None
    evidence: Evidence = reading.evidence(cycle.ed_frames if method != "header" else ())
    return Measurement(
        quantity=Quantity.HEART_RATE, value=rate, method=method, flags=reading.flags, evidence=(evidence,)
    )


def _beat_volumes(cycle: LvCycle) -> list[tuple[float, float]]:
    """End-diastolic and end-systolic volume of each beat: smoothed over frames, or of the two shapes outlined."""
    pairs: list[tuple[float, float]] = []
    for beat in cycle.beats:
        if cycle.method == DISCS_METHOD and cycle.smoothed is not None:
            pairs.append((float(cycle.smoothed[beat.ed_frame]), float(cycle.smoothed[beat.es_frame])))
            continue
        shapes = [cycle.shapes.get(cycle.frames[index]) for index in (beat.ed_frame, beat.es_frame)]
        volumes = [single_plane_volume(shape) for shape in shapes if shape is not None]
        if len(volumes) == 2:
            pairs.append((volumes[0], volumes[1]))
    return [pair for pair in pairs if _has_ejection_fraction(pair)]


def _has_ejection_fraction(volumes: tuple[float, float]) -> bool:
    try:
        ejection_fraction_percent(*volumes)
    except MeasureError:
        return False
    return True


def _contours(outlines: Outlines, frames: Sequence[int]) -> dict[str, Contour]:
    contours: dict[str, Contour] = {}
    for frame in frames:
        if frame not in outlines.labels:
            continue
        labels = outlines.labels[frame]
        for structure in _OUTLINED:
            contour = trace_contour(labels == structure)
            if contour:
                contours[contour_key(structure.key, frame)] = contour
    return contours


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
