"""Figures with curves: Dice by the number of clicks, and validation figures by the amount of labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from echoapex.evaluate.card.card_file import LabelCurve, LabelPoint, PartClicks
from echoapex.evaluate.card.drawing import Axis, axes, curve, dot, line, svg, text
from echoapex.evaluate.card.label_metrics import higher_is_better, metric_label
from echoapex.vocabulary import Structure

_PANEL_WIDTH, _PANEL_HEIGHT, _NAMES = 270, 210, 150
_LEFT, _TOP = 58, 34
_STARTS = (("from_name", "from the name"), ("from_nothing", "from nothing"), ("without_mask", "earlier mask withheld"))
COLOURS = 6
Interval = tuple[float, float]
_MOST_SPREAD = 1.6
"""An axis of errors ends at this many times the largest mean: of one or two patients an interval may reach anywhere."""


@dataclass(frozen=True)
class Series:
    """One curve: its name, its colour (1 to 6), and its points as value pairs with an interval, or None."""

    name: str
    colour: int
    points: Sequence[tuple[float, float, Interval | None]]


def draw_clicks(found: PartClicks) -> str:
    """Two panels: all structures by where the clicks start, and structure by structure."""
    scores = found.scores
    starts = [
        Series(name, number, _counted(getattr(scores.overall, key).curve)[key != "from_name" :])
        for number, (key, name) in enumerate(_STARTS, start=1)  # nothing is outlined before the first click
    ]
    named = bool(starts[0].points)
    structures = [
        Series(structure.display_name, int(structure), _counted((each.from_name if named else each.from_nothing).curve))
        for structure in Structure
        if (each := scores.of(structure)).box.n
    ]
    panels = (
        ("all structures", [series for series in starts if series.points]),
        (f"clicks from {'the name' if named else 'nothing'}", structures),
    )
    target, last = scores.protocol.target_dice, scores.protocol.clicks
    width = _LEFT + _PANEL_WIDTH + _NAMES
    parts: list[str] = []
    for number, (title, series) in enumerate(panels):
        lowest = min((value for each in series for _, value, _ in each.points), default=0.5)
        low = max(0.0, min(0.8, math.floor(lowest * 10) / 10))
        across, up = _panel(number * width, (0, last), (low, 1.0))
        ticks = ([float(count) for count in range(0, last + 1, max(1, last // 5))], up.ticks(5))
        parts += axes(across, up, ("clicks", "Dice"), ticks)
        parts.append(line(across.start, up.place(target), across.end, up.place(target), "guide"))
        parts += _draw_series(series, across, up)
        parts.append(text(across.start, _TOP - 16, title, "title"))
    return svg(2 * width, _TOP + _PANEL_HEIGHT + 46, parts, f"Dice by the number of clicks, {found.part}")


def draw_label_curves(curves: Sequence[LabelCurve], metric: str) -> str:
    """One metric of all curves over the amount of labels, logarithmic; all labels lie at the right end."""
    points = [point for each in curves for point in each.points if metric in point.scores]
    known = sorted({point.amount for point in points if point.amount is not None})
    low, high = (math.log10(known[0]), math.log10(known[-1])) if known else (0.0, 0.0)
    has_all = any(point.amount is None for point in points)
    beyond = high + max(0.3, 0.15 * (high - low)) * has_all
    across, up = _panel(0, (low - 0.1, beyond + 0.1), _value_range(points, metric))
    unit = next((point.unit for point in points if point.unit != "all"), "clips")
    parts = axes(across, up, (f"labelled {unit}", ""), ((), up.ticks(5)))
    parts.append(text(across.start, _TOP - 16, metric_label(metric), "title"))
    for amount in known:
        x = across.place(math.log10(amount))
        parts += [line(x, up.start, x, up.start + 4, "axis"), text(x, up.start + 16, f"{amount:g}", "tick", "middle")]
    if has_all:
        parts.append(text(across.place(beyond), up.start + 16, "all", "tick", "middle"))
    series = [
        Series(each.name, number % COLOURS + 1, [_over_labels(point, metric, beyond) for point in each.points])
        for number, each in enumerate(curves)
        if all(metric in point.scores for point in each.points)
    ]
    parts += _draw_series(series, across, up)
    width = _LEFT + _PANEL_WIDTH + _NAMES
    return svg(width, _TOP + _PANEL_HEIGHT + 46, parts, f"{metric_label(metric)} by the amount of labels")


def _value_range(points: Sequence[LabelPoint], metric: str) -> tuple[float, float]:
    """From a little below the lowest to a little above the highest end of an interval."""
    values = [point.scores[metric] for point in points]
    ends = [end for value in values for end in (value.ends or (value.mean, value.mean))]
    bottom, top = min(ends), max(ends)
    if not higher_is_better(metric):
        bottom, top = (
            min(bottom, 0.0),
            min(top, _MOST_SPREAD * sorted(value.mean for value in values)[len(values) // 2]),
        )
    margin = 0.06 * (top - bottom) or 0.05
    return (bottom if bottom == 0 else bottom - margin), top + margin


def _counted(values: Sequence[float]) -> list[tuple[float, float, Interval | None]]:
    return [(float(count), value, None) for count, value in enumerate(values)]


def _over_labels(point: LabelPoint, metric: str, beyond: float) -> tuple[float, float, Interval | None]:
    score = point.scores[metric]
    return (beyond if point.amount is None else math.log10(point.amount)), score.mean, score.ends


def _panel(left: float, across: tuple[float, float], up: tuple[float, float]) -> tuple[Axis, Axis]:
    x, bottom = left + _LEFT, _TOP + _PANEL_HEIGHT
    return Axis(across[0], across[1], x, x + _PANEL_WIDTH), Axis(up[0], up[1], bottom, _TOP)


def _draw_series(series: Sequence[Series], across: Axis, up: Axis) -> list[str]:
    """The curves, their intervals, and their names at the right, moved apart where they would touch."""
    parts: list[str] = []
    for each in series:
        places = [(across.place(x), up.place(y)) for x, y, _ in each.points]
        for (x, _), (_, _, interval) in zip(places, each.points, strict=True):
            if interval is not None:
                parts.append(line(x, up.place(interval[0]), x, up.place(interval[1]), f"s{each.colour} bar"))
        parts.append(curve(places, f"s{each.colour}"))
        parts += [dot(x, y, 2.6, f"f{each.colour}") for x, y in places]
    y = -math.inf
    for each in sorted(series, key=lambda each: -each.points[-1][1]):
        y = max(up.place(each.points[-1][1]) + 4, y + 15)
        parts.append(text(across.end + 10, y, each.name, f"f{each.colour}"))
    return parts
