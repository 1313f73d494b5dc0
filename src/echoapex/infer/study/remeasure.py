"""Measurements computed again from what an analysis has stored, without its input and without models.

The contours and points in the evidence of each value are all that its formula needs. With the same formulas and the
same calibration, every value comes out bit for bit as it was. Other formulas (a later version) or another calibration
(a scanner whose pixel size was found to be wrong) change the values that depend on them, and those of the study.

Two values are kept as they are, since they come from the frames: the ejection fraction by regression, and the heart
rate. A calibration can be corrected, but not added: in a clip without one, the contours that volumes need were not all
chosen.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echoapex.domain import ClipReport, Evidence, Flag, Measurement, Spacing, StudyReport, WallPoint
from echoapex.infer.clip.chambers import (
    atrial_diameter_values,
    atrial_values,
    lv_length_values,
    right_ventricular_values,
    strain_values,
)
from echoapex.infer.clip.outlines import shape_from_evidence, spacing_of_evidence
from echoapex.infer.clip.rv_diameter import rv_diameter_from_evidence
from echoapex.infer.outputs.files import utc_now, write_errors, write_manifest, write_measurements, write_results
from echoapex.infer.outputs.report_files import ReportOutput
from echoapex.infer.outputs.reported_studies import ReportContext
from echoapex.infer.study.records import ClipRecord, describe_groups, leave_out_copies, write_record
from echoapex.infer.study.stored import StoredAnalysis
from echoapex.infer.study.values import measure_studies
from echoapex.measure import MeasureError, ejection_fraction_percent, single_plane_volume
from echoapex.measure.combine import flag_implausible
from echoapex.measure.lv_wall import measure_walls
from echoapex.version import __version__
from echoapex.vocabulary import Quantity, Structure

CORRECTED_CALIBRATION = "corrected after the analysis"
CALIBRATION_COLUMNS = ("clip_id", "row_mm", "column_mm")
FROM_FRAMES = (Quantity.LVEF, Quantity.HEART_RATE)
"""Values that come from the frames and are kept."""
_DISCS = (Quantity.LVEF_DISCS, Quantity.EDV, Quantity.ESV)
_WALLS = (Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD)
_LEAST_MM, _MOST_MM = 0.01, 5.0

Values = Mapping[Quantity, float]
_BY_FRAME: dict[Quantity, Callable[[Evidence, int], Values]] = {
    Quantity.LV_LENGTH: lv_length_values,
    Quantity.SPHERICITY_INDEX: lv_length_values,
    Quantity.LA_VOLUME: lambda evidence, frame: atrial_values(evidence, Structure.LEFT_ATRIUM, frame),
    Quantity.LA_VOLUME_AREA_LENGTH: lambda evidence, frame: atrial_values(evidence, Structure.LEFT_ATRIUM, frame),
    Quantity.RA_VOLUME: lambda evidence, frame: atrial_values(evidence, Structure.RIGHT_ATRIUM, frame),
    Quantity.LA_DIAMETER: atrial_diameter_values,
}
_BY_ENDS: dict[Quantity, Callable[[Evidence, tuple[int, ...]], Values]] = {
    Quantity.GLS_ENDOCARDIAL: strain_values,
    Quantity.RV_ED_AREA: right_ventricular_values,
    Quantity.RV_ES_AREA: right_ventricular_values,
    Quantity.RV_FAC: right_ventricular_values,
}


class RemeasureError(ValueError):
    """Values that cannot be computed again as asked; the message says what to do."""


@dataclass(frozen=True)
class Remeasured:
    """What came out.

    Attributes:
        report: with the new values.
        records: of its clips, with the new values.
        same: values of clips that came out as they were, bit for bit.
        changed: values of clips that came out differently.
        kept: values of clips that come from the frames.
    """

    report: StudyReport
    records: tuple[ClipRecord, ...]
    same: int
    changed: int
    kept: int


def read_calibrations(path: Path) -> dict[str, Spacing]:
    """Read corrected calibrations: a CSV table with the columns ``clip_id``, ``row_mm`` and ``column_mm``.

    Raises:
        RemeasureError: the table cannot be read, or holds what cannot be a pixel size.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RemeasureError(f"{path.name}: the table of calibrations cannot be read; check --calibration") from error
    if rows and not set(CALIBRATION_COLUMNS) <= set(rows[0]):
        raise RemeasureError(f"{path.name}: needs the columns {', '.join(CALIBRATION_COLUMNS)} in its first line")
    found = {}
    for number, row in enumerate(rows, 2):
        try:
            spacing = Spacing(float(row["row_mm"]), float(row["column_mm"]))
        except (TypeError, ValueError):
            raise RemeasureError(f"{path.name}: line {number} holds no pixel size in mm; correct it") from None
        if not all(_LEAST_MM <= size <= _MOST_MM for size in (spacing.row_mm, spacing.column_mm)):
            raise RemeasureError(
                f"{path.name}: line {number}: a pixel of an echocardiogram measures {_LEAST_MM} to {_MOST_MM} mm; "
                "give mm per pixel"
            )
        found[row["clip_id"]] = spacing
    return found


