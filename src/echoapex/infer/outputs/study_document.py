"""The report of one study as a document: one page of values, pictures and curves, then the evidence of every value.

Every value leads to its evidence: the clip, the frames, the contour or the points, and where the calibration came from.
No patient, no date and no path is in it: a study goes by its digest, a clip by its name in ``results.json``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from echoapex.domain.reported_study import GradedValue, NormalLimits, ReportedStudy
from echoapex.infer.outputs.clip_pictures import interval_text, short_name
from echoapex.infer.outputs.study_evidence import (
    DASH,
    ClipNames,
    clip_picture,
    describe_evidence,
    percent,
    rank_clips,
    value_anchor,
    value_name,
    value_with_unit,
    volume_plot,
)
from echoapex.io.document import (
    Block,
    Cell,
    Columns,
    Document,
    Heading,
    Table,
    Text,
    Tone,
)
from echoapex.vocabulary import Quantity

TITLE = "Echocardiography report"
NOTICE = "Research use only. Not a medical device: not for diagnosis or treatment."
DISCS = "Discs (modified Simpson)"
GROUPS: dict[str, tuple[Quantity, ...]] = {
    "Left ventricle": (
        Quantity.EDV_INDEX,
        Quantity.ESV_INDEX,
        Quantity.STROKE_VOLUME,
        Quantity.STROKE_VOLUME_INDEX,
        Quantity.CARDIAC_OUTPUT,
        Quantity.CARDIAC_INDEX,
        Quantity.GLS_ENDOCARDIAL,
        Quantity.LV_LENGTH,
        Quantity.SPHERICITY_INDEX,
    ),
    "Walls and mass": (
        Quantity.IVSD,
        Quantity.LVIDD,
        Quantity.LVPWD,
        Quantity.RWT,
        Quantity.LV_MASS,
        Quantity.LV_MASS_INDEX,
    ),
    "Atria": (
        Quantity.LA_VOLUME,
        Quantity.LA_VOLUME_AREA_LENGTH,
        Quantity.LA_VOLUME_INDEX,
        Quantity.LA_DIAMETER,
        Quantity.RA_VOLUME,
        Quantity.RA_VOLUME_INDEX,
    ),
    "Right ventricle": (Quantity.RVIDD, Quantity.RV_ED_AREA, Quantity.RV_ES_AREA, Quantity.RV_FAC),
    "Heart rate and body size": (Quantity.HEART_RATE, Quantity.BSA),
}
"""The values by what they are about; ``EJECTION`` has a table of its own."""
EJECTION = (Quantity.LVEF_DISCS, Quantity.LVEF, Quantity.EDV, Quantity.ESV)
_TONES = {"normal": Tone.GOOD, "mildly abnormal": Tone.WARNING}
_MOST_PICTURES, _MOST_CURVES, _MOST_MISSING = 3, 2, 8
_SHOWN_DIGITS = 16
_THUMBNAIL_PX = 720
_NO_BREAK = "\u00a0"
_SHORT_CATEGORIES = {"above the normal range": "above normal", "below the normal range": "below normal"}
_LEGEND = (
    "Contours: LV cavity blue, LV myocardium orange, left atrium pink, right ventricle green, right atrium violet, "
    "aortic root yellow. White: wall end points."
)


def describe_study(study: ReportedStudy, out: Path) -> Document:
    """The document of a study.

    Args:
        study: the study.
        out: the output folder, with the pictures of the clips; a clip without a picture is shown without one.
    """
    clips = ClipNames.of(study, out)
    names = "It names no patient."
    if study.keeps_identifiers:
        names = "Identifiers were kept on request: pictures and names of clips may identify the patient."
    return Document(
        title=TITLE,
        subtitle=f"Preliminary: written by EchoApex, not reviewed by a reader. {names}",
        notice=NOTICE,
        name=f"study {study.digest[:_SHOWN_DIGITS]}",
        summary=tuple(_summary(study, clips)),
        body=tuple(describe_evidence(study, clips)),
    )


def _summary(study: ReportedStudy, clips: ClipNames) -> Iterator[Block]:
    yield _head(study)
    yield from _conclusions(study)
    discs = study.find(Quantity.LVEF_DISCS) or study.find(Quantity.EDV)
    planes = discs.measurement.method if discs else "not measured"
    left = (
        Heading("Volumes and ejection fraction of the left ventricle"),
        _ejection_table(study),
        Text(f"Discs: {planes}. The regression reads the whole clip and gives no volume.", Tone.MUTED),
        _values_table(study),
    )
    yield Columns(left, (*_pictures(study, clips), Text(_LEGEND, Tone.MUTED)), 0.66)
    yield from _missing_in_short(study)
    yield Text(
        "* look twice: a flag of the value is explained with its evidence. Underlined values lead to their evidence. "
        "Grades describe one number each; they are no diagnosis.",
        Tone.MUTED,
    )


def _head(study: ReportedStudy) -> Table:
    analysed, aside = len(study.analysed), len(study.clips) - len(study.analysed)
    views = ", ".join(dict.fromkeys(clip.view.value for clip in study.analysed if clip.view)) or "none"
    sex = {"F": "for women", "M": "for men"}.get((study.sex or "").upper(), "sex unknown: of both sexes")
    guideline = "; ".join(study.guidelines) or "none applies"
    rows = (
        ("Study", study.digest, "Clips", f"{analysed} analysed, {aside} set aside; views: {views}"),
        ("Weights", study.bundle, "Normal limits", f"adults, {sex}"),
        ("Software", f"EchoApex {study.version}", "Guideline", guideline),
    )
    cells = tuple(
        (Cell(a, tone=Tone.MUTED), Cell(b, is_bold=a == "Study"), Cell(c, tone=Tone.MUTED), Cell(d))
        for a, b, c, d in rows
    )
    return Table((), cells, (0.09, 0.36, 0.13, 0.42))


def _conclusions(study: ReportedStudy) -> Iterator[Text]:
    """What the numbers say together: both ejection fractions, LV geometry, quality."""
    discs, regression = study.find(Quantity.LVEF_DISCS), study.find(Quantity.LVEF)
    said = []
    for value, name in ((discs, "by discs"), (regression, "by regression")):
        if value is not None:
            said.append(f"{value_with_unit(value)} {name}" + (f" ({value.category})" if value.category else ""))
    if discs and regression:
        said.append(f"difference {abs(discs.measurement.value - regression.measurement.value):.0f} points")
    yield Text("; ".join(said or ["not measured"]) + ".", term="LV ejection fraction:")
    geometry = study.lvh.category or study.lvh.reason
    if study.lvh.category and study.lvh.reason:
        geometry += f" ({study.lvh.reason})"
    yield Text(f"{geometry}.", term="LV geometry:")
    qualities = [clip.quality for clip in study.analysed if clip.quality is not None]
    flagged = sum(1 for value in study.values if value.measurement.flags)
    if qualities:
        ends = dict.fromkeys((percent(min(qualities)), percent(max(qualities))))
        said_of_values = f"{flagged} of {len(study.values)} values need a second look (*)"
        yield Text(f"{' to '.join(ends)}; {said_of_values}.", term="Quality of the clips:")
    if study.weights_note:
        yield Text(f"{study.weights_note}.", Tone.WARNING, "Weights:")
    for note in study.notes:
        yield Text(f"{note}.", Tone.WARNING, "Note:")


def _ejection_table(study: ReportedStudy) -> Table:
    """EDV, ESV and EF by discs and by regression side by side."""
    discs, regression = study.find(Quantity.LVEF_DISCS), study.find(Quantity.LVEF)
    rows = [
        (
            Cell(short_name(quantity)),
            _value_cell(study.find(quantity)),
            Cell(DASH, tone=Tone.MUTED),
            Cell(DASH, tone=Tone.MUTED),
            Cell(_limits(study.find(quantity))),
            _category_cell(study.find(quantity)),
        )
        for quantity in (Quantity.EDV, Quantity.ESV)
    ]
    difference = DASH
    if discs and regression:
        difference = f"{regression.measurement.value - discs.measurement.value:+.0f} points"
    rows.append(
        (
            Cell("EF", is_bold=True),
            _value_cell(discs, is_bold=True),
            _value_cell(regression, is_bold=True),
            Cell(difference),
            Cell(_limits(discs or regression)),
            _category_cell(discs or regression),
        )
    )
    head = ("", DISCS, "Regression", "Difference", "Normal", "Category")
    return Table(head, tuple(rows), (0.07, 0.18, 0.26, 0.14, 0.13, 0.22))


def _values_table(study: ReportedStudy) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for title, quantities in GROUPS.items():
        found = [value for quantity in quantities if (value := study.find(quantity)) is not None]
        rows += [(Cell(title),)] if found else []
        rows += [
            (Cell(value_name(value)), _value_cell(value), Cell(_limits(value)), _category_cell(value))
            for value in found
        ]
    return Table(("Value", "Result (95 %)", "Normal", "Category"), tuple(rows), (0.42, 0.22, 0.14, 0.22))


def _value_cell(value: GradedValue | None, is_bold: bool = False) -> Cell:
    if value is None:
        return Cell("not measured", tone=Tone.MUTED)
    interval = interval_text(value.measurement)
    spread = f" ({interval})" if interval else ""
    return Cell(value_with_unit(value) + spread, link=value_anchor(value), is_bold=is_bold)


def _limits(value: GradedValue | None) -> str:
    if value is None:
        return ""
    texts = [(_range(limits), limits.applies_to) for limits in value.limits]
    if len(texts) == 1:
        return ("about " if value.is_rough_guide else "") + texts[0][0]
    letters = {"women": "F", "men": "M"}
    return ", ".join(f"{letters[who]}{_NO_BREAK}{text.replace(' to ', '–')}" for text, who in texts)


def _range(limits: NormalLimits) -> str:
    if limits.low is None:
        return f"≤ {limits.high:g}"
    return f"≥ {limits.low:g}" if limits.high is None else f"{limits.low:g} to {limits.high:g}"


def _category_cell(value: GradedValue | None) -> Cell:
    if value is None or not value.category:
        return Cell("")
    if value.is_rough_guide and value.category != "normal":
        return Cell("outside the guide", tone=Tone.WARNING)
    shown = _SHORT_CATEGORIES.get(value.category, value.category)
    return Cell(shown, tone=_TONES.get(value.category, Tone.BAD))


def _pictures(study: ReportedStudy, clips: ClipNames) -> Iterator[Block]:
    """The pictures of the clips that most values rest on, and their curves."""
    ranked = rank_clips(study)
    for clip in ranked[:_MOST_PICTURES]:
        picture = clip_picture(clip, clips, _THUMBNAIL_PX)
        if picture is not None:
            yield picture
    for clip in [clip for clip in ranked if len(clip.volume_curve) > 1][:_MOST_CURVES]:
        yield volume_plot(clip, clips.label(clip.clip_id))


def _missing_in_short(study: ReportedStudy) -> Iterator[Text]:
    """Quantities without a value by their reason, the most frequent reasons first."""
    by_reason: dict[str, list[str]] = {}
    for missing in study.missing:
        by_reason.setdefault(missing.reason, []).append(short_name(missing.quantity))
    shown = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    parts = [f"{', '.join(names)} ({reason})" for reason, names in shown[:_MOST_MISSING]]
    if len(shown) > _MOST_MISSING:
        parts.append("more on the last pages")
    yield Text("; ".join(parts) + "." if parts else "nothing: every quantity has a value.", term="Not measured:")


def describe_index(studies: Sequence[ReportedStudy], link: str) -> Document:
    """The list of several studies, each with its main values and its reports.

    Args:
        studies: the studies.
        link: where their reports are, up to the number of the study.
    """
    rows = []
    for number, study in enumerate(studies, start=1):
        values = (study.find(quantity) for quantity in EJECTION)
        rows.append(
            (
                Cell(study.digest[:_SHOWN_DIGITS], link=f"{link}{number}.html", is_bold=True),
                Cell(f"{len(study.analysed)} of {len(study.clips)}"),
                *(Cell(value_with_unit(value) if value else DASH) for value in values),
                Cell(study.lvh.category or DASH),
                Cell("PDF", link=f"{link}{number}.pdf"),
            )
        )
    head = ("Study", "Clips analysed", "EF discs (Simpson)", "EF regression", "EDV", "ESV", "LV geometry", "")
    table = Table(head, tuple(rows), (0.22, 0.09, 0.13, 0.12, 0.11, 0.11, 0.17, 0.05))
    notes = dict.fromkeys(note for study in studies for note in study.notes)
    return Document(
        title="Echocardiography reports",
        subtitle=f"{len(studies)} studies. Values are never combined between studies. * look twice",
        notice=NOTICE,
        name="",
        summary=(table, *(Text(f"{note}.", Tone.WARNING, "Note:") for note in notes)),
        body=(),
    )
