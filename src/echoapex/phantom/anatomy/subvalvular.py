"""Papillary muscles, chordae and the moderator band."""

from __future__ import annotations

import math

from echoapex.phantom.anatomy.heart_frame import HeartPoints, aortic_to_heart
from echoapex.phantom.anatomy.left_ventricle import BeatState, LeftVentricle
from echoapex.phantom.anatomy.right_ventricle import CRESCENT_ANGLE_DEG
from echoapex.phantom.anatomy.valves import Valves
from echoapex.phantom.shapes import Field, capsule, union

_PAPILLARY_MUSCLES = ((38.0, 5.2, 5.0), (252.0, 5.0, -5.0))
"""Angle in degrees, radius in mm, and the side of the valve that its chordae hold."""
_CHORDA_RADIUS_MM = 0.35


class Subvalvular:
    """Structures inside the ventricles; they follow the wall's shortening."""

    def __init__(self, ventricle: LeftVentricle, valves: Valves) -> None:
        self._ventricle = ventricle
        self._valves = valves

    def papillary_muscles(self, points: HeartPoints, state: BeatState) -> Field:
        """Both muscles, from the wall at two thirds of the length to their tips."""
        radius = self._ventricle.equatorial_radius_mm * state.mean_radius_ratio
        muscles = []
        for angle, thickness, _ in _PAPILLARY_MUSCLES:
            root = self._at(angle, 0.88 * radius, 0.66)
            tip = self._at(angle, 0.60 * radius, 0.36)
            muscles.append(capsule(points.material, root, tip, thickness * 1.15, thickness * 0.75))
        return union(*muscles)

    def chordae(self, points: HeartPoints, state: BeatState) -> Field:
        """Four strings from the papillary tips to the leaflets."""
        radius = self._ventricle.equatorial_radius_mm * state.mean_radius_ratio
        strings = []
        for angle, _, side in _PAPILLARY_MUSCLES:
            start = self._at(angle, 0.60 * radius, 0.36)
            for anterior in (True, False):
                u, z = self._valves.mitral_tip(state.cycle.mitral_opening, anterior)
                strings.append(capsule(points.material, start, aortic_to_heart(u, side, z), _CHORDA_RADIUS_MM))
        return union(*strings)

    def moderator_band(self, points: HeartPoints) -> Field:
        """The muscular bridge in the apical half of the right ventricle."""
        septum = self._ventricle.equatorial_radius_mm + self._ventricle.patient.septum_mm
        start = self._at(CRESCENT_ANGLE_DEG, septum * 0.9, 0.52)
        end = self._at(CRESCENT_ANGLE_DEG, self._ventricle.equatorial_radius_mm + 30, 0.66)
        return capsule(points.material, start, end, 2.2)

    def _at(self, angle_deg: float, radius_mm: float, level: float) -> tuple[float, float, float]:
        angle = math.radians(angle_deg)
        return radius_mm * math.cos(angle), radius_mm * math.sin(angle), level * self._ventricle.length_mm
