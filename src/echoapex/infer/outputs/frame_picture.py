"""One frame as people see it: de-identified, enlarged, with the outlines of structures and the wall end points."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import UInt8

from echoapex.domain import Landmarks, Sector, WallPoint
from echoapex.domain.geometry import Size
from echoapex.infer.outputs.palette import STRUCTURE_COLOURS, WALL_COLOUR, Pixels
from echoapex.io.deidentify import deidentify_frame
from echoapex.vocabulary import Structure

_FILL = 0.16  # opacity of the inside of a structure
_SUBPIXEL_BITS = 3


@dataclass(frozen=True)
class Placement:
    """Which part of a native frame is shown, and how large.

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
    """The part of a frame worth showing: the sector with a small margin, inside the image; else the whole image."""
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

    Where no sector is known, burned-in names cannot be told from the image, so that the picture stays black unless
    ``show_all_pixels``; where it is known, everything outside of it is black.
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


def draw_outlines(picture: Pixels, labels: UInt8[np.ndarray, "height width"], placement: Placement) -> None:
    """Draw every structure of a native label map on the picture, in place."""
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
        cv2.drawContours(image, contours, -1, colour, 1, cv2.LINE_AA)
    picture[top : top + height, left : left + width] = image


def draw_walls(picture: Pixels, landmarks: Landmarks, placement: Placement) -> None:
    """Draw the four wall end points and the lines between them, in place."""
    points = [placement.map_point(*landmarks.points_xy[name]) for name in WallPoint]
    fixed = [(round(x * 2**_SUBPIXEL_BITS), round(y * 2**_SUBPIXEL_BITS)) for x, y in points]
    for start, end in pairwise(fixed):
        cv2.line(picture, start, end, WALL_COLOUR, 1, cv2.LINE_AA, _SUBPIXEL_BITS)
    for point in fixed:
        cv2.circle(picture, point, 4 << _SUBPIXEL_BITS, (0, 0, 0), -1, cv2.LINE_AA, _SUBPIXEL_BITS)
        cv2.circle(picture, point, 3 << _SUBPIXEL_BITS, WALL_COLOUR, -1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _enlarged(mask: UInt8[np.ndarray, "h w"], size: tuple[int, int]) -> UInt8[np.ndarray, "height width"]:
    """A mask at (width, height) of a picture, its stairs rounded by less than a native pixel."""
    large = cv2.resize(mask, size)
    scale = size[0] / mask.shape[1]
    if scale > 1:
        large = cv2.GaussianBlur(large, (0, 0), 0.6 * scale)
    return np.where(large > 127, 255, 0).astype(np.uint8)
