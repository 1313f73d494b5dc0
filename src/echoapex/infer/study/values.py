"""From the values of clips to those of the study: combined values, mass and geometry, output, and indices.

Values are combined only within the study of one patient. Clips whose files name no study (videos, images) join the only
study there is, since they were given together with it.

Values of two planes together are in ``infer.study.planes``; they replace those of single planes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from echoapex.domain import Evidence, Flag, Measurement
from echoapex.domain.reported_study import StudyGroup
from echoapex.domain.results import LvhAssessment
from echoapex.infer.study.planes import measure_two_planes, uncertain_planes
from echoapex.infer.study.records import ClipRecord, PatientData
from echoapex.measure import MeasureError, cardiac_output_l_per_min, stroke_volume_ml
from echoapex.measure.combine import combine_measurements, flag_disagreement, flag_implausible
from echoapex.measure.lv_wall import WallThickness, assess_lvh, lv_mass_g, relative_wall_thickness
from echoapex.measure.reference_limits import body_surface_area_mosteller, index_to_body
from echoapex.vocabulary import Quantity

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
    Quantity.RV_ED_AREA,
    Quantity.RV_ES_AREA,
    Quantity.RV_FAC,
)
_INDEXED = {
    Quantity.EDV: Quantity.EDV_INDEX,
    Quantity.ESV: Quantity.ESV_INDEX,
    Quantity.LV_MASS: Quantity.LV_MASS_INDEX,
    Quantity.STROKE_VOLUME: Quantity.STROKE_VOLUME_INDEX,
    Quantity.CARDIAC_OUTPUT: Quantity.CARDIAC_INDEX,
    Quantity.LA_VOLUME: Quantity.LA_VOLUME_INDEX,
    Quantity.RA_VOLUME: Quantity.RA_VOLUME_INDEX,
}
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


def group_by_study(records: Sequence[ClipRecord]) -> dict[str, list[ClipRecord]]:
    """Records by study; clips without a study join the only one there is."""
    known = list(dict.fromkeys(record.study for record in records if record.study))
    groups: dict[str, list[ClipRecord]] = {}
    for record in records:
        study = record.study or (known[0] if len(known) == 1 else "")
        groups.setdefault(study, []).append(record)
    return groups


def describe_groups(records: Sequence[ClipRecord]) -> tuple[StudyGroup, ...]:
    """Which clips form one study, and the sex by which its values are graded."""
    return tuple(
        StudyGroup(study, tuple(record.report.clip_id for record in group), _patient(group).sex)
        for study, group in group_by_study(records).items()
    )


def _measure_study(records: Sequence[ClipRecord]) -> tuple[list[Measurement], LvhAssessment]:
    reports = [record.report for record in records]
    found: dict[Quantity, Measurement] = {}
    for quantity in _COMBINED:
        values = [item for report in reports for item in report.measurements if item.quantity is quantity]
        if values:
            found[quantity] = combine_measurements(values)
    if Quantity.HEART_RATE in found:  # the rate really changes between clips, so their spread is no uncertainty
        found[Quantity.HEART_RATE] = found[Quantity.HEART_RATE].model_copy(update={"interval": None})
    found |= measure_two_planes(reports)
    if Quantity.LVEF in found and Quantity.LVEF_DISCS in found:
        found[Quantity.LVEF], found[Quantity.LVEF_DISCS] = flag_disagreement(
            found[Quantity.LVEF], found[Quantity.LVEF_DISCS]
        )
    _add_mass(found)
    _add_output(found)
    patient = _patient(records)
    _add_indices(found, patient, records)
    index, rwt = found.get(Quantity.LV_MASS_INDEX), found.get(Quantity.RWT)
    lvh = assess_lvh(index.value if index else None, rwt.value if rwt else None, patient.sex)
    return [flag_implausible(found[quantity]) for quantity in Quantity if quantity in found], lvh


def _note_on_planes(records: Sequence[ClipRecord]) -> str:
    """Why two apical planes are not combined; empty if they are, or if there are not two."""
    uncertain = uncertain_planes([record.report for record in records])
    if not uncertain:
        return ""
    return f"no biplane discs: the view of the best {' and '.join(uncertain)} clip is uncertain"


def _patient(records: Sequence[ClipRecord]) -> PatientData:
    """Sex, height and weight on which the files agree; contradictory values are unknown."""

    def agreed(values: set[str | float]) -> str | float | None:
        return values.pop() if len(values) == 1 else None

    people = [record.patient for record in records]
    return PatientData.model_validate(
        {
            field: agreed({value for person in people if (value := getattr(person, field)) is not None})
            for field in PatientData.model_fields
        }
    )


def _add_mass(found: dict[Quantity, Measurement]) -> None:
    """LV mass and relative wall thickness from the three combined lengths."""
    if not all(quantity in found for quantity in _WALLS):
        return
    lengths = [found[quantity] for quantity in _WALLS]
    walls = WallThickness(*(length.value for length in lengths))
    found[Quantity.LV_MASS] = _derive(
        Quantity.LV_MASS, lv_mass_g(walls), "cube formula (Devereux; ASE/EACVI 2015)", lengths
    )
    found[Quantity.RWT] = _derive(
        Quantity.RWT, relative_wall_thickness(walls), "2 LVPWd / LVIDd (ASE/EACVI 2015)", lengths[1:]
    )


def _add_output(found: dict[Quantity, Measurement]) -> None:
    """Stroke volume from EDV and ESV, and cardiac output where the heart rate is known.

    There is neither where the sector cuts the LV off, because part of the volume was not imaged.
    """
    if Quantity.EDV not in found or Quantity.ESV not in found:
        return
    volumes = [found[Quantity.EDV], found[Quantity.ESV]]
    if any(Flag.STRUCTURE_CUT_OFF in volume.flags for volume in volumes):
        return
    try:
        stroke_ml = stroke_volume_ml(*(volume.value for volume in volumes))
    except MeasureError:  # combined over different clips, they do not eject
        return
    found[Quantity.STROKE_VOLUME] = _derive(Quantity.STROKE_VOLUME, stroke_ml, "EDV - ESV, method of discs", volumes)
    if Quantity.HEART_RATE not in found:
        return
    sources = [found[Quantity.STROKE_VOLUME], found[Quantity.HEART_RATE]]
    output = cardiac_output_l_per_min(*(source.value for source in sources))
    found[Quantity.CARDIAC_OUTPUT] = _derive(
        Quantity.CARDIAC_OUTPUT, output, "stroke volume x heart rate, method of discs", sources
    )


def _add_indices(found: dict[Quantity, Measurement], patient: PatientData, records: Sequence[ClipRecord]) -> None:
    """Body surface area, if height and weight are known, and the indexed values."""
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
    for quantity, indexed in _INDEXED.items():
        if quantity in found:
            sources = [found[quantity], found[Quantity.BSA]]
            value = index_to_body(found[quantity].value, area_m2)
            found[indexed] = _derive(indexed, value, f"{quantity.value} / BSA (Mosteller)", sources)


def _derive(quantity: Quantity, value: float, method: str, sources: Sequence[Measurement]) -> Measurement:
    """A value computed from other values: their evidence, flags and the weakest confidence."""
    names = tuple(source.quantity.value for source in sources)
    evidence: dict[tuple[str, tuple[int, ...]], Evidence] = {}
    for item in (item for source in sources for item in source.evidence):
        evidence.setdefault(
            (item.clip_id, item.frames), item.model_copy(update={"contours_xy": {}, "derived_from": names})
        )
    flags: dict[Flag, None] = dict.fromkeys(flag for source in sources for flag in source.flags)
    confidences = [source.confidence for source in sources if source.confidence is not None]
    return Measurement(
        quantity=quantity,
        value=value,
        method=method,
        confidence=min(confidences, default=None),
        flags=tuple(flags),
        evidence=tuple(evidence.values()),
    )
