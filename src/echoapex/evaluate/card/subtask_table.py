"""The table of the 28 sub-tasks: n, value, interval, goal and published figures of each, or why it was not measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from echoapex.evaluate.card.card_file import BenchmarkCard, Detail, Measured, Published, SubTaskRow
from echoapex.evaluate.card.cells import goal_text, head_row, interval_cell, number_cell
from echoapex.evaluate.card.drawing import Axis
from echoapex.evaluate.card.interval_figure import draw_interval, draw_scale, shared_axis
from echoapex.vocabulary import Application

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
"""What of the ejection fraction stands below its error; the rest has a table of its own."""


def subtask_table(card: BenchmarkCard) -> str:
    """The 28 sub-tasks, by application, every measurement on a line of its own."""
    heads = ("", "Sub-task", "Data", "n", "Value", "95 % interval", "", "Goal · published")
    body = ""
    for application in Application:
        rows = [_with_shown_names(card, row) for row in card.subtasks if row.application is application]
        overall = [_with_shown_name(card, each) for each in card.overall.get(application, ())]
        if application is Application.LV_WALL:  # hypertrophy is a share, not millimetres: a scale of its own
            body += _group(_TITLES[application], (), rows) + _group(_HYPERTROPHY, overall, (), _NO_HYPERTROPHY)
        else:
            body += _group(_TITLES[application], overall, rows)
    return f'<div class="wide"><table class="subtasks"><thead>{head_row(heads)}</thead>{body}</table></div>'


def _with_shown_name(card: BenchmarkCard, each: Measured) -> Measured:
    return each.model_copy(update={"part": card.shown_name(each.part)})


def _with_shown_names(card: BenchmarkCard, row: SubTaskRow) -> SubTaskRow:
    """The same row, its parts named as the page writes them."""
    measured = tuple(_with_shown_name(card, each) for each in row.measured)
    why_not = tuple(each.model_copy(update={"part": card.shown_name(each.part)}) for each in row.not_measured)
    return row.model_copy(update={"measured": measured, "not_measured": why_not})


def _group(title: tuple[str, str], overall: Sequence[Measured], rows: Sequence[SubTaskRow], why_not: str = "") -> str:
    """Rows that share a scale; ``why_not`` says why there is none."""
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


def _measured_cells(each: Measured, axis: Axis) -> str:
    digits = 2 if each.unit else 3
    # of shares the missing are among the n; of errors they are beside it
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
    """What is beside a value, in small letters."""
    said = [_detail_text(detail) for detail in each.details if not each.route or detail.name in _SHORT]
    said += [f"<em>{escape(note)}</em>" for note in each.notes]
    if each.route:
        said.insert(0, escape(each.route))
    if said:
        text = " · ".join(said)
        yield f'<tr class="details"><td class="order"></td><td></td><td colspan="{_COLUMNS - 2}">{text}</td></tr>'


def _detail_text(detail: Detail) -> str:
    """A score in a line of text: ``HD95 5.9 mm (5.4 to 6.4)``."""
    digits = 1 if detail.unit else 3
    interval = f" ({interval_cell(detail.score.interval, digits)})" if detail.score.interval else ""
    unit = f" {escape(detail.unit)}" if detail.unit else ""
    goal = f", goal {goal_text(detail.goal, higher_is_better=True)}" if detail.goal else ""
    published = "".join(f", published by {said}" for said in _published(detail.published, digits))
    return f"{escape(detail.name)} {number_cell(detail.score.value, digits)}{unit}{interval}{goal}{published}"
