"""The page of the card: one HTML file that contains everything it shows; no network, no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import count
from pathlib import Path
from typing import TypeVar

from echoapex.evaluate.card.card_file import (
    Agreement,
    BenchmarkCard,
    Part,
    PartClicks,
    PartConfusion,
    PartReliability,
)
from echoapex.evaluate.card.examples import draw_confusion, draw_examples_figure, draw_reliability
from echoapex.evaluate.card.figures import draw_agreement, draw_clicks, draw_label_curves, style_sheet
from echoapex.evaluate.card.html_table import (
    agreement_table,
    clicks_table,
    interval_cell,
    number_cell,
    part_table,
    subgroup_table,
    subtask_table,
    unmeasured_table,
)
from echoapex.evaluate.card.labels import LabelFigure, label_figures, label_table
from echoapex.evaluate.card.targets import higher_is_better
from echoapex.vocabulary import Application, Structure

_STYLES = ("colours.css", "figure.css", "page.css")


@dataclass(frozen=True)
class Figure:
    """One figure: file name without suffix, kind (the section of the page), SVG, and caption."""

    name: str
    kind: str
    svg: str
    caption: str


def draw_figures(card: BenchmarkCard, folder: Path) -> list[Figure]:
    """Draw all figures of a card.

    Args:
        card: the content of the card.
        folder: the folder with the pictures of its examples.

    Raises:
        CardError: a picture cannot be read.
    """
    return [*_view_figures(card), *_value_figures(card), *_curve_figures(card), *_example_figures(card, folder)]


Shown = TypeVar("Shown", PartConfusion, PartReliability, Agreement, PartClicks)


def _shown(card: BenchmarkCard, found: Shown) -> Shown:
    """The same, with the name of its part as on the page."""
    return found.model_copy(update={"part": card.shown_name(found.part)})


def _view_figures(card: BenchmarkCard) -> Iterator[Figure]:
    for found in card.confusions:
        caption = (
            f"Views of {card.shown_name(found.part)}: clips by true view (row) and called view (column), shaded by "
            "share of the row. Blue: right. Red: wrong. Heavier lines part transthoracic, transoesophageal and "
            "intracardiac views."
        )
        yield Figure(f"confusion-{found.part}", "views", draw_confusion(_shown(card, found)), caption)
    for each in card.reliabilities:
        error = each.error.value
        summed = f" Expected calibration error {error:.3f}." if error is not None else ""
        caption = (
            f"Reliability of the views, {card.shown_name(each.part)}: clips in bins of the called view's probability; "
            f"numbers count clips.{summed}"
        )
        yield Figure(f"reliability-{each.part}", "views", draw_reliability(_shown(card, each)), caption)


def _value_figures(card: BenchmarkCard) -> Iterator[Figure]:
    for found in card.agreements:
        bias, low, high = (number_cell(value, 1) for value in (found.bias, found.lower, found.upper))
        caption = (
            f"{card.shown_name(found.part)}, {len(found.pairs)} studies: bias {bias} {found.unit}, limits of agreement "
            f"{low} to {high}."
        )
        drawn = draw_agreement(_shown(card, found))
        yield Figure(f"agreement-{found.part}-{found.quantity}", "agreement", drawn, caption)


def _curve_figures(card: BenchmarkCard) -> Iterator[Figure]:
    for found in card.clicks:
        scores = found.scores
        caption = (
            f"{card.shown_name(found.part)}: mean Dice after 0, 1, 2, … simulated clicks on the largest error; "
            f"{scores.images} frames of {scores.patients} patients; dashed: the target."
        )
        yield Figure(f"clicks-{found.part}", "clicks", draw_clicks(_shown(card, found)), caption)
    drawn: set[str] = set()
    for figure in label_figures(card.label_curves):
        name = f"labels-{figure.metric.replace('/', '-')}"
        name = f"{name}-{figure.unit}" if name in drawn else name
        drawn.add(name)
        yield Figure(name, "labels", draw_label_curves(figure.curves, figure.metric), _label_caption(figure))


def _label_caption(figure: LabelFigure) -> str:
    if any(curve.kind == "probe" for curve in figure.curves):
        said = (
            "Linear probes of encoders that are never changed. Bars: 95 %, of draws of labelled and of judged patients."
        )
    else:
        counts = [point.runs for each in figure.curves for point in each.points]
        runs = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
        said = f"Validation of the training runs, {runs} at each point."
        said += " Bars: 95 % over seeds." if max(counts) > 1 else ""
    return said if higher_is_better(figure.metric) else f"{said} Lower is better; what lies above is drawn at the edge."


def _example_figures(card: BenchmarkCard, folder: Path) -> Iterator[Figure]:
    for part in card.parts:
        examples = [example for example in card.examples if example.part == part.name]
        if examples:
            caption = (
                f"{card.shown_name(part.name)}: the frames with the best, the median and the worst Dice of each "
                "structure, not chosen by hand. White, dashed: true. Orange: written."
            )
            yield Figure(f"examples-{part.name}", "examples", draw_examples_figure(examples, folder), caption)


def write_page(card: BenchmarkCard, figures: Sequence[Figure]) -> str:
    """The text of ``card.html``."""
    style = "".join(style_sheet(name) for name in _STYLES)
    title = escape(f"Benchmark card: {card.title}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{style}</style></head><body><main>"
        f"{_masthead(card)}{_tiles(card)}{_goals_not_met(card)}{_sections(card, figures)}{_notes(card)}"
        "</main></body></html>\n"
    )


def _masthead(card: BenchmarkCard) -> str:
    data = "; ".join(_described(card, part) for part in card.parts)
    return (
        f'<header><p class="kicker">EchoApex {escape(card.echoapex_version)} · suite {card.suite}</p>'
        f"<h1>{escape(card.title)}: 28 sub-tasks of echocardiography</h1>"
        '<p class="subtitle">18 views, 6 structures, 3 wall dimensions and the ejection fraction, measured on '
        f"{data}.</p>"
        f'<p class="notice">{escape(card.notice)}</p></header>'
    )


def _described(card: BenchmarkCard, part: Part) -> str:
    split = f", split {part.split.replace('_', ' ')}" if part.split else ""
    studies = "1 study" if part.studies == 1 else f"{part.studies} studies"
    simulated = "simulated patients, " if part.simulated else ""
    return escape(f"{part.name} ({simulated}{studies}, {part.clips} clips{split})")


def _tiles(card: BenchmarkCard) -> str:
    measured = [row for row in card.subtasks if row.measured]
    simulated = [part.name for part in card.parts if part.simulated]
    where = "on simulated patients alone" if len(simulated) == len(card.parts) else "on one set of data or more"
    missing = "; the others say why not" if len(measured) < len(card.subtasks) else ""
    tiles = [("Sub-tasks", f"{len(measured)}<small> of 28</small>", f"measured {where}{missing}")]
    if card.goals:
        met = f"{sum(goal.met for goal in card.goals)}<small> of {len(card.goals)}</small>"
        drawn = [goal for name in simulated for goal in card.goals_of(name)]
        of_which = f", {sum(goal.met for goal in drawn)} of {len(drawn)} on simulated patients" if drawn else ""
        tiles.append(("Goals met", met, f"this project's own{of_which}"))
    for part in card.parts[:1]:
        tiles += _headlines(card, part)
    cells = "".join(
        f'<div><dt>{name}</dt><dd>{value}</dd><dd class="small">{below}</dd></div>' for name, value, below in tiles
    )
    return f'<dl class="tiles">{cells}</dl>'


def _headlines(card: BenchmarkCard, part: Part) -> Iterator[tuple[str, str, str]]:
    """Headline scores of a part: views, LV cavity, hypertrophy and ejection fraction."""
    rows = {row.key: row.measured for row in card.subtasks}
    views = [each for each in card.overall.get(Application.VIEW_CLASSIFICATION, ()) if each.part == part.name]
    alone = f"; transthoracic alone {number_cell(views[1].score.value, 3)}" if len(views) > 1 else ""
    chosen = [
        ("Views", "balanced accuracy", views[:1]),
        ("LV cavity", "Dice", rows["segmentation/lv_cavity"]),
        ("LV hypertrophy", "AUROC", card.overall.get(Application.LV_WALL, ())),
        ("Ejection fraction", "mean error in points", rows["ejection_fraction/lvef"]),
    ]
    for name, metric, measured in chosen:
        each = next((each for each in measured if each.part == part.name), None)
        if each is not None and each.score.value is not None:
            digits = 1 if each.unit else 3
            interval = each.score.interval
            known = f", {interval_cell(interval, digits)}" if interval and interval[0] < interval[1] else ""
            beside = alone if name == "Views" else ""
            said = f"{metric}{known}{beside}; {card.shown_name(part.name)}"
            yield name, f"{each.score.value:.{digits}f}", escape(said)


def _goals_not_met(card: BenchmarkCard) -> str:
    """The goals that were not met, at the top of the page."""
    rows = [(row.name, each) for row in card.subtasks for each in row.measured]
    rows += [(each.subject, each) for found in card.overall.values() for each in found]
    short = [
        f"{name} on {card.shown_name(each.part)}, {each.metric}{f' by {each.route}' if each.route else ''} "
        f"{number_cell(each.score.value, 2 if each.unit else 3)} "
        f"({'≥' if each.higher_is_better else '≤'} {each.goal.value:g})"
        for name, each in rows
        if each.goal is not None and not each.goal.met
    ]
    short += [
        f"{name} on {card.shown_name(each.part)}, {detail.name} {number_cell(detail.score.value, 3)} "
        f"(≥ {detail.goal.value:g})"
        for name, each in rows
        for detail in each.details
        if detail.goal is not None and not detail.goal.met
    ]
    short += [
        f"{Structure.from_key(key.partition('/')[0]).display_name} on {card.shown_name(each.part)}, "
        f"{_ASKED[key.partition('/')[2]]}"
        for each in card.clicks
        for key, goal in each.goals.items()
        if not goal.met
    ]
    return f'<p class="short"><strong>Goals not met:</strong> {escape("; ".join(short))}.</p>' if short else ""


_ASKED = {"box": "Dice from one box", "clicks": "clicks to 90 %"}


def _sections(card: BenchmarkCard, figures: Sequence[Figure]) -> str:
    numbered = {figure.name: number for number, figure in enumerate(_in_order(figures), start=1)}
    tables = count(1)
    parts = [
        _section("What was scored", _captioned(tables, _PART_CAPTION, part_table(card.parts))),
        _section("The 28 sub-tasks", _captioned(tables, _SUBTASK_CAPTION, subtask_table(card)) + _legend()),
    ]
    for kind, title in _KINDS.items():
        drawn = "".join(_figure(figure, numbered[figure.name]) for figure in figures if figure.kind == kind)
        if drawn:
            below = "".join(_captioned(tables, caption, content) for caption, content in _tables_below(card, kind))
            parts.append(_section(title, f'<div class="figures {kind}">{drawn}</div>{below}'))
    grouped = [
        _captioned(
            tables,
            f"{card.shown_name(found.part)}: patients who share a trait, with 95 % intervals.",
            subgroup_table(found),
        )
        for found in card.subgroups
    ]
    if grouped:
        parts.append(_section("Subgroups", "".join(grouped)))
    parts.append(_section("Not measured", unmeasured_table(card) or "<p>Nothing is missing.</p>"))
    return "".join(parts)


_KINDS = {
    "views": "Views: confusion, and how reliable the probabilities are",
    "agreement": "Agreement with the truth",
    "clicks": "Interactive segmentation",
    "labels": "How many labels it takes",
    "examples": "Examples",
}
_PART_CAPTION = "Data and weights. A page that shows frames of a data set falls under the terms of that data set."
_SUBTASK_CAPTION = "The scores of each sub-task, on every data set that has the truth for it."
_AGREEMENT_CAPTION = "Ejection fraction in percentage points, with 95 % intervals."
_LABEL_CAPTION = (
    "Figures by the number of labels. One start is ahead of another where their 95 % intervals do not touch."
)


def _tables_below(card: BenchmarkCard, kind: str) -> Iterator[tuple[str, str]]:
    """Captions and tables that belong to the figures of one kind."""
    if kind == "agreement":
        yield _AGREEMENT_CAPTION, agreement_table(card)
    if kind == "labels":
        yield _LABEL_CAPTION, label_table(card.label_curves)
    if kind == "clicks":
        for found in card.clicks:
            yield f"{card.shown_name(found.part)}: Dice by kind of prompt, with 95 % intervals.", clicks_table(found)


def _in_order(figures: Sequence[Figure]) -> list[Figure]:
    return [figure for kind in _KINDS for figure in figures if figure.kind == kind]


def _captioned(numbers: Iterator[int], caption: str, content: str) -> str:
    """A table with number and caption above it; empty if there is no table."""
    if not content:
        return ""
    return f'<p class="caption"><strong>Table {next(numbers)}.</strong> {escape(caption)}</p>{content}'


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>"


def _figure(figure: Figure, number: int) -> str:
    caption = f"<strong>Figure {number}.</strong> {escape(figure.caption)}"
    return f"<figure>{figure.svg}<figcaption>{caption}</figcaption></figure>"


def _legend() -> str:
    return (
        '<p class="legend"><span class="key dotkey"></span> value and 95 % interval '
        '<span class="key goalkey"></span> goal of this project '
        '<span class="key ringkey"></span> published on the same data set</p>'
    )


def _notes(card: BenchmarkCard) -> str:
    versions = ", ".join(sorted({part.echoapex_version for part in card.parts}))
    notes = "".join(f"<li>{note}</li>" for note in _NOTES)
    return (
        f'<section class="notes"><h2>How to read this page</h2><ul>{notes}</ul>'
        f"<p>{escape(card.notice)} Scored by EchoApex {escape(versions)}. The same in figures: <code>card.json</code>, "
        f"version {card.card_version}.</p></section>"
    )


_NOTES = (
    "Intervals are 95 % bootstrap intervals; patients are resampled, not clips or frames. An interval marked † is the "
    "exact interval of Clopper and Pearson, in which each patient counts once: all patients have the same value, so "
    "the bootstrap interval has no width. An interval marked * also has no width; read it as <i>not known</i>.",
    "A clip without a view counts as wrong and a labelled frame without a mask has Dice 0. A value that was not "
    "written cannot be averaged; it is counted as missing next to <i>n</i> (+). Distances between outlines are "
    "measured in mm on native pixels, and only if the spacing is known.",
    "A published figure is shown only next to a score on the same data set; its split and protocol may differ. "
    "Goals are this project's own; those on CAMUS are for weights trained on its training split.",
    "The paper that gave EchoApex its name (arXiv 2410.11092) reports balanced accuracy 0.976 over 18 views on "
    "clips that are not public, so it cannot be a target here. It counts 28 sub-tasks, but the text that could be "
    "read does not name them; which 28 they are is this project's choice.",
    "Transthoracic views alone: only the clips of the surface probe, because most archives have no others. A "
    "predicted view of another probe counts as wrong here, too.",
    "Phantoms are simulated patients that no weight was trained on. They show that the whole chain works, not "
    "that it works in a patient.",
)
