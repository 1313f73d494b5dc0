"""A document for people, made of a few kinds of blocks; ``io.html`` and ``io.pdf`` write the same document.

Blocks hold plain text, never markup. A plot becomes lines, dots and labels here, so both writers draw the same curve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

INK, MUTED_INK, ACCENT, GRID = "#1b2430", "#5b6775", "#14507a", "#d5dbe1"
ED_INK, ES_INK, EVENT_INK, TRACE_INK = "#0b7285", "#b3541e", "#7a4fa3", "#1d6b3a"


class Tone(StrEnum):
    """How a text is meant; never the only carrier of a meaning."""

    PLAIN = "plain"
    MUTED = "muted"
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True)
class Cell:
    """A text in a table.

    Attributes:
        text: what it says.
        link: the anchor that it leads to; empty for none.
        anchor: its own name as a target of links.
        tone: how it is meant.
        is_bold: whether it stands out.
    """

    text: str
    link: str = ""
    anchor: str = ""
    tone: Tone = Tone.PLAIN
    is_bold: bool = False


@dataclass(frozen=True)
class Table:
    """A table; a row with one cell only is a heading inside the table.

    Attributes:
        head: titles of the columns.
        rows: the cells.
        shares: width of each column as a share of the whole.
        numbers: columns that are aligned to the right.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    shares: tuple[float, ...]
    numbers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        wrong = [row for row in self.rows if len(row) not in (1, len(self.shares))]
        if wrong or (self.head and len(self.head) != len(self.shares)):
            raise ValueError("every row of a table has one cell, or as many as there are columns")


@dataclass(frozen=True)
class Text:
    """A paragraph, or a list item where it has a ``term`` that is set in bold before it."""

    text: str
    tone: Tone = Tone.PLAIN
    term: str = ""


@dataclass(frozen=True)
class Heading:
    """A heading: level 1 of a part, level 2 inside it."""

    text: str
    level: int = 2
    anchor: str = ""


@dataclass(frozen=True)
class Illustration:
    """A JPEG with its caption; the caption may lead somewhere."""

    jpeg: bytes
    size: tuple[int, int]
    caption: str
    link: str = ""


@dataclass(frozen=True)
class PlotMark:
    """A marked point of a curve."""

    x: float
    y: float
    label: str
    colour: str


@dataclass(frozen=True)
class Plot:
    """A curve over time.

    Attributes:
        title: what it shows, with the unit of the values.
        points: time in s and value.
        marks: points with a name, such as ED and ES.
        ticks_x: times of events that are marked on the time axis, such as R waves.
        ticks_name: what these events are.
        trace: time in s and value of a second curve, which is drawn below the first on the same time axis; its values
            have no axis.
        trace_name: what it is, in one short word.
    """

    title: str
    points: tuple[tuple[float, float], ...]
    marks: tuple[PlotMark, ...] = ()
    ticks_x: tuple[float, ...] = ()
    ticks_name: str = ""
    trace: tuple[tuple[float, float], ...] = ()
    trace_name: str = ""


@dataclass(frozen=True)
class Columns:
    """Two columns of blocks; ``left_share`` is the width of the left one."""

    left: tuple[Block, ...]
    right: tuple[Block, ...]
    left_share: float


@dataclass(frozen=True)
class Together:
    """Blocks that no page break separates."""

    blocks: tuple[Block, ...]


Block = Table | Text | Heading | Illustration | Plot | Columns | Together


@dataclass(frozen=True)
class Document:
    """A whole document: a summary of exactly one page, then as many pages as needed.

    Attributes:
        title: at the top, and in the metadata of the file.
        subtitle: below it.
        notice: on every page.
        name: of the study, on every page.
        summary: the first page.
        body: the pages after it.
    """

    title: str
    subtitle: str
    notice: str
    name: str
    summary: tuple[Block, ...]
    body: tuple[Block, ...]


@dataclass(frozen=True)
class Stroke:
    """A line of a drawing; y goes down."""

    points: tuple[tuple[float, float], ...]
    colour: str
    width: float


@dataclass(frozen=True)
class Dot:
    """A filled circle."""

    x: float
    y: float
    radius: float
    colour: str


@dataclass(frozen=True)
class Label:
    """A text with its base line at (x, y); ``align`` is start, middle or end."""

    x: float
    y: float
    text: str
    colour: str = MUTED_INK
    align: str = "start"
    size: float = 7.0


_LEFT, _RIGHT, _TOP, _BOTTOM = 30.0, 10.0, 22.0, 22.0
_TICK, _MARK_ROOM = 3.0, 10.0
_TRACE_ROOM, _TRACE_GAP = 30.0, 4.0


