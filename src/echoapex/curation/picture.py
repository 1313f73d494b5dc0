"""Draws ``before_after.png``: views, vendors and quality before and after, and examples of the largest clusters.

Dark on white for printing, at twice the size at which it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from echoapex.curation.report import CurationReport, Division
from echoapex.io.pictures import Colour, Line, Pixels, blank, shortened, text_width, write_lines
from echoapex.io.temporary_files import replace_when_complete

PICTURE_FILE = "before_after.png"
MOST_EXAMPLES = 24
SCALE = 2
"""Pixels of the picture for one of the lengths below."""
_CHARTS = ("view", "vendor", "quality")
_MOST_BARS = 20
_MARGIN, _HEAD, _ROW, _TITLE = 28, 104, 22, 40
_LABEL, _BAR, _NUMBERS = 124, 290, 116
_TILE, _GAP, _CAPTION, _COLUMNS = 132, 12, 24, 4
_LEFT_WIDTH = _LABEL + _BAR + _NUMBERS
_PAPER: Colour = (255, 255, 255)
_INK: Colour = (27, 30, 35)
_MUTED: Colour = (98, 106, 117)
_RULE: Colour = (211, 208, 202)
BEFORE: Colour = (194, 90, 0)
AFTER: Colour = (0, 114, 178)
"""Orange and blue that the colour-blind can tell apart, dark enough to be read on white (after Okabe & Ito, 2008)."""


@dataclass(frozen=True, eq=False)
class ClusterExample:
    """A typical frame of a cluster, and the share of all visits that the cluster has before and after."""

    pixels: UInt8[np.ndarray, "size size"]
    before: float
    after: float


def draw_curation(path: Path, report: CurationReport, examples: Sequence[ClusterExample]) -> Path:
    """Draw bars of each division to the left and typical frames to the right; the same input gives the same bytes."""
    charts = [report.division(what) for what in _CHARTS]
    left = sum(_TITLE + _ROW * min(len(chart.groups), _MOST_BARS) + _GAP for chart in charts)
    right = _TITLE + -(-len(examples) // _COLUMNS) * (_TILE + _CAPTION + _GAP)
    width = 3 * _MARGIN + _LEFT_WIDTH + _COLUMNS * (_TILE + _GAP) - _GAP
    canvas = blank(SCALE * (_HEAD + max(left, right) + _MARGIN), SCALE * width, _PAPER)
    _fill(canvas, (_MARGIN, 20), (width - 2 * _MARGIN, 2), _INK)
    lines = _head(report)
    top = _HEAD
    for chart in charts:
        lines += _bars(canvas, chart, top)
        top += _TITLE + _ROW * min(len(chart.groups), _MOST_BARS) + _GAP
    lines += _tiles(canvas, report, examples)
    with replace_when_complete(path) as partial:
        Image.fromarray(write_lines(canvas, lines)).save(partial, format="png", optimize=True)
    return path


def _line(x: float, y: float, text: str, size: int, colour: Colour) -> Line:
    return Line(round(SCALE * x), round(SCALE * y), text, SCALE * size, colour)


def _line_ending(x: float, y: float, text: str, size: int, colour: Colour) -> Line:
    """A text that ends at ``x``, as numbers below each other do."""
    return _line(x - text_width(text, SCALE * size) / SCALE, y, text, size, colour)


def _fill(canvas: Pixels, corner: tuple[int, int], size: tuple[int, int], colour: Colour) -> None:
    (x, y), (width, height) = corner, size
    canvas[SCALE * y : SCALE * (y + height), SCALE * x : SCALE * (x + width)] = colour


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _head(report: CurationReport) -> list[Line]:
    left_out = sum(report.left_out.values())
    said = (
        f"{report.frames:,} frames of {report.clips:,} clips, {left_out:,} left out; "
        f"weighted, they tell as much as {report.kish_frames:,.0f} evenly visited ones"
    )
    return [
        _line(_MARGIN, 32, "Frames before and after curation", 24, _INK),
        _line(_MARGIN, 66, said, 14, _MUTED),
        _line_ending(_MARGIN + _LEFT_WIDTH - 56, _HEAD + 18, "before", 13, BEFORE),
        _line_ending(_MARGIN + _LEFT_WIDTH, _HEAD + 18, "after", 13, AFTER),
    ]


def _bars(canvas: Pixels, chart: Division, top: int) -> list[Line]:
    """Two bars for each group, drawn into the canvas; returns what is written beside them."""
    diverse = f"as diverse as {chart.effective_before:.1f} even groups, then {chart.effective_after:.1f}"
    start = _MARGIN + _LABEL
    lines = [_line(_MARGIN, top + 14, chart.what.capitalize(), 16, _INK), _line(start, top + 17, diverse, 13, _MUTED)]
    groups = chart.groups[:_MOST_BARS]
    _fill(canvas, (start - 1, top + _TITLE), (1, _ROW * len(groups)), _RULE)
    longest = max(max(group.before, group.after) for group in groups)
    for number, group in enumerate(groups):
        y = top + _TITLE + number * _ROW
        name = shortened(group.name.replace("_", " "), SCALE * 13, SCALE * (_LABEL - 10))
        lines.append(_line(_MARGIN, y + 1, name, 13, _INK))
        for share, colour, row, end in (
            (group.before, BEFORE, y + 3, _LEFT_WIDTH - 56),
            (group.after, AFTER, y + 10, _LEFT_WIDTH),
        ):
            _fill(canvas, (start, row), (max(round(_BAR * share / longest), 1), 6), colour)
            lines.append(_line_ending(_MARGIN + end, y + 1, _share(share), 12, colour))
    return lines


def _tiles(canvas: Pixels, report: CurationReport, examples: Sequence[ClusterExample]) -> list[Line]:
    """Typical frames, drawn into the canvas; returns what is written beside them."""
    left = 2 * _MARGIN + _LEFT_WIDTH
    levels = ", ".join(f"{count:,}" for count in report.clusters)
    lines = [_line(left, _HEAD + 14, f"Largest of {levels} clusters, a typical frame of each", 16, _INK)]
    side = SCALE * _TILE
    for number, example in enumerate(examples):
        x = left + number % _COLUMNS * (_TILE + _GAP)
        y = _HEAD + _TITLE + number // _COLUMNS * (_TILE + _CAPTION + _GAP)
        shrinks = len(example.pixels) > side
        tile = cv2.resize(example.pixels, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        canvas[SCALE * y : SCALE * y + side, SCALE * x : SCALE * x + side] = tile[..., None]
        lines.append(_line(x, y + _TILE + 4, _share(example.before), 12, BEFORE))
        lines.append(_line_ending(x + _TILE, y + _TILE + 4, _share(example.after), 12, AFTER))
    return lines
