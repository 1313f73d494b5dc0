"""The tables of the page, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from echoapex.evaluate.card.card_file import (
    BenchmarkCard,
    Detail,
    Goal,
    Measured,
    Part,
    PartClicks,
    PartSubgroups,
    SubTaskRow,
)
from echoapex.evaluate.card.drawing import Axis
from echoapex.evaluate.card.interval_figure import draw_interval, draw_scale, shared_axis
from echoapex.evaluate.metrics_file import Score
from echoapex.vocabulary import Application, Structure

_APPLICATIONS = {
    Application.VIEW_CLASSIFICATION: "View classification: recall of each view",
    Application.SEGMENTATION: "Segmentation: Dice of each structure, automatic",
    Application.LV_WALL: "LV walls at end-diastole: mean absolute error in mm",
    Application.EJECTION_FRACTION: "Ejection fraction: mean absolute error in percentage points",
}
_COLUMNS = 8


def subtask_table(card: BenchmarkCard) -> str:
    """The 28 sub-tasks, by application, every measurement on a line of its own."""
    heads = ("", "Sub-task", "Data", "n", "Value", "95 % interval", "", "Goal · published")
    body = "".join(_application(card, application) for application in Application)
    return f'<table class="subtasks"><thead>{_head_row(heads)}</thead>{body}</table>'


def _application(card: BenchmarkCard, application: Application) -> str:
    rows = [row for row in card.subtasks if row.application is application]
    overall = card.overall.get(application, ())
    measured = [*overall, *(each for row in rows for each in row.measured)]
    axis = shared_axis(measured)
    scale = draw_scale(axis) if measured else ""
    title = escape(_APPLICATIONS[application])
    head = f'<tr class="application"><th colspan="6" scope="rowgroup">{title}</th><td class="scale">'
    lines = [f"{head}{scale}</td><td></td></tr>"]
    for each in overall:
        name = f"All views, {each.metric}"
        lines.append(f'<tr class="overall"><td></td><th scope="row">{name}</th>{_measured_cells(each, axis)}</tr>')
        lines += _detail_row(each)
    for row in rows:
        lines += _subtask(row, axis)
    return f"<tbody>{''.join(lines)}</tbody>"


def _subtask(row: SubTaskRow, axis: Axis) -> Iterator[str]:
    name = f'<td class="number">{row.number}</td><th scope="row">{escape(row.name)}</th>'
    if not row.measured:
        reasons = "; ".join(f"{each.part}: {each.reason}" for each in row.not_measured)
        said = f"<em>not measured</em>: {escape(reasons)}"
        yield f'<tr class="unmeasured">{name}<td colspan="{_COLUMNS - 2}">{said}</td></tr>'
        return
    for number, each in enumerate(row.measured):
        first = name if number == 0 else "<td></td><td></td>"
        yield f"<tr>{first}{_measured_cells(each, axis)}</tr>"
        yield from _detail_row(each)


def _measured_cells(each: Measured, axis: Axis) -> str:
    digits = 2 if each.unit else 3
    # of shares the missing are among the n; of errors they are beside it
    beside = "" if each.higher_is_better else "+"
    missing = f'<span class="missing">{beside}{each.score.missing} missing</span>' if each.score.missing else ""
    return (
        f"<td>{escape(each.part)}</td>"
        f'<td class="n">{each.score.n}{missing}</td>'
        f'<td class="value">{_value(each.score, digits)}</td>'
        f'<td class="n">{_interval(each.score, digits)}</td>'
        f'<td class="scale">{draw_interval(each, axis)}</td>'
        f'<td class="against">{_against(each, digits)}</td>'
    )


def _against(each: Measured, digits: int) -> str:
    said = []
    if each.goal is not None:
        said.append(_goal_text(each.goal, each.higher_is_better))
    for source in dict.fromkeys(found.source for found in each.published):
        values = ", ".join(
            f"{found.value:.{digits}f}{f' {escape(found.of)}' if found.of else ''}"
            for found in each.published
            if found.source == source
        )
        said.append(f'<span class="published">{escape(source)}: {values}</span>')
    return "<br>".join(said)


def _detail_row(each: Measured) -> Iterator[str]:
    """What is beside a value, in small letters; all that there is of the ejection fraction has a table of its own."""
    said = [_detail_text(detail) for detail in each.details if not each.route or detail.name in _SHORT]
    if each.route:
        said.insert(0, escape(each.route))
    if said:
        yield f'<tr class="details"><td></td><td></td><td colspan="{_COLUMNS - 2}">{" · ".join(said)}</td></tr>'


_SHORT = ("R2", "bias")


def _detail_text(detail: Detail) -> str:
    """A score in a line of text: ``HD95 5.9 mm (5.4 to 6.4)``."""
    digits = 1 if detail.unit else 3
    interval = f" ({_interval(detail.score, digits)})" if detail.score.interval else ""
    unit = f" {detail.unit}" if detail.unit else ""
    goal = f", goal {_goal_text(detail.goal, True)}" if detail.goal else ""
    return f"{escape(detail.name)} {_value(detail.score, digits)}{unit}{interval}{goal}"


def _goal_text(goal: Goal, higher_is_better: bool) -> str:
    mark = '<span class="met">✓ met</span>' if goal.met else '<span class="unmet">✗ not met</span>'
    return f"{'≥' if higher_is_better else '≤'} {goal.value:g} {mark}"


def agreement_table(card: BenchmarkCard) -> str:
    """Everything that was scored of the ejection fraction, a line for each part and route."""
    rows = []
    for each in next(row for row in card.subtasks if row.application is Application.EJECTION_FRACTION).measured:
        of = {detail.name: detail for detail in each.details}
        cells = [
            _with_interval(of[name].score, 1 if of[name].unit else 3) if name in of else "–" for name in _AGREEMENT
        ]
        rows.append((escape(each.part), escape(each.route), str(each.score.n), _with_interval(each.score, 1), *cells))
    return _table("agreement", ("Data", "Ejection fraction by", "n", "MAE", *_AGREEMENT), rows) if rows else ""


_AGREEMENT = ("RMSE", "bias", "R2", "ICC", "AUROC below 50 %", "AUROC below 40 %")


def part_table(parts: Sequence[Part]) -> str:
    """What was scored, and by which weights."""
    heads = ("Data", "Set", "Split", "Studies", "Clips", "Ejection fraction", "Weights")
    rows = []
    for part in parts:
        weights = "<br>".join(f"{escape(name)} <code>{digest[:12]}</code>" for name, digest in part.bundles.items())
        without = f" ({part.studies_without_results} without results)" if part.studies_without_results else ""
        route = f"{part.ejection_fraction_method.display_name}, against {part.ejection_fraction_reference}"
        cells = (
            f"<strong>{escape(part.name)}</strong>", escape(part.dataset), escape(part.split or "all"),
            f"{part.studies}{without}", str(part.clips), escape(route), weights or "not named",
        )  # fmt: skip
        rows.append(cells)
    return _table("parts", heads, rows)


def clicks_table(found: PartClicks) -> str:
    """Dice by kind of prompt, and the clicks that 90 % take."""
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
        goals = [f"{kind} {_goal_text(goal, higher)}" for kind, goal, higher in asked if goal is not None]
        rows.append(
            (
                structure.display_name, str(each.box.n), _value(each.name, 3), _with_interval(each.box, 3), *after,
                _with_interval(best.noc, 1), _value(best.never, 2), "<br>".join(goals),
            )
        )  # fmt: skip
    return _table("clicks", heads, rows)


def subgroup_table(found: PartSubgroups) -> str:
    """Headline scores of the patients who share a trait."""
    heads = ("Trait", "", "Patients", "Views right", "Dice, LV cavity", "Dice, LV myocardium", "EF, MAE", "EF, bias")
    rows = []
    for trait, values in found.traits.items():
        for number, (value, scores) in enumerate(sorted(values.items(), key=_low_first)):
            rows.append(
                (
                    escape(trait) if number == 0 else "", escape(value), str(scores.patients),
                    _with_interval(scores.views, 3), _with_interval(scores.lv_cavity_dice, 3),
                    _with_interval(scores.lv_myocardium_dice, 3), _with_interval(scores.ejection_fraction_mae, 1),
                    _with_interval(scores.ejection_fraction_bias, 1),
                )
            )  # fmt: skip
    return _table("subgroups", heads, rows)


def _low_first(entry: tuple[str, object]) -> tuple[bool, str]:
    return not entry[0].startswith("below"), entry[0]


def unmeasured_table(card: BenchmarkCard) -> str:
    """What each part does not measure, and why, sub-tasks with the same reason together; "" where there is nothing."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for row in card.subtasks:
        for each in row.not_measured:
            grouped.setdefault((each.part, each.reason), []).append(f"{row.number}")
    rows = [
        (escape(part), ", ".join(_ranges([int(number) for number in numbers])), escape(reason))
        for (part, reason), numbers in grouped.items()
    ]
    rows += [(escape(each.part) or "all", f"figure: {each.what}", escape(each.reason)) for each in card.absent]
    return _table("unmeasured", ("Data", "Sub-tasks", "Why not"), rows) if rows else ""


def _ranges(numbers: Sequence[int]) -> Iterator[str]:
    start = previous = numbers[0]
    for number in [*numbers[1:], -1]:
        if number == previous + 1:
            previous = number
            continue
        yield f"{start}" if start == previous else f"{start}–{previous}"
        start = previous = number


def _value(score: Score, digits: int) -> str:
    return "–" if score.value is None else f"{score.value:.{digits}f}".replace("-", "−")


def _interval(score: Score, digits: int) -> str:
    if score.interval is None:
        return "–"
    low, high = score.interval
    same = "*" if low == high else ""
    return " to ".join(f"{end:.{digits}f}".replace("-", "−") for end in (low, high)) + same


def _with_interval(score: Score, digits: int) -> str:
    if score.value is None:
        return "–"
    interval = f' <span class="interval">{_interval(score, digits)}</span>' if score.interval else ""
    return f"{_value(score, digits)}{interval}"


def _head_row(heads: Iterable[str]) -> str:
    cells = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return f"<tr>{cells}</tr>"


def _table(style: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table class="{style}"><thead>{_head_row(heads)}</thead><tbody>{body}</tbody></table></div>'
    )
