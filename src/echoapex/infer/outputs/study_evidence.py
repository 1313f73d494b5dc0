"""The evidence of a reported study: each clip with picture, curve and calibration, and where every value came from."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from echoapex.domain import RV_ANTERIOR_BORDER, ClipReport, EcgOrigin, Evidence, Measurement, RWaveSource
from echoapex.domain.reported_study import GradedValue, ReportedStudy
from echoapex.infer.outputs.clip_pictures import TILE_FOLDER, number_text, short_name
from echoapex.io.document import (
    ED_INK,
    ES_INK,
    Block,
    Cell,
    Columns,
    Heading,
    Illustration,
    Plot,
    PlotMark,
    Table,
    Text,
    Together,
    Tone,
    fact_table,
    plain_cells,
)
from echoapex.vocabulary import Quantity, Structure

_PRETTY_UNITS = {"1": "", "cm2": "cm²", "m2": "m²", "mL/m2": "mL/m²", "g/m2": "g/m²", "L/min/m2": "L/min/m²"}
DASH = "–"


@dataclass(frozen=True)
class ClipNames:
    """The clips of a study with their short labels, and the folder that holds their pictures.

    ``described`` are the clips that have a place in the report, so that a value can lead to them.
    """

    labels: Mapping[str, str]
    described: frozenset[str]
    out: Path

    @classmethod
    def of(cls, study: ReportedStudy, out: Path) -> ClipNames:
        """The names of the clips of a study."""
        labels = {clip.clip_id: label for label, clip in study.clip_labels()}
        return cls(labels, frozenset(clip.clip_id for clip in rank_clips(study)), out)

    def label(self, clip_id: str) -> str:
        """The short label of a clip."""
        return self.labels.get(clip_id, clip_id)

    def anchor(self, clip_id: str) -> str:
        """The name of the clip's place in the report; empty where it has none."""
        if clip_id not in self.described:
            return ""
        return f"clip-{self.label(clip_id)}"


def describe_evidence(study: ReportedStudy, clips: ClipNames) -> Iterator[Block]:
    """The pages after the first: clips, the evidence of every value, what was not measured, and the weights."""
    yield Heading("Clips", level=1)
    for clip in rank_clips(study):
        yield Together(tuple(_clip_evidence(clip, clips)))
    yield Heading("Values and their evidence", level=1)
    yield Text(
        "Frames count from 0. The coordinates of every contour and point are in results.json, by the names given here.",
        Tone.MUTED,
    )
    yield _evidence_table(study, clips)
    yield from _rest(study, clips)


def _clip_evidence(clip: ClipReport, clips: ClipNames) -> Iterator[Block]:
    yield Heading(f"{clips.label(clip.clip_id)}  {_view(clip)}", anchor=clips.anchor(clip.clip_id))
    spacing = f"not calibrated: {clip.spacing_reason}"
    if clip.row_mm is not None and clip.column_mm is not None:
        sources = {item.calibration_source for m in clip.measurements for item in m.evidence if item.calibration_source}
        named = ", ".join(map(_words, sorted(sources))) or "the file"
        spacing = f"{_pixel(clip.row_mm, clip.column_mm)}, from {named}"
    structures = ", ".join(
        f"{Structure.from_key(key).display_name} {percent(share)}" for key, share in clip.structures.items()
    )
    rate = f"{clip.frame_rate_hz:.1f} per second" if clip.frame_rate_hz else "unknown"
    facts = [
        ("Clip", clip.clip_id),
        ("Frames", f"{clip.frames} of {clip.size[1]} x {clip.size[0]} pixels; {rate}"),
        ("Calibration", spacing),
        ("Quality", percent(clip.quality)),
        ("Beats", f"ED {_frames(clip.ed_frames)}; ES {_frames(clip.es_frames)}"),
        ("Contours", f"{structures} (predicted overlap)" if structures else "none"),
        ("ECG", _ecg(clip)),
    ]
    facts += [("Note", note) for note in clip.notes]
    picture = clip_picture(clip, clips)
    if picture is not None:
        picture = replace(picture, caption="End-diastole and end-systole with contours", link="")
    right: list[Block] = [fact_table(facts, 0.24)]
    left: list[Block] = [picture] if picture else [Text("No picture: no ultrasound sector was found.", Tone.MUTED)]
    if len(clip.volume_curve) > 1:
        left.append(volume_plot(clip, clips.label(clip.clip_id)))
    yield Columns(tuple(left), tuple(right), 0.6)


