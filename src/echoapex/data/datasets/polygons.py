"""Polygons in native pixels: from paired chords, to areas and masks."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from echoapex.domain.geometry import Size


def polygon_of_chords(chords_xy: Float[np.ndarray, "chords 2 2"]) -> Float[np.ndarray, "points 2"]:
    """The outline through the ends of chords that cross a structure: down one side and back up the other.

    Args:
        chords_xy: chord by chord in order along the structure, its two ends, x and y.

    >>> polygon_of_chords(np.array([[[0.0, 0], [2, 0]], [[0, 1], [2, 1]]])).tolist()
    [[0.0, 0.0], [0.0, 1.0], [2.0, 1.0], [2.0, 0.0]]
    """
    chords = np.asarray(chords_xy, dtype=np.float64)
    return np.concatenate([chords[:, 0], chords[::-1, 1]])


def polygon_area_px(polygon_xy: Float[np.ndarray, "points 2"]) -> float:
    """Area inside a polygon, in square pixels (shoelace formula).

    >>> polygon_area_px(np.array([[0.0, 0], [0, 1], [2, 1], [2, 0]]))
    2.0
    """
    x, y = np.asarray(polygon_xy, dtype=np.float64).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def fill_polygon(polygon_xy: Float[np.ndarray, "points 2"], size: Size) -> Bool[np.ndarray, "height width"]:
    """The pixels whose centres lie inside a polygon (even-odd rule), so that the mask has the polygon's area.

    Args:
        polygon_xy: corners in order, x and y; parts outside the frame are cut off.
        size: ``(height, width)`` of the mask.
    """
    height, width = size
    mask = np.zeros(size, dtype=bool)
    corners = np.asarray(polygon_xy, dtype=np.float64)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        # half-open, so that a corner on a row is crossed once
        rows = np.arange(max(int(np.ceil(min(y0, y1))), 0), min(int(np.ceil(max(y0, y1))), height))
        crossings = x0 + (rows - y0) * (x1 - x0) / (y1 - y0)
        for row, first in zip(rows, np.clip(np.ceil(crossings), 0, width).astype(int), strict=True):
            mask[row, first:] ^= True
    return mask
