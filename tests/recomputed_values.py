"""Computes every value of an analysis again from the files that it wrote, ``results.json`` and ``masks/``, alone.

``tests/conftest.py`` has this done to every study that a test analyses into a folder.
"""

from __future__ import annotations

import csv
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from echoapex.domain import RV_ANTERIOR_BORDER, ClipReport, Evidence, Flag, Measurement, Spacing, StudyReport, WallPoint
from echoapex.infer.clip.outlines import (
    atrial_shape_from_evidence,
    contour_key,
    outline_from_evidence,
    shape_from_evidence,
    trace_contour,
)
from echoapex.measure import (
    WallThickness,
    atrial_area_length_volume_ml,
    atrial_disc_volume_ml,
    biplane_atrial_area_length_volume,
    biplane_atrial_disc_volume,
    biplane_volume,
    ejection_fraction_percent,
    endocardial_length,
    is_cut_off,
    lv_mass_g,
    measure_atrial_shape,
    measure_lv_shape,
    measure_walls,
    relative_wall_thickness,
    single_plane_volume,
)
from echoapex.measure.reference_limits import is_possible_beat, is_possible_systole
from echoapex.vocabulary import VISIBLE_STRUCTURES, Quantity, Structure, View

WALLS = (Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD)
INDEXED = {
    Quantity.EDV_INDEX: Quantity.EDV,
    Quantity.ESV_INDEX: Quantity.ESV,
    Quantity.LV_MASS_INDEX: Quantity.LV_MASS,
    Quantity.STROKE_VOLUME_INDEX: Quantity.STROKE_VOLUME,
    Quantity.CARDIAC_INDEX: Quantity.CARDIAC_OUTPUT,
    Quantity.LA_VOLUME_INDEX: Quantity.LA_VOLUME,
    Quantity.RA_VOLUME_INDEX: Quantity.RA_VOLUME,
}
MEASURED_STRUCTURE = {
    Quantity.LV_LENGTH: Structure.LV_CAVITY,
    Quantity.SPHERICITY_INDEX: Structure.LV_CAVITY,
    Quantity.GLS_ENDOCARDIAL: Structure.LV_CAVITY,
    Quantity.LA_VOLUME: Structure.LEFT_ATRIUM,
    Quantity.LA_VOLUME_AREA_LENGTH: Structure.LEFT_ATRIUM,
    Quantity.LA_DIAMETER: Structure.LEFT_ATRIUM,
    Quantity.RA_VOLUME: Structure.RIGHT_ATRIUM,
    Quantity.RV_ED_AREA: Structure.RIGHT_VENTRICLE,
    Quantity.RV_ES_AREA: Structure.RIGHT_VENTRICLE,
    Quantity.RV_FAC: Structure.RIGHT_VENTRICLE,
}
Masks = dict[int, np.ndarray]


def check_written_values(out: Path) -> int:
    """Raise where a value of an output folder does not follow from what is written there; returns how many do."""
    report = StudyReport.model_validate_json((out / "results.json").read_bytes())
    for clip in report.clips:
        _check_clip(clip, _read_masks(out, clip))
    studies = {item.details.get("study", "") for item in report.measurements}
    for study in studies:
        _check_study([item for item in report.measurements if item.details.get("study", "") == study], report)
    _check_table(out, report)
    return len(report.measurements) + sum(len(clip.measurements) for clip in report.clips)


def _read_masks(out: Path, clip: ClipReport) -> Masks | None:
    path = out / "masks" / f"{clip.clip_id}.npz"
    if not path.is_file():
        return None
    with np.load(path) as arrays:
        return dict(zip(arrays["frames"].tolist(), arrays["labels"], strict=True))


def _check_clip(clip: ClipReport, masks: Masks | None) -> None:
    if clip.set_aside:
        assert not clip.measurements, f"{clip.clip_id} is set aside and has values"
        return
    found = {item.quantity: item for item in clip.measurements}
    assert len(found) == len(clip.measurements), "a quantity is there twice"
    _check_notes(clip, found)
    _check_ends(clip, masks)
    for item in clip.measurements:
        assert [evidence.clip_id for evidence in item.evidence] == [clip.clip_id]
        assert all(0 <= frame < clip.frames for frame in item.evidence[0].frames)
        _check_range(item)
        if item.quantity in (Quantity.EDV, Quantity.ESV, Quantity.LVEF_DISCS):
            _check_discs(item, clip, masks)
        elif item.quantity in WALLS:
            _check_wall(item)
        elif item.quantity is Quantity.RVIDD:
            _check_rv_diameter(item, clip, masks)
        elif item.quantity in MEASURED_STRUCTURE:
            _check_chamber(item, clip, masks)
        elif item.quantity is Quantity.HEART_RATE:
            _check_rate(item, clip)


