"""The intervals of a table as a column of its own: value, 95 % interval, goal and published figures on one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

from echoapex.evaluate.card.card_file import Measured
from echoapex.evaluate.card.drawing import Axis, dot, line, number_text, round_step, svg, text

WIDTH, _HEIGHT = 190, 22
_MARGIN = 14


def shared_axis(rows: Sequence[Measured]) -> Axis:
    """One scale for all rows of a table: shares end at 1, errors begin at 0."""
    known = [
        end
        for row in rows
        for end in (row.score.value, *(row.shown_interval or ()), row.goal.value if row.goal else None)
        if end is not None
    ]
    known += [each.value for row in rows for each in row.published]
    if not known:
        return Axis(0, 1, _MARGIN, WIDTH - _MARGIN)
    if rows[0].unit:
        most = max(known) or 1.0
        step = round_step(most / 4)
        return Axis(0, step * math.ceil(most / step), _MARGIN, WIDTH - _MARGIN)
    low = math.floor(min(known) * 10 - 1e-9) / 10
    return Axis(max(0.0, min(low, 0.8)), 1, _MARGIN, WIDTH - _MARGIN)


def draw_scale(axis: Axis) -> str:
    """The head of the column: the ticks of the scale."""
    ticks = axis.ticks(4)
    parts = [line(axis.start, 17.5, axis.end, 17.5, "axis")]
    for value in ticks:
        x = axis.place(value)
        parts += [line(x, 14, x, 17.5, "axis"), text(x, 10, number_text(value), "tick", "middle")]
    return svg(WIDTH, 20, parts, "scale")


def draw_interval(row: Measured, axis: Axis) -> str:
    """One row: a dot for the value, a line for its interval, a bar for the goal, rings for published figures."""
    y = _HEIGHT / 2
    parts = [line(axis.place(value), 0, axis.place(value), _HEIGHT, "grid") for value in axis.ticks(4)]
    parts += [dot(axis.place(each.value), y, 3.4, "published", each.source) for each in row.published]
    if row.goal is not None:
        parts.append(line(axis.place(row.goal.value), 3, axis.place(row.goal.value), _HEIGHT - 3, "goal"))
    if row.shown_interval is not None:
        low, high = map(axis.place, row.shown_interval)
        parts.append(line(low, y, high, y, "whisker"))
        parts += [line(end, y - 3.5, end, y + 3.5, "whisker") for end in (low, high)]
    if row.score.value is not None:
        parts.append(dot(axis.place(row.score.value), y, 3.6, "point"))
    said = "no value" if row.score.value is None else f"{row.metric} {row.score.value:.3g}"
    return svg(WIDTH, _HEIGHT, parts, said)
