"""Figures of the views: which is taken for which, and how sure the calls are."""

from __future__ import annotations

from collections.abc import Sequence

from echoapex.evaluate.card.card_file import PartConfusion, PartReliability
from echoapex.evaluate.card.drawing import Axis, axes, curve, dot, line, svg, text, turned_text
from echoapex.vocabulary import View

_CELL, _LEFT, _TOP = 30, 108, 92
_RELIABILITY_SIDE = 300


def draw_confusion(found: PartConfusion) -> str:
    """The confusion matrix: a row for every true view, shaded by its share of the row, right calls in another colour.

    Empty columns are left out; heavier lines part the probes.
    """
    confusion = found.confusion
    shown = [
        column
        for column, name in enumerate(confusion.columns)
        if name in confusion.rows or any(row[column] for row in confusion.counts)
    ]
    width, height = _LEFT + _CELL * len(shown) + 14, _TOP + _CELL * len(confusion.rows) + 10
    parts = [
        text(_LEFT - 10, _TOP - 8, "true ↓   called →", "small", "end"),
        *_lattice(len(shown), len(confusion.rows)),
        *_between_probes(confusion.rows, [confusion.columns[column] for column in shown]),
    ]
    for place, column in enumerate(shown):
        x = _LEFT + _CELL * (place + 0.5)
        parts.append(turned_text(x + 3, _TOP - 8, view_label(confusion.columns[column]), "", -60))
    for number, (view, counts) in enumerate(zip(confusion.rows, confusion.counts, strict=True)):
        y = _TOP + _CELL * number
        parts.append(text(_LEFT - 10, y + _CELL / 2 + 4, view_label(view.value), "", "end"))
        parts += _row(y, [(counts[column], confusion.columns[column] == view.value) for column in shown])
    return svg(width, height, parts, f"Confusion matrix of the views, {found.part}")


def _lattice(columns: int, rows: int) -> list[str]:
    right, bottom = _LEFT + _CELL * columns, _TOP + _CELL * rows
    across = [line(_LEFT, _TOP + _CELL * row, right, _TOP + _CELL * row, "grid") for row in range(rows + 1)]
    down = [line(_LEFT + _CELL * each, _TOP, _LEFT + _CELL * each, bottom, "grid") for each in range(columns + 1)]
    return across + down


def _between_probes(rows: Sequence[View], columns: Sequence[str]) -> list[str]:
    """Lines where one probe ends and the next begins; calls of no view stand by themselves."""
    right, bottom = _LEFT + _CELL * len(columns), _TOP + _CELL * len(rows)
    probes = [View(name).probe if name in list(View) else None for name in columns]
    down = [_LEFT + _CELL * place for place in range(1, len(probes)) if probes[place] is not probes[place - 1]]
    across = [_TOP + _CELL * place for place in range(1, len(rows)) if rows[place].probe is not rows[place - 1].probe]
    return [line(x, _TOP, x, bottom, "axis") for x in down] + [line(_LEFT, y, right, y, "axis") for y in across]


def _row(y: float, calls: Sequence[tuple[int, bool]]) -> list[str]:
    """Counts of one true view, each with whether the call is right."""
    total = max(sum(count for count, _ in calls), 1)
    parts = []
    for place, (count, right) in enumerate(calls):
        if not count:
            continue
        x, share = _LEFT + _CELL * place, count / total
        shade = 0.12 + 0.88 * share
        style = "rightfill" if right else "wrongfill"
        parts.append(
            f'<rect x="{x + 1}" y="{y + 1}" width="{_CELL - 2}" height="{_CELL - 2}" rx="2" class="{style}" '
            f'fill-opacity="{shade:.2f}"/>'
        )
        parts.append(
            text(x + _CELL / 2, y + _CELL / 2 + 3.5, str(count), f"cell{' inverse' * (shade > 0.5)}", "middle")
        )
    return parts


def draw_reliability(found: PartReliability) -> str:
    """Accuracy by confidence: on the diagonal a call is as often right as it is sure; dots grow with their clips."""
    side = _RELIABILITY_SIDE
    across, up = Axis(0, 1, 58, side + 58), Axis(0, 1, side + 28, 28)
    ticks = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    parts = axes(across, up, ("probability of the called view", "share that is right"), (ticks, ticks))
    parts.append(line(across.place(0), up.place(0), across.place(1), up.place(1), "guide"))
    places = [(across.place(each.confidence), up.place(each.accuracy)) for each in found.bins]
    for each, (x, y) in zip(found.bins, places, strict=True):
        parts.append(line(x, y, x, up.place(each.confidence), "limit"))
    parts.append(curve(places, "s1"))
    most = max(each.cases for each in found.bins)
    for each, (x, y) in zip(found.bins, places, strict=True):
        said = f"{each.cases} clips: probability {each.confidence:.2f}, right {each.accuracy:.2f}"
        parts.append(dot(x, y, 3 + 4 * (each.cases / most) ** 0.5, "f1", said))
        away = 20 if each.accuracy < each.confidence else -11  # on the far side of the diagonal
        parts.append(text(x, y + away, str(each.cases), "tick", "middle"))
    return svg(side + 76, side + 72, parts, f"Reliability of the views, {found.part}")


def view_label(name: str) -> str:
    """A view as short as people write it: ``PSAX AV``."""
    return name.replace("_", " ").replace("SUBCOSTAL", "SUBCOST.").replace("none", "no view")
