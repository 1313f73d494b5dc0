"""From a mask to its outline, with sub-pixel corners, and whether the sector cuts the structure off.

Outlines are closed polygons ``(points, 2)`` of ``(x, y)`` in pixels; pixel centres are whole numbers, so the edge of
the first pixel lies at -0.5.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from echoapex.domain import Sector
from echoapex.domain.geometry import Size
from echoapex.measure.errors import MeasureError

Outline = Float[np.ndarray, "points 2"]

CUT_OFF_SHARE = 0.05
"""Share of an outline that may run along the edge of the sector before the structure counts as cut off."""

_EDGE_DISTANCE_PX = 2.0
# A step runs from one pixel corner to the next: right, down, left, up. Corner (row, column) is the upper left one of
# pixel (row, column), so these are the pixels at either hand of a step, relative to the corner where it starts.
_STEP_XY = ((1, 0), (0, 1), (-1, 0), (0, -1))
_PIXEL_AT_RIGHT = ((0, 0), (0, -1), (-1, -1), (-1, 0))
_PIXEL_AT_LEFT = ((-1, 0), (0, 0), (0, -1), (-1, -1))


def trace_outline(mask: Bool[np.ndarray, "height width"]) -> Outline:
    """The closed outline of the largest 4-connected part of a mask, clockwise on the screen.

    Holes are left out of account: the guideline counts papillary muscles as cavity (Lang et al. 2015). The points are
    the middles of the pixel sides between inside and outside, which is the contour at one half that marching squares
    would draw (Lorensen & Cline 1987, doi 10.1145/37402.37422), free of staircase bias.

    >>> trace_outline(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=bool)).tolist()
    [[1.0, 0.5], [1.5, 1.0], [1.0, 1.5], [0.5, 1.0]]

    Raises:
        MeasureError: the mask is empty.
    """
    part, (top, left) = _largest_part(mask)
    inside = np.pad(part, 1)
    # bytes rather than arrays: the walk below visits single elements, where numpy is slow
    on_outline = [_outline_steps(inside, heading).tobytes() for heading in range(4)]
    width = inside.shape[1]
    strides = (1, width, -1, -width)
    start = on_outline[0].index(1)
    corner, heading = start, 0
    corners: list[int] = []
    headings: list[int] = []
    while not corners or corner != start or heading != 0:
        corners.append(corner)
        headings.append(heading)
        corner += strides[heading]
        # right, else straight on, else left: pixels that touch only at a corner stay apart
        turns = ((heading + 1) % 4, heading, (heading - 1) % 4)
        heading = next(turn for turn in turns if on_outline[turn][corner])
    middles = np.column_stack([np.mod(corners, width), np.floor_divide(corners, width)])
    middles = middles + np.asarray(_STEP_XY)[headings] / 2
    # padding moved everything by one pixel, and a corner lies half a pixel before the pixel's centre
    return np.asarray(middles - 1.5 + (left, top), dtype=np.float64)


def _largest_part(mask: Bool[np.ndarray, "height width"]) -> tuple[Bool[np.ndarray, "rows columns"], tuple[int, int]]:
    """The largest 4-connected part, holes filled, cut out of the mask, and the (row, column) where it was cut out."""
    parts, count = ndimage.label(np.asarray(mask, dtype=bool))
    if count == 0:
        raise MeasureError("the structure was not found in this frame: its mask is empty; choose another frame or view")
    largest = int(np.bincount(parts.ravel())[1:].argmax())
    rows, columns = ndimage.find_objects(parts)[largest]
    filled = ndimage.binary_fill_holes(parts[rows, columns] == largest + 1)
    return np.asarray(filled), (rows.start, columns.start)


def _outline_steps(inside: Bool[np.ndarray, "rows columns"], heading: int) -> Bool[np.ndarray, "rows columns"]:
    """Corners from which a step along ``heading`` has the structure at its right hand and the outside at its left."""
    right_row, right_column = _PIXEL_AT_RIGHT[heading]
    left_row, left_column = _PIXEL_AT_LEFT[heading]
    right = np.roll(inside, (-right_row, -right_column), axis=(0, 1))
    left = np.roll(inside, (-left_row, -left_column), axis=(0, 1))
    return np.asarray(right & ~left)


def polygon_area(outline: Outline) -> float:
    """Area inside a closed polygon, in the square of its unit (the shoelace formula).

    >>> polygon_area(np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 3.0], [0.0, 3.0]]))
    12.0
    """
    x, y = outline.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def is_cut_off(outline_xy: Outline, size: Size, sector: Sector | None = None) -> bool:
    """Whether more than 5 % of the outline runs along the edge of the image or of the sector.

    Such a structure is larger than what was imaged, and its volume is then too small. ``size`` is (height, width).
    """
    height, width = size
    edges = [_box_corners((0, 0, width, height))]
    if sector is not None:
        edges.append(np.asarray(sector.polygon_xy, float) if sector.polygon_xy else _box_corners(sector.box_xyxy))
    distance = np.min([_distance_to_polygon(outline_xy, edge) for edge in edges], axis=0)
    return float(np.mean(distance < _EDGE_DISTANCE_PX)) > CUT_OFF_SHARE


def _box_corners(box_xyxy: tuple[float, float, float, float]) -> Outline:
    """Corners of a box given in pixel edges, in the coordinates of pixel centres."""
    x0, y0, x1, y1 = (edge - 0.5 for edge in box_xyxy)
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64)


def _distance_to_polygon(points_xy: Outline, polygon: Outline) -> Float[np.ndarray, " points"]:
    """Distance of each point to the nearest side of a closed polygon, in pixels."""
    start, side = polygon, np.roll(polygon, -1, axis=0) - polygon
    offset = points_xy[:, None] - start[None]
    along = (offset * side).sum(axis=2) / np.maximum((side**2).sum(axis=1), 1e-12)
    nearest = start[None] + np.clip(along, 0, 1)[..., None] * side[None]
    distance: Float[np.ndarray, " points"] = np.linalg.norm(points_xy[:, None] - nearest, axis=2).min(axis=1)
    return distance
