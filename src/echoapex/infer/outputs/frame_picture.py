"""Draws one frame for people: de-identified, enlarged, with the outlines of structures and the wall end points.

A strip below a clip shows the LV volume over time, with ED and ES marked and a cursor at the current frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import UInt8

from echoapex.domain import Landmarks, Sector, WallPoint
from echoapex.domain.clip import Size
from echoapex.domain.results import ClipReport, VolumePoint
from echoapex.io.deidentify import deidentify_frame
from echoapex.io.pictures import (
    ED_COLOUR,
    ES_COLOUR,
    MUTED,
    PANEL,
    RULE,
    STRUCTURE_COLOURS,
    TEXT,
    WALL_COLOUR,
    Line,
    Pixels,
    blank,
    text_width,
    write_lines,
)
from echoapex.vocabulary import Structure

_FILL = 0.16  # opacity of the inside of a structure
_SUBPIXEL_BITS = 3
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 26, 22
_BITS = 3


@dataclass(frozen=True)
class Placement:
    """The shown part of a native frame, and its size in the picture.

    Attributes:
        box: native pixel edges (x0, y0, x1, y1) inside the frame.
        size: (height, width) of the picture; the picture is the box scaled to fit, centred.
    """

    box: tuple[int, int, int, int]
    size: Size

    @property
    def scale(self) -> float:
        """Picture pixels per native pixel."""
        x0, y0, x1, y1 = self.box
        return min(self.size[0] / (y1 - y0), self.size[1] / (x1 - x0))

    @property
    def inner(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the box inside the picture."""
        x0, y0, x1, y1 = self.box
        width, height = max(1, int((x1 - x0) * self.scale)), max(1, int((y1 - y0) * self.scale))
        return (self.size[1] - width) // 2, (self.size[0] - height) // 2, width, height

    def map_point(self, x: float, y: float) -> tuple[float, float]:
        """A native pixel position in the picture."""
        left, top, _, _ = self.inner
        return (x + 0.5 - self.box[0]) * self.scale - 0.5 + left, (y + 0.5 - self.box[1]) * self.scale - 0.5 + top


def sector_box(sector: Sector | None, size: Size) -> tuple[int, int, int, int]:
    """The part of a frame to show: the sector with a small margin, or the whole image without a sector."""
    height, width = size
    if sector is None:
        return 0, 0, width, height
    x0, y0, x1, y1 = sector.box_xyxy
    margin = 0.02 * max(x1 - x0, y1 - y0)
    left, top = max(0, int(x0 - margin)), max(0, int(y0 - margin))
    return left, top, max(left + 1, min(width, int(x1 + margin))), max(top + 1, min(height, int(y1 + margin)))


def draw_frame(
    frame: UInt8[np.ndarray, "height width *channels"],
    placement: Placement,
    sector: Sector | None,
    show_all_pixels: bool = False,
) -> Pixels:
    """The picture of a frame without outlines.

    Outside the sector everything is black. Without a known sector, burned-in names cannot be separated from the image,
    so the picture stays black unless ``show_all_pixels`` is set.
    """
    if not show_all_pixels:
        frame = np.zeros_like(frame) if sector is None else deidentify_frame(frame, sector)
    x0, y0, x1, y1 = placement.box
    part = frame[y0:y1, x0:x1]
    colour = cv2.cvtColor(part, cv2.COLOR_GRAY2RGB) if part.ndim == 2 else part
    left, top, width, height = placement.inner
    method = cv2.INTER_AREA if placement.scale < 1 else cv2.INTER_CUBIC
    picture = np.zeros((*placement.size, 3), np.uint8)
    picture[top : top + height, left : left + width] = cv2.resize(
        np.ascontiguousarray(colour), (width, height), interpolation=method
    )
    return picture


def draw_outlines(
    picture: Pixels, labels: UInt8[np.ndarray, "height width"], placement: Placement, line_px: int = 1
) -> None:
    """Draw every structure of a native label map on the picture, in place, with lines of ``line_px``."""
    x0, y0, x1, y1 = placement.box
    part = labels[y0:y1, x0:x1]
    left, top, width, height = placement.inner
    image = np.ascontiguousarray(picture[top : top + height, left : left + width])
    tinted = image.copy()
    outlines = []
    for structure in Structure:
        mask = np.where(part == structure, 255, 0).astype(np.uint8)
        if cv2.countNonZero(mask) == 0:
            continue
        contours, _ = cv2.findContours(_enlarged(mask, (width, height)), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(tinted, contours, -1, STRUCTURE_COLOURS[structure], cv2.FILLED)
        outlines.append((contours, STRUCTURE_COLOURS[structure]))
    image = cv2.addWeighted(image, 1 - _FILL, tinted, _FILL, 0)
    for contours, colour in outlines:
        cv2.drawContours(image, contours, -1, colour, line_px, cv2.LINE_AA)
    picture[top : top + height, left : left + width] = image


def draw_walls(picture: Pixels, landmarks: Landmarks, placement: Placement, line_px: int = 1) -> None:
    """Draw the four wall end points and the lines between them, in place, with lines of ``line_px``."""
    _draw_points(picture, [placement.map_point(*landmarks.points_xy[name]) for name in WallPoint], line_px)


def draw_line(
    picture: Pixels, ends_xy: tuple[tuple[float, float], tuple[float, float]], placement: Placement, line_px: int = 1
) -> None:
    """Draw a measured length and its two ends, given in native pixels, in place, with a line of ``line_px``."""
    _draw_points(picture, [placement.map_point(*end) for end in ends_xy], line_px)


def _draw_points(picture: Pixels, points: Sequence[tuple[float, float]], line_px: int) -> None:
    """Points in pixels of the picture, and the lines between neighbours."""
    fixed = [(round(x * 2**_SUBPIXEL_BITS), round(y * 2**_SUBPIXEL_BITS)) for x, y in points]
    for start, end in pairwise(fixed):
        cv2.line(picture, start, end, WALL_COLOUR, line_px, cv2.LINE_AA, _SUBPIXEL_BITS)
    for point in fixed:
        cv2.circle(picture, point, 4 * line_px << _SUBPIXEL_BITS, (0, 0, 0), -1, cv2.LINE_AA, _SUBPIXEL_BITS)
        cv2.circle(picture, point, 3 * line_px << _SUBPIXEL_BITS, WALL_COLOUR, -1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _enlarged(mask: UInt8[np.ndarray, "h w"], size: tuple[int, int]) -> UInt8[np.ndarray, "height width"]:
    """A mask at the (width, height) of a picture, with its edges smoothed by less than a native pixel."""
    large = cv2.resize(mask, size)
    scale = size[0] / mask.shape[1]
    if scale > 1:
        large = cv2.GaussianBlur(large, (0, 0), 0.6 * scale)
    return np.where(large > 127, 255, 0).astype(np.uint8)


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
    """Volumes in mL if the curve is calibrated, else in percent of the largest."""
    return [100 * point.relative if point.ml is None else point.ml for point in points]
