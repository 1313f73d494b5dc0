"""Outlines of masks, and the geometry of the LV outline: area, cut-off at the sector, long axis and chords.

Outlines are closed polygons ``(points, 2)`` of ``(x, y)``. In pixels, pixel centres are whole numbers, so the edge of
the first pixel is at -0.5. The long axis runs from the middle of the mitral plane to the apex; it is measured in one
isotropic unit: mm if the frame is calibrated, else square pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from echoapex.domain import Sector
from echoapex.domain.clip import Size

Outline = Float[np.ndarray, "points 2"]

CUT_OFF_SHARE = 0.05
"""If a larger share of the outline runs along the edge of the sector, the structure counts as cut off."""

_EDGE_DISTANCE_PX = 2.0
# A step runs from one pixel corner to the next: right, down, left, up. Corner (row, column) is the upper left corner of
# pixel (row, column). These are the pixels to the right and left of a step, relative to the corner where it starts.
_STEP_XY = ((1, 0), (0, 1), (-1, 0), (0, -1))
_PIXEL_AT_RIGHT = ((0, 0), (0, -1), (-1, -1), (-1, 0))
_PIXEL_AT_LEFT = ((-1, 0), (0, 0), (0, -1), (-1, -1))

Point = Float[np.ndarray, "2"]

# Lengths relative to the square root of the cavity area (about 55 mm in an adult at end-diastole).
_BORDER_TOLERANCE = (
    0.03  # about 1.5 mm: outline points up to this much farther from the atrium than the nearest point border it
)
_LARGEST_GAP = 0.15  # about 8 mm: an atrium farther away does not border the cavity
_SHORTEST_ANNULUS = 0.2  # about 11 mm: a shorter border is an accidental contact, not the mitral plane


class MeasureError(ValueError):
    """Something cannot be measured; the message says what is missing or wrong, and what to do."""


def trace_outline(mask: Bool[np.ndarray, "height width"]) -> Outline:
    """The closed outline of the largest 4-connected part of a mask, clockwise on the screen.

    Holes are filled, because the guideline counts papillary muscles as cavity (Lang et al. 2015). The points are the
    midpoints of the pixel sides between inside and outside. This is the contour at 0.5 that marching squares draws
    (Lorensen & Cline 1987, doi 10.1145/37402.37422), without staircase bias.

    >>> trace_outline(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=bool)).tolist()
    [[1.0, 0.5], [1.5, 1.0], [1.0, 1.5], [0.5, 1.0]]

    Raises:
        MeasureError: the mask is empty.
    """
    part, (top, left) = _largest_part(mask)
    inside = np.pad(part, 1)
    # bytes instead of arrays: the loop below reads single elements, which is slow in numpy
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
        # right, else straight on, else left: pixels that touch only at a corner are not connected
        turns = ((heading + 1) % 4, heading, (heading - 1) % 4)
        heading = next(turn for turn in turns if on_outline[turn][corner])
    middles = np.column_stack([np.mod(corners, width), np.floor_divide(corners, width)])
    middles = middles + np.asarray(_STEP_XY)[headings] / 2
    # padding shifted everything by one pixel, and a corner lies half a pixel before the pixel's centre
    return np.asarray(middles - 1.5 + (left, top), dtype=np.float64)


def resample_outline(outline: Outline, step: float) -> Outline:
    """Points at equal distances of about ``step`` along a closed outline, at least 8."""
    closed = np.vstack([outline, outline[:1]])
    walked = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    count = max(8, round(walked[-1] / step))
    at = np.arange(count) * walked[-1] / count
    return np.column_stack([np.interp(at, walked, closed[:, axis]) for axis in (0, 1)])


def polygon_area(outline: Outline) -> float:
    """Area of a closed polygon in the square of its unit (shoelace formula).

    >>> polygon_area(np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 3.0], [0.0, 3.0]]))
    12.0
    """
    x, y = outline.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def is_cut_off(outline_xy: Outline, size: Size, sector: Sector | None = None) -> bool:
    """Whether more than 5 % of the outline runs along the edge of the image or of the sector.

    Such a structure extends beyond the image, so its measured volume is too small. ``size`` is (height, width).
    """
    distance = np.min([distance_to_polygon(outline_xy, edge) for edge in image_edges(size, sector)], axis=0)
    return float(np.mean(distance < _EDGE_DISTANCE_PX)) > CUT_OFF_SHARE


def image_edges(size: Size, sector: Sector | None = None) -> tuple[Outline, ...]:
    """The edge of the image and that of the sector, if it is known, as closed polygons in pixels.

    ``size`` is (height, width).
    """
    height, width = size
    image = _box_corners((0, 0, width, height))
    if sector is None:
        return (image,)
    return image, np.asarray(sector.polygon_xy, float) if sector.polygon_xy else _box_corners(sector.box_xyxy)


def line_crossings(polygon: Outline, start: Point, direction: Point) -> Float[np.ndarray, " crossings"]:
    """Where a line crosses a closed polygon: signed distances from ``start`` along a unit vector, ascending.

    Their number is even, and the line is inside between the first and the second, the third and the fourth, and so on.

    >>> square = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])
    >>> line_crossings(square, np.array([1.0, 3.0]), np.array([1.0, 0.0])).tolist()
    [-1.0, 3.0]
    """
    along, across = (polygon - start) @ direction, (polygon - start) @ np.array([-direction[1], direction[0]])
    next_along, next_across = np.roll(along, -1), np.roll(across, -1)
    crossed = (across <= 0) != (next_across <= 0)
    share = -across[crossed] / (next_across - across)[crossed]
    return np.sort(along[crossed] + share * (next_along - along)[crossed])


@dataclass(frozen=True, eq=False)
class LongAxis:
    """Base (middle of the mitral plane) and apex; ``annulus`` has the two ends of the plane, if it was found."""

    base: Point
    apex: Point
    annulus: Float[np.ndarray, "2 2"] | None

    @property
    def length(self) -> float:
        """Distance from base to apex."""
        return float(np.linalg.norm(self.apex - self.base))


def find_long_axis(lv: Outline, left_atrium: Outline | None = None, probe: Point | None = None) -> LongAxis:
    """Find the long axis of an LV cavity outline.

    The base is the middle of the mitral annular plane, where the cavity borders the left atrium. The apex is the point
    of the outline farthest from the base (Lang et al. 2015, doi 10.1016/j.echo.2014.10.003, section 2). Without an
    atrium, the base is the point where the principal axis leaves the flat, wide end of the shape. If ``probe`` is
    known, it decides which end this is: in apical views the apex is nearer to the transducer.

    >>> triangle = np.array([[-20.0, 0.0], [20.0, 0.0], [0.0, 80.0]])
    >>> find_long_axis(triangle).base.round(6).tolist(), find_long_axis(triangle).length
    ([0.0, 0.0], 80.0)

    Raises:
        MeasureError: the outline has no area.
    """
    scale = polygon_area(lv) ** 0.5 if len(lv) >= 3 else 0.0
    if scale == 0:
        raise MeasureError("the LV outline has no area, so that it has no axis; check the segmentation")
    annulus = None if left_atrium is None else find_valve_plane(lv, left_atrium)
    if annulus is not None:
        axis = LongAxis(annulus.mean(axis=0), _farthest(lv, annulus.mean(axis=0)), annulus)
        if _lies_across(annulus, axis):
            return axis
    base = _flat_end(lv, probe)
    return LongAxis(base, _farthest(lv, base), None)


def find_valve_plane(
    chamber: Outline,
    neighbour: Outline,
    tolerance: float = _BORDER_TOLERANCE,
    largest_gap: float = _LARGEST_GAP,
) -> Float[np.ndarray, "2 2"] | None:
    """The two ends of the border that a chamber shares with its neighbour, on the chamber; None if they do not border.

    For the LV and the left atrium this is the mitral plane, for the right heart the tricuspid plane. ``tolerance`` (how
    much farther than the nearest point the border may lie) and ``largest_gap`` are relative to the square root of the
    chamber's area.

    >>> ventricle = np.array([[0.0, 0.0], [40.0, 0.0], [40.0, 80.0], [0.0, 80.0]])
    >>> atrium = ventricle * np.array([1.0, -0.5])
    >>> float(np.ptp(find_valve_plane(atrium, ventricle)[:, 0]).round())
    40.0
    """
    scale = polygon_area(chamber) ** 0.5 if len(chamber) >= 3 and len(neighbour) >= 3 else 0.0
    if scale == 0:
        return None
    chamber = resample_outline(chamber, scale * _BORDER_TOLERANCE / 2)
    neighbour = resample_outline(neighbour, scale * _BORDER_TOLERANCE / 2)
    distance = np.linalg.norm(chamber[:, None] - neighbour[None], axis=2).min(axis=1)
    if distance.min() > largest_gap * scale:
        return None
    border = chamber[distance <= distance.min() + tolerance * scale]
    direction = _principal_direction(border - border.mean(axis=0))
    along = (border - border.mean(axis=0)) @ direction
    if np.ptp(along) < _SHORTEST_ANNULUS * scale:
        return None
    return np.stack([border[along.argmin()], border[along.argmax()]])


def chord_lengths(polygon: Outline, normal: Point, levels: Float[np.ndarray, " lines"]) -> Float[np.ndarray, " lines"]:
    """Length inside a closed polygon of the lines ``point . normal = level``; ``normal`` is a unit vector.

    Along a line, upward and downward crossings alternate, so the signed sum of their positions is the length inside.

    >>> unit_square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> chord_lengths(unit_square, np.array([0.0, 1.0]), np.array([-0.5, 0.25, 0.75])).tolist()
    [0.0, 1.0, 1.0]
    """
    height, position = polygon @ normal, polygon @ np.array([-normal[1], normal[0]])
    rise, advance = np.roll(height, -1) - height, np.roll(position, -1) - position
    below = height[None] <= levels[:, None]
    crossing = np.roll(below, -1, axis=1).astype(np.int8) - below.astype(np.int8)
    line, side = np.nonzero(crossing)
    crossed_at = position[side] + (levels[line] - height[side]) / rise[side] * advance[side]
    signed = np.bincount(line, weights=crossing[line, side] * crossed_at, minlength=len(levels))
    return np.abs(signed)


def _largest_part(mask: Bool[np.ndarray, "height width"]) -> tuple[Bool[np.ndarray, "rows columns"], tuple[int, int]]:
    """The largest 4-connected part with holes filled, cropped to its box, and the (row, column) of the box."""
    parts, count = ndimage.label(np.asarray(mask, dtype=bool))
    if count == 0:
        raise MeasureError("the structure was not found in this frame: its mask is empty; choose another frame or view")
    largest = int(np.bincount(parts.ravel())[1:].argmax())
    rows, columns = ndimage.find_objects(parts)[largest]
    filled = ndimage.binary_fill_holes(parts[rows, columns] == largest + 1)
    return np.asarray(filled), (rows.start, columns.start)


def _outline_steps(inside: Bool[np.ndarray, "rows columns"], heading: int) -> Bool[np.ndarray, "rows columns"]:
    """Corners from which a step along ``heading`` has the structure on its right and the outside on its left."""
    right_row, right_column = _PIXEL_AT_RIGHT[heading]
    left_row, left_column = _PIXEL_AT_LEFT[heading]
    right = np.roll(inside, (-right_row, -right_column), axis=(0, 1))
    left = np.roll(inside, (-left_row, -left_column), axis=(0, 1))
    return np.asarray(right & ~left)


def _box_corners(box_xyxy: tuple[float, float, float, float]) -> Outline:
    """Corners of a box given in pixel edges, in the coordinates of pixel centres."""
    x0, y0, x1, y1 = (edge - 0.5 for edge in box_xyxy)
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64)


def distance_to_polygon(points_xy: Outline, polygon: Outline) -> Float[np.ndarray, " points"]:
    """Distance of each point to the nearest side of a closed polygon, in their common unit."""
    start, side = polygon, np.roll(polygon, -1, axis=0) - polygon
    offset = points_xy[:, None] - start[None]
    along = (offset * side).sum(axis=2) / np.maximum((side**2).sum(axis=1), 1e-12)
    nearest = start[None] + np.clip(along, 0, 1)[..., None] * side[None]
    distance: Float[np.ndarray, " points"] = np.linalg.norm(points_xy[:, None] - nearest, axis=2).min(axis=1)
    return distance


def _principal_direction(centred: Float[np.ndarray, "points 2"]) -> Point:
    return np.asarray(np.linalg.eigh(centred.T @ centred)[1][:, -1])


def _farthest(lv: Outline, base: Point) -> Point:
    return np.asarray(lv[np.linalg.norm(lv - base, axis=1).argmax()])


def _lies_across(annulus: Float[np.ndarray, "2 2"], axis: LongAxis) -> bool:
    """Whether the plane is at more than 45 degrees to the axis; if not, the atrium was found beside the ventricle."""
    plane = annulus[1] - annulus[0]
    cosine = abs(plane @ (axis.apex - axis.base)) / (np.linalg.norm(plane) * axis.length)
    return bool(cosine < 0.5**0.5)


def _flat_end(lv: Outline, probe: Point | None) -> Point:
    """The point where the principal axis leaves the outline at its basal end."""
    centre, direction = _centre_and_principal_axis(lv)
    along = (lv - centre) @ direction
    if probe is not None:
        towards_base = -1.0 if (probe - centre) @ direction > 0 else 1.0
    else:
        towards_base = 1.0 if _end_width(lv, centre, direction) >= _end_width(lv, centre, -direction) else -1.0
    direction = direction * towards_base
    across = np.array([-direction[1], direction[0]])
    sideways, next_sideways = (lv - centre) @ across, (np.roll(lv, -1, axis=0) - centre) @ across
    reach = np.where((sideways <= 0) != (next_sideways <= 0), along * towards_base, -np.inf).max()
    return np.asarray(centre + reach * direction)


def _centre_and_principal_axis(polygon: Outline) -> tuple[Point, Point]:
    """Centroid and principal axis of the area inside a polygon.

    Uses second moments over the triangles from the first vertex (exact for any simple polygon).
    """
    origin = polygon[0]
    first, second = polygon - origin, np.roll(polygon, -1, axis=0) - origin
    twice_area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    total = twice_area.sum() / 2
    centre = (twice_area[:, None] * (first + second)).sum(axis=0) / (6 * total)
    outer = np.einsum("ki,kj->kij", first, first) + np.einsum("ki,kj->kij", second, second)
    outer += np.einsum("ki,kj->kij", first + second, first + second)
    moments = np.einsum("k,kij->ij", twice_area, outer) / (24 * total) - np.outer(centre, centre)
    return origin + centre, np.asarray(np.linalg.eigh(moments)[1][:, -1])


def _end_width(lv: Outline, centre: Point, direction: Point) -> float:
    """Mean width of the outermost tenth of the shape at the end that ``direction`` points to."""
    along = (lv - centre) @ direction
    levels = along.max() - np.ptp(along) * np.linspace(0.02, 0.1, 5)
    return float(chord_lengths(lv - centre, direction, levels).mean())
