"""SVG figures of the card: Bland-Altman plots, curves, and intervals in a table column; and the pieces they consist of.

Curves show Dice by the number of clicks, and scores by the number of labels. The interval column of a table shows
value, 95 % interval, goal and published figures on one scale. Coordinates are in pixels of the figure, x to the right
and y down; an :class:`Axis` converts values to pixels. Colours are classes of ``figure.css``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import Literal

from echoapex.evaluate.card.card_file import Agreement, LabelCurve, LabelPoint, Measured, PartClicks
from echoapex.evaluate.card.targets import higher_is_better, metric_label
from echoapex.vocabulary import Structure

Anchor = Literal["start", "middle", "end"]
_STYLES = ("colours.css", "figure.css")
_LARGEST_SCALE = 1.25  # so that a matrix of two views does not fill the page

_PLOT_WIDTH, _PLOT_HEIGHT = 340, 262
_PLOT_LEFT, _PLOT_RIGHT, _PLOT_TOP, _PLOT_BOTTOM = 58, 278, 34, 214

_PANEL_WIDTH, _PANEL_HEIGHT, _NAMES = 270, 210, 150
_LEFT, _TOP = 58, 34
_STARTS = (("from_name", "from the name"), ("from_nothing", "from nothing"), ("without_mask", "earlier mask withheld"))
COLOURS = 6
Interval = tuple[float, float]
_MOST_SPREAD = 1.6
"""An axis of errors ends at this many times the largest mean, because intervals of one or two patients can be huge."""

WIDTH, _HEIGHT = 190, 22
_MARGIN = 14


@dataclass(frozen=True)
class Axis:
    """A scale from values to pixels; ``start`` is the pixel of ``low``, and values outside are placed at the ends."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """The pixel of a value.

        >>> Axis(0, 10, 100, 200).place(2.5)
        125.0
        """
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """About ``count`` round values within the scale."""
        return round_ticks(self.low, self.high, count)


@dataclass(frozen=True)
class Series:
    """One curve: its name, its colour (1 to 6), and its points: x, y, and the interval of y or None."""

    name: str
    colour: int
    points: Sequence[tuple[float, float, Interval | None]]


def draw_agreement(found: Agreement) -> str:
    """Draw the Bland-Altman plot of one quantity of one part.

    Source: Bland & Altman, Lancet 1986, doi 10.1016/S0140-6736(86)90837-8.
    """
    means = [(truth + measured) / 2 for truth, measured in found.pairs]
    differences = [measured - truth for truth, measured in found.pairs]
    across = _axis(means, (_PLOT_LEFT, _PLOT_RIGHT))
    up = _axis([*differences, found.lower, found.upper, 0.0], (_PLOT_BOTTOM, _PLOT_TOP))
    labels = (f"mean of measured and true, {found.unit}", "measured − true")
    parts = [
        box(
            _PLOT_LEFT,
            up.place(found.upper),
            _PLOT_RIGHT - _PLOT_LEFT,
            up.place(found.lower) - up.place(found.upper),
            "band",
        )
    ]
    parts += axes(across, up, labels, (across.ticks(4), up.ticks(5)))
    parts.append(line(_PLOT_LEFT, up.place(0), _PLOT_RIGHT, up.place(0), "rule"))
    for value, style, name in (
        (found.upper, "limit", "+1.96 SD"),
        (found.bias, "mean", "bias"),
        (found.lower, "limit", "−1.96 SD"),
    ):
        y = up.place(value)
        parts.append(line(_PLOT_LEFT, y, _PLOT_RIGHT, y, style))
        parts.append(text(_PLOT_RIGHT + 6, y - 1, name, "small"))
        parts.append(text(_PLOT_RIGHT + 6, y + 10, number_text(round(value, 1)), "tick"))
    for (truth, measured), mean, difference in zip(found.pairs, means, differences, strict=True):
        said = f"true {truth:.1f}, measured {measured:.1f}"
        parts.append(dot(across.place(mean), up.place(difference), 3.6, "dots", said))
    parts.append(text(_PLOT_LEFT - 42, 14, found.quantity.display_name, "title"))
    return svg(_PLOT_WIDTH, _PLOT_HEIGHT, parts, f"Bland-Altman plot of {found.quantity.display_name}, {found.part}")


def draw_clicks(found: PartClicks) -> str:
    """Draw two panels: all structures by the start of the clicks, and each structure."""
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
    """Draw one metric of all curves over the number of labels (logarithmic); "all labels" is at the right end."""
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


def shared_axis(rows: Sequence[Measured]) -> Axis:
    """One scale for all rows of a table: shares end at 1, errors start at 0."""
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
    """Draw the head of the column: the ticks of the scale."""
    ticks = axis.ticks(4)
    parts = [line(axis.start, 17.5, axis.end, 17.5, "axis")]
    for value in ticks:
        x = axis.place(value)
        parts += [line(x, 14, x, 17.5, "axis"), text(x, 10, number_text(value), "tick", "middle")]
    return svg(WIDTH, 20, parts, "scale")


def draw_interval(row: Measured, axis: Axis) -> str:
    """Draw one row: a dot for the value, a line for its interval, a bar for the goal, rings for published figures."""
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


def round_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten between ``low`` and ``high``.

    >>> round_ticks(0, 1), round_ticks(-7, 8, 4)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [-5.0, 0.0, 5.0])
    """
    step = round_step((high - low) / max(count, 1))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def round_step(wanted: float) -> float:
    """The smallest of 1, 2, 2.5, 5 or 10 times a power of ten that is at least ``wanted``.

    >>> round_step(0.13), round_step(3.0)
    (0.2, 5.0)
    """
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= wanted * (1 - 1e-9))


