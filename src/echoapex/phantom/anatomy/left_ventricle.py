"""The left ventricle: a half-ellipsoid on a tapered base, whose volume follows the ejection fraction exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from echoapex.phantom.anatomy.geometry import Field, HeartPoints, Points, smooth_minimum
from echoapex.phantom.motion import CardiacCycle, CycleState
from echoapex.phantom.patient import Patient

_SEPTAL_CENTRE_DEG = 165.0
_EPICARDIAL_TAPER = 0.8
"""Share of the cavity's basal taper that also applies to the outer surface."""
_LEVELS, _ANGLES = 60, 48
"""Number of quadrature points on the cavity wall, along the axis and around it."""


@dataclass(frozen=True)
class BeatState:
    """State of the ventricle at one instant."""

    cycle: CycleState
    base_shift_mm: float
    length_mm: float
    shortening: float
    """Radial shortening of a normally contracting segment, as a fraction of the end-diastolic radius."""
    mean_radius_ratio: float
    """Mean radius, relative to end-diastole."""


@dataclass(frozen=True, eq=False)
class LeftVentricleSurfaces:
    """Signed distances in mm, negative inside."""

    cavity: Field
    cavity_open: Field
    """The cavity, extended 4 mm beyond the base plane, so that the image shows no wall across the valves."""
    endocardium: Field
    epicardium: Field
    wall: Field
    """The volume inside the epicardium; its edge at the base is rounded."""
    tissue: Points | None
    """Coordinates around, along and through the wall in mm at end-diastole; scatterers are fixed in them."""


