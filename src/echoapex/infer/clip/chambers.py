"""Volumes, ejection fraction, areas, lengths and strain of the chambers in one clip, from its outlines.

Each value is the mean over the beats. It is computed from the contours as they are written in its evidence. For all but
LV volumes, a frame is not used where a contour that the value needs is missing, doubtful, or cut off by the sector: the
chamber is then larger than what was imaged, and the value would be too small. LV volumes are flagged then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from echoapex.domain import Evidence, Flag, Measurement
from echoapex.infer.clip.cycle import DISCS_METHOD, LvCycle, doubtful_frames, is_lv_cut_off, probe_point
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
    ejection_fraction_percent,
    endocardial_length,
    fractional_area_change_percent,
    is_cut_off,
    longitudinal_strain_percent,
    single_plane_volume,
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

_LV_AND_ATRIUM = (Structure.LV_CAVITY, Structure.LEFT_ATRIUM)

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


def measure_discs(reading: ClipReading, cycle: LvCycle, outlines: ClipOutlines) -> tuple[Measurement, ...]:
    """EF by discs, and EDV and ESV in mL if the clip is calibrated; nothing if no beat was outlined.

    Values are means over the complete beats. The evidence holds the contours of the LV and of the left atrium (which
    shows the mitral plane) on the ED and ES frames.
    """
    ends = [pair for pair in _ends(cycle) if all(frame in cycle.shapes for frame in pair)]
    written = _write_contours(reading, outlines, ends, _LV_AND_ATRIUM)
    volumes = {pair: found for pair in ends if (found := _beat_volumes(written, pair)) is not None}
    if not volumes:
        return ()
    values = {Quantity.LVEF_DISCS: float(np.mean([ejection_fraction_percent(*each) for each in volumes.values()]))}
    if reading.header.spacing is not None:
        values[Quantity.EDV] = float(np.mean([edv for edv, _ in volumes.values()]))
        values[Quantity.ESV] = float(np.mean([esv for _, esv in volumes.values()]))
    evidence = _narrowed(written, outlines, volumes, _LV_AND_ATRIUM)
    confidence = outlines.overlap(evidence.frames, Structure.LV_CAVITY)
    is_cut = any(is_lv_cut_off(reading, cycle.shapes[frame]) for frame in evidence.frames if frame in cycle.shapes)
    details = {
        "view": reading.view.value,
        "beats": len(volumes),
        "ed_frames": [ed_frame for ed_frame, _ in volumes],
        "es_frames": [es_frame for _, es_frame in volumes],
    }
    flags = _flags((Flag.SINGLE_PLANE,), reading, cycle, confidence, is_cut)
    return _measurements(values, dict.fromkeys(values, DISCS_METHOD), (confidence, flags), evidence, details)


def why_no_discs(cycle: LvCycle) -> str:
    """Why there are no discs: no beat was found, or the outlines of no beat eject."""
    return cycle.reason or "at no beat is the outline larger at end-diastole than at end-systole"


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


def _ends(cycle: LvCycle) -> list[tuple[int, int]]:
    return [(cycle.frames[beat.ed_frame], cycle.frames[beat.es_frame]) for beat in cycle.beats]


def _lv_length(cycle: LvCycle, view: View) -> _Task:
    methods = {Quantity.LV_LENGTH: LV_LENGTH_METHOD}
    if view is View.A4C:
        methods[Quantity.SPHERICITY_INDEX] = SPHERICITY_METHOD
    return _Task(
        frames=[(ed_frame,) for ed_frame, _ in _ends(cycle)],
        needed=_LV_AND_ATRIUM,
        measured=Structure.LV_CAVITY,
        compute=lambda evidence, frames: lv_length_values(evidence, frames[0]),
        methods=methods,
    )


def _strain(cycle: LvCycle) -> _Task:
    return _Task(
        frames=_ends(cycle),
        needed=_LV_AND_ATRIUM,
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
    """Of each beat the outlined frame near end-systole on which the atrium is largest; a person's outlines go first."""
    times = reading.header.frame_times_s
    chosen = []
    for _, es_frame in _ends(cycle):
        near = [frame for frame in outlines.labels.frames if abs(times[frame] - times[es_frame]) <= REACH_S]
        near = [frame for frame in near if atrium in outlines.corrected.get(frame, ())] or near
        areas = {frame: int(np.count_nonzero(outlines.labels[frame] == atrium)) for frame in near}
        if near:
            chosen.append((max(near, key=areas.__getitem__),))
    return tuple(dict.fromkeys(chosen))


