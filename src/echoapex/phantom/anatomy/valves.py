"""The valves and what holds them: mitral, tricuspid and aortic leaflets; papillary muscles, chordae, moderator band.

Leaflets are thin sheets that open and close; their distances are unsigned.
"""

from __future__ import annotations

import math

import numpy as np

from echoapex.phantom.anatomy.geometry import (
    FAR_MM,
    Field,
    HeartPoints,
    aortic_to_heart,
    capsule,
    segment_distance,
    union,
)
from echoapex.phantom.anatomy.left_ventricle import BeatState, LeftVentricle
from echoapex.phantom.anatomy.right_ventricle import CRESCENT_ANGLE_DEG
from echoapex.phantom.anatomy.vessels_and_atria import AorticRoot, VesselsAndAtria
from echoapex.phantom.motion import CycleState

_TRICUSPID_ANGLE_DEG = 200.0
_CUSP_HEIGHT_MM = 15.0

_PAPILLARY_MUSCLES = ((38.0, 5.2, 5.0), (252.0, 5.0, -5.0))
"""Angle in degrees, radius in mm, and the side of the valve to which the chordae attach."""
_CHORDA_RADIUS_MM = 0.35


class Valves:
    """Leaflets of one patient."""

    def __init__(self, ventricle: LeftVentricle, vessels: VesselsAndAtria) -> None:
        patient = ventricle.patient
        base = ventricle.base_radius_mm
        self.anterior_hinge_mm = vessels.root_centre_mm - vessels.root_radius_mm * 0.95
        self.posterior_hinge_mm = -base
        annulus = self.anterior_hinge_mm - self.posterior_hinge_mm
        self.anterior_length_mm, self.posterior_length_mm = 0.88 * annulus, 0.55 * annulus
        self._mitral_half_width_mm = 0.80 * base
        self._septal_hinge_mm = base + patient.septum_mm * 0.9 + 2
        self._lateral_hinge_mm = self._septal_hinge_mm + 33 * patient.rv_size
        self._tricuspid_half_width_mm = 20 * patient.rv_size

    @staticmethod
    def mitral_angles(opening: float) -> tuple[float, float]:
        """Angle of the anterior and posterior leaflet below the annulus, in radians."""
        return math.radians(18 + 66 * opening), math.radians(30 + 62 * opening)

    def mitral_tip(self, opening: float, anterior: bool) -> tuple[float, float]:
        """Insertion of the chordae: position along the aortic direction, and below the annulus."""
        front, back = self.mitral_angles(opening)
        if anterior:
            length = self.anterior_length_mm * 0.9
            return self.anterior_hinge_mm - length * math.cos(front), length * math.sin(front)
        length = self.posterior_length_mm
        return self.posterior_hinge_mm + length * math.cos(back), length * math.sin(back)

    def mitral(self, points: HeartPoints, opening: float) -> Field:
        """Both leaflets, each with one bend; when closed they bulge towards the ventricle."""
        narrowing = _annulus_profile(points.across, self._mitral_half_width_mm)
        centre = 0.5 * (self.anterior_hinge_mm + self.posterior_hinge_mm)
        front, back = self.mitral_angles(opening)
        u, z = points.towards_aorta, points.material_z

        hinge = centre + (self.anterior_hinge_mm - centre) * narrowing
        length = narrowing * (self.anterior_length_mm * (0.66 + 0.34 * opening))
        bow = 3.2 * (1 - 0.5 * opening)
        belly_lift = bow * 0.8 if opening < 0.3 else 0.0
        belly = (
            hinge - length * (0.5 * math.cos(front)) + bow * 0.4 * opening,
            length * (0.5 * math.sin(front)) + belly_lift,
        )
        tip = (hinge - length * math.cos(front), length * math.sin(front))
        anterior = union(segment_distance(u, z, (hinge, 0.0), belly), segment_distance(u, z, belly, tip))

        hinge = centre + (self.posterior_hinge_mm - centre) * narrowing
        length = narrowing * (self.posterior_length_mm * (0.80 + 0.20 * opening))
        belly = (hinge + length * (0.5 * math.cos(back)), length * (0.5 * math.sin(back)) + 1.0)
        tip = (hinge + length * math.cos(back), length * math.sin(back))
        posterior = union(segment_distance(u, z, (hinge, 0.0), belly), segment_distance(u, z, belly, tip))
        inside = np.abs(points.across) < self._mitral_half_width_mm
        return np.where(inside, union(anterior, posterior), np.float32(FAR_MM))

    def tricuspid(self, points: HeartPoints, opening: float) -> Field:
        """Septal and lateral leaflet, attached 4 mm nearer to the apex than the mitral valve."""
        outwards, across = points.along(_TRICUSPID_ANGLE_DEG)
        z = points.material_z - 4.0
        narrowing = _annulus_profile(across, self._tricuspid_half_width_mm)
        centre = 0.5 * (self._septal_hinge_mm + self._lateral_hinge_mm)
        half_annulus = self._lateral_hinge_mm - centre
        angle = math.radians(26 + 48 * opening)
        length = narrowing * (0.55 * (self._lateral_hinge_mm - self._septal_hinge_mm))
        reach, drop = length * math.cos(angle), length * math.sin(angle)
        septal, lateral = centre - half_annulus * narrowing, centre + half_annulus * narrowing
        leaflets = union(
            segment_distance(outwards, z, (septal, 0.0), (septal + reach, drop)),
            segment_distance(outwards, z, (lateral, 0.0), (lateral - reach, drop)),
        )
        return np.where(np.abs(across) < self._tricuspid_half_width_mm, leaflets, np.float32(FAR_MM))

    @staticmethod
    def aortic(points: HeartPoints, root: AorticRoot, cycle: CycleState) -> tuple[Field, Field | None]:
        """The cusps seen from the side, and the three lines along which they meet when closed (else None)."""
        opening = cycle.aortic_opening
        height = root.along_axis
        inside = (height > 0) & (height < _CUSP_HEIGHT_MM) & (root.from_axis < root.radius)
        closed_cone = np.clip(1 - (height - 2) * (1 / 11.0), 0, 1)
        cusp_radius = root.radius * (closed_cone * (1 - opening) + 0.80 * opening)
        cusps = np.where(inside, np.abs(root.from_axis - cusp_radius) * 0.75, np.float32(FAR_MM))
        if opening >= 0.6:
            return cusps, None
        three_fold = np.cos(np.arctan2(points.across, root.in_plane) * 3 + 0.5)
        to_commissure = root.from_axis * np.sqrt(np.clip(0.5 + 0.5 * three_fold, 0, 1)) * 0.66
        return cusps, np.where(inside & (height > 4), to_commissure, np.float32(FAR_MM))


class Subvalvular:
    """Structures inside the ventricles, which move with the wall."""

    def __init__(self, ventricle: LeftVentricle, valves: Valves) -> None:
        self._ventricle = ventricle
        self._valves = valves

    def papillary_muscles(self, points: HeartPoints, state: BeatState) -> Field:
        """Both muscles, from the wall at two thirds of the length to the tips."""
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


def _annulus_profile(across: Field, half_width_mm: float) -> Field:
    """1 in the middle of an annulus, 0 at its commissures."""
    relative = across * (1 / half_width_mm)
    return np.sqrt(np.clip(1 - relative * relative, 0, 1))
