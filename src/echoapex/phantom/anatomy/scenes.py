"""Two windows without ventricles, drawn schematically in the image plane: the aortic arch and the inferior vena cava.

Coordinates are in mm: x to the right, y away from the transducer, z out of the plane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from echoapex.phantom.anatomy.geometry import Field, Points, capsule, ellipsoid, intersection, smooth_minimum, union
from echoapex.phantom.motion import CardiacCycle
from echoapex.phantom.patient import Patient
from echoapex.vocabulary import Structure


@dataclass(frozen=True, eq=False)
class SceneDistances:
    """Signed distances at one instant; None if the scene has no such tissue."""

    lumen: Field
    """All blood."""
    labelled: dict[Structure, Field]
    liver: Field | None = None
    diaphragm: Field | None = None
    portal_vein: Field | None = None
    wall_reflection: tuple[float, float] = (0.18, 0.8)
    """Specular echo of a vessel wall: parallel to the beam, and facing it."""


class Scene(Protocol):
    """A schematic scene."""

    depth_mm: float
    field_of_view_deg: float

    def distances(self, points: Points, phase: float) -> SceneDistances:
        """Signed distances at the sample points."""


class SuprasternalArch:
    """Aortic arch with three branches; right pulmonary artery and left atrium below."""

    def __init__(self, patient: Patient, rng: np.random.Generator, jitter: float) -> None:
        self._patient = patient
        self._cycle = CardiacCycle(patient)
        self._shift = [float(value) for value in rng.normal(0, 1, 10) * jitter]
        self.depth_mm = 125 + 8 * float(rng.normal()) * jitter
        self.field_of_view_deg = 75 + 4 * float(rng.normal()) * jitter

    def distances(self, points: Points, phase: float) -> SceneDistances:
        """Signed distances at the sample points."""
        cycle, shift = self._cycle.at(phase), self._shift
        dilated = 1 + 0.04 * cycle.aortic_opening
        centre_x, centre_y = 2 + 3 * shift[1], 60 + 4 * shift[2]
        x, y = points[0] - centre_x, points[1] - centre_y
        z = points[2] - 0.10 * x - 2 * shift[3]
        arch_radius = 23 + 2 * shift[0]
        arch = self._arch((x, y, z), arch_radius, dilated)
        branches = self._branches((points[0], points[1], z), centre_x, centre_y - arch_radius * 0.8)
        aorta = smooth_minimum(arch, branches, 5.0)
        pulmonary = ellipsoid((x, y, z), (1, 5 + shift[7], 0), (8.0 * dilated, 7.0 * dilated, 40))
        atrium_depth = 34 + 2 * cycle.mitral_opening - 4 * cycle.contraction
        atrium = ellipsoid((x, y, z), (0, atrium_depth, 0), (17, 13 * (1 + 0.12 * cycle.contraction), 30))
        return SceneDistances(
            lumen=union(aorta, pulmonary, atrium),
            labelled={Structure.LEFT_ATRIUM: atrium},
            wall_reflection=(0.18, 0.8),
        )

    def _arch(self, points: Points, radius: float, dilated: float) -> Field:
        """Half a torus, with the ascending and descending aorta as its legs."""
        x, y, z = points
        vessel = 11.5 * self._patient.aorta_size * dilated
        from_ring = np.sqrt(x * x + y * y) - radius
        ring = np.sqrt(from_ring * from_ring + z * z) - vessel
        ascending = np.sqrt((x + radius + y * 0.42) ** 2 + (z - y * 0.38) ** 2) - vessel * 1.10
        descending = np.sqrt((x - radius - y * 0.16) ** 2 + z * z) - vessel * 0.86
        return np.where(y < 0, ring, union(ascending, descending))

    def _branches(self, points: Points, centre_x: float, origin_y: float) -> Field:
        """Brachiocephalic, carotid and subclavian artery, which run towards the transducer."""
        shift = self._shift
        layout = ((-15, -24 + 3 * shift[4], 3, 4.0), (-1, -5 + 3 * shift[5], -1, 2.4), (12, 17 + 3 * shift[6], -3, 2.7))
        return union(
            *(
                capsule(points, (centre_x + start, origin_y, 0), (centre_x + end, 6, out), radius, 3.0)
                for start, end, out, radius in layout
            )
        )


class SubcostalVein:
    """Inferior vena cava from the liver to the right atrium; it collapses with respiration and pulsates."""

    def __init__(self, patient: Patient, rng: np.random.Generator, jitter: float) -> None:
        self._patient = patient
        self._cycle = CardiacCycle(patient)
        self._shift = [float(value) for value in rng.normal(0, 1, 8) * jitter]
        self._breath = float(rng.random())  # depth of inspiration; constant, because a clip is shorter than a breath
        self._pulse_phase = float(rng.uniform(0, 2 * math.pi))
        self.depth_mm = 150 + 8 * float(rng.normal()) * jitter
        self.field_of_view_deg = 75 + 4 * float(rng.normal()) * jitter

    def distances(self, points: Points, phase: float) -> SceneDistances:
        """Signed distances at the sample points."""
        x, y = points[:2]
        cycle, patient, shift = self._cycle.at(phase), self._patient, self._shift
        level = 6 * shift[1]
        vein = smooth_minimum(self._vena_cava(points, phase), self._hepatic_vein(points), 4.0)
        atrium = ellipsoid(
            points,
            (50 + 2 * shift[2], 68 + level, 0),
            (21 * patient.ra_size * (1 + 0.06 * cycle.contraction), 24 * patient.ra_size, 26),
        )
        portal = capsule(points, (-50, 52, 3), (-24, 40, 0), 3.8, 2.8)
        diaphragm = y - (104 + 4 * shift[7]) + x * 0.35
        beside_heart = x - 30 + (y - 60) * 0.18
        return SceneDistances(
            lumen=union(vein, atrium, portal),
            labelled={Structure.RIGHT_ATRIUM: atrium},
            liver=intersection(diaphragm, beside_heart),
            diaphragm=np.where(beside_heart < 6, diaphragm, np.float32(30)),
            portal_vein=portal,
            wall_reflection=(0.3, 0.8),
        )

    def _vena_cava(self, points: Points, phase: float) -> Field:
        x, y, z = points
        pulsation = math.sin(2 * math.pi * phase + self._pulse_phase)
        collapse = 1 - 0.25 * (self._breath + 0.12 * pulsation)
        axis = 74 + 6 * self._shift[1] + x * (-0.16 + 0.06 * self._shift[0])
        mouth = np.clip((x - 16) * 0.05, 0, 1)  # the vein stays open at the atrium
        radius = self._patient.ivc_mm * 0.5 * (collapse + (1 - collapse) * mouth + 0.15 * mouth)
        result: Field = np.maximum(np.sqrt((y - axis) ** 2 + (z * 0.8) ** 2) - radius, x - 34)
        return result

    def _hepatic_vein(self, points: Points) -> Field:
        shift = self._shift
        level = 6 * shift[1]
        return capsule(
            points,
            (6 + 4 * shift[3], 72 + level, 0),
            (-26 + 4 * shift[4], 30 + 4 * shift[5], 2),
            5.0,
            3.0,
        )
