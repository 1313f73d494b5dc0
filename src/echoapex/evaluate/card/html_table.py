"""HTML tables of the card, and the text of their cells: values, intervals and goals.

The main table has the 28 sub-tasks: n, value, interval, goal and published figures of each, or why it was not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape

from echoapex.evaluate.card.card_file import (
    BenchmarkCard,
    Detail,
    Goal,
    Measured,
    Part,
    PartClicks,
    PartSubgroups,
    Published,
    SubTaskRow,
)
from echoapex.evaluate.card.figures import Axis, draw_interval, draw_scale, shared_axis
from echoapex.evaluate.metrics_file import Score, SubgroupScores
from echoapex.vocabulary import Application, Structure

_AGREEMENT = ("RMSE", "bias", "R2", "ICC", "AUROC below 50 %", "AUROC below 40 %")

_SUBGROUPS: dict[str, tuple[Callable[[SubgroupScores], Score], int]] = {
    "Views right": (lambda scores: scores.views, 3),
    "Dice, LV cavity": (lambda scores: scores.lv_cavity_dice, 3),
    "Dice, LV myocardium": (lambda scores: scores.lv_myocardium_dice, 3),
    "EF, MAE": (lambda scores: scores.ejection_fraction_mae, 1),
    "EF, bias": (lambda scores: scores.ejection_fraction_bias, 1),
}

_TITLES = {
    Application.VIEW_CLASSIFICATION: ("View classification: recall of each view", "clips"),
    Application.SEGMENTATION: ("Segmentation: Dice of each structure, without a prompt", "outlines"),
    Application.LV_WALL: ("LV walls at end-diastole: mean absolute error in mm", "studies"),
    Application.EJECTION_FRACTION: ("Ejection fraction: mean absolute error in percentage points", "studies"),
}
_HYPERTROPHY = ("LV hypertrophy from the walls, beside the 28: AUROC", "studies")
_NO_HYPERTROPHY = "no data set here has a true LV mass index and a known sex with and without hypertrophy"
_COLUMNS = 8
_SHORT = ("R2", "bias")
"""Details that are shown below the error of the ejection fraction; the others have a separate table."""


def subtask_table(card: BenchmarkCard) -> str:
    """The 28 sub-tasks by application, with a row for every measurement."""
    heads = ("", "Sub-task", "Data", "n", "Value", "95 % interval", "", "Goal · published")
    body = ""
    for application in Application:
        rows = [_with_shown_names(card, row) for row in card.subtasks if row.application is application]
        overall = [_with_shown_name(card, each) for each in card.overall.get(application, ())]
        if application is Application.LV_WALL:  # hypertrophy is a share, not in mm, so it has its own scale
            body += _group(_TITLES[application], (), rows) + _group(_HYPERTROPHY, overall, (), _NO_HYPERTROPHY)
        else:
            body += _group(_TITLES[application], overall, rows)
    return f'<div class="wide"><table class="subtasks"><thead>{head_row(heads)}</thead>{body}</table></div>'


def agreement_table(card: BenchmarkCard) -> str:
    """All scores of the ejection fraction, with a row for each part and method."""
    rows = []
    for each in next(row for row in card.subtasks if row.application is Application.EJECTION_FRACTION).measured:
        of = {detail.name: detail for detail in each.details}
        cells = [score_cell(of[name].score, 1 if of[name].unit else 3) if name in of else "–" for name in _AGREEMENT]
        name = escape(card.shown_name(each.part))
        rows.append((name, escape(each.route), str(each.score.n), score_cell(each.score, 1), *cells))
    return table("agreement", ("Data", "Ejection fraction by", "n", "MAE", *_AGREEMENT), rows) if rows else ""


def part_table(parts: Sequence[Part]) -> str:
    """The scored parts: data, licence and weights."""
    heads = ("Data", "Split", "Studies", "Clips", "Ejection fraction", "Weights, sha256")
    rows = []
    for part in parts:
        weights = "<br>".join(f"{escape(name)} <code>{digest[:12]}</code>" for name, digest in part.bundles.items())
        without = f" ({part.studies_without_results} without results)" if part.studies_without_results else ""
        route = f"{part.ejection_fraction_method.display_name}, against {part.ejection_fraction_reference or '–'}"
        terms = "".join(
            f'<span class="interval">{escape(said)}</span>' for said in (part.licence, part.citation) if said
        )
        patients = '<span class="interval">simulated patients</span>' if part.simulated else ""
        dataset = "" if part.dataset == part.name else f" ({escape(part.dataset)})"
        cells = (
            f"<strong>{escape(part.name)}</strong>{dataset}{patients}{terms}", escape(part.split or "all"),
            f"{part.studies}{without}", str(part.clips), escape(route), weights or "not named",
        )  # fmt: skip
        rows.append(cells)
    return table("parts", heads, rows)


def clicks_table(found: PartClicks) -> str:
    """Dice by kind of prompt, and the number of clicks to the target Dice."""
    scores = found.scores
    target = f"{100 * scores.protocol.target_dice:.0f} %"
    start = "Name + " if scores.overall.from_name.curve else ""
    after_clicks = [f"{start}{count}" for count in ("1 click", "3 clicks", "5 clicks")]
    heads = ("Structure", "n", "Name", "Box", *after_clicks, f"Clicks to {target}", "Never", "Goals")
    rows = []
    for structure in Structure:
        each = scores.of(structure)
        if not each.box.n:
            continue
        best = each.from_name if each.from_name.curve else each.from_nothing
        after = [_value(best.dice[count], 3) if count in best.dice else "–" for count in (1, 3, 5)]
        asked = ((kind, found.goals.get(f"{structure.key}/{kind}"), kind == "box") for kind in ("box", "clicks"))
        goals = [
            f"{kind} {goal_text(goal, higher_is_better=higher)}" for kind, goal, higher in asked if goal is not None
        ]
        rows.append(
            (
                structure.display_name, str(each.box.n), _value(each.name, 3), score_cell(each.box, 3), *after,
                score_cell(best.noc, 1), _value(best.never, 2), "<br>".join(goals),
            )
        )  # fmt: skip
    return table("clicks", heads, rows)


def subgroup_table(found: PartSubgroups) -> str:
    """Headline scores of patients who share a trait; columns without content are left out."""
    every = [scores for values in found.traits.values() for scores in values.values()]
    columns = {
        head: (score_of, digits)
        for head, (score_of, digits) in _SUBGROUPS.items()
        if any(score_of(scores).value is not None for scores in every)
    }
    rows = []
    for trait, values in found.traits.items():
        for number, (value, scores) in enumerate(sorted(values.items(), key=_low_first)):
            cells = (score_cell(score_of(scores), digits) for score_of, digits in columns.values())
            rows.append((escape(trait) if number == 0 else "", escape(value), str(scores.patients), *cells))
    return table("subgroups", ("Trait", "", "Patients", *columns), rows)


def unmeasured_table(card: BenchmarkCard) -> str:
    """What each part does not measure, and why; sub-tasks with the same reason share a row. Empty if there are none."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for row in card.subtasks:
        for each in row.not_measured:
            grouped.setdefault((each.part, each.reason), []).append(f"{row.number}")
    rows = [
        (escape(card.shown_name(part)), ", ".join(_ranges([int(number) for number in numbers])), escape(reason))
        for (part, reason), numbers in grouped.items()
    ]
    rows += [(escape(card.shown_name(part.name)), "data", escape(note)) for part in card.parts for note in part.notes]
    rows += [
        (escape(card.shown_name(each.part)) or "all", f"figure: {each.what}", escape(each.reason))
        for each in card.absent
    ]
    return table("unmeasured", ("Data", "Sub-tasks", "Why not"), rows) if rows else ""


