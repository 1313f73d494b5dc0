"""The click curves as a figure: mean Dice by the number of clicks, an SVG file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from echoapex.evaluate.clicks_file import ClicksFile
from echoapex.infer.outputs.palette import BACKGROUND, MUTED, RULE, STRUCTURE_COLOURS, TEXT, Colour
from echoapex.vocabulary import Structure

WIDTH, HEIGHT = 1000, 420
_PANEL_WIDTH, _PANEL_HEIGHT = 300, 290
_LEFT_EDGES, _TOP = (60, 560), 60
_STARTS: tuple[tuple[str, str, Colour], ...] = (
    ("from_name", "from the name", (86, 190, 255)),
    ("from_nothing", "from nothing", (255, 176, 46)),
    ("without_mask", "earlier mask withheld", (178, 150, 255)),
)


class Line(NamedTuple):
    """One curve: what it is, its colour, and its values after 0, 1, 2, ... clicks."""

    name: str
    colour: Colour
    values: tuple[float, ...]


def draw_click_curves(scores: ClicksFile) -> str:
    """The text of an SVG with two panels: all structures by where the clicks start, and structure by structure."""
    starts = [Line(name, colour, getattr(scores.overall, key).curve) for key, name, colour in _STARTS]
    named = any(line.values for line in starts[:1])
    by_structure = [
        Line(
            structure.display_name,
            STRUCTURE_COLOURS[structure],
            (found.from_name if named else found.from_nothing).curve,
        )
        for structure in Structure
        if (found := scores.of(structure)).box.n
    ]
    title = f"{scores.model} on {scores.dataset} {scores.split}".strip()
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{_hex(BACKGROUND)}"/>',
        _text(_LEFT_EDGES[0], 28, f"Dice by the number of clicks: {title}", TEXT),
        *_panel(_LEFT_EDGES[0], "all structures", [line for line in starts if line.values], scores),
        *_panel(_LEFT_EDGES[1], f"clicks from {'the name' if named else 'nothing'}", by_structure, scores),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _panel(left: int, title: str, lines: Sequence[Line], scores: ClicksFile) -> list[str]:
    """Axes from Dice 0.5 to 1 with the target, the curves, and their names."""
    clicks = scores.protocol.clicks

    def place(count: float, value: float) -> tuple[float, float]:
        height = (min(max(value, 0.5), 1.0) - 0.5) / 0.5
        return left + _PANEL_WIDTH * count / clicks, _TOP + _PANEL_HEIGHT * (1 - height)

    parts = [_text(left, _TOP - 10, title, MUTED)]
    for tenth in range(5, 11):
        y = place(0, tenth / 10)[1]
        parts.append(f'<path d="M{left} {y:.1f}h{_PANEL_WIDTH}" stroke="{_hex(RULE)}"/>')
        parts.append(_text(left - 30, y + 4, f"{tenth / 10:.1f}", MUTED))
    for count in range(clicks + 1):
        parts.append(_text(place(count, 0.5)[0] - 4, _TOP + _PANEL_HEIGHT + 18, str(count), MUTED))
    y = place(0, scores.protocol.target_dice)[1]
    parts.append(f'<path d="M{left} {y:.1f}h{_PANEL_WIDTH}" stroke="{_hex(MUTED)}" stroke-dasharray="4 4"/>')
    parts.append(_text(left, _TOP + _PANEL_HEIGHT + 38, "clicks (Dice below 0.5 is drawn at 0.5)", MUTED))
    for number, line in enumerate(lines):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(c, v) for c, v in enumerate(line.values)))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{_hex(line.colour)}" stroke-width="2"/>')
        parts.append(_text(left + _PANEL_WIDTH + 8, _TOP + 14 + 18 * number, line.name, line.colour))
    return parts


def _text(x: float, y: float, text: str, colour: Colour) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{_hex(colour)}">{escape(text)}</text>'


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
