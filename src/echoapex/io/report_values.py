"""Which values of a report belong to one DICOM study, and which frames, contours and lines each was measured on.

A value is taken only if every clip in its evidence is a DICOM image of this study: with references to a part of the
evidence only, nobody could check it. Coordinates are those of DICOM (PS3.3 C.18.6): from the outer corner of the first
pixel, so its centre is at (0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from echoapex.domain import RV_ANTERIOR_BORDER, ClipReport, Evidence, Measurement, StudyReport, WallPoint
from echoapex.io.dicom.source_instance import SourceInstance
from echoapex.vocabulary import Quantity, Structure, View
from echoapex.vocabulary.codes import MEAN, MEDIAN, Code
from echoapex.vocabulary.echo_coding import EchoCoding, code_measurement

Line = tuple[tuple[float, float], ...]

_WALLS = (Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD)
_CALIPERS: dict[Quantity, tuple[str, str]] = {
    **dict(zip(_WALLS, pairwise(WallPoint), strict=True)),
    Quantity.RVIDD: (WallPoint.SEPTUM_RV_SIDE, RV_ANTERIOR_BORDER),
}
"""The two points in the evidence between which a length is measured."""
_LENGTHS = {
    **{quantity: (quantity,) for quantity in _CALIPERS},
    Quantity.LV_MASS: _WALLS,
    Quantity.LV_MASS_INDEX: _WALLS,
    Quantity.RWT: (Quantity.LVIDD, Quantity.LVPWD),
}
"""The lengths that a value consists of or was computed from."""
_PHASES = {
    Quantity.EDV: ("ed_frames",),
    Quantity.ESV: ("es_frames",),
    Quantity.LVEF_DISCS: ("ed_frames", "es_frames"),
}
_COMPUTED_FROM = {
    Quantity.EDV_INDEX: Quantity.EDV,
    Quantity.ESV_INDEX: Quantity.ESV,
    **dict.fromkeys(
        (Quantity.STROKE_VOLUME, Quantity.STROKE_VOLUME_INDEX, Quantity.CARDIAC_OUTPUT, Quantity.CARDIAC_INDEX),
        Quantity.EDV,
    ),
    Quantity.LA_VOLUME_INDEX: Quantity.LA_VOLUME,
}
_OUTLINES = {
    **dict.fromkeys((Quantity.LA_VOLUME, Quantity.LA_VOLUME_AREA_LENGTH, Quantity.LA_DIAMETER), Structure.LEFT_ATRIUM),
    Quantity.RA_VOLUME: Structure.RIGHT_ATRIUM,
    **dict.fromkeys((Quantity.RV_ED_AREA, Quantity.RV_ES_AREA, Quantity.RV_FAC), Structure.RIGHT_VENTRICLE),
    **dict.fromkeys((Quantity.LV_LENGTH, Quantity.SPHERICITY_INDEX, Quantity.GLS_ENDOCARDIAL), Structure.LV_CAVITY),
}
"""The structure whose outlines on the frames of the evidence a value was measured on."""
_PIXEL_CENTRE = 0.5


@dataclass(frozen=True)
class FrameReference:
    """Where a value was measured.

    Attributes:
        source: the image.
        frames: native frames, counted from 0; empty for the whole clip.
        line_xy: a contour (closed: the last point is the first) or a caliper line on the only frame, in DICOM
            coordinates; empty where the frames as a whole are meant.
    """

    source: SourceInstance
    frames: tuple[int, ...]
    line_xy: Line = ()


@dataclass(frozen=True)
class ReportedValue:
    """One value of a DICOM report.

    Attributes:
        measurement: the value.
        coding: its DICOM code; None for what describes the patient.
        references: where it was measured.
        view: the view, where it comes from one view only.
        biplane: whether it is from two planes together.
        derivation: mean or median, where the value was taken from several.
    """

    measurement: Measurement
    coding: EchoCoding | None
    references: tuple[FrameReference, ...]
    view: View | None
    biplane: bool
    derivation: Code | None


@dataclass(frozen=True)
class StudyValuesForDicom:
    """The values of one DICOM study, the images of its clips by ``clip_id``, and how many values were left out.

    ``left_out`` counts the values with evidence outside the study.
    """

    values: tuple[ReportedValue, ...]
    sources: dict[str, SourceInstance]
    left_out: int


def select_values(report: StudyReport, sources: Mapping[str, SourceInstance]) -> dict[str, StudyValuesForDicom]:
    """The values for DICOM reports, by StudyInstanceUID.

    These are the values of the study, and those values of single clips that a standard code tells apart from them: a
    biplane volume goes together with the volumes of both planes.
    """
    studies: dict[str, dict[str, SourceInstance]] = {}
    for clip in report.clips:
        if clip.clip_id in sources and not clip.set_aside:
            source = sources[clip.clip_id]
            studies.setdefault(source.study_uid, {})[clip.clip_id] = source
    return {uid: _values_of(report, of_study) for uid, of_study in studies.items()}


def _values_of(report: StudyReport, sources: dict[str, SourceInstance]) -> StudyValuesForDicom:
    clips = {clip.clip_id: clip for clip in report.clips}
    about = [item for item in report.measurements if _clips_of(item) & set(sources)]
    whole = [item for item in about if _is_all_in(item, sources)]
    values = [_reported(item, whole, clips, sources) for item in whole]
    named = {(value.measurement.quantity, value.coding.name) for value in values if value.coding}
    quantities = {value.measurement.quantity for value in values}
    for clip_id in sources:
        for item in (item for item in clips[clip_id].measurements if _is_all_in(item, sources)):
            single = _reported(item, (), clips, sources)
            if item.quantity not in quantities or single.coding is None or not single.coding.is_pre_coordinated:
                continue
            if (item.quantity, single.coding.name) not in named:
                values.append(single)
    return StudyValuesForDicom(tuple(values), sources, len(about) - len(whole))


def _is_all_in(measurement: Measurement, sources: Mapping[str, SourceInstance]) -> bool:
    """Whether every frame of the evidence is a frame of these images, as their headers count them."""
    return all(
        item.clip_id in sources and max(item.frames, default=0) < sources[item.clip_id].frames
        for item in measurement.evidence
    )


def _clips_of(measurement: Measurement) -> set[str]:
    return {item.clip_id for item in measurement.evidence}


def _reported(
    measurement: Measurement,
    siblings: Sequence[Measurement],
    clips: Mapping[str, ClipReport],
    sources: Mapping[str, SourceInstance],
) -> ReportedValue:
    view, biplane = find_planes(measurement, siblings, clips)
    coding = code_measurement(measurement.quantity, biplane=biplane, view=view)
    references = tuple(_references(measurement, clips, sources))
    return ReportedValue(measurement, coding, references, view, biplane, _derivation(measurement))


def find_planes(
    measurement: Measurement, siblings: Sequence[Measurement], clips: Mapping[str, ClipReport]
) -> tuple[View | None, bool]:
    """The view of a value that comes from one view only, and whether it is from two planes together.

    A computed value was taken from the planes of the value that it was computed from.

    Args:
        measurement: the value.
        siblings: the other values of the study.
        clips: the clips by ``clip_id``.
    """
    views = {clips[clip_id].view for clip_id in _clips_of(measurement)}
    parent = _COMPUTED_FROM.get(measurement.quantity)
    origin = next((item for item in siblings if item.quantity is parent), measurement)
    return views.pop() if len(views) == 1 else None, "planes" in origin.details


def _derivation(measurement: Measurement) -> Code | None:
    details = measurement.details
    kept = [row for row in details.get("values", ()) if not row["left_out_as_outlier"]]
    if len(kept) > 1 or details.get("beats", 1) > 1:
        return MEAN
    return MEDIAN if len(details.get("per_frame_mm", ())) > 1 else None


def _references(
    measurement: Measurement, clips: Mapping[str, ClipReport], sources: Mapping[str, SourceInstance]
) -> Iterator[FrameReference]:
    quantity = measurement.quantity
    for evidence in measurement.evidence:
        source = sources[evidence.clip_id]
        frames = evidence.frames
        if quantity in _PHASES:
            frames = _phase_frames(measurement, evidence, clips[evidence.clip_id])
            lines = [(frame, _contour(evidence, Structure.LV_CAVITY, frame)) for frame in frames]
        elif quantity in _OUTLINES:
            frames = _frames_at(measurement, frames)
            lines = [(frame, _contour(evidence, _OUTLINES[quantity], frame)) for frame in frames]
        else:
            lines = [
                (frame, _caliper(evidence, length, frame)) for length in _LENGTHS.get(quantity, ()) for frame in frames
            ]
        drawn = [(frame, line) for frame, line in lines if line]
        for frame, line in drawn:
            yield FrameReference(source, (frame,), line)
        if not drawn:
            yield FrameReference(source, frames)


def _phase_frames(measurement: Measurement, evidence: Evidence, clip: ClipReport) -> tuple[int, ...]:
    """The frames of a clip that a volume or its change was measured on."""
    by_discs = next((item for item in clip.measurements if item.quantity is measurement.quantity), None)
    details = by_discs.details if by_discs else {}
    wanted = {frame for phase in _PHASES[measurement.quantity] for frame in details.get(phase, ())}
    return tuple(frame for frame in evidence.frames if frame in wanted) or evidence.frames


def _frames_at(measurement: Measurement, frames: tuple[int, ...]) -> tuple[int, ...]:
    """Those of the frames that a right ventricular area belongs to; its beats name ED and ES."""
    place = {Quantity.RV_ED_AREA: 0, Quantity.RV_ES_AREA: 1}.get(measurement.quantity)
    beats = measurement.details.get("beat_frames", ())
    return frames if place is None or not beats else tuple(dict.fromkeys(beat[place] for beat in beats))


def _contour(evidence: Evidence, structure: Structure, frame: int) -> Line:
    points = evidence.contours_xy.get(f"{structure.key}@{frame}", ())
    return _in_dicom((*points, points[0])) if points else ()


def _caliper(evidence: Evidence, length: Quantity, frame: int) -> Line:
    ends = [evidence.points_xy.get(f"{point}@{frame}") for point in _CALIPERS[length]]
    known = tuple(end for end in ends if end is not None)
    return _in_dicom(known) if len(known) == len(ends) else ()


def _in_dicom(points: Sequence[tuple[float, float]]) -> Line:
    """Coordinates from the outer corner of the first pixel; never negative."""
    return tuple((max(0.0, x + _PIXEL_CENTRE), max(0.0, y + _PIXEL_CENTRE)) for x, y in points)
