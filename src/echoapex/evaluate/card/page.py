"""The page of the card: one HTML file that holds everything it shows; no network, no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from echoapex.evaluate.card.agreement_figure import draw_agreement
from echoapex.evaluate.card.card_file import BenchmarkCard, Measured, Part
from echoapex.evaluate.card.curve_figures import draw_clicks, draw_label_curves
from echoapex.evaluate.card.drawing import style_sheet
from echoapex.evaluate.card.example_figure import draw_examples_figure
from echoapex.evaluate.card.tables import (
    agreement_table,
    clicks_table,
    part_table,
    subgroup_table,
    subtask_table,
    unmeasured_table,
)
from echoapex.evaluate.card.views_figures import draw_confusion, draw_reliability

_STYLES = ("colours.css", "figure.css", "page.css")


@dataclass(frozen=True)
class Figure:
    """One figure: its file name without ending, its kind (a section of the page), the SVG, and what it shows."""

    name: str
    kind: str
    svg: str
    caption: str


def draw_figures(card: BenchmarkCard, folder: Path) -> list[Figure]:
    """All figures of a card.

    Args:
        card: the content.
        folder: where the pictures of its examples lie.

    Raises:
        CardError: a picture is gone.
    """
    return [*_view_figures(card), *_value_figures(card), *_curve_figures(card), *_example_figures(card, folder)]


def _view_figures(card: BenchmarkCard) -> Iterator[Figure]:
    for found in card.confusions:
        caption = (
            f"Views of {found.part}: clips by true view (row) and called view (column), shaded by share of the row."
        )
        yield Figure(f"confusion-{found.part}", "views", draw_confusion(found), caption)
    for each in card.reliabilities:
        error = each.error.value
        summed = f" Expected calibration error {error:.3f}." if error is not None else ""
        caption = (
            f"Reliability of the views, {each.part}: clips in bins of the called view's probability; numbers count "
            f"clips.{summed}"
        )
        yield Figure(f"reliability-{each.part}", "views", draw_reliability(each), caption)


def _value_figures(card: BenchmarkCard) -> Iterator[Figure]:
    for found in card.agreements:
        low, high = f"{found.lower:.1f}", f"{found.upper:.1f}"
        caption = (
            f"{found.part}, {len(found.pairs)} studies: bias {found.bias:.1f} {found.unit}, limits of agreement "
            f"{low} to {high}."
        ).replace("-", "−")
        yield Figure(f"agreement-{found.part}-{found.quantity}", "agreement", draw_agreement(found), caption)


def _curve_figures(card: BenchmarkCard) -> Iterator[Figure]:
    for found in card.clicks:
        scores = found.scores
        caption = (
            f"{found.part}: mean Dice after 0, 1, 2, … simulated clicks on the largest error; {scores.images} frames "
            f"of {scores.patients} patients; dashed: the target."
        )
        yield Figure(f"clicks-{found.part}", "clicks", draw_clicks(found), caption)
    metrics = dict.fromkeys(name for each in card.label_curves for point in each.points for name in point.scores)
    for metric in metrics:
        curves = [each for each in card.label_curves if any(metric in point.scores for point in each.points)]
        counts = [point.runs for each in curves for point in each.points]
        runs = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
        caption = f"Validation of the training runs, {runs} at each point."
        caption += " Bars: 95 % over seeds." if max(counts) > 1 else ""
        safe = metric.replace("/", "-")
        yield Figure(f"labels-{safe}", "labels", draw_label_curves(curves, metric), caption)


def _example_figures(card: BenchmarkCard, folder: Path) -> Iterator[Figure]:
    for part in card.parts:
        examples = [example for example in card.examples if example.part == part.name]
        if examples:
            caption = (
                f"{part.name}: the frames with the best, the median and the worst Dice of each structure, not "
                "chosen by hand. White, dashed: true. Orange: written."
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
        f"{_masthead(card)}{_tiles(card)}{_sections(card, figures)}{_notes(card)}"
        "</main></body></html>\n"
    )


def _masthead(card: BenchmarkCard) -> str:
    data = ", ".join(escape(part.name) for part in card.parts)
    return (
        f'<header><p class="kicker">EchoApex {escape(card.echoapex_version)} · suite {card.suite}</p>'
        f"<h1>{escape(card.title)}: 28 sub-tasks of echocardiography</h1>"
        f'<p class="subtitle">18 views, 6 structures, 3 wall dimensions, ejection fraction; measured on {data}.</p>'
        f'<p class="notice">{escape(card.notice)}</p></header>'
    )


def _tiles(card: BenchmarkCard) -> str:
    measured = [row for row in card.subtasks if row.measured]
    goals = card.goals
    tiles = [("sub-tasks measured", f"{len(measured)}<small> of 28</small>", "")]
    if goals:
        tiles.append(("goals met", f"{sum(goal.met for goal in goals)}<small> of {len(goals)}</small>", ""))
    for part in card.parts[:1]:
        tiles += _headlines(card, part)
    cells = "".join(
        f'<div><dt>{name}</dt><dd>{value}</dd><dd class="small">{below}</dd></div>' for name, value, below in tiles
    )
    return f'<dl class="tiles">{cells}</dl>'


def _headlines(card: BenchmarkCard, part: Part) -> Iterator[tuple[str, str, str]]:
    """Up to three figures of a part."""
    chosen: list[tuple[str, Measured | None]] = [
        ("views, balanced accuracy", next((e for o in card.overall.values() for e in o if e.part == part.name), None))
    ]
    for name, key in (("LV cavity, Dice", "segmentation/lv_cavity"), ("EF, MAE in points", "ejection_fraction/lvef")):
        row = next(row for row in card.subtasks if row.key == key)
        chosen.append((name, next((each for each in row.measured if each.part == part.name), None)))
    for name, each in chosen:
        if each is not None and each.score.value is not None:
            digits = 1 if each.unit else 3
            interval = each.score.interval
            below = f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}, {part.name}" if interval else part.name
            yield name, f"{each.score.value:.{digits}f}", escape(below)


def _sections(card: BenchmarkCard, figures: Sequence[Figure]) -> str:
    numbered = {figure.name: number for number, figure in enumerate(_in_order(figures), start=1)}
    parts = [
        _section("What was scored", part_table(card.parts)),
        _section("The 28 sub-tasks", f'<div class="wide">{subtask_table(card)}</div>{_legend()}'),
    ]
    for kind, title in _KINDS.items():
        chosen = [figure for figure in figures if figure.kind == kind]
        if chosen:
            drawn = "".join(_figure(figure, numbered[figure.name]) for figure in chosen)
            tables = "".join(_click_tables(card)) if kind == "clicks" else ""
            tables += agreement_table(card) if kind == "agreement" else ""
            parts.append(_section(title, f'<div class="figures {kind}">{drawn}</div>{tables}'))
    for found in card.subgroups:
        parts.append(_section(f"Subgroups, {escape(found.part)}", subgroup_table(found)))
    parts.append(_section("Not measured", unmeasured_table(card) or "<p>Nothing is missing.</p>"))
    return "".join(parts)


_KINDS = {
    "views": "Views: what is taken for what, and how far probabilities can be trusted",
    "agreement": "Agreement with the truth",
    "clicks": "Interactive segmentation",
    "labels": "How many labels it takes",
    "examples": "Examples",
}


def _in_order(figures: Sequence[Figure]) -> list[Figure]:
    return [figure for kind in _KINDS for figure in figures if figure.kind == kind]


def _click_tables(card: BenchmarkCard) -> Iterator[str]:
    for found in card.clicks:
        yield f"<h3>{escape(found.part)}</h3>{clicks_table(found)}"


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
    "Intervals are 95 % bootstrap intervals; patients are resampled, not clips or frames. One marked * has no width, "
    "because no patient differs from another: of <i>n</i> independent clips that are all right, the true share may "
    "still be as low as about 1 − 3/<i>n</i>.",
    "A clip without a view counts as wrong and a labelled frame without a mask has Dice 0. A value that was not "
    "written cannot be averaged; it is counted as missing beside <i>n</i> (+).",
    "A published figure stands only beside a figure on the same data set; its split and protocol may be others. "
    "Goals are this project's own; those on CAMUS are for weights trained on its training split.",
    "The paper that gave EchoApex its name (arXiv 2410.11092) reports balanced accuracy 0.976 over 18 views on "
    "clips that nobody else has, so it is no yardstick here. It counts 28 sub-tasks without naming them in what "
    "could be read of it; which 28 they are is this project's choice.",
    "Phantoms are simulated patients that no weight was trained on. They show that the whole chain works, not "
    "that it works in a patient.",
)