def _ecg(clip: ClipReport) -> str:
    """Whether there is a trace, and where the R waves come from."""
    places = {
        EcgOrigin.CURVE: "trace stored as a curve",
        EcgOrigin.WAVEFORM: "trace stored as a waveform",
        EcgOrigin.WAVEFORM_OBJECT: "trace of a synchronised ECG object",
    }
    parts = [places[clip.ecg.origin]] if clip.ecg else []
    if clip.r_wave_times_s:
        parts.append("R waves from the ECG trace" if _are_found(clip) else "R waves of the file")
    return "; ".join(parts) or "none in the file"


def _are_found(clip: ClipReport) -> bool:
    """Whether the R waves were found in the ECG."""
    return clip.r_wave_source is RWaveSource.ECG_TRACE


def _frames(frames: Sequence[int]) -> str:
    return ", ".join(map(str, frames)) if frames else "none"


def _evidence_table(study: ReportedStudy, clips: ClipNames) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for value in study.values:
        about = (
            Cell(value_name(value), anchor=value_anchor(value)),
            Cell(value_with_unit(value)),
            Cell(_method(value.measurement)),
        )
        for item in value.measurement.evidence:
            rows.append((*about, _place(item, clips), Cell(_drawn(item)), Cell(_calibration(item))))
            about = (Cell(""), Cell(""), Cell(""))
        if not value.measurement.evidence:
            rows.append((*about, *plain_cells("none", "", "")))
    head = ("Value", "Result", "Method, confidence, flags", "Clip and frames", "Contours, points", "Calibration")
    return Table(head, tuple(rows), (0.17, 0.09, 0.22, 0.12, 0.19, 0.21))


def _place(item: Evidence, clips: ClipNames) -> Cell:
    if not item.frames:
        return Cell(f"{clips.label(item.clip_id)}, whole clip or header")
    return Cell(f"{clips.label(item.clip_id)}, frames {_frames(item.frames)}", link=clips.anchor(item.clip_id))


def _method(measurement: Measurement) -> str:
    parts = [measurement.method]
    for quantity in Quantity:  # indexed values name the quantity as in files
        parts[0] = parts[0].replace(f"{quantity.value} / ", f"{short_name(quantity)} / ")
    if measurement.confidence is not None:
        parts.append(f"confidence {percent(measurement.confidence)}")
    parts += [flag.value.replace("_", " ") for flag in measurement.flags]
    return "; ".join(parts)


def _drawn(item: Evidence) -> str:
    """Names of contours and points with their frames: ``LV cavity 25, 41``."""
    if item.derived_from:
        return f"from {', '.join(short_name(Quantity(name)) for name in item.derived_from)}"
    frames: dict[str, list[str]] = {}
    for name in (*item.contours_xy, *item.points_xy):
        what, _, frame = name.partition("@")
        if frame:
            known = what in {structure.key for structure in Structure}
            point = "anterior border of the RV" if what == RV_ANTERIOR_BORDER else "wall end points"
            shown = Structure.from_key(what).display_name if known else point
            frames.setdefault(shown, []).append(frame)
    return "; ".join(f"{what} {', '.join(dict.fromkeys(each))}" for what, each in frames.items())


def _calibration(item: Evidence) -> str:
    if item.row_mm is None or item.column_mm is None:
        return "not used"
    return f"{_pixel(item.row_mm, item.column_mm)}, {_words(item.calibration_source) or 'source unknown'}"


def _pixel(row_mm: float, column_mm: float) -> str:
    """Size of a pixel, as one number where it is square."""
    if f"{row_mm:.4g}" == f"{column_mm:.4g}":
        return f"{row_mm:.4g} mm per pixel"
    return f"{row_mm:.4g} (rows) x {column_mm:.4g} mm per pixel"