def plot_height(plot: Plot, height: float) -> float:
    """The height of the box for a plot whose curve alone takes ``height``."""
    return height + _TRACE_ROOM if plot.trace else height


def draw_plot(plot: Plot, width: float, height: float) -> tuple[Stroke | Dot | Label, ...]:
    """The shapes of a plot in a box of this size: axes with ticks, curves, marks, and events on the time axis."""
    times = [x for x, _ in plot.points]
    start, end = min(times), max(max(times), min(times) + 1e-3)
    ticks_y = nice_ticks(0.0, max(value for _, value in plot.points))
    top = max(ticks_y[-1], max(value for _, value in plot.points))
    axis, right = height - _BOTTOM, width - _RIGHT
    floor = axis - _TRACE_ROOM if plot.trace else axis

    def at_x(time_s: float) -> float:
        return _LEFT + (time_s - start) / (end - start) * (right - _LEFT)

    def at_y(value: float) -> float:
        return floor - value / max(top, 1e-9) * (floor - _TOP)

    shapes: list[Stroke | Dot | Label] = [Label(0, 7, plot.title, INK, size=7.5)]
    for value in ticks_y:
        shapes.append(Stroke(((_LEFT, at_y(value)), (right, at_y(value))), GRID, 0.5))
        shapes.append(Label(_LEFT - 4, at_y(value) + 2.5, f"{value:g}", align="end"))
    for time_s in nice_ticks(start, end):
        shapes.append(Stroke(((at_x(time_s), axis), (at_x(time_s), axis + _TICK)), MUTED_INK, 0.6))
        shapes.append(Label(at_x(time_s), axis + 10, f"{time_s:g}", align="middle"))
    shapes.append(Stroke(((_LEFT, axis), (right, axis)), MUTED_INK, 0.8))
    shapes.append(Label(right, height - 2, "time in s", align="end"))
    events = [time_s for time_s in plot.ticks_x if start <= time_s <= end]
    for time_s in events:
        shapes.append(Stroke(((at_x(time_s), _TOP), (at_x(time_s), axis)), EVENT_INK, 0.6))
    if events:
        shapes.append(Label(_LEFT, height - 2, f"lines: {plot.ticks_name}", EVENT_INK))
    seen = [(time_s, value) for time_s, value in plot.trace if start <= time_s <= end]
    if len(seen) > 1:
        low, high = min(value for _, value in seen), max(value for _, value in seen)
        scale = (axis - floor - 2 * _TRACE_GAP) / max(high - low, 1e-9)
        trace = tuple((at_x(x), axis - _TRACE_GAP - (value - low) * scale) for x, value in seen)
        shapes.append(Label(_LEFT - 4, (floor + axis) / 2 + 2.5, plot.trace_name, TRACE_INK, "end"))
        shapes.append(Stroke(trace, TRACE_INK, 0.8))
    shapes.append(Stroke(tuple((at_x(x), at_y(y)) for x, y in plot.points), ACCENT, 1.4))
    for mark in plot.marks:
        shapes.append(Dot(at_x(mark.x), at_y(mark.y), 2.4, mark.colour))
        is_below = mark.y < 0.6 * top and at_y(mark.y) + _MARK_ROOM < floor
        place = at_y(mark.y) + (_MARK_ROOM if is_below else -_MARK_ROOM / 2)
        shapes.append(Label(at_x(mark.x), place, mark.label, mark.colour, "middle"))
    return tuple(shapes)


def nice_ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """Round numbers from ``low`` to ``high``, at most ``most`` of them.

    >>> nice_ticks(0, 189)
    (0.0, 50.0, 100.0, 150.0)
    >>> nice_ticks(0, 0.86)
    (0.0, 0.2, 0.4, 0.6, 0.8)
    """
    span = high - low
    if not span > 0:
        return (low,)
    magnitude = 10.0 ** math.floor(math.log10(span / (most - 1)))
    step = next(s * magnitude for s in (1, 2, 5, 10) if math.floor(span / (s * magnitude)) < most)
    first = math.ceil(low / step - 1e-9)
    return tuple(round(index * step, 10) for index in range(first, math.floor(high / step + 1e-9) + 1))


def plain_cells(*texts: str) -> tuple[Cell, ...]:
    """A row of plain texts."""
    return tuple(Cell(text) for text in texts)


def fact_table(facts: Sequence[tuple[str, str]], term_share: float = 0.3) -> Table:
    """A table of names and what they are."""
    rows = tuple((Cell(name, tone=Tone.MUTED), Cell(said)) for name, said in facts)
    return Table((), rows, (term_share, 1 - term_share))