def number_text(value: float) -> str:
    """A number with as few digits as needed, and a typographic minus sign.

    >>> number_text(-5.0), number_text(0.25)
    ('−5', '0.25')
    """
    return f"{value:g}".replace("-", "−")


def text(x: float, y: float, content: str, style: str = "", anchor: Anchor = "start") -> str:
    """A line of text with its baseline at ``y``."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(content)}</text>'


def turned_text(x: float, y: float, content: str, style: str = "", degrees: int = -90) -> str:
    """A line of text, rotated about its start."""
    where = f'transform="translate({x:.1f} {y:.1f}) rotate({degrees})"'
    anchor = "middle" if degrees == -90 else "start"
    return f'<text {where} class="{style}" text-anchor="{anchor}">{escape(content)}</text>'


def line(x0: float, y0: float, x1: float, y1: float, style: str) -> str:
    """A straight line."""
    return f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" class="{style}"/>'


def curve(points: Iterable[tuple[float, float]], style: str) -> str:
    """A line through several points."""
    return f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" class="{style}"/>'


def dot(x: float, y: float, radius: float, style: str, title: str = "") -> str:
    """A filled circle, with a title that is shown on hovering."""
    tooltip = f"<title>{escape(title)}</title>" if title else ""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" class="{style}">{tooltip}</circle>'


def box(x: float, y: float, width: float, height: float, style: str) -> str:
    """A rectangle."""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="{style}"/>'


def axes(across: Axis, up: Axis, labels: tuple[str, str], ticks: tuple[Sequence[float], Sequence[float]]) -> list[str]:
    """Two axes with a label each, and faint lines at the ticks."""
    left, right, bottom, top = across.start, across.end, up.start, up.end
    parts = [line(left, up.place(value), right, up.place(value), "grid") for value in ticks[1]]
    parts += [text(left - 7, up.place(value) + 3.5, number_text(value), "tick", "end") for value in ticks[1]]
    for value in ticks[0]:
        x = across.place(value)
        parts += [line(x, bottom, x, bottom + 4, "axis"), text(x, bottom + 16, number_text(value), "tick", "middle")]
    parts.append(line(left, bottom, right, bottom, "axis"))
    parts.append(text((left + right) / 2, bottom + 33, labels[0], "label", "middle"))
    parts.append(turned_text(left - 38, (top + bottom) / 2, labels[1], "label"))
    return parts


def svg(width: float, height: float, parts: Iterable[str], label: str) -> str:
    """An SVG figure that scales with the page, up to 1.25 times its own size.

    ``label`` is its description for screen readers.
    """
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" class="figure" role="img" '
        f'style="max-width:{_LARGEST_SCALE * width:.0f}px" aria-label="{escape(label)}">' + "".join(parts) + "</svg>"
    )


def standalone(figure: str) -> str:
    """The figure as a separate file, including its colours."""
    head, rest = figure.split(">", 1)
    style = "".join(style_sheet(name) for name in _STYLES)
    return f'{head}><style>{style}</style><rect width="100%" height="100%" class="ground"/>{rest}\n'


def style_sheet(name: str) -> str:
    """The text of a style sheet in the folder of this module."""
    return (resources.files("echoapex.evaluate.card") / name).read_text(encoding="utf-8")


def _axis(values: list[float], pixels: tuple[float, float]) -> Axis:
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 1.0
    return Axis(low - margin, high + margin, *pixels)


def _counted(values: Sequence[float]) -> list[tuple[float, float, Interval | None]]:
    return [(float(count), value, None) for count, value in enumerate(values)]


def _panel(left: float, across: tuple[float, float], up: tuple[float, float]) -> tuple[Axis, Axis]:
    x, bottom = left + _LEFT, _TOP + _PANEL_HEIGHT
    return Axis(across[0], across[1], x, x + _PANEL_WIDTH), Axis(up[0], up[1], bottom, _TOP)


def _draw_series(series: Sequence[Series], across: Axis, up: Axis) -> list[str]:
    """The curves, their intervals, and their names at the right, which are moved apart if they would overlap."""
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


def _value_range(points: Sequence[LabelPoint], metric: str) -> tuple[float, float]:
    """A range slightly larger than that of all intervals."""
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


def _over_labels(point: LabelPoint, metric: str, beyond: float) -> tuple[float, float, Interval | None]:
    score = point.scores[metric]
    return (beyond if point.amount is None else math.log10(point.amount)), score.mean, score.ends
