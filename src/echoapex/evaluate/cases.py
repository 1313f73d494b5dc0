"""The cases behind every metric: one row per clip, mask or study-level value, with the true and the written value.

For data sets that outline only ED and ES frames, the ejection fraction is also computed here, by the method of discs on
their label maps.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from echoapex.domain import ClipReport, Spacing
from echoapex.evaluate.reference import (
    LabelMaps,
    MatchedStudy,
    PredictionError,
    ReferenceClip,
    ReferenceSet,
    Results,
    WrittenMasks,
)
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.measure.lv_volume import (
    LvShape,
    biplane_volume,
    ejection_fraction_percent,
    measure_lv_shape,
    single_plane_volume,
)
from echoapex.measure.outline import MeasureError
from echoapex.metrics import dice, hd95_mm, mean_surface_distance_mm
from echoapex.vocabulary import Quantity, Structure, View

NO_VIEW = "none"
MAX_FRAME_DISTANCE_S = 0.05
"""Largest time between a labelled frame and the mask that is scored for it: long clips are segmented at a stride."""
MIN_VISIBLE_FRACTION = 0.001
"""A structure smaller than this share of the frame is not visible in the plane, so it is not scored."""

METHOD = "method of discs on ED and ES outlines: biplane where both views are calibrated, else mean of the planes"


@dataclass(frozen=True)
class ViewCase:
    """One clip: the true view, the written view or :data:`NO_VIEW`, and the written probabilities, if any."""

    patient: str
    clip: str
    truth: View
    predicted: str
    probabilities: Mapping[View, float] = field(default_factory=dict)


@dataclass(frozen=True)
class MaskCase:
    """One structure on one labelled frame; ``dice`` is 0 if no mask was written (``missing``).

    The distances between the outlines are None if there is no written outline or no spacing.
    """

    patient: str
    clip: str
    view: View | None
    frame: int
    structure: Structure
    dice: float
    missing: bool
    hd95_mm: float | None = None
    surface_mm: float | None = None

    @property
    def iou(self) -> float:
        """Intersection over union, computed from Dice."""
        return self.dice / (2 - self.dice)


@dataclass(frozen=True)
class ValueCase:
    """One study-level quantity; ``measured`` (with its ``method``) is None if no value was written.

    ``study`` distinguishes the studies of one patient; it is empty if each patient has one study.
    """

    patient: str
    quantity: Quantity
    method: Quantity
    truth: float
    measured: float | None
    study: str = ""


@dataclass(frozen=True)
class Cases:
    """All cases of an evaluation."""

    views: tuple[ViewCase, ...]
    masks: tuple[MaskCase, ...]
    values: tuple[ValueCase, ...]


def collect_cases(reference: ReferenceSet, matched: Iterable[MatchedStudy]) -> Cases:
    """Compare every reference study with its results; every case with a truth is included.

    Args:
        reference: the data set; it defines which written value is scored as ejection fraction.
        matched: its studies with their results.

    Raises:
        PredictionError: written masks are damaged, or their size differs from the frames.
    """
    views: list[ViewCase] = []
    masks: list[MaskCase] = []
    values: list[ValueCase] = []
    for study in matched:
        patient, written = study.reference.patient, []
        for clip in study.reference.clips:
            found = study.find_clip(clip.sha256)
            if clip.view is not None:
                views.append(_view_case(patient, clip, clip.view, found))
            written.append(_read_masks(clip, found))
            masks.extend(_mask_cases(patient, clip, written[-1]))
        values.extend(_value_cases(reference, study, written))
    return Cases(tuple(views), tuple(masks), tuple(values))


def nearest_frame(frame: int, predicted: LabelMaps, times_s: tuple[float, ...]) -> int | None:
    """The predicted frame nearest in time to ``frame``; None if none is within :data:`MAX_FRAME_DISTANCE_S`."""
    if frame in predicted:
        return frame
    candidates = [other for other in predicted if 0 <= other < len(times_s)]
    if not candidates:
        return None
    distances = np.abs(np.array([times_s[other] for other in candidates]) - times_s[frame])
    best = int(distances.argmin())
    return candidates[best] if distances[best] <= MAX_FRAME_DISTANCE_S else None


def write_cases(path: Path, cases: Cases) -> Path:
    """Write all cases as one CSV table.

    The columns are ``patient, clip, frame, subject, truth, predicted, dice, hd95_mm, surface_mm``. For a study-level
    value, ``clip`` is the study if the patient has several, else empty.
    """
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(("patient", "clip", "frame", "subject", "truth", "predicted", "dice", "hd95_mm", "surface_mm"))
    for view in cases.views:
        table.writerow((view.patient, view.clip, "", "view", view.truth, view.predicted, "", "", ""))
    for mask in cases.masks:
        written = "missing" if mask.missing else "mask"
        distances = ("" if value is None else f"{value:.3f}" for value in (mask.hd95_mm, mask.surface_mm))
        row = (mask.patient, mask.clip, mask.frame, mask.structure.key, "mask", written, f"{mask.dice:.4f}", *distances)
        table.writerow(row)
    for value in cases.values:
        measured = "missing" if value.measured is None else f"{value.measured:.3f}"
        table.writerow((value.patient, value.study, "", value.quantity, f"{value.truth:.3f}", measured, "", "", ""))
    return write_bytes_atomically(path, buffer.getvalue().encode())


@dataclass(frozen=True, eq=False)
class LongAxisPlane:
    """Label maps of one apical view at ED and ES in native pixels; ``spacing`` is None if not calibrated."""

    end_diastole: UInt8[np.ndarray, "height width"]
    end_systole: UInt8[np.ndarray, "height width"]
    spacing: Spacing | None


def ejection_fraction_of_outlines(planes: Sequence[LongAxisPlane]) -> float | None:
    """Ejection fraction in percent; None if an outline is missing or too small for discs.

    Args:
        planes: A4C alone, or A4C and A2C.
    """
    try:
        shapes = [
            (_shape(plane.end_diastole, plane.spacing), _shape(plane.end_systole, plane.spacing)) for plane in planes
        ]
        if len(shapes) == 2 and all(plane.spacing for plane in planes):
            (ed_first, es_first), (ed_second, es_second) = shapes
            return ejection_fraction_percent(
                biplane_volume(ed_first, ed_second).volume_ml, biplane_volume(es_first, es_second).volume_ml
            )
        fractions = [ejection_fraction_percent(single_plane_volume(ed), single_plane_volume(es)) for ed, es in shapes]
    except MeasureError:
        return None
    return float(np.mean(fractions)) if fractions else None


def _view_case(patient: str, clip: ReferenceClip, truth: View, found: tuple[Results, ClipReport] | None) -> ViewCase:
    view = found[1].view if found else None
    probabilities = dict(found[1].view_probabilities) if found else {}
    return ViewCase(patient, clip.name, truth, view.value if view else NO_VIEW, probabilities)


def _read_masks(clip: ReferenceClip, found: tuple[Results, ClipReport] | None) -> WrittenMasks:
    if found is None:
        return WrittenMasks(clip.view, {}, None)
    results, report = found
    spacing = Spacing(report.row_mm, report.column_mm) if report.row_mm and report.column_mm else None
    return WrittenMasks(clip.view, results.read_masks(report), spacing)


def _mask_cases(patient: str, clip: ReferenceClip, written: WrittenMasks) -> Iterator[MaskCase]:
    predicted = written.labels
    for frame, truth in clip.read_labels().items():
        nearest = nearest_frame(frame, predicted, clip.frame_times_s)
        if nearest is not None and predicted[nearest].shape != truth.shape:
            raise PredictionError(
                f"{clip.name}: masks of {predicted[nearest].shape} for frames of {truth.shape}; write native pixels"
            )
        for structure in clip.structures:
            true_mask = truth == int(structure)
            if true_mask.mean() < MIN_VISIBLE_FRACTION:
                continue
            if nearest is None:
                yield MaskCase(patient, clip.name, clip.view, frame, structure, 0.0, missing=True)
                continue
            mask = predicted[nearest] == int(structure)
            hd95, surface = _outline_distances(true_mask, mask, written.spacing)
            overlap = dice(true_mask, mask)
            yield MaskCase(patient, clip.name, clip.view, frame, structure, overlap, False, hd95, surface)


def _outline_distances(
    truth: np.ndarray, mask: np.ndarray, spacing: Spacing | None
) -> tuple[float | None, float | None]:
    if spacing is None or not mask.any():
        return None, None
    return hd95_mm(truth, mask, spacing), mean_surface_distance_mm(truth, mask, spacing)


def _value_cases(reference: ReferenceSet, study: MatchedStudy, written: Sequence[WrittenMasks]) -> Iterator[ValueCase]:
    derived = reference.derive_values(written) if reference.derive_values else {}
    for quantity, truth in study.reference.values.items():
        method = reference.ejection_fraction_method if quantity is Quantity.LVEF else quantity
        measured = derived[method] if method in derived else study.find_value(method)
        yield ValueCase(study.reference.patient, quantity, method, truth, measured, study.reference.study)


def _shape(labels: UInt8[np.ndarray, "height width"], spacing: Spacing | None) -> LvShape:
    return measure_lv_shape(labels == int(Structure.LV_CAVITY), spacing, labels == int(Structure.LEFT_ATRIUM))
