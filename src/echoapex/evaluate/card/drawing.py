"""Small pieces of SVG: axes, texts, lines. Colours are classes of ``figure.css``.

Coordinates are in pixels of the figure, x to the right and y down; values are placed by an :class:`Axis`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import Literal

Anchor = Literal["start", "middle", "end"]
_STYLES = ("colours.css", "figure.css")
_LARGEST_SCALE = 1.25  # a matrix of two views is not to fill the page


@dataclass(frozen=True)
class Axis:
    """A scale from values to pixels; ``start`` is the pixel of ``low``, and values outside stay at the ends."""

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
        """Round values within the scale, about ``count`` of them."""
        return round_ticks(self.low, self.high, count)


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
    """A tick in as few digits as it needs, with a true minus.

    >>> number_text(-5.0), number_text(0.25)
    ('−5', '0.25')
    """
    return f"{value:g}".replace("-", "−")


def text(x: float, y: float, content: str, style: str = "", anchor: Anchor = "start") -> str:
    """A line of text with its baseline at ``y``."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(content)}</text>'


def turned_text(x: float, y: float, content: str, style: str = "", degrees: int = -90) -> str:
    """A line of text turned about its start."""
    where = f'transform="translate({x:.1f} {y:.1f}) rotate({degrees})"'
    anchor = "middle" if degrees == -90 else "start"
    return f'<text {where} class="{style}" text-anchor="{anchor}">{escape(content)}</text>'


def line(x0: float, y0: float, x1: float, y1: float, style: str) -> str:
    """A straight line."""
    return f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" class="{style}"/>'


def curve(points: Iterable[tuple[float, float]], style: str) -> str:
    """A line through some points."""
    return f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" class="{style}"/>'


def dot(x: float, y: float, radius: float, style: str, title: str = "") -> str:
    """A filled circle, with a title for those who point at it."""
    told = f"<title>{escape(title)}</title>" if title else ""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" class="{style}">{told}</circle>'


def box(x: float, y: float, width: float, height: float, style: str) -> str:
    """A rectangle."""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="{style}"/>'


def axes(across: Axis, up: Axis, labels: tuple[str, str], ticks: tuple[Sequence[float], Sequence[float]]) -> list[str]:
    """A frame of two axes with faint lines at the ticks and a name for each."""
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
    """A figure that scales with its place, up to a quarter more than its own size.

    ``label`` says what it shows to those who cannot see it.
    """
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" class="figure" role="img" '
        f'style="max-width:{_LARGEST_SCALE * width:.0f}px" aria-label="{escape(label)}">' + "".join(parts) + "</svg>"
    )


def standalone(figure: str) -> str:
    """The same figure as a file of its own, with its colours in it."""
    head, rest = figure.split(">", 1)
    style = "".join(style_sheet(name) for name in _STYLES)
    return f'{head}><style>{style}</style><rect width="100%" height="100%" class="ground"/>{rest}\n'


def style_sheet(name: str) -> str:
    """The text of a style sheet that lies beside this module."""
    return (resources.files("echoapex.evaluate.card") / name).read_text(encoding="utf-8")
