"""From the values of clips to those of the study: combined values, two planes, mass and geometry, output, and indices.

Values are combined only within the study of one patient. Clips whose files name no study (videos, images) join the only
study there is, since they were given together with it.

Values of two apical planes together (biplane volumes, strain, LV length) replace those of single planes. The best
four- and two-chamber clips are taken. Shapes are computed again from the contours in the evidence, so each value
depends only on data that is written to the results. Two loops of one plane are no biplane, and a plane whose view is
uncertain is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from echoapex.domain import ClipReport, Evidence, Flag, Measurement
from echoapex.domain.results import LvhAssessment
from echoapex.infer.clip.outlines import atrial_shape_from_evidence, shape_from_evidence
from echoapex.infer.study.records import ClipRecord, PatientData, agreed_patient, group_by_study
from echoapex.measure import (
    AtrialShape,
    BiplaneVolume,
    MeasureError,
    biplane_atrial_area_length_volume,
    biplane_atrial_disc_volume,
    biplane_volume,
    ejection_fraction_percent,
)
from echoapex.measure.chambers import LENGTH_TOLERANCE_PERCENT
from echoapex.measure.combine import (
    add_derived,
    clip_weight,
    combine_measurements,
    flag_disagreement,
    flag_implausible,
)
from echoapex.measure.lv_wall import assess_lvh
from echoapex.measure.reference_limits import body_surface_area_mosteller
from echoapex.vocabulary import Quantity, Structure, View

BIPLANE_METHOD = "biplane discs"
ATRIAL_DISCS = "biplane discs at end-systole"
ATRIAL_AREA_LENGTH = "biplane area-length at end-systole"
STRAIN_METHOD = "length of the endocardial contour, mean of A4C and A2C"
LV_LENGTH_METHOD = "mitral plane to apex, the longer of A4C and A2C"

Planes = dict[View, Measurement]
_WALLS = (Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD)
_COMBINED = (
    Quantity.LVEF,
    Quantity.LVEF_DISCS,
    Quantity.EDV,
    Quantity.ESV,
    *_WALLS,
    Quantity.HEART_RATE,
    Quantity.LV_LENGTH,
    Quantity.SPHERICITY_INDEX,
    Quantity.GLS_ENDOCARDIAL,
    Quantity.LA_VOLUME,
    Quantity.LA_VOLUME_AREA_LENGTH,
    Quantity.LA_DIAMETER,
    Quantity.RA_VOLUME,
    Quantity.RVIDD,
    Quantity.RV_ED_AREA,
    Quantity.RV_ES_AREA,
    Quantity.RV_FAC,
)
NO_CLIP = LvhAssessment(reason="no category: the wall thicknesses were not measured")


@dataclass(frozen=True)
class StudyValues:
    """Measurements of a study and its LV geometry; ``notes`` are remarks for the reader."""

    measurements: tuple[Measurement, ...]
    lvh: LvhAssessment
    notes: tuple[str, ...] = ()


def measure_studies(records: Sequence[ClipRecord]) -> StudyValues:
    """Values of each study among the given clips; the study with most values first."""
    groups = group_by_study(records)
    values = [(study, *_measure_study(group)) for study, group in groups.items()]
    values.sort(key=lambda item: -len(item[1]))
    notes = tuple(dict.fromkeys(note for group in groups.values() if (note := _note_on_planes(group))))
    if len(values) == 1:
        return StudyValues(tuple(values[0][1]), values[0][2], notes)
    if not values:
        return StudyValues((), NO_CLIP)
    named = [
        measurement.model_copy(update={"details": {**measurement.details, "study": study or "unknown"}})
        for study, measurements, _ in values
        for measurement in measurements
    ]
    study, _, lvh = next((item for item in values if item[2].category), values[0])
    lvh = lvh.model_copy(update={"reason": f"study {study or 'unknown'}: {lvh.reason}"})
    note = f"the input holds {len(values)} studies; values were combined within each study only (details.study)"
    return StudyValues(tuple(named), lvh, (note, *notes))


def _measure_study(records: Sequence[ClipRecord]) -> tuple[list[Measurement], LvhAssessment]:
    reports = [record.report for record in records]
    found = combine_clips(reports) | measure_two_planes(reports)
    if Quantity.LVEF in found and Quantity.LVEF_DISCS in found:
        found[Quantity.LVEF], found[Quantity.LVEF_DISCS] = flag_disagreement(
            found[Quantity.LVEF], found[Quantity.LVEF_DISCS]
        )
    patient = agreed_patient(records)
    _add_body_surface_area(found, patient, records)
    add_derived(found)
    index, rwt = found.get(Quantity.LV_MASS_INDEX), found.get(Quantity.RWT)
    lvh = assess_lvh(index.value if index else None, rwt.value, patient.sex) if rwt else NO_CLIP
    return [flag_implausible(found[quantity]) for quantity in Quantity if quantity in found], lvh


def combine_clips(clips: Sequence[ClipReport]) -> dict[Quantity, Measurement]:
    """The values of all clips, combined for each quantity; those of two planes together are not among them."""
    found: dict[Quantity, Measurement] = {}
    for quantity in _COMBINED:
        values = [item for clip in clips for item in clip.measurements if item.quantity is quantity]
        if values:
            found[quantity] = combine_measurements(values)
    if Quantity.HEART_RATE in found:  # the rate really changes between clips, so their spread is no uncertainty
        found[Quantity.HEART_RATE] = found[Quantity.HEART_RATE].model_copy(update={"interval": None})
    return found


def _note_on_planes(records: Sequence[ClipRecord]) -> str:
    """Why two apical planes are not combined; empty if they are, or if there are not two."""
    uncertain = uncertain_planes([record.report for record in records])
    if not uncertain:
        return ""
    return f"no biplane discs: the view of the best {' and '.join(uncertain)} clip is uncertain"


def _add_body_surface_area(
    found: dict[Quantity, Measurement], patient: PatientData, records: Sequence[ClipRecord]
) -> None:
    """Body surface area, if height and weight are known."""
    if patient.height_m is None or patient.weight_kg is None:
        return
    try:
        area_m2 = body_surface_area_mosteller(patient.height_m, patient.weight_kg)
    except MeasureError:  # implausible height or weight: no index
        return
    source = next(record for record in records if record.patient.height_m is not None)
    report = source.report
    found[Quantity.BSA] = Measurement(
        quantity=Quantity.BSA,
        value=area_m2,
        method="Mosteller, height and weight of the header",
        evidence=(Evidence(clip_id=report.clip_id, input_sha256=report.input_sha256),),
    )


def measure_two_planes(clips: Sequence[ClipReport]) -> dict[Quantity, Measurement]:
    """All values of two planes: LV volumes and EF, left atrial volumes, strain and LV length, those that there are."""
    return measure_biplane(clips) | measure_left_atrium(clips) | measure_mean_strain(clips) | measure_lv_length(clips)


def measure_biplane(clips: Sequence[ClipReport]) -> dict[Quantity, Measurement]:
    """EDV, ESV and EF by biplane discs.

    Empty where a plane is missing, not calibrated, of an uncertain view, or cannot be measured: two loops of one plane
    are no biplane.
    """
    planes = _certain_planes(clips, Quantity.EDV)
    if not planes:
        return {}
    try:
        diastole = _volumes(planes, "ed_frames")
        systole = _volumes(planes, "es_frames")
        end_diastolic = float(np.mean([item.volume_ml for item in diastole]))
        end_systolic = float(np.mean([item.volume_ml for item in systole]))
        values = {
            Quantity.LVEF_DISCS: ejection_fraction_percent(end_diastolic, end_systolic),
            Quantity.EDV: end_diastolic,
            Quantity.ESV: end_systolic,
        }
    except (MeasureError, KeyError):
        return {}
    details = {
        "frames": {
            plane.evidence[0].clip_id: {phase: plane.details[phase] for phase in ("ed_frames", "es_frames")}
            for plane in planes.values()
        },
        "length_difference_percent": _mean_difference(diastole),
    }
    return {
        quantity: _measurement(quantity, value, BIPLANE_METHOD, planes, _flags_of(diastole), details)
        for quantity, value in values.items()
    }


def measure_left_atrium(clips: Sequence[ClipReport]) -> dict[Quantity, Measurement]:
    """Left atrial volume at end-systole by biplane discs and by biplane area-length; empty as for the LV."""
    planes = _certain_planes(clips, Quantity.LA_VOLUME)
    if not planes:
        return {}
    routes: dict[Quantity, tuple[str, Callable[[AtrialShape, AtrialShape], BiplaneVolume]]] = {
        Quantity.LA_VOLUME: (ATRIAL_DISCS, biplane_atrial_disc_volume),
        Quantity.LA_VOLUME_AREA_LENGTH: (ATRIAL_AREA_LENGTH, biplane_atrial_area_length_volume),
    }
    try:
        shapes = [
            [
                atrial_shape_from_evidence(plane.evidence[0], Structure.LEFT_ATRIUM, frame)
                for (frame,) in plane.details["beat_frames"]
            ]
            for plane in planes.values()
        ]
    except (MeasureError, KeyError):
        return {}
    found = {}
    for quantity, (method, compute) in routes.items():
        volumes = [compute(*pair) for pair in product(*shapes)]
        value = float(np.mean([item.volume_ml for item in volumes]))
        details = {"frames": _beat_frames(planes), "length_difference_percent": _mean_difference(volumes)}
        found[quantity] = _measurement(quantity, value, method, planes, _flags_of(volumes), details)
    return found


def measure_mean_strain(clips: Sequence[ClipReport]) -> dict[Quantity, Measurement]:
    """Strain of the endocardial contour as the mean of both planes; empty where one is missing or uncertain."""
    planes = _certain_planes(clips, Quantity.GLS_ENDOCARDIAL)
    if not planes:
        return {}
    value = float(np.mean([plane.value for plane in planes.values()]))
    quantity = Quantity.GLS_ENDOCARDIAL
    return {quantity: _measurement(quantity, value, STRAIN_METHOD, planes, (), _both_values(planes))}


def measure_lv_length(clips: Sequence[ClipReport]) -> dict[Quantity, Measurement]:
    """LV length at end-diastole as the longer of both planes: a foreshortened plane shows it too short."""
    planes = _certain_planes(clips, Quantity.LV_LENGTH)
    if not planes:
        return {}
    lengths = [plane.value for plane in planes.values()]
    shorter, longer = sorted(lengths)
    difference = 100 * (longer - shorter) / longer
    flags = (Flag.PLANES_DISAGREE,) if difference > LENGTH_TOLERANCE_PERCENT else ()
    details = {**_both_values(planes), "length_difference_percent": round(difference, 2)}
    quantity = Quantity.LV_LENGTH
    return {quantity: _measurement(quantity, longer, LV_LENGTH_METHOD, planes, flags, details)}


def uncertain_planes(clips: Sequence[ClipReport]) -> tuple[View, ...]:
    """Of the two planes that would be taken together, those of which nobody can be sure; empty where one is missing."""
    planes = _best_planes(clips, Quantity.EDV)
    return tuple(view for view, plane in planes.items() if Flag.VIEW_UNCERTAIN in plane.flags)


def _certain_planes(clips: Sequence[ClipReport], quantity: Quantity) -> Planes:
    """The best planes; empty where one is missing or of an uncertain view."""
    planes = _best_planes(clips, quantity)
    return {} if any(Flag.VIEW_UNCERTAIN in plane.flags for plane in planes.values()) else planes


def _best_planes(clips: Sequence[ClipReport], quantity: Quantity) -> Planes:
    """Of both views the value that counts most, four-chamber first; empty where one is missing."""
    planes: Planes = {}
    for view in (View.A4C, View.A2C):
        found = [item for clip in clips if clip.view is view for item in clip.measurements if item.quantity is quantity]
        if found:
            planes[view] = max(found, key=clip_weight)
    return planes if len(planes) == 2 else {}


def _volumes(planes: Planes, phase: str) -> list[BiplaneVolume]:
    """Volumes of every pairing of the beats of both planes at one phase; the planes beat at different times."""
    shapes = [
        [shape_from_evidence(plane.evidence[0], frame) for frame in plane.details[phase]] for plane in planes.values()
    ]
    return [biplane_volume(*pair) for pair in product(*shapes)]


def _mean_difference(volumes: Sequence[BiplaneVolume]) -> float:
    return round(float(np.mean([item.length_difference_percent for item in volumes])), 2)


def _flags_of(volumes: Sequence[BiplaneVolume]) -> tuple[Flag, ...]:
    return tuple(dict.fromkeys(flag for item in volumes for flag in item.flags))


def _beat_frames(planes: Planes) -> dict[str, list[list[int]]]:
    return {plane.evidence[0].clip_id: plane.details["beat_frames"] for plane in planes.values()}


def _both_values(planes: Planes) -> dict[str, object]:
    values = {view.value: plane.value for view, plane in planes.items()}
    return {"frames": _beat_frames(planes), "plane_values": values}


def _measurement(
    quantity: Quantity, value: float, method: str, planes: Planes, flags: Iterable[Flag], details: Mapping[str, object]
) -> Measurement:
    """A value of both planes: their flags but that of a single plane, and the weaker confidence."""
    both = tuple(planes.values())
    own: dict[Flag, None] = {flag: None for plane in both for flag in plane.flags if flag != Flag.SINGLE_PLANE}
    known = [plane.confidence for plane in both if plane.confidence is not None]
    clip_ids = {view.value: plane.evidence[0].clip_id for view, plane in planes.items()}
    evidence: tuple[Evidence, ...] = tuple(item for plane in both for item in plane.evidence)
    return Measurement(
        quantity=quantity,
        value=value,
        method=method,
        confidence=min(known, default=None),
        flags=tuple(own | dict.fromkeys(flags)),
        evidence=evidence,
        details={"best_clip": both[0].evidence[0].clip_id, "planes": clip_ids, **details},
    )
