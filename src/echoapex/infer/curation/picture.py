"""``before_after.png``: how views, vendors and quality divide before and after, and what the largest clusters show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from echoapex.data.curation.report import CurationReport, Division
from echoapex.infer.outputs.palette import (
    ED_COLOUR,
    MUTED,
    PANEL,
    TEXT,
    WARNING,
    Line,
    Pixels,
    blank,
    shortened,
    write_lines,
)
from echoapex.io.atomic_file import replace_when_complete

PICTURE_FILE = "before_after.png"
MOST_EXAMPLES = 24
_CHARTS = ("view", "vendor", "quality")
_MOST_BARS = 20
_MARGIN, _HEAD, _ROW, _TITLE = 28, 96, 22, 40
_LABEL, _BAR, _NUMBERS = 128, 290, 120
_TILE, _GAP, _CAPTION, _COLUMNS = 132, 12, 22, 4
_LEFT_WIDTH = _LABEL + _BAR + _NUMBERS


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
    width = 3 * _MARGIN + _LEFT_WIDTH + _COLUMNS * (_TILE + _GAP)
    canvas = blank(_HEAD + max(left, right) + _MARGIN, width)
    lines = _head(report)
    top = _HEAD
    for chart in charts:
        lines += _bars(canvas, chart, top)
        top += _TITLE + _ROW * min(len(chart.groups), _MOST_BARS) + _GAP
    lines += _tiles(canvas, report, examples)
    with replace_when_complete(path) as partial:
        Image.fromarray(write_lines(canvas, lines)).save(partial, format="png")
    return path


def _head(report: CurationReport) -> list[Line]:
    left_out = sum(report.left_out.values())
    said = (
        f"{report.frames:,} frames of {report.clips:,} clips, {left_out:,} left out; "
        f"weighted, they tell as much as {report.kish_frames:,.0f} evenly visited ones"
    )
    return [
        Line(_MARGIN, 22, "Frames before and after curation", 26, TEXT),
        Line(_MARGIN, 60, said, 14, MUTED),
        Line(_MARGIN + _LEFT_WIDTH - 96, 84, "before", 13, WARNING),
        Line(_MARGIN + _LEFT_WIDTH - 44, 84, "after", 13, ED_COLOUR),
    ]


def _bars(canvas: Pixels, chart: Division, top: int) -> list[Line]:
    """Two bars for each group, drawn into the canvas; returns what is written beside them."""
    diverse = f"as diverse as {chart.effective_before:.1f} even groups, then {chart.effective_after:.1f}"
    lines = [Line(_MARGIN, top + 14, chart.what, 16, TEXT), Line(_MARGIN + _LABEL, top + 16, diverse, 13, MUTED)]
    groups = chart.groups[:_MOST_BARS]
    longest = max(max(group.before, group.after) for group in groups)
    for number, group in enumerate(groups):
        y = top + _TITLE + number * _ROW
        lines.append(Line(_MARGIN, y, shortened(group.name, 13, _LABEL - 10), 13, TEXT))
        for share, colour, row, x in (
            (group.before, WARNING, y + 2, _LEFT_WIDTH - 96),
            (group.after, ED_COLOUR, y + 9, _LEFT_WIDTH - 44),
        ):
            length = round(_BAR * share / longest)
            start = _MARGIN + _LABEL
            cv2.rectangle(canvas, (start, row), (start + max(length, 1), row + 5), colour, cv2.FILLED)
            lines.append(Line(_MARGIN + x, y, f"{100 * share:.1f} %", 12, colour))
    return lines


def _tiles(canvas: Pixels, report: CurationReport, examples: Sequence[ClusterExample]) -> list[Line]:
    """Typical frames, drawn into the canvas; returns what is written beside them."""
    left = 2 * _MARGIN + _LEFT_WIDTH
    levels = ", ".join(f"{count:,}" for count in report.clusters)
    lines = [Line(left, _HEAD + 14, f"largest of {levels} clusters", 16, TEXT)]
    for number, example in enumerate(examples):
        x = left + number % _COLUMNS * (_TILE + _GAP)
        y = _HEAD + _TITLE + number // _COLUMNS * (_TILE + _CAPTION + _GAP)
        small = cv2.resize(example.pixels, (_TILE, _TILE), interpolation=cv2.INTER_AREA)
        canvas[y : y + _TILE, x : x + _TILE] = np.maximum(small[..., None], np.uint8(PANEL[0]))
        lines.append(Line(x, y + _TILE + 3, f"{100 * example.before:.1f} %", 12, WARNING))
        lines.append(Line(x + _TILE // 2, y + _TILE + 3, f"{100 * example.after:.1f} %", 12, ED_COLOUR))
    return lines
