"""The right ventricle: a crescent around the septum, with outflow tract and pulmonary artery."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from echoapex.phantom.anatomy.geometry import (
    Field,
    HeartPoints,
    aortic_to_heart,
    capsule,
    intersection,
    smooth_minimum,
    union,
    unit,
)
from echoapex.phantom.anatomy.left_ventricle import BeatState, LeftVentricle, LeftVentricleSurfaces
from echoapex.phantom.anatomy.vessels_and_atria import AorticRoot, VesselsAndAtria

CRESCENT_ANGLE_DEG = 194.0
WALL_MM = 3.8
_BASE_MM = 8.0
_INSERTION = 0.2
"""Position of the RV insertion on the LV: distance from the LV axis towards the septum, in LV radii."""
_INSERTION_ROUNDING_MM = 6.0
_TO_AORTA_MM, _TO_SEPTUM_MM = 2.2, 1.0
"""Thickness of the tissue between the right ventricle and its neighbours."""


@dataclass(frozen=True, eq=False)
class RightVentricleSurfaces:
    """Signed distances in mm, negative inside."""

    cavity: Field
    outer: Field
    """Cavity, outflow tract and pulmonary artery, before the neighbours are subtracted."""
    outflow: Field
    """Outflow tract and pulmonary artery."""
    pulmonary_artery: Field
    """The pulmonary artery beyond the valve; the tract before the valve belongs to the right ventricle."""


class RightVentricle:
    """Geometry and motion of the right ventricle."""

    def __init__(self, ventricle: LeftVentricle, vessels: VesselsAndAtria) -> None:
        patient = ventricle.patient
        self._lv_radius_mm = ventricle.equatorial_radius_mm
        self._length_mm = ventricle.length_mm
        reach = self._lv_radius_mm + patient.septum_mm * 0.5 + 14.5
        # a dilated RV grows outwards more than around the LV
        self._outward_extent_mm, self._sideways_extent_mm = reach * patient.rv_size, reach * 0.95 * patient.rv_size**0.5
        self._strength = min(1.2, patient.ejection_fraction_percent / 60 + 0.25)
        size = patient.rv_size
        arc = vessels.root_radius_mm * 1.35 + 15  # the tract curves around the aortic root
        root = vessels.root_centre_mm
        inflow = aortic_to_heart(ventricle.base_radius_mm + 12, -16, 22)
        infundibulum = aortic_to_heart(root + arc * 0.93, -4, -4)
        valve = aortic_to_heart(root + arc * 0.62, 22, -14)
        bifurcation = aortic_to_heart(root - 12, 27, -30)
        self._pulmonary_valve, self._artery_direction = valve, unit(np.subtract(bifurcation, valve))
        self._tract = (
            (inflow, infundibulum, 15 * size, 12.5 * size),
            (infundibulum, valve, 12.5 * size, 10.5),
            (valve, bifurcation, 10.5, 10.5),
        )

    def surfaces(
        self, points: HeartPoints, state: BeatState, ventricle: LeftVentricleSurfaces, root: AorticRoot
    ) -> RightVentricleSurfaces:
        """Distances to the right ventricle, after subtracting the left ventricle and the aorta."""
        lower, upper, artery = (capsule(points.material, *part) for part in self._tract)
        body = np.maximum(self._body(points, state), 4.0 - points.z)
        cavity = smooth_minimum(body, union(lower, upper), 5.0)
        beside_septum, beside_aorta = _TO_SEPTUM_MM - ventricle.wall, _TO_AORTA_MM - root.lumen
        outflow = intersection(union(upper, artery), beside_aorta, beside_septum)
        return RightVentricleSurfaces(
            cavity=intersection(cavity, beside_septum, beside_aorta),
            outer=union(cavity, artery),
            outflow=outflow,
            pulmonary_artery=np.maximum(outflow, self._before_valve(points)),
        )

    def _before_valve(self, points: HeartPoints) -> Field:
        """Signed distance to the plane of the pulmonary valve, positive on the side of the ventricle."""
        x, y, z = (
            (coordinate - at) * float(along)
            for coordinate, at, along in zip(
                points.material, self._pulmonary_valve, self._artery_direction, strict=True
            )
        )
        return -(x + y + z)

    def _body(self, points: HeartPoints, state: BeatState) -> Field:
        """An ellipsoid that approaches the LV axis towards the apex and ends at its insertion on the LV.

        Without the insertion, the ellipsoid of a large RV would reappear behind the posterior wall.
        """
        contraction = state.cycle.contraction
        outwards, sideways = points.along(CRESCENT_ANGLE_DEG)
        z = points.material_z
        centre = self._lv_radius_mm * (0.92 - 0.62 * np.clip(z * (1 / self._length_mm), 0, 1))
        to_apex = np.maximum((z - _BASE_MM) * (1 / (0.90 * self._length_mm - _BASE_MM)), 0)
        to_base = np.maximum((_BASE_MM - z) * (1 / 30.0), 0)
        extent_outwards = self._outward_extent_mm * (1 - 0.23 * contraction * self._strength)
        extent_sideways = self._sideways_extent_mm * (1 - 0.13 * contraction)
        behind_insertion = _INSERTION * self._lv_radius_mm - outwards
        outwards = (outwards - centre) * (1 / extent_outwards)
        sideways *= 1 / extent_sideways
        norm = np.sqrt(outwards * outwards + sideways * sideways + to_apex * to_apex + to_base * to_base)
        ellipsoid = (norm - 1) * (0.93 * 0.5 * (extent_outwards + extent_sideways))
        result: Field = -smooth_minimum(-ellipsoid, -behind_insertion, _INSERTION_ROUNDING_MM)
        return result
