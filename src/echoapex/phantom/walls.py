"""Exact end points of septum, cavity, posterior wall and right ventricle in the parasternal long axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from echoapex.domain import WallPoint
from echoapex.phantom.anatomy import Heart
from echoapex.phantom.anatomy.geometry import Vector, unit
from echoapex.phantom.scan import ScanConverter
from echoapex.phantom.views import Pose
from echoapex.vocabulary import Structure

MEASUREMENT_LEVEL = 0.22
"""Fraction of the long axis below the base: at the tips of the open mitral leaflets, as ASE 2015 requires."""
_REACH_MM, _STEP_MM = 80.0, 0.025
_SEPTAL_GAP_MM = 4.0


@dataclass(frozen=True)
class WallTruth:
    """End points in pixels (x, y) on one frame, and the lengths between them in mm.

    ``rvidd_mm`` is the length from the RV side of the septum to the anterior border of the RV on the same line. Both it
    and ``rv_anterior_border_xy`` are None where the right ventricle does not begin at the septum or the image ends
    before this border.
    """

    points_xy: Mapping[WallPoint, tuple[float, float]]
    ivsd_mm: float
    lvidd_mm: float
    lvpwd_mm: float
    rvidd_mm: float | None = None
    rv_anterior_border_xy: tuple[float, float] | None = None


@dataclass(frozen=True)
class _Line:
    """The line of the walls in the image plane, in the heart frame: a point on it and the direction to the septum."""

    crossing: Vector
    across: Vector

    def points(self, offsets: np.ndarray, shift_mm: Vector) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points of the resting heart that are on the line at offsets in mm, as float32."""
        line = (self.crossing - shift_mm)[None] + offsets[:, None] * self.across[None]
        x, y, z = (line[:, k].astype(np.float32) for k in range(3))
        return x, y, z


def wall_positions(heart: Heart, pose: Pose, phase: float, shift_mm: Vector) -> dict[WallPoint, Vector] | None:
    """Positions of the four end points in the image plane, in the heart frame; None if the line misses the cavity.

    The line is perpendicular to the projected long axis within the plane. ``shift_mm`` is the displacement of the whole
    heart at this phase.
    """
    line = _line_of_walls(heart, pose, phase, shift_mm)
    offsets = np.arange(-_REACH_MM, _REACH_MM + _STEP_MM / 2, _STEP_MM)
    surfaces = heart.chambers(line.points(offsets, shift_mm), phase).lv
    cavity = _run_around_middle(surfaces.endocardium < 0)
    wall = _run_around_middle(surfaces.epicardium < 0)
    if cavity is None or wall is None:
        return None
    ends = {
        WallPoint.SEPTUM_RV_SIDE: wall[1],
        WallPoint.SEPTUM_LV_SIDE: cavity[1],
        WallPoint.POSTERIOR_WALL_LV_SIDE: cavity[0],
        WallPoint.POSTERIOR_WALL_EPICARDIUM: wall[0],
    }
    return {name: line.crossing + offsets[index] * line.across for name, index in ends.items()}


def rv_border_position(heart: Heart, pose: Pose, phase: float, shift_mm: Vector, septum: Vector) -> Vector | None:
    """Where the line of the walls leaves the right ventricle, in the heart frame.

    None if the RV does not begin within ``_SEPTAL_GAP_MM`` of the septum, or does not end on the line.
    """
    line = _line_of_walls(heart, pose, phase, shift_mm)
    begin = float(np.dot(septum - line.crossing, line.across))
    offsets = begin + np.arange(0.0, _REACH_MM, _STEP_MM)
    inside = heart.labels(line.points(offsets, shift_mm), phase) == Structure.RIGHT_VENTRICLE
    first = int(inside.argmax())
    if not inside[first] or first * _STEP_MM > _SEPTAL_GAP_MM or inside[first:].all():
        return None
    last = first + int((~inside[first:]).argmax()) - 1
    border: Vector = line.crossing + offsets[last] * line.across
    return border


def _line_of_walls(heart: Heart, pose: Pose, phase: float, shift_mm: Vector) -> _Line:
    """The line across the long axis in the image plane at the level of the mitral leaflet tips."""
    state = heart.ventricle.state(phase)
    normal = pose.normal
    long_axis = np.array([0.0, 0.0, 1.0])
    across = unit(np.cross(unit(long_axis - np.dot(long_axis, normal) * normal), normal))
    if np.dot(across, pose.depth_axis) > 0:
        across = -across  # towards the transducer, which is the septal side
    crossing = np.array([0.0, 0.0, state.base_shift_mm + MEASUREMENT_LEVEL * state.length_mm]) + shift_mm
    return _Line(crossing - np.dot(crossing - pose.position, normal) * normal, across)


def measure_walls(
    positions: Mapping[WallPoint, Vector], converter: ScanConverter, rv_border: Vector | None = None
) -> WallTruth:
    """End points in pixels, and the lengths between them; ``rv_border`` is the anterior border of the RV, if imaged."""
    ordered = [positions[name] for name in WallPoint]
    septum, cavity, posterior = (float(np.linalg.norm(after - before)) for before, after in pairwise(ordered))
    points = {name: converter.pixel_of(position) for name, position in positions.items()}
    walls = WallTruth(points_xy=points, ivsd_mm=septum, lvidd_mm=cavity, lvpwd_mm=posterior)
    if rv_border is None:
        return walls
    diameter = float(np.linalg.norm(rv_border - positions[WallPoint.SEPTUM_RV_SIDE]))
    return replace(walls, rvidd_mm=diameter, rv_anterior_border_xy=converter.pixel_of(rv_border))


def _run_around_middle(inside: np.ndarray) -> tuple[int, int] | None:
    """First and last index of the contiguous run that contains the middle of the line."""
    middle = inside.size // 2
    if not inside[middle]:
        return None
    outside = np.flatnonzero(~inside)
    before, after = outside[outside < middle], outside[outside > middle]
    first = int(before[-1]) + 1 if before.size else 0
    last = int(after[0]) - 1 if after.size else inside.size - 1
    return first, last
