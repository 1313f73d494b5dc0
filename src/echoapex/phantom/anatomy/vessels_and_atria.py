"""Aortic root, atria and great veins, attached to the moving base of the heart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from echoapex.phantom.anatomy.geometry import (
    FAR_MM,
    SUPERIOR,
    Field,
    HeartPoints,
    aortic_to_heart,
    capsule,
    ellipsoid,
    intersection,
    smooth_minimum,
    union,
)
from echoapex.phantom.anatomy.left_ventricle import LeftVentricle
from echoapex.phantom.motion import CycleState

_ROOT_TILT = (0.26, -0.966)
"""Direction of the aortic root: component towards the aortic side, and along the axis."""
_ASCENDING_LENGTH_MM = 70.0
_RIGHT_ATRIUM_ANGLE_DEG = 207.0
_RIGHT_ATRIUM_HEIGHT_MM = -21.5


@dataclass(frozen=True, eq=False)
class AorticRoot:
    """Distances, and the cylindrical coordinates for the cusps."""

    lumen: Field
    lumen_open: Field
    """The lumen, extended 8 mm into the outflow tract."""
    radius: Field
    """Local radius of the lumen."""
    from_axis: Field
    along_axis: Field
    in_plane: Field
    """Cross-section coordinate towards the aortic side; the other one is ``HeartPoints.across``."""


@dataclass(frozen=True, eq=False)
class Atria:
    """Distances of both atria and the great veins."""

    left: Field
    left_open: Field
    left_outer: Field
    right: Field
    right_open: Field
    right_outer: Field
    """Right atrium with both veins, before the neighbours are subtracted."""
    inferior_vein: Field | None
    superior_vein: Field | None


class VesselsAndAtria:
    """Geometry of the structures above the base."""

    def __init__(self, ventricle: LeftVentricle) -> None:
        patient = ventricle.patient
        self._patient = patient
        self.base_radius_mm = ventricle.base_radius_mm
        self.root_radius_mm = 11.0 * patient.aorta_size
        self.root_centre_mm = ventricle.base_radius_mm - self.root_radius_mm * 0.78
        """Along the aortic direction."""
        self.right_atrium_offset_mm = 0.9 * ventricle.base_radius_mm + 22.0 * patient.ra_size
        angle = math.radians(_RIGHT_ATRIUM_ANGLE_DEG)
        self.right_atrium_centre = np.array(
            [
                self.right_atrium_offset_mm * math.cos(angle),
                self.right_atrium_offset_mm * math.sin(angle),
                _RIGHT_ATRIUM_HEIGHT_MM,
            ]
        )
        self.left_atrium_centre = np.array(aortic_to_heart(-0.36 * self.base_radius_mm, -2.0, -27.5))

    def aortic_root(self, points: HeartPoints) -> AorticRoot:
        """Root with sinuses, and the ascending aorta."""
        tilt, up = _ROOT_TILT
        from_centre = points.towards_aorta - self.root_centre_mm
        height = points.material_z + 1.0
        along_axis = from_centre * tilt + height * up
        in_plane = height * tilt - from_centre * up
        from_axis = np.sqrt(in_plane * in_plane + points.across * points.across)
        from_axis += 1e-3
        sinuses = np.exp(-(((along_axis - 11) * (1 / 8.5)) ** 2))
        widening = np.clip((along_axis - 16) * 0.1, 0, 1)
        radius = self.root_radius_mm * (1.05 + 0.38 * sinuses + 0.14 * widening)
        outside = np.maximum(from_axis - radius, along_axis - _ASCENDING_LENGTH_MM)
        return AorticRoot(
            lumen=np.maximum(outside, -along_axis),
            lumen_open=np.maximum(outside, -along_axis - 8),
            radius=radius,
            from_axis=from_axis,
            along_axis=along_axis,
            in_plane=in_plane,
        )

    def atria(self, points: HeartPoints, root: AorticRoot, cycle: CycleState, hidden: frozenset[str]) -> Atria:
        """Both atria, which fill while the ventricles contract."""
        left_outer = self._left_atrium(points, cycle)
        left = np.maximum(left_outer, 2.0 - root.lumen)
        septum = 2.4 - left_outer
        right_outer = self._right_atrium(points, cycle)
        right = intersection(right_outer, septum, 2.2 - root.lumen)
        centre = self.right_atrium_centre
        inferior = superior = None
        if "inferior_vein" not in hidden:
            start, end = centre - SUPERIOR * 12 - np.array([0, 0, 4.0]), centre - SUPERIOR * 95
            vein = capsule(points.material, start, end, self._patient.ivc_mm * 0.5)
            right_outer = smooth_minimum(right_outer, vein, 4.0)
            inferior = np.maximum(vein, septum)
        if "superior_vein" not in hidden:
            vein = capsule(points.material, centre + SUPERIOR * 12, centre + SUPERIOR * 95, 8.5)
            right_outer = smooth_minimum(right_outer, vein, 4.0)
            superior = intersection(vein, septum, 2.2 - root.lumen)
        return Atria(
            left=np.maximum(left, points.z),
            left_open=np.maximum(left, points.z - 6),
            left_outer=left_outer,
            right=np.maximum(right, points.z - 4),
            right_open=np.maximum(right, points.z - 12),
            right_outer=right_outer,
            inferior_vein=inferior,
            superior_vein=superior,
        )

    def descending_aorta(self, points: HeartPoints) -> Field:
        """The descending aorta behind the left atrium; it does not follow the base."""
        behind = -self.base_radius_mm
        start = aortic_to_heart(behind - 28 * self._patient.la_size, -40, -8)
        end = aortic_to_heart(behind - 30 * self._patient.la_size, 60, -34)
        return capsule(points.instant, start, end, 11.5 * self._patient.aorta_size)

    def _left_atrium(self, points: HeartPoints, cycle: CycleState) -> Field:
        size = self._patient.la_size
        filling = size * (0.91 + 0.13 * cycle.contraction)
        return ellipsoid(
            (points.towards_aorta, points.across, points.material_z),
            (-0.36 * self.base_radius_mm, -2.0, -27.5 * size**0.5),
            (18.6 * filling, 21.6 * filling, 27.5 * size**0.7),
        )

    def _right_atrium(self, points: HeartPoints, cycle: CycleState) -> Field:
        size = self._patient.ra_size
        along, across = points.along(_RIGHT_ATRIUM_ANGLE_DEG)
        return ellipsoid(
            (along, across, points.material_z),
            (self.right_atrium_offset_mm, 0.0, _RIGHT_ATRIUM_HEIGHT_MM),
            (
                22.0 * size * (0.94 + 0.10 * cycle.contraction),
                23.0 * size * (0.94 + 0.08 * cycle.contraction),
                26.0 * size**0.6,
            ),
        )


def nearest(*solids: Field | None) -> Field | None:
    """Union of the solids that are not None; None if there are none."""
    present = [solid for solid in solids if solid is not None]
    return union(*present) if present else None


def least(field: Field | None) -> float:
    """Smallest distance; a large one if the structure was left out."""
    return FAR_MM if field is None else float(field.min())