class LeftVentricle:
    """Geometry and motion of one patient's left ventricle.

    The radius is the equatorial radius times a profile along the axis: an ellipse below the equator and a parabolic
    taper above it. The contraction is solved so that the volume is EDV (1 - EF c(t)) at every instant. The wall
    thickens because its volume is constant.
    """

    def __init__(self, patient: Patient, cycle: CardiacCycle) -> None:
        self.patient = patient
        self.cycle = cycle
        self.length_mm = patient.lv_length_mm
        below_equator = 2 / 3 * (1 - patient.equator_position)
        # the mean over the circumference of (1 + e cos 2 theta)^2 is 1 + e^2 / 2
        profile = (self._basal_integral() + below_equator) * (1 + patient.ellipticity**2 / 2)
        self.equatorial_radius_mm = math.sqrt(patient.edv_ml * 1000 / (math.pi * self.length_mm * profile))
        self.base_radius_mm = self.equatorial_radius_mm * (1 - patient.basal_taper)
        self._squared_radius, self._mobility = self._quadrature()
        self._states: dict[float, BeatState] = {}

    def volume_ml(self, phase: float) -> float:
        """Cavity volume at a phase of the cycle; this defines the true volume."""
        ejected = self.patient.ejection_fraction_percent / 100 * self.cycle.at(phase).contraction
        return self.patient.edv_ml * (1 - ejected)

    def state(self, phase: float) -> BeatState:
        """State of the ventricle at a phase of the cycle."""
        if phase not in self._states:
            self._states[phase] = self._solve(self.cycle.at(phase))
        return self._states[phase]

    def surfaces(self, points: HeartPoints, state: BeatState, with_tissue: bool) -> LeftVentricleSurfaces:
        """Distances of the sample points to the surfaces of the ventricle."""
        patient, length_ratio = self.patient, self.length_mm / state.length_mm
        radius = np.sqrt(points.x * points.x + points.y * points.y)
        radius += 1e-3
        cosine, sine = points.x / radius, points.y / radius
        level = points.material_z * (1.0 / self.length_mm)
        inner_ed = self.equatorial_radius_mm * (1 + patient.ellipticity * (cosine * cosine - sine * sine))
        inner = inner_ed * self._radius_ratio(points, level, state)
        thickness = self._wall_thickness(cosine, sine)
        # the wall volume is constant, so its cross-section grows as the ventricle shortens
        outer = np.sqrt(inner * inner + ((inner_ed + thickness) ** 2 - inner_ed * inner_ed) * length_ratio)

        above_equator = np.clip(patient.equator_position - level, 0, patient.equator_position)
        above_equator *= 1 / patient.equator_position
        above_equator *= above_equator
        below_equator = np.maximum(points.z - patient.equator_position * state.length_mm, 0)
        inner_height = (1 - patient.equator_position) * state.length_mm
        outer_height = inner_height + patient.apical_wall_mm * math.sqrt(length_ratio)
        inner *= 1 - patient.basal_taper * above_equator
        outer *= 1 - _EPICARDIAL_TAPER * patient.basal_taper * above_equator
        endocardium = _half_ellipsoid(radius, below_equator, inner, inner_height)
        epicardium = _half_ellipsoid(radius, below_equator, outer, outer_height)

        above_base = -points.z
        wall = -smooth_minimum(-epicardium, 3.0 - above_base, 5.0)
        tissue = None
        if with_tissue:
            depth = endocardium / np.maximum(endocardium - epicardium, 0.5)
            tissue = (self._arc_length(points, level, state), points.material_z, depth * thickness)
        return LeftVentricleSurfaces(
            cavity=np.maximum(endocardium, above_base),
            cavity_open=np.maximum(endocardium, above_base - 4.0),
            endocardium=endocardium,
            epicardium=epicardium,
            wall=wall,
            tissue=tissue,
        )

    def _basal_integral(self) -> float:
        """Integral of the squared profile from the base to the equator, in units of the length."""
        equator, taper = self.patient.equator_position, self.patient.basal_taper
        # the profile is 1 - taper (1 - q)^2 for q from 0 to 1
        return equator * (1 - 2 * taper / 3 + taper**2 / 5)

    def _quadrature(self) -> tuple[np.ndarray, np.ndarray]:
        """Squared end-diastolic radii of the wall elements, and their motion (1 normal, 0 akinetic)."""
        patient = self.patient
        levels = (np.arange(_LEVELS) + 0.5) / _LEVELS
        angles = (np.arange(_ANGLES) + 0.5) / _ANGLES * 2 * np.pi
        level, angle = np.meshgrid(levels, angles, indexing="ij")
        equator = patient.equator_position
        base = 1 - patient.basal_taper * (np.clip(equator - level, 0, 1) / equator) ** 2
        apex = np.sqrt(np.clip(1 - ((level - equator) / (1 - equator)) ** 2, 0, 1))
        profile = np.where(level < equator, base, apex) * (1 + patient.ellipticity * np.cos(2 * angle))
        squared = profile**2
        return squared / squared.mean(), self._wall_mobility(level, angle)

    def _wall_mobility(self, level: Field, angle: Field) -> Field:
        patient = self.patient
        around = np.exp((np.cos(angle - math.radians(patient.wall_motion_angle_deg)) - 1) * 2.2)
        along = np.exp(-(((level - patient.wall_motion_level) * (1 / 0.38)) ** 2))
        return 1 - patient.wall_motion_deficit * around * along

    def _solve(self, cycle: CycleState) -> BeatState:
        """Find the radial shortening that gives the volume at this instant."""
        patient = self.patient
        base_shift = patient.mapse_mm * cycle.contraction
        length = self.length_mm - base_shift
        ejected = patient.ejection_fraction_percent / 100 * cycle.contraction
        wanted = (1 - ejected) * self.length_mm / length  # mean squared radius, relative to end-diastole
        shortening = 1 - math.sqrt(wanted)
        mean_ratio = 1 - shortening
        if patient.wall_motion_deficit > 0:
            low, high = -0.2, 1.3
            for _ in range(40):
                shortening = 0.5 * (low + high)
                ratio = np.clip(1 - shortening * self._mobility, 0.05, 2)
                too_large = float((self._squared_radius * ratio**2).mean()) > wanted
                low, high = (shortening, high) if too_large else (low, shortening)
            mean_ratio = float(ratio.mean())
        return BeatState(cycle, base_shift, length, shortening, mean_ratio)

    def _radius_ratio(self, points: HeartPoints, level: Field, state: BeatState) -> Field | float:
        """Radius relative to end-diastole; the same everywhere unless a region moves abnormally."""
        if self.patient.wall_motion_deficit <= 0:
            return 1 - state.shortening
        mobility = self._wall_mobility(np.clip(level, 0, 1.2), np.arctan2(points.y, points.x))
        return np.clip(1 - state.shortening * mobility, 0.05, 2)

    def _wall_thickness(self, cosine: Field, sine: Field) -> Field:
        """End-diastolic thickness around the circumference."""
        patient = self.patient
        centre = math.radians(_SEPTAL_CENTRE_DEG)
        septal = 0.5 + 0.5 * (cosine * math.cos(centre) + sine * math.sin(centre))  # 1 at its centre, 0 opposite
        septal = np.minimum(septal * septal * 1.25, 1)
        septal *= patient.septum_mm - patient.posterior_wall_mm
        septal += patient.posterior_wall_mm
        return septal

    def _arc_length(self, points: HeartPoints, level: Field, state: BeatState) -> Field:
        """Position around the mid wall, without the twist of the apex against the base."""
        mid_wall_radius = self.equatorial_radius_mm + self.patient.posterior_wall_mm * 0.5
        twist = -state.cycle.contraction * math.radians(self.patient.twist_deg)
        angle: Field = np.arctan2(points.y, points.x)
        angle -= twist * (np.clip(level, 0, 1) - 0.3)
        angle *= mid_wall_radius
        return angle


def _half_ellipsoid(radius: Field, below_equator: Field, radius_at_level: Field, height: float) -> Field:
    """First-order distance to a tube of varying radius that ends in half an ellipsoid."""
    inverse_radius = 1 / radius_at_level
    across, along = radius * inverse_radius, below_equator * (1 / height)
    norm = np.sqrt(across * across + along * along)
    across *= inverse_radius
    along *= 1 / height
    slope = np.sqrt(across * across + along * along)
    slope += 1e-6
    result: Field = norm * (norm - 1) / slope
    return result