def _check_notes(clip: ClipReport, found: dict[Quantity, Measurement]) -> None:
    said = " ".join(clip.notes)
    assert not ("no discs:" in said and Quantity.LVEF_DISCS in found), f"{clip.notes} beside discs"
    assert not ("no volumes in mL" in said and Quantity.EDV in found), f"{clip.notes} beside volumes"
    shown = clip.view is View.PLAX
    assert ("no RVIDd: " in said) == (shown and Quantity.RVIDD not in found), f"{clip.notes} and RVIDd"
    assert not ("no wall thickness" in said and Quantity.IVSD in found), f"{clip.notes} beside walls"


def _check_ends(clip: ClipReport, masks: Masks | None) -> None:
    """ED and ES are frames on which the LV was outlined, as far apart as a systole is long."""
    times = {point.frame: point.time_s for point in clip.volume_curve}
    if masks is not None and clip.view and Structure.LV_CAVITY in VISIBLE_STRUCTURES[clip.view]:
        for frame in (*clip.ed_frames, *clip.es_frames):
            assert frame in masks, f"{clip.clip_id}: frame {frame} is ED or ES and was not outlined"
            assert (masks[frame] == Structure.LV_CAVITY).any(), f"{clip.clip_id}: no LV on frame {frame}"
        for point in clip.volume_curve:
            assert point.ml is None or (masks[point.frame] == Structure.LV_CAVITY).any()
    for start, end in zip(clip.ed_frames, clip.es_frames, strict=True):
        if start in times and end in times and clip.frame_rate_hz:
            assert is_possible_systole(times[end] - times[start], 1.5 / clip.frame_rate_hz)


def _check_range(item: Measurement) -> None:
    low, high = item.quantity.plausible_range
    assert low <= item.value <= high or Flag.OUT_OF_RANGE in item.flags, f"{item.quantity} {item.value} has no flag"


def _check_discs(item: Measurement, clip: ClipReport, masks: Masks | None) -> None:
    evidence, details = item.evidence[0], item.details
    pairs = list(zip(details["ed_frames"], details["es_frames"], strict=True))
    assert pairs
    assert details["beats"] == len(pairs)
    assert set(evidence.frames) == {frame for pair in pairs for frame in pair}
    assert {start for start, _ in pairs} <= set(clip.ed_frames)
    assert {end for _, end in pairs} <= set(clip.es_frames)
    volumes = [tuple(single_plane_volume(shape_from_evidence(evidence, frame)) for frame in pair) for pair in pairs]
    assert item.value == pytest.approx(_by_discs(item.quantity, volumes), rel=1e-9)
    if masks is not None:
        for frame in evidence.frames:
            _check_contours(evidence, frame, masks[frame], (Structure.LV_CAVITY, Structure.LEFT_ATRIUM))
        on_masks = [tuple(_volume_on_mask(masks[frame], evidence) for frame in pair) for pair in pairs]
        assert item.value == pytest.approx(_by_discs(item.quantity, on_masks), rel=0.03, abs=1.0)


def _by_discs(quantity: Quantity, volumes: list[tuple[float, ...]]) -> float:
    if quantity is Quantity.LVEF_DISCS:
        return float(np.mean([100 * (edv - esv) / edv for edv, esv in volumes]))
    return float(np.mean([pair[quantity is Quantity.ESV] for pair in volumes]))


def _check_contours(evidence: Evidence, frame: int, labels: np.ndarray, structures: tuple[Structure, ...]) -> None:
    """The contours are those of the masks, all that there are."""
    for structure in structures:
        written = evidence.contours_xy.get(contour_key(structure.key, frame), ())
        assert written == trace_contour(labels == structure)