def remeasure(stored: StoredAnalysis, calibrations: Mapping[str, Spacing] | None = None) -> Remeasured:
    """Compute all values again.

    Args:
        stored: what the analysis has left.
        calibrations: corrected pixel sizes, by clip.

    Raises:
        RemeasureError: a calibration names no clip, or a clip that had none.
    """
    calibrations = calibrations or {}
    _refuse_unknown(stored, calibrations)
    pairs = [(old, _remeasure_clip(old, calibrations.get(old.report.clip_id))) for old in stored.records]
    records = leave_out_copies([new for _, new in pairs])
    values = measure_studies(records)
    report = stored.report.model_copy(
        update={
            "echoapex_version": __version__,
            "clips": tuple(record.report for record in records),
            "measurements": values.measurements,
            "lvh": values.lvh,
            "notes": tuple(dict.fromkeys((*values.notes, *stored.report.notes))),
        }
    )
    same, changed, kept = _count(pairs)
    return Remeasured(report, tuple(new for _, new in pairs), same, changed, kept)


def _refuse_unknown(stored: StoredAnalysis, calibrations: Mapping[str, Spacing]) -> None:
    clips = {clip.clip_id: clip for clip in stored.report.clips}
    for clip_id in calibrations:
        if clip_id not in clips:
            raise RemeasureError(f"{clip_id}: no clip of the results has this name; see clip_id in measurements.csv")
        if clips[clip_id].row_mm is None:
            raise RemeasureError(
                f"{clip_id}: was analysed without a calibration; one can be corrected here, not added: "
                "calibrate the file and run echoapex analyze"
            )


def _remeasure_clip(record: ClipRecord, spacing: Spacing | None) -> ClipRecord:
    report = record.report if spacing is None else _calibrated(record.report, spacing)
    measurements = tuple(found for item in report.measurements if (found := _remeasure_value(item)) is not None)
    report = report.model_copy(update={"measurements": measurements})
    if report == record.report:
        return record
    # analyze must not take over values that it would not find itself
    run_key = hashlib.sha256(f"{record.run_key}\n{__version__}\n{spacing}".encode()).hexdigest()[:16]
    return record.model_copy(update={"report": report, "run_key": run_key})


def _calibrated(report: ClipReport, spacing: Spacing) -> ClipReport:
    """The report with another pixel size in all evidence; the curve keeps mL only where both sides change alike."""
    sizes = {"row_mm": spacing.row_mm, "column_mm": spacing.column_mm}
    about = {**sizes, "calibration_source": CORRECTED_CALIBRATION}
    measurements = tuple(
        item.model_copy(update={"evidence": tuple(each.model_copy(update=about) for each in item.evidence)})
        for item in report.measurements
    )
    factors = (spacing.row_mm / (report.row_mm or 1), spacing.column_mm / (report.column_mm or 1))
    is_uniform = math.isclose(*factors, rel_tol=1e-6)
    curve = tuple(
        point.model_copy(update={"ml": point.ml * factors[0] ** 3 if is_uniform else None})
        if point.ml is not None
        else point
        for point in report.volume_curve
    )
    notes = tuple(dict.fromkeys((*report.notes, f"calibration: {CORRECTED_CALIBRATION}")))
    update = {**sizes, "measurements": measurements, "volume_curve": curve, "notes": notes}
    return report.model_copy(update=update)


def _count(pairs: Sequence[tuple[ClipRecord, ClipRecord]]) -> tuple[int, int, int]:
    same = changed = kept = 0
    for old, new in pairs:
        found = {item.quantity: item.value for item in new.report.measurements}
        for item in old.report.measurements:
            if item.quantity in FROM_FRAMES:
                kept += 1
            elif found.get(item.quantity) == item.value:
                same += 1
            else:
                changed += 1
    return same, changed, kept