def _words(keyword: str) -> str:
    """A DICOM keyword as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", keyword).replace(" Of ", " of ")


def _rest(study: ReportedStudy, clips: ClipNames) -> Iterator[Block]:
    """What was not measured, all clips, and the weights."""
    if study.missing:
        yield Heading("Not measured", level=1)
        rows = tuple(plain_cells(missing.quantity.display_name, missing.reason) for missing in study.missing)
        yield Table(("Value", "Reason"), rows, (0.35, 0.65))
    yield Heading("All clips", level=1)
    lines = [
        plain_cells(label, clip.clip_id, _view(clip), percent(clip.quality), clip.set_aside or "analysed")
        for label, clip in study.clip_labels()
    ]
    yield Table(("", "Clip", "View", "Quality", "Outcome"), tuple(lines), (0.05, 0.25, 0.30, 0.10, 0.30))
    yield Heading("How to read this report", level=1)
    for guideline in study.guidelines:
        yield Text(guideline, term="Normal limits:")
    yield Text("0 to 100 %; how sure the method is of one value. It is no probability of disease.", term="Confidence:")
    yield Text(
        "the weakest of contrast of the image, probability of the view and predicted overlap of the outlines.",
        term="Quality:",
    )
    yield Text(f"written by software, and no person has looked at it. {study.disclaimer}", term="Status:")
    yield Heading("Weights", level=1)
    if study.weights_note:
        yield Text(study.weights_note, Tone.WARNING)
    weights = [plain_cells(item.name, item.sha256, item.licence or "not stated") for item in study.weights]
    yield Table(("Name", "sha256", "Licence"), tuple(weights), (0.2, 0.48, 0.32))
    trained: dict[str, list[str]] = {}
    for item in study.weights:
        trained.setdefault("; ".join(item.training_data) or "not stated", []).append(item.name)
    for data, names in trained.items():
        yield Text(f"{', '.join(names)}: {data}.", Tone.MUTED, "Trained on:")


def value_name(value: GradedValue) -> str:
    """The name of a value in a table; discs are the method that is also called Simpson's."""
    name = value.quantity.display_name.replace("method of discs", "discs (Simpson)")
    return name.replace(", endocardial contour", " (contour)")


def value_with_unit(value: GradedValue) -> str:
    """``111 mL/m²``; flagged values carry an asterisk."""
    unit = _PRETTY_UNITS.get(value.measurement.unit, value.measurement.unit)
    star = " *" if value.measurement.flags else ""
    return f"{number_text(value.measurement)}{' ' + unit if unit else ''}{star}"


def value_anchor(value: GradedValue) -> str:
    """The name of the place of a value's evidence."""
    return f"value-{value.quantity.value}"


def rank_clips(study: ReportedStudy) -> list[ClipReport]:
    """The clips with evidence, those of most values first, one of each view before the second of a view."""
    uses: dict[str, int] = {}
    for value in study.values:
        for clip_id in {item.clip_id for item in value.measurement.evidence if item.frames}:
            uses[clip_id] = uses.get(clip_id, 0) + 1
    ranked = sorted((clip for clip in study.analysed if clip.clip_id in uses), key=lambda clip: -uses[clip.clip_id])
    firsts: dict[object, ClipReport] = {}
    for clip in ranked:
        firsts.setdefault(clip.view, clip)
    return [*firsts.values(), *(clip for clip in ranked if clip not in firsts.values())]


def clip_picture(clip: ClipReport, clips: ClipNames, width_px: int | None = None) -> Illustration | None:
    """The picture of a clip with its contours, at most ``width_px`` wide; None where it has none."""
    path = clips.out / TILE_FOLDER / f"{clip.clip_id}.png"
    try:
        image = Image.open(path).convert("RGB")
    except OSError:
        return None
    buffer = io.BytesIO()
    if width_px is not None and width_px < image.width:
        image = image.resize((width_px, round(image.height * width_px / image.width)), Image.Resampling.LANCZOS)
    image.save(buffer, format="jpeg", quality=88)
    caption = f"{clips.label(clip.clip_id)}  {_view(clip)}, quality {percent(clip.quality)}"
    return Illustration(buffer.getvalue(), (image.height, image.width), caption, clips.anchor(clip.clip_id))


def _view(clip: ClipReport) -> str:
    if clip.view is None:
        return "no view"
    return f"{clip.view.display_name} ({percent(clip.view_probabilities.get(clip.view))})"


def percent(share: float | None) -> str:
    """A share in percent; a dash where it is not known."""
    return DASH if share is None else f"{100 * share:.0f} %"


def volume_plot(clip: ClipReport, label: str) -> Plot:
    """The volume curve of a clip (mL, or percent of the largest) with ED, ES and R waves, and the ECG below it."""
    calibrated = all(point.ml is not None for point in clip.volume_curve)
    points = tuple(
        (point.time_s, 100 * point.relative if not calibrated or point.ml is None else point.ml)
        for point in clip.volume_curve
    )
    marks = tuple(
        PlotMark(time_s, value, name, colour)
        for (time_s, value), point in zip(points, clip.volume_curve, strict=True)
        for frames, name, colour in ((clip.ed_frames, "ED", ED_INK), (clip.es_frames, "ES", ES_INK))
        if point.frame in frames
    )
    unit = "mL" if calibrated else "% of the largest"
    trace = tuple(zip(clip.ecg.times_s, clip.ecg.values, strict=True)) if clip.ecg else ()
    named = "R waves of the ECG" if _are_found(clip) else "R waves of the file"
    return Plot(f"{label}  LV volume, {unit}", points, marks, clip.r_wave_times_s, named, trace, "ECG")