def _check_chamber(item: Measurement, clip: ClipReport, masks: Masks | None) -> None:
    """The mean over beats of what the contours give, and about what the masks give; no contour ends at the image."""
    evidence, beats = item.evidence[0], item.details["beat_frames"]
    structure = MEASURED_STRUCTURE[item.quantity]
    assert item.details["beats"] == len(beats) > 0
    assert set(evidence.frames) == {frame for frames in beats for frame in frames}
    assert item.value == pytest.approx(
        float(np.mean([_chamber_value(item.quantity, evidence, frames) for frames in beats])), rel=1e-9
    )
    written = {name.partition("@")[0] for name in evidence.contours_xy}
    assert structure.key in written
    for frame in evidence.frames:
        outline = outline_from_evidence(evidence, structure, frame)
        assert not is_cut_off(outline, clip.size)
        if masks is not None:
            _check_contours(evidence, frame, masks[frame], tuple(map(Structure.from_key, written)))
    if len(beats[0]) == 2:
        ends = list(zip(clip.ed_frames, clip.es_frames, strict=True))
        assert {tuple(frames) for frames in beats} <= set(ends)
    elif structure is Structure.LV_CAVITY:
        assert {frame for (frame,) in beats} <= set(clip.ed_frames)
    elif masks is not None:
        _check_largest(beats, clip, masks, structure)
    if masks is not None and item.quantity in (Quantity.LA_VOLUME, Quantity.RA_VOLUME):
        spacing = Spacing(evidence.row_mm or 0, evidence.column_mm or 0)
        ventricle = Structure.LV_CAVITY if structure is Structure.LEFT_ATRIUM else Structure.RIGHT_VENTRICLE
        shapes = [measure_atrial_shape(masks[f] == structure, masks[f] == ventricle, spacing) for (f,) in beats]
        on_masks = float(np.mean([atrial_disc_volume_ml(shape) for shape in shapes]))
        assert item.value == pytest.approx(on_masks, rel=0.04, abs=1.0)


def _check_largest(beats: list[list[int]], clip: ClipReport, masks: Masks, structure: Structure) -> None:
    """An atrium is measured where it is largest near an end-systole (within 0.1 s)."""
    rate = clip.frame_rate_hz
    for (frame,) in beats:
        assert rate or clip.es_frames
        near = [end for end in clip.es_frames if rate is None or abs(frame - end) <= 0.15 * rate + 1]
        assert near, f"frame {frame} is not near an end-systole of {clip.es_frames}"
        beside = [each for each in masks if rate and any(abs(each - end) <= 0.05 * rate for end in near)]
        assert all((masks[each] == structure).sum() <= (masks[frame] == structure).sum() for each in beside)


def _chamber_value(quantity: Quantity, evidence: Evidence, frames: list[int]) -> float:
    """One beat, written out by hand where the formula is short."""
    if quantity is Quantity.GLS_ENDOCARDIAL:
        diastolic, systolic = (endocardial_length(shape_from_evidence(evidence, frame)) for frame in frames)
        return 100 * (systolic / diastolic - 1)
    if quantity in (Quantity.RV_ED_AREA, Quantity.RV_ES_AREA, Quantity.RV_FAC):
        diastolic, systolic = (_area_by_hand(evidence, frame) for frame in frames)
        areas = {Quantity.RV_ED_AREA: diastolic, Quantity.RV_ES_AREA: systolic}
        return areas.get(quantity, 100 * (1 - systolic / diastolic))
    (frame,) = frames
    if MEASURED_STRUCTURE[quantity] is Structure.LV_CAVITY:
        lv = shape_from_evidence(evidence, frame)
        assert lv.annulus_xy is not None
        middle = (lv.disc_diameters[9] + lv.disc_diameters[10]) / 2
        return lv.length if quantity is Quantity.LV_LENGTH else float(middle / lv.length)
    shape = atrial_shape_from_evidence(evidence, MEASURED_STRUCTURE[quantity], frame)
    if quantity is Quantity.LA_DIAMETER:
        return float(shape.disc_diameters.max())
    by_area = quantity is Quantity.LA_VOLUME_AREA_LENGTH
    return atrial_area_length_volume_ml(shape) if by_area else atrial_disc_volume_ml(shape)


def _area_by_hand(evidence: Evidence, frame: int) -> float:
    """Area in cm2 (square pixels of a hundredth where nothing is calibrated) of the RV contour."""
    x, y = np.array(evidence.contours_xy[contour_key(Structure.RIGHT_VENTRICLE.key, frame)]).T
    area_px = abs(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))) / 2
    return area_px * (evidence.row_mm or 1) * (evidence.column_mm or 1) / 100


