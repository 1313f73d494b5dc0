"""The long axis of the left ventricle: from the middle of the mitral plane to the apex.

Everything here works in one plane unit: mm where the frame is calibrated, else square pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from echoapex.measure.errors import MeasureError
from echoapex.measure.outline import Outline, polygon_area

Point = Float[np.ndarray, "2"]

# All relative to the square root of the cavity's area (about 55 mm in an adult at end-diastole).
_BORDER_TOLERANCE = (
    0.03  # about 1.5 mm: outline points so much farther from the atrium than the nearest still border it
)
_LARGEST_GAP = 0.15  # about 8 mm: an atrium farther away does not border the cavity
_SHORTEST_ANNULUS = 0.2  # about 11 mm: a shorter border is a chance touch, not a mitral plane


@dataclass(frozen=True, eq=False)
class LongAxis:
    """Base (middle of the mitral plane) and apex; ``annulus`` holds the two ends of the plane where it was found."""

    base: Point
    apex: Point
    annulus: Float[np.ndarray, "2 2"] | None

    @property
    def length(self) -> float:
        """Distance from base to apex."""
        return float(np.linalg.norm(self.apex - self.base))


def find_long_axis(lv: Outline, left_atrium: Outline | None = None, probe: Point | None = None) -> LongAxis:
    """Find the long axis of an LV cavity outline.

    The base is the middle of the mitral annular plane, which is where the cavity borders the left atrium; the apex is
    the point of the outline farthest from it (Lang et al. 2015, doi 10.1016/j.echo.2014.10.003, section 2). Without an
    atrium the base is where the principal axis leaves the flat, wide end of the shape; ``probe``, where known, decides
    which end that is, for in apical views the apex is the end nearer to the transducer.

    >>> triangle = np.array([[-20.0, 0.0], [20.0, 0.0], [0.0, 80.0]])
    >>> find_long_axis(triangle).base.round(6).tolist(), find_long_axis(triangle).length
    ([0.0, 0.0], 80.0)

    Raises:
        MeasureError: the outline has no area.
    """
    scale = polygon_area(lv) ** 0.5 if len(lv) >= 3 else 0.0
    if scale == 0:
        raise MeasureError("the LV outline has no area, so that it has no axis; check the segmentation")
    annulus = _mitral_plane(lv, left_atrium, scale) if left_atrium is not None and len(left_atrium) >= 3 else None
    if annulus is not None:
        axis = LongAxis(annulus.mean(axis=0), _farthest(lv, annulus.mean(axis=0)), annulus)
        if _lies_across(annulus, axis):
            return axis
    base = _flat_end(lv, probe)
    return LongAxis(base, _farthest(lv, base), None)


def _farthest(lv: Outline, base: Point) -> Point:
    return np.asarray(lv[np.linalg.norm(lv - base, axis=1).argmax()])


def _lies_across(annulus: Float[np.ndarray, "2 2"], axis: LongAxis) -> bool:
    """Whether the plane makes more than 45 degrees with the axis; else an atrium was found beside the ventricle."""
    plane = annulus[1] - annulus[0]
    cosine = abs(plane @ (axis.apex - axis.base)) / (np.linalg.norm(plane) * axis.length)
    return bool(cosine < 0.5**0.5)


def _mitral_plane(lv: Outline, left_atrium: Outline, scale: float) -> Float[np.ndarray, "2 2"] | None:
    """The two ends of the border between cavity and atrium, or None where they do not border each other."""
    lv = resample_outline(lv, scale * _BORDER_TOLERANCE / 2)
    left_atrium = resample_outline(left_atrium, scale * _BORDER_TOLERANCE / 2)
    distance = np.linalg.norm(lv[:, None] - left_atrium[None], axis=2).min(axis=1)
    if distance.min() > _LARGEST_GAP * scale:
        return None
    border = lv[distance <= distance.min() + _BORDER_TOLERANCE * scale]
    direction = _principal_direction(border - border.mean(axis=0))
    along = (border - border.mean(axis=0)) @ direction
    if np.ptp(along) < _SHORTEST_ANNULUS * scale:
        return None
    return np.stack([border[along.argmin()], border[along.argmax()]])


def resample_outline(outline: Outline, step: float) -> Outline:
    """Points every ``step`` along a closed outline (at least 8), so that point density carries no weight."""
    closed = np.vstack([outline, outline[:1]])
    walked = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    count = max(8, round(walked[-1] / step))
    at = np.arange(count) * walked[-1] / count
    return np.column_stack([np.interp(at, walked, closed[:, axis]) for axis in (0, 1)])


def _flat_end(lv: Outline, probe: Point | None) -> Point:
    """Where the principal axis leaves the outline at its basal end."""
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


def _end_width(lv: Outline, centre: Point, direction: Point) -> float:
    """Mean width of the outermost tenth of the shape at the end that ``direction`` points to."""
    along = (lv - centre) @ direction
    levels = along.max() - np.ptp(along) * np.linspace(0.02, 0.1, 5)
    return float(chord_lengths(lv - centre, direction, levels).mean())


def chord_lengths(polygon: Outline, normal: Point, levels: Float[np.ndarray, " lines"]) -> Float[np.ndarray, " lines"]:
    """Length inside a closed polygon of the lines ``point . normal = level``; ``normal`` is a unit vector.

    Sides that cross a line upwards and downwards take turns along it, so that the signed sum of the crossings'
    positions is the length inside.

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


def _principal_direction(centred: Float[np.ndarray, "points 2"]) -> Point:
    return np.asarray(np.linalg.eigh(centred.T @ centred)[1][:, -1])


def _centre_and_principal_axis(polygon: Outline) -> tuple[Point, Point]:
    """Centroid and direction of the longest extent of the area inside a polygon.

    Second moments over the triangles from the first vertex (exact for any simple polygon).
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