def table(style: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls sideways if there is not enough room."""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table class="{style}"><thead>{head_row(heads)}</thead><tbody>{body}</tbody></table></div>'
    )


def head_row(heads: Iterable[str]) -> str:
    """The row of column names."""
    cells = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return f"<tr>{cells}</tr>"


def number_cell(value: float | None, digits: int) -> str:
    """A number with a typographic minus sign.

    >>> number_cell(-0.25, 1), number_cell(None, 1)
    ('−0.2', '–')
    """
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def interval_cell(interval: tuple[float, float] | None, digits: int, mark: str = "") -> str:
    """Both ends of an interval; ``*`` is added to an interval without width, ``mark`` to any interval.

    >>> interval_cell((0.5, 1.0), 2), interval_cell((1.0, 1.0), 1), interval_cell((0.7, 1.0), 1, "†")
    ('0.50 to 1.00', '1.0 to 1.0*', '0.7 to 1.0†')
    """
    if interval is None:
        return "–"
    low, high = interval
    return " to ".join(number_cell(end, digits) for end in (low, high)) + (mark or "*" * (low == high))


def score_cell(score: Score, digits: int) -> str:
    """A value, with its interval in smaller letters."""
    if score.value is None:
        return "–"
    interval = f' <span class="interval">{interval_cell(score.interval, digits)}</span>' if score.interval else ""
    return f"{number_cell(score.value, digits)}{interval}"


def goal_text(goal: Goal, *, higher_is_better: bool) -> str:
    """A goal, and whether it was met."""
    mark = '<span class="met">✓ met</span>' if goal.met else '<span class="unmet">✗ not met</span>'
    return f"{'≥' if higher_is_better else '≤'} {goal.value:g} {mark}"


def _with_shown_names(card: BenchmarkCard, row: SubTaskRow) -> SubTaskRow:
    """The same row, with the names of its parts as on the page."""
    measured = tuple(_with_shown_name(card, each) for each in row.measured)
    why_not = tuple(each.model_copy(update={"part": card.shown_name(each.part)}) for each in row.not_measured)
    return row.model_copy(update={"measured": measured, "not_measured": why_not})


def _with_shown_name(card: BenchmarkCard, each: Measured) -> Measured:
    return each.model_copy(update={"part": card.shown_name(each.part)})


def _group(title: tuple[str, str], overall: Sequence[Measured], rows: Sequence[SubTaskRow], why_not: str = "") -> str:
    """A group of rows with a common scale; ``why_not`` is shown if there are none."""
    measured = [*overall, *(each for row in rows for each in row.measured)]
    axis = shared_axis(measured)
    scale = draw_scale(axis) if measured else ""
    name, counted = map(escape, title)
    lines = [
        f'<tr class="application"><th colspan="6" scope="rowgroup">{name} <span class="counted">n: {counted}</span>'
        f'</th><td class="scale">{scale}</td><td class="against"></td></tr>'
    ]
    for each in overall:
        subject = escape(f"{each.subject}, {each.metric}")
        cells = _measured_cells(each, axis)
        lines.append(f'<tr class="overall"><td class="order"></td><th scope="row">{subject}</th>{cells}</tr>')
        lines += _detail_row(each)
    for row in rows:
        lines += _subtask(row, axis)
    if not measured and not rows:
        said = f"<em>not measured</em>: {escape(why_not)}"
        lines.append(f'<tr class="unmeasured"><td class="order"></td><td colspan="{_COLUMNS - 1}">{said}</td></tr>')
    return f"<tbody>{''.join(lines)}</tbody>"


def _measured_cells(each: Measured, axis: Axis) -> str:
    digits = 2 if each.unit else 3
    # for shares n includes the missing cases; for errors it does not
    beside = "" if each.higher_is_better else "+"
    missing = f'<span class="missing">{beside}{each.score.missing} missing</span>' if each.score.missing else ""
    interval = interval_cell(each.shown_interval, digits, "†" if each.exact_interval else "")
    return (
        f'<td class="data">{escape(each.part)}</td>'
        f'<td class="n">{each.score.n}{missing}</td>'
        f'<td class="value">{number_cell(each.score.value, digits)}</td>'
        f'<td class="ends">{interval}</td>'
        f'<td class="scale">{draw_interval(each, axis)}</td>'
        f'<td class="against">{_against(each, digits)}</td>'
    )


def _against(each: Measured, digits: int) -> str:
    goal = [] if each.goal is None else [goal_text(each.goal, higher_is_better=each.higher_is_better)]
    return "<br>".join([*goal, *_published(each.published, digits)])


def _published(published: Sequence[Published], digits: int) -> Iterator[str]:
    for source in dict.fromkeys(found.source for found in published):
        values = ", ".join(
            f"{found.value:.{digits}f}{f' {escape(found.of)}' if found.of else ''}"
            for found in published
            if found.source == source
        )
        yield f'<span class="published">{escape(source)}: {values}</span>'


def _detail_row(each: Measured) -> Iterator[str]:
    """A row with the details of a value, in small letters."""
    said = [_detail_text(detail) for detail in each.details if not each.route or detail.name in _SHORT]
    said += [f"<em>{escape(note)}</em>" for note in each.notes]
    if each.route:
        said.insert(0, escape(each.route))
    if said:
        text = " · ".join(said)
        yield f'<tr class="details"><td class="order"></td><td></td><td colspan="{_COLUMNS - 2}">{text}</td></tr>'


def _detail_text(detail: Detail) -> str:
    """A detail as text: ``HD95 5.9 mm (5.4 to 6.4)``."""
    digits = 1 if detail.unit else 3
    interval = f" ({interval_cell(detail.score.interval, digits)})" if detail.score.interval else ""
    unit = f" {escape(detail.unit)}" if detail.unit else ""
    goal = f", goal {goal_text(detail.goal, higher_is_better=True)}" if detail.goal else ""
    published = "".join(f", published by {said}" for said in _published(detail.published, digits))
    return f"{escape(detail.name)} {number_cell(detail.score.value, digits)}{unit}{interval}{goal}{published}"


def _subtask(row: SubTaskRow, axis: Axis) -> Iterator[str]:
    name = f'<td class="number">{row.number}</td><th scope="row">{escape(row.name)}</th>'
    if not row.measured:
        reasons = "; ".join(f"{each.part}: {each.reason}" for each in row.not_measured)
        said = f"<em>not measured</em>: {escape(reasons)}"
        yield f'<tr class="unmeasured">{name}<td class="why" colspan="{_COLUMNS - 2}">{said}</td></tr>'
        return
    for place, each in enumerate(row.measured):
        first = name if place == 0 else '<td class="order"></td><td class="again"></td>'
        yield f"<tr>{first}{_measured_cells(each, axis)}</tr>"
        yield from _detail_row(each)


def _value(score: Score, digits: int) -> str:
    """A value without its interval."""
    return number_cell(score.value, digits)


def _low_first(entry: tuple[str, object]) -> tuple[bool, str]:
    return not entry[0].startswith("below"), entry[0]


def _ranges(numbers: Sequence[int]) -> Iterator[str]:
    start = previous = numbers[0]
    for number in [*numbers[1:], -1]:
        if number == previous + 1:
            previous = number
            continue
        yield f"{start}" if start == previous else f"{start}–{previous}"
        start = previous = number