def _volume_on_mask(labels: np.ndarray, evidence: Evidence) -> float:
    spacing = Spacing(evidence.row_mm, evidence.column_mm) if evidence.row_mm and evidence.column_mm else None
    cavity, atrium = labels == Structure.LV_CAVITY, labels == Structure.LEFT_ATRIUM
    return single_plane_volume(measure_lv_shape(cavity, spacing, atrium, probe_xy=evidence.points_xy.get("probe")))


def _check_wall(item: Measurement) -> None:
    evidence = item.evidence[0]
    assert evidence.row_mm
    assert evidence.column_mm
    spacing = Spacing(evidence.row_mm, evidence.column_mm)
    lengths = []
    for frame in evidence.frames:
        walls = measure_walls({point: evidence.points_xy[f"{point}@{frame}"] for point in WallPoint}, spacing)
        lengths.append({q: getattr(walls, f"{q.value}_mm") for q in WALLS}[item.quantity])
    assert item.value == pytest.approx(float(np.median(lengths)), rel=1e-9)


def _check_rv_diameter(item: Measurement, clip: ClipReport, masks: Masks | None) -> None:
    """The median of the calipers; each ends on the written outline, on the line of the walls and within the image."""
    evidence = item.evidence[0]
    assert evidence.row_mm
    assert evidence.column_mm
    unit = np.array([evidence.column_mm, evidence.row_mm])
    lengths = []
    for frame in evidence.frames:
        septum, posterior, border = (
            np.array(evidence.points_xy[f"{point}@{frame}"]) * unit
            for point in (WallPoint.SEPTUM_RV_SIDE, WallPoint.POSTERIOR_WALL_EPICARDIUM, RV_ANTERIOR_BORDER)
        )
        (x0, y0), (x1, y1) = septum - posterior, border - septum
        assert abs(x0 * y1 - y0 * x1) < 0.02 * np.hypot(x0, y0), "off the line of the walls"
        assert x0 * x1 + y0 * y1 > 0, "on the wrong side of the septum"
        outline = outline_from_evidence(evidence, Structure.RIGHT_VENTRICLE, frame) * unit
        assert np.linalg.norm(outline - border, axis=1).min() < 1.0
        assert np.all(border / unit > 0) and np.all(border / unit < (clip.size[1], clip.size[0]))
        lengths.append(float(np.hypot(x1, y1)))
        if masks is not None:
            _check_contours(evidence, frame, masks[frame], (Structure.RIGHT_VENTRICLE,))
    assert item.value == pytest.approx(float(np.median(lengths)), abs=0.02)


def _check_rate(item: Measurement, clip: ClipReport) -> None:
    if item.method == "header":
        assert ("rate_of_marks" in item.details) == (Flag.METHODS_DISAGREE in item.flags)
        return
    intervals, ends = item.details["intervals_s"], item.details["interval_frames"]
    assert all(is_possible_beat(interval) for interval in intervals)
    assert item.value == pytest.approx(60 / np.median(intervals))
    assert set(item.evidence[0].frames) == {frame for pair in ends for frame in pair}
    if not item.method.startswith("R waves"):
        assert clip.frame_rate_hz, "a rate from frames whose times are not known"
        for (first, second), interval in zip(ends, intervals, strict=True):
            assert interval == pytest.approx((second - first) / clip.frame_rate_hz, rel=0.15)


def _check_study(measurements: list[Measurement], report: StudyReport) -> None:
    found = {item.quantity: item for item in measurements}
    assert len(found) == len(measurements)
    for item in measurements:
        _check_range(item)
        if item.method == "biplane discs":
            _check_biplane(item, found)
        elif "planes" in item.details:
            _check_two_planes(item, report)
        elif "values" in item.details:
            _check_combined(item, report)
    if Quantity.LV_MASS in found:
        walls = WallThickness(*(found[quantity].value for quantity in WALLS))
        assert found[Quantity.LV_MASS].value == pytest.approx(lv_mass_g(walls))
        assert found[Quantity.RWT].value == pytest.approx(relative_wall_thickness(walls))
    _check_output(found)
    for indexed, quantity in INDEXED.items():
        if indexed in found:
            assert found[indexed].value == pytest.approx(found[quantity].value / found[Quantity.BSA].value)