def _measure(task: _Task, reading: ClipReading, cycle: LvCycle, outlines: ClipOutlines) -> tuple[Measurement, ...]:
    """The means over the beats that are sound; empty where none is."""
    written = _write_contours(reading, outlines, task.frames, task.needed)
    used = {frame for frames in task.frames for frame in frames}
    sound = {frame for frame in sorted(used) if _is_sound(task, frame, reading, outlines, written)}
    found = {
        frames: values
        for frames in task.frames
        if sound.issuperset(frames) and (values := _values(task, written, frames))
    }
    if not found:
        return ()
    means = {
        quantity: float(np.mean([values[quantity] for values in found.values()]))
        for quantity in task.methods
        if all(quantity in values for values in found.values())
    }
    evidence = _narrowed(written, outlines, found, task.needed)
    confidence = outlines.overlap(evidence.frames, task.measured)
    flags = _flags(task.flags, reading, cycle, confidence)
    details = {"view": reading.view.value, "beats": len(found), "beat_frames": [list(frames) for frames in found]}
    return _measurements(means, task.methods, (confidence, flags), evidence, details)


def _write_contours(
    reading: ClipReading, outlines: ClipOutlines, beats: Iterable[Frames], structures: Sequence[Structure]
) -> Evidence:
    """Evidence with the contours of some structures on the frames of the beats."""
    probe = probe_point(reading)
    points = {} if probe is None else {PROBE_POINT: probe}
    return reading.evidence((), collect_contours(outlines, _frames_of(beats), structures), points)


def _narrowed(
    written: Evidence, outlines: ClipOutlines, beats: Iterable[Frames], structures: Sequence[Structure]
) -> Evidence:
    """The same evidence with the beats alone that were measured."""
    frames = _frames_of(beats)
    contours = collect_contours(outlines, frames, structures)
    return written.model_copy(update={"frames": tuple(frames), "contours_xy": contours})


def _frames_of(beats: Iterable[Frames]) -> list[int]:
    return sorted({frame for frames in beats for frame in frames})


def _measurements(
    values: Values,
    methods: Mapping[Quantity, str],
    trust: tuple[float | None, tuple[Flag, ...]],
    evidence: Evidence,
    details: Mapping[str, object],
) -> tuple[Measurement, ...]:
    """One measurement of each value; ``trust`` is the confidence and the flags of all of them."""
    return tuple(
        Measurement(
            quantity=quantity,
            value=value,
            method=methods[quantity],
            confidence=trust[0],
            flags=trust[1],
            evidence=(evidence,),
            details=dict(details),
        )
        for quantity, value in values.items()
    )


def _beat_volumes(evidence: Evidence, ends: tuple[int, int]) -> tuple[float, float] | None:
    """EDV and ESV of one beat from the written contours; None where they are too small or do not eject."""
    try:
        edv, esv = (single_plane_volume(shape_from_evidence(evidence, frame)) for frame in ends)
        ejection_fraction_percent(edv, esv)
    except (KeyError, MeasureError):
        return None
    return edv, esv


def _values(task: _Task, evidence: Evidence, frames: Frames) -> Values:
    try:
        return task.compute(evidence, frames)
    except (KeyError, MeasureError):  # a contour is missing, too small, or moves the wrong way in this beat
        return {}


def _is_sound(task: _Task, frame: int, reading: ClipReading, outlines: ClipOutlines, evidence: Evidence) -> bool:
    """Whether the decoder found every structure on the frame itself, doubts none, and the sector cuts none off."""
    for structure in task.needed:
        if contour_key(structure.key, frame) not in evidence.contours_xy or not outlines.trust(frame, structure):
            return False
        if frame in doubtful_frames(outlines, structure):
            return False
    outline = outline_from_evidence(evidence, task.measured, frame)
    return not is_cut_off(outline, reading.header.size, reading.clip.sector)


def _flags(
    own: Sequence[Flag], reading: ClipReading, cycle: LvCycle, confidence: float | None, is_cut_off: bool = False
) -> tuple[Flag, ...]:
    """The flags of the clip and those of the value itself, and doubts about the beats and the outlines."""
    doubts = {
        Flag.INCOMPLETE_BEAT: not any(beat.is_complete for beat in cycle.beats),
        Flag.STRUCTURE_CUT_OFF: is_cut_off,
        Flag.LOW_CONFIDENCE: confidence is None or confidence < CERTAIN_STRUCTURE,
    }
    applying = (flag for flag, applies in doubts.items() if applies)
    return tuple(dict.fromkeys((*reading.flags, *own, *applying)))
