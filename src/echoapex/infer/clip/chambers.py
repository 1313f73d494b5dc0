"""Atria, right ventricle, and LV length, sphericity and strain of one clip, from its outlines.

Each value is the mean over the beats. It is computed from the contours as they are written in its evidence. A frame is
not used where a contour that the value needs is missing, doubtful, or cut off by the sector: the chamber is then larger
than what was imaged, and the value would be too small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from echoapex.domain import Evidence, Flag, Measurement
from echoapex.infer.clip.cycle import LvCycle, doubtful_frames, probe_point
from echoapex.infer.clip.outlines import (
    PROBE_POINT,
    VENTRICLE_OF,
    ClipOutlines,
    atrial_shape_from_evidence,
    collect_contours,
    contour_key,
    outline_from_evidence,
    shape_from_evidence,
    spacing_of_evidence,
)
from echoapex.infer.clip.reading import CERTAIN_STRUCTURE, ClipReading
from echoapex.measure import (
    LvShape,
    MeasureError,
    atrial_area_length_volume_ml,
    atrial_disc_volume_ml,
    chamber_area_cm2,
    endocardial_length,
    fractional_area_change_percent,
    is_cut_off,
    longitudinal_strain_percent,
    sphericity_index,
)
from echoapex.vocabulary import Quantity, Structure, View

ATRIAL_DISCS = "single-plane discs at end-systole"
ATRIAL_AREA_LENGTH = "single-plane area-length at end-systole"
LA_DIAMETER_METHOD = "widest disc across the long axis of the left atrium at end-systole"
RV_METHOD = "area of the outline"
LV_LENGTH_METHOD = "mitral plane to apex"
SPHERICITY_METHOD = "mid-cavity diameter / length"
STRAIN_METHOD = "length of the endocardial contour, one view"

REACH_S = 0.1
"""How far from LV end-systole the frame of the largest atrium may lie (ours)."""

Frames = tuple[int, ...]
Values = dict[Quantity, float]


@dataclass(frozen=True)
class _Task:
    """What is measured of one beat: on which frames, from which contours, and how.

    Attributes:
        frames: the frames of each beat.
        needed: structures whose contours the value is computed from; on each frame all must be sound.
        measured: the structure that must not be cut off, and whose predicted overlap is the confidence.
        compute: values of one beat; raises ``MeasureError`` or ``KeyError`` where there are none.
        methods: of each quantity that may be found.
    """

    frames: Sequence[Frames]
    needed: tuple[Structure, ...]
    measured: Structure
    compute: Callable[[Evidence, Frames], Values]
    methods: Mapping[Quantity, str]
    flags: tuple[Flag, ...] = ()


def measure_chambers(reading: ClipReading, cycle: LvCycle, outlines: ClipOutlines) -> tuple[Measurement, ...]:
    """What the outlines of a clip give beside LV volumes; nothing under colour Doppler or where no beat was found.

    Four-chamber view: volumes of both atria, RV areas, LV length, sphericity and strain. Two-chamber view: volume of
    the left atrium, LV length and strain. Parasternal long axis: diameter of the left atrium. Values in mm, cm2 and mL
    need a calibrated clip; strain and fractional area change are ratios, and do not.
    """
    if reading.clip.colour is not None or not cycle.beats:
        return ()
    view = reading.view
    tasks: list[_Task] = []
    if view in (View.A4C, View.A2C):
        tasks += [_lv_length(cycle, view), _strain(cycle), _atrium(reading, cycle, outlines, Structure.LEFT_ATRIUM)]
    if view is View.A4C:
        tasks += [_atrium(reading, cycle, outlines, Structure.RIGHT_ATRIUM), _right_ventricle(cycle)]
    if view is View.PLAX:
        tasks.append(_atrial_diameter(reading, cycle, outlines))
    return tuple(item for task in tasks for item in _measure(task, reading, cycle, outlines))


def atrial_values(evidence: Evidence, atrium: Structure, frame: int) -> Values:
    """Volumes of one atrium on one frame, from its written contours.

    Raises:
        KeyError: a contour is missing.
        MeasureError: the contours are too small, far from each other, or not calibrated.
    """
    shape = atrial_shape_from_evidence(evidence, atrium, frame)
    if atrium is Structure.RIGHT_ATRIUM:
        return {Quantity.RA_VOLUME: atrial_disc_volume_ml(shape)}
    return {
        Quantity.LA_VOLUME: atrial_disc_volume_ml(shape),
        Quantity.LA_VOLUME_AREA_LENGTH: atrial_area_length_volume_ml(shape),
    }


def right_ventricular_values(evidence: Evidence, ends: Frames) -> Values:
    """RV areas of one beat and their fractional change, from the written contours at ED and ES.

    Raises:
        KeyError: a contour is missing.
        MeasureError: the RV does not become smaller.
    """
    spacing = spacing_of_evidence(evidence)
    outlines = (outline_from_evidence(evidence, Structure.RIGHT_VENTRICLE, frame) for frame in ends)
    diastolic, systolic = (chamber_area_cm2(outline, spacing) for outline in outlines)
    values = {Quantity.RV_FAC: fractional_area_change_percent(diastolic, systolic)}
    if spacing is not None:
        values |= {Quantity.RV_ED_AREA: diastolic, Quantity.RV_ES_AREA: systolic}
    return values


def strain_values(evidence: Evidence, ends: Frames) -> Values:
    """Strain of the endocardial contour of one beat, from the written contours at ED and ES.

    Raises:
        KeyError: a contour is missing.
        MeasureError: the mitral plane was not found, or the contour does not shorten.
    """
    diastolic, systolic = (endocardial_length(shape_from_evidence(evidence, frame)) for frame in ends)
    return {Quantity.GLS_ENDOCARDIAL: longitudinal_strain_percent(diastolic, systolic)}


def lv_length_values(evidence: Evidence, frame: int) -> Values:
    """LV length in mm and sphericity index on one frame, from the written contours.

    Raises:
        KeyError: a contour is missing.
        MeasureError: the clip is not calibrated, or the mitral plane was not found.
    """
    shape: LvShape = shape_from_evidence(evidence, frame)
    if not shape.is_calibrated or shape.annulus_xy is None:
        raise MeasureError("the LV length needs a calibrated clip that shows the mitral plane")
    return {Quantity.LV_LENGTH: shape.length, Quantity.SPHERICITY_INDEX: sphericity_index(shape)}


def atrial_diameter_values(evidence: Evidence, frame: int) -> Values:
    """Anteroposterior diameter of the left atrium in mm on one PLAX frame, from the written contours.

    Raises:
        KeyError: a contour is missing.
        MeasureError: as of :func:`atrial_values`.
    """
    shape = atrial_shape_from_evidence(evidence, Structure.LEFT_ATRIUM, frame)
    return {Quantity.LA_DIAMETER: float(shape.disc_diameters.max())}


def _ends(cycle: LvCycle) -> list[Frames]:
    return [(cycle.frames[beat.ed_frame], cycle.frames[beat.es_frame]) for beat in cycle.beats]


def _lv_length(cycle: LvCycle, view: View) -> _Task:
    methods = {Quantity.LV_LENGTH: LV_LENGTH_METHOD}
    if view is View.A4C:
        methods[Quantity.SPHERICITY_INDEX] = SPHERICITY_METHOD
    return _Task(
        frames=[(ed_frame,) for ed_frame, _ in _ends(cycle)],
        needed=(Structure.LV_CAVITY, Structure.LEFT_ATRIUM),
        measured=Structure.LV_CAVITY,
        compute=lambda evidence, frames: lv_length_values(evidence, frames[0]),
        methods=methods,
    )


def _strain(cycle: LvCycle) -> _Task:
    return _Task(
        frames=_ends(cycle),
        needed=(Structure.LV_CAVITY, Structure.LEFT_ATRIUM),
        measured=Structure.LV_CAVITY,
        compute=strain_values,
        methods={Quantity.GLS_ENDOCARDIAL: STRAIN_METHOD},
        flags=(Flag.SINGLE_PLANE,),
    )


def _right_ventricle(cycle: LvCycle) -> _Task:
    quantities = (Quantity.RV_ED_AREA, Quantity.RV_ES_AREA, Quantity.RV_FAC)
    return _Task(
        frames=_ends(cycle),
        needed=(Structure.RIGHT_VENTRICLE,),
        measured=Structure.RIGHT_VENTRICLE,
        compute=right_ventricular_values,
        methods=dict.fromkeys(quantities, RV_METHOD),
    )


def _atrium(reading: ClipReading, cycle: LvCycle, outlines: ClipOutlines, atrium: Structure) -> _Task:
    """The left atrium has a second plane; one plane alone is flagged. Of the right one the guideline asks one plane."""
    is_left = atrium is Structure.LEFT_ATRIUM
    methods = (
        {Quantity.LA_VOLUME: ATRIAL_DISCS, Quantity.LA_VOLUME_AREA_LENGTH: ATRIAL_AREA_LENGTH}
        if is_left
        else {Quantity.RA_VOLUME: ATRIAL_DISCS}
    )
    return _Task(
        frames=_largest_frames(reading, cycle, outlines, atrium),
        needed=(atrium, VENTRICLE_OF[atrium]),
        measured=atrium,
        compute=lambda evidence, frames: atrial_values(evidence, atrium, frames[0]),
        methods=methods,
        flags=(Flag.SINGLE_PLANE,) if is_left else (),
    )


def _atrial_diameter(reading: ClipReading, cycle: LvCycle, outlines: ClipOutlines) -> _Task:
    return _Task(
        frames=_largest_frames(reading, cycle, outlines, Structure.LEFT_ATRIUM),
        needed=(Structure.LEFT_ATRIUM, Structure.LV_CAVITY),
        measured=Structure.LEFT_ATRIUM,
        compute=lambda evidence, frames: atrial_diameter_values(evidence, frames[0]),
        methods={Quantity.LA_DIAMETER: LA_DIAMETER_METHOD},
    )


def _largest_frames(
    reading: ClipReading, cycle: LvCycle, outlines: ClipOutlines, atrium: Structure
) -> tuple[Frames, ...]:
    """Of each beat the outlined frame near end-systole on which the atrium is largest."""
    times = reading.header.frame_times_s
    chosen = []
    for _, es_frame in _ends(cycle):
        near = [frame for frame in outlines.labels.frames if abs(times[frame] - times[es_frame]) <= REACH_S]
        areas = {frame: int(np.count_nonzero(outlines.labels[frame] == atrium)) for frame in near}
        if near:
            chosen.append((max(near, key=areas.__getitem__),))
    return tuple(dict.fromkeys(chosen))


def _measure(task: _Task, reading: ClipReading, cycle: LvCycle, outlines: ClipOutlines) -> tuple[Measurement, ...]:
    """The means over the beats that are sound; empty where none is."""
    probe = probe_point(reading)
    points = {} if probe is None else {PROBE_POINT: probe}
    used = sorted({frame for frames in task.frames for frame in frames})
    written = reading.evidence((), collect_contours(outlines, used, task.needed), points)
    sound = {frame for frame in used if _is_sound(task, frame, reading, outlines, written)}
    found = {
        frames: values
        for frames in task.frames
        if sound.issuperset(frames) and (values := _values(task, written, frames))
    }
    if not found:
        return ()
    used = sorted({frame for frames in found for frame in frames})
    evidence = written.model_copy(
        update={"frames": tuple(used), "contours_xy": collect_contours(outlines, used, task.needed)}
    )
    confidence = outlines.overlap(used, task.measured)
    flags = _flags(task, reading, cycle, confidence)
    details = {"view": reading.view.value, "beats": len(found), "beat_frames": [list(frames) for frames in found]}
    return tuple(
        Measurement(
            quantity=quantity,
            value=float(np.mean([values[quantity] for values in found.values()])),
            method=method,
            confidence=confidence,
            flags=flags,
            evidence=(evidence,),
            details=details,
        )
        for quantity, method in task.methods.items()
        if all(quantity in values for values in found.values())
    )


def _values(task: _Task, evidence: Evidence, frames: Frames) -> Values:
    try:
        return task.compute(evidence, frames)
    except (KeyError, MeasureError):  # a contour is missing, too small, or moves the wrong way in this beat
        return {}


def _is_sound(task: _Task, frame: int, reading: ClipReading, outlines: ClipOutlines, evidence: Evidence) -> bool:
    """Whether the decoder found every structure on the frame itself, doubts none, and the sector cuts none off."""
    overlaps = outlines.overlaps.get(frame, {})
    for structure in task.needed:
        if contour_key(structure.key, frame) not in evidence.contours_xy or not overlaps.get(structure):
            return False
        if frame in doubtful_frames(outlines, structure):
            return False
    outline = outline_from_evidence(evidence, task.measured, frame)
    return not is_cut_off(outline, reading.header.size, reading.clip.sector)


def _flags(task: _Task, reading: ClipReading, cycle: LvCycle, confidence: float | None) -> tuple[Flag, ...]:
    flags: dict[Flag, None] = dict.fromkeys((*reading.flags, *task.flags))
    if not any(beat.is_complete for beat in cycle.beats):
        flags[Flag.INCOMPLETE_BEAT] = None
    if confidence is None or confidence < CERTAIN_STRUCTURE:
        flags[Flag.LOW_CONFIDENCE] = None
    return tuple(flags)