def _check_combined(item: Measurement, report: StudyReport) -> None:
    """The weighted mean of the clips' own values that are no outliers."""
    clips = {clip.clip_id: clip for clip in report.clips}
    rows = item.details["values"]
    for row in rows:
        values = [each.value for each in clips[row["clip_id"]].measurements if each.quantity is item.quantity]
        assert values == [row["value"]]
    kept = [row for row in rows if not row["left_out_as_outlier"]]
    weights = np.array([row["weight"] for row in kept])
    values = np.array([row["value"] for row in kept])
    assert item.value == pytest.approx(float(values @ weights / weights.sum()), rel=1e-3)
    assert {evidence.clip_id for evidence in item.evidence} == {row["clip_id"] for row in kept}


def _check_biplane(item: Measurement, found: dict[Quantity, Measurement]) -> None:
    planes = item.evidence
    assert len(planes) == 2
    phases = [item.details["frames"][evidence.clip_id] for evidence in planes]
    volumes = {}
    for phase in ("ed_frames", "es_frames"):
        pairs = product(*(each[phase] for each in phases))
        volumes[phase] = float(
            np.mean(
                [
                    biplane_volume(shape_from_evidence(planes[0], a), shape_from_evidence(planes[1], b)).volume_ml
                    for a, b in pairs
                ]
            )
        )
    edv, esv = volumes["ed_frames"], volumes["es_frames"]
    wanted = {
        Quantity.EDV: edv,
        Quantity.ESV: esv,
        Quantity.LVEF_DISCS: ejection_fraction_percent(edv, esv),
    }
    assert item.value == pytest.approx(wanted[item.quantity], rel=1e-9)
    assert {each.method for q, each in found.items() if q in wanted} == {"biplane discs"}


def _check_output(found: dict[Quantity, Measurement]) -> None:
    """Stroke volume and output follow from the volumes and the rate of the study."""
    assert (Quantity.CARDIAC_OUTPUT in found) <= (Quantity.STROKE_VOLUME in found and Quantity.HEART_RATE in found)
    if Quantity.STROKE_VOLUME in found:
        stroke = found[Quantity.STROKE_VOLUME]
        assert stroke.value == pytest.approx(found[Quantity.EDV].value - found[Quantity.ESV].value)
        assert Flag.STRUCTURE_CUT_OFF not in stroke.flags
    if Quantity.CARDIAC_OUTPUT in found:
        per_minute = found[Quantity.STROKE_VOLUME].value * found[Quantity.HEART_RATE].value / 1000
        assert found[Quantity.CARDIAC_OUTPUT].value == pytest.approx(per_minute)


def _check_two_planes(item: Measurement, report: StudyReport) -> None:
    """Left atrium, strain and length of two planes, from the evidence of the value itself."""
    first, second = item.evidence
    clips = {clip.clip_id: clip for clip in report.clips}
    assert [clips[each.clip_id].view for each in (first, second)] == ["A4C", "A2C"]
    beats = [item.details["frames"][each.clip_id] for each in (first, second)]
    if item.quantity in (Quantity.LA_VOLUME, Quantity.LA_VOLUME_AREA_LENGTH):
        by_area = item.quantity is Quantity.LA_VOLUME_AREA_LENGTH
        compute = biplane_atrial_area_length_volume if by_area else biplane_atrial_disc_volume
        shapes = [
            [atrial_shape_from_evidence(each, Structure.LEFT_ATRIUM, frame) for (frame,) in frames]
            for each, frames in zip((first, second), beats, strict=True)
        ]
        assert item.value == pytest.approx(float(np.mean([compute(*pair).volume_ml for pair in product(*shapes)])))
        return
    each_plane = [
        float(np.mean([_chamber_value(item.quantity, each, frames) for frames in of_plane]))
        for each, of_plane in zip((first, second), beats, strict=True)
    ]
    is_length = item.quantity is Quantity.LV_LENGTH
    assert item.value == pytest.approx(max(each_plane) if is_length else sum(each_plane) / 2)


def _check_table(out: Path, report: StudyReport) -> None:
    """The table says the same, flags too."""
    with (out / "measurements.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["quantity"], row["value"], row["flags"]) for row in csv.DictReader(file)]
    every = [*report.measurements, *(item for clip in report.clips for item in clip.measurements)]
    assert rows == [(item.quantity.value, f"{item.value:.6g}", " ".join(item.flags)) for item in every]
