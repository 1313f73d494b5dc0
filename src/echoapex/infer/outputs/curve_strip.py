"""The LV volume over time as a strip under a clip, with ED and ES marked and a cursor at the frame shown."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from echoapex.domain.report import ClipReport, VolumePoint
from echoapex.infer.outputs.palette import (
    ED_COLOUR,
    ES_COLOUR,
    MUTED,
    PANEL,
    RULE,
    STRUCTURE_COLOURS,
    TEXT,
    Line,
    Pixels,
    blank,
    text_width,
    write_lines,
)
from echoapex.vocabulary import Structure

_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 26, 22
_BITS = 3


class CurveStrip:
    """A strip drawn once per clip; ``at`` adds the cursor."""

    def __init__(self, clip: ClipReport, height: int, width: int) -> None:
        self._points = clip.volume_curve
        self._height, self._width = height, width
        self._values = _values(self._points)
        self._span = (self._points[0].time_s, max(self._points[-1].time_s, self._points[0].time_s + 1e-3))
        self._ceiling = 1.1 * max(*self._values, 1e-6)
        self._base = self._draw(clip)

    def at(self, time_s: float) -> Pixels:
        """The strip with the cursor at a time of the clip."""
        strip = self._base.copy()
        if self._span[0] <= time_s <= self._span[1]:
            x = round(self._x(time_s))
            cv2.line(strip, (x, _TOP), (x, self._height - _BOTTOM), TEXT, 1)
        return strip

    def _x(self, time_s: float) -> float:
        start, end = self._span
        return _LEFT + (time_s - start) / (end - start) * (self._width - _LEFT - _RIGHT)

    def _y(self, value: float) -> float:
        return self._height - _BOTTOM - value / self._ceiling * (self._height - _TOP - _BOTTOM)

    def _draw(self, clip: ClipReport) -> Pixels:
        strip = blank(self._height, self._width, PANEL)
        floor = self._height - _BOTTOM
        cv2.line(strip, (_LEFT, floor), (self._width - _RIGHT, floor), RULE, 1)
        line = [
            (round(self._x(point.time_s) * 2**_BITS), round(self._y(value) * 2**_BITS))
            for point, value in zip(self._points, self._values, strict=True)
        ]
        colour = STRUCTURE_COLOURS[Structure.LV_CAVITY]
        cv2.polylines(strip, [np.array(line, np.int32)], False, colour, 2, cv2.LINE_AA, _BITS)
        calibrated = self._points[0].ml is not None
        largest = max(self._values)
        top = round(self._y(largest))
        lines = [
            Line(12, 6, "LV volume, mL" if calibrated else "LV volume, % of largest", 12, MUTED),
            Line(12, top - 7, f"{largest:.0f}", 12, MUTED),
            Line(12, floor - 7, "0", 12, MUTED),
            *self._mark(strip, clip.ed_frames, "ED", ED_COLOUR),
            *self._mark(strip, clip.es_frames, "ES", ES_COLOUR),
        ]
        return write_lines(strip, lines)

    def _mark(self, strip: Pixels, frames: Sequence[int], name: str, colour: tuple[int, int, int]) -> list[Line]:
        """Mark the frames of one phase; returns their labels."""
        lines = []
        for point, value in zip(self._points, self._values, strict=True):
            if point.frame in frames:
                x, y = round(self._x(point.time_s)), round(self._y(value))
                cv2.circle(strip, (x, y), 4, colour, -1, cv2.LINE_AA)
                lines.append(Line(x - text_width(name, 11) // 2, self._height - _BOTTOM + 4, name, 11, colour))
        return lines


def _values(points: Sequence[VolumePoint]) -> list[float]:
    """Volumes in mL where the curve is calibrated, else in percent of the largest."""
    return [100 * point.relative if point.ml is None else point.ml for point in points]