def _remeasure_value(item: Measurement) -> Measurement | None:
    """The value from its evidence; None where the evidence gives none any more."""
    if item.quantity in FROM_FRAMES:
        return item
    try:
        value, details = _compute(item)
    except (MeasureError, KeyError):
        return None
    if value == item.value:
        return item
    flags = tuple(flag for flag in item.flags if flag is not Flag.OUT_OF_RANGE)
    update = {"value": value, "flags": flags, "details": {**item.details, **details}}
    return flag_implausible(item.model_copy(update=update))


def _compute(item: Measurement) -> tuple[float, Mapping[str, object]]:
    """The value of a clip from its evidence, and those details that depend on it."""
    evidence, quantity = item.evidence[0], item.quantity
    if quantity in _DISCS:
        return _by_discs(item), {}
    if quantity in (*_WALLS, Quantity.RVIDD):
        lengths = list(_rv_diameters(evidence) if quantity is Quantity.RVIDD else _wall_lengths(evidence, quantity))
        return float(np.median(lengths)), {"per_frame_mm": [round(length, 3) for length in lengths]}
    beats = [tuple(frames) for frames in item.details["beat_frames"]]
    if quantity in _BY_FRAME:
        found = [_BY_FRAME[quantity](evidence, frame)[quantity] for (frame,) in beats]
    else:
        found = [_BY_ENDS[quantity](evidence, frames)[quantity] for frames in beats]
    return float(np.mean(found)), {}


def _by_discs(item: Measurement) -> float:
    evidence = item.evidence[0]
    pairs = zip(item.details["ed_frames"], item.details["es_frames"], strict=True)
    volumes = [tuple(single_plane_volume(shape_from_evidence(evidence, frame)) for frame in pair) for pair in pairs]
    if item.quantity is Quantity.LVEF_DISCS:
        return float(np.mean([ejection_fraction_percent(edv, esv) for edv, esv in volumes]))
    return float(np.mean([pair[item.quantity is Quantity.ESV] for pair in volumes]))


def _wall_lengths(evidence: Evidence, quantity: Quantity) -> Iterator[float]:
    spacing = spacing_of_evidence(evidence)
    if spacing is None:
        raise MeasureError("a wall is measured in mm, but the evidence has no calibration")
    for frame in evidence.frames:
        points = {point: evidence.points_xy[f"{point}@{frame}"] for point in WallPoint}
        try:
            walls = measure_walls(points, spacing)
        except MeasureError:  # points that coincide on this frame
            continue
        yield {
            Quantity.IVSD: walls.ivsd_mm,
            Quantity.LVIDD: walls.lvidd_mm,
            Quantity.LVPWD: walls.lvpwd_mm,
        }[quantity]


def _rv_diameters(evidence: Evidence) -> Iterator[float]:
    """In mm, of the frames on which the outline still begins at the septum."""
    refused: MeasureError | None = None
    measured = False
    for frame in evidence.frames:
        try:
            length_mm = rv_diameter_from_evidence(evidence, frame).length_mm
        except MeasureError as error:
            refused = error
            continue
        measured = True
        yield length_mm
    if refused is not None and not measured:
        raise refused


def write_remeasured(out: Path, stored: StoredAnalysis, found: Remeasured, table: ReportOutput) -> None:
    """Write the new values into another folder, with the records that further work on them needs.

    Args:
        out: the folder; it is made where it is missing.
        stored: what the values were computed from.
        found: the new values.
        table: which table of the cohort to write.
    """
    started = utc_now()
    out.mkdir(parents=True, exist_ok=True)
    files = [write_record(out, record) for record in found.records]
    files += [write(out, found.report) for write in (write_results, write_measurements, write_errors)]
    names = [path.relative_to(out).as_posix() for path in files]
    manifest = stored.manifest
    context = ReportContext(manifest.bundle, (), manifest.weights_note, manifest.options.keep_identifiers)
    names += table.write(out, found.report, describe_groups(leave_out_copies(found.records)), context)
    update = {"echoapex_version": __version__, "started": started, "files": tuple(sorted(names))}
    write_manifest(out, manifest.model_copy(update=update))
