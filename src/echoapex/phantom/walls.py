"""Exact end points of septum, cavity and posterior wall in the parasternal long axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from echoapex.domain import WallPoint
from echoapex.phantom.anatomy import Heart
from echoapex.phantom.anatomy.geometry import Vector, unit
from echoapex.phantom.scan import ScanConverter
from echoapex.phantom.views import Pose

MEASUREMENT_LEVEL = 0.22
"""Fraction of the long axis below the base: at the tips of the open mitral leaflets, as ASE 2015 requires."""
_REACH_MM, _STEP_MM = 80.0, 0.025


@dataclass(frozen=True)
class WallTruth:
    """End points in pixels (x, y) on one frame, and the lengths between them in mm."""

    points_xy: Mapping[WallPoint, tuple[float, float]]
    ivsd_mm: float
    lvidd_mm: float
    lvpwd_mm: float


def wall_positions(heart: Heart, pose: Pose, phase: float, shift_mm: Vector) -> dict[WallPoint, Vector] | None:
    """Positions of the four end points in the image plane, in the heart frame; None if the line misses the cavity.

    The line is perpendicular to the projected long axis within the plane. ``shift_mm`` is the displacement of the whole
    heart at this phase.
    """
    state = heart.ventricle.state(phase)
    normal = pose.normal
    long_axis = np.array([0.0, 0.0, 1.0])
    across = unit(np.cross(unit(long_axis - np.dot(long_axis, normal) * normal), normal))
    if np.dot(across, pose.depth_axis) > 0:
        across = -across  # towards the transducer, which is the septal side
    crossing = np.array([0.0, 0.0, state.base_shift_mm + MEASUREMENT_LEVEL * state.length_mm]) + shift_mm
    crossing = crossing - np.dot(crossing - pose.position, normal) * normal
    offsets = np.arange(-_REACH_MM, _REACH_MM + _STEP_MM / 2, _STEP_MM)
    line = (crossing - shift_mm)[None] + offsets[:, None] * across[None]
    x, y, z = (line[:, k].astype(np.float32) for k in range(3))
    surfaces = heart.chambers((x, y, z), phase).lv
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
    return {name: crossing + offsets[index] * across for name, index in ends.items()}


def measure_walls(positions: Mapping[WallPoint, Vector], converter: ScanConverter) -> WallTruth:
    """End points in pixels, and the lengths between them."""
    ordered = [positions[name] for name in WallPoint]
    septum, cavity, posterior = (float(np.linalg.norm(after - before)) for before, after in pairwise(ordered))
    points = {name: converter.pixel_of(position) for name, position in positions.items()}
    return WallTruth(points_xy=points, ivsd_mm=septum, lvidd_mm=cavity, lvpwd_mm=posterior)


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
