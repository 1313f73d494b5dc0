"""The heart frame and the coordinates that every structure is written in.

Origin at the centre of the LV base at end-diastole, in mm: +z to the apex, +x to the lateral wall (0 degrees), +y to
the anterior wall (90 degrees); the septum lies at 180 degrees and the inferior wall at 270 (AHA convention).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from echoapex.phantom.patient import Patient
from echoapex.phantom.random_streams import Stream, random_stream
from echoapex.phantom.shapes import Field, Points, Vector, unit

AORTIC_ANGLE_DEG = 150.0
"""Direction, seen from the LV axis, in which the aortic root lies; the mitral valve opens along it."""
_TOWARDS_AORTA = (math.cos(math.radians(AORTIC_ANGLE_DEG)), math.sin(math.radians(AORTIC_ANGLE_DEG)))
_ATRIAL_LENGTH_MM = 62.0
"""Distance above the base at which the atrial roof no longer follows the mitral plane."""

SUPERIOR: Vector = unit(np.array([0.80 * math.cos(math.radians(108)), 0.80 * math.sin(math.radians(108)), -0.60]))
"""Towards the patient's head."""


@dataclass(frozen=True, eq=False)
class HeartPoints:
    """Sample points of one instant, in the coordinates that the structures need."""

    x: Field
    y: Field
    z: Field
    """Distance below the base plane of this instant, positive towards the apex."""
    material_z: Field
    """Where the tissue at this point lies along the axis at end-diastole."""
    towards_aorta: Field
    across: Field
    """Horizontal coordinate at right angles to ``towards_aorta`` (60 degrees)."""

    @property
    def material(self) -> Points:
        """Points that move with the base: valves, atria and vessels are fixed in these."""
        return self.x, self.y, self.material_z

    @property
    def instant(self) -> Points:
        """Points in the frame of the base plane of this instant."""
        return self.x, self.y, self.z

    def along(self, angle_deg: float) -> tuple[Field, Field]:
        """Horizontal coordinates along and across a direction."""
        cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
        return self.x * cosine + self.y * sine, self.y * cosine - self.x * sine


def aortic_to_heart(towards_aorta: float, across: float, z: float) -> tuple[float, float, float]:
    """A point given along and across the aortic direction, in the heart frame."""
    cosine, sine = _TOWARDS_AORTA
    return towards_aorta * cosine + across * sine, towards_aorta * sine - across * cosine, z


class BodyHabitus:
    """Smooth irregularity of one patient's heart: two shears in the short axis.

    A shear has a Jacobian of one, so the volumes of the undistorted shapes stay exact.
    """

    def __init__(self, patient: Patient) -> None:
        rng = random_stream(patient.seed, Stream.HEART_SHAPE)
        self._length = patient.lv_length_mm
        self._waves = []
        for _ in range(2):
            amplitude = float(rng.uniform(0.5, 1.5))
            across = 2 * math.pi / float(rng.uniform(45, 80))
            along = 2 * math.pi / float(rng.uniform(45, 90)) * float(rng.choice([-1, 1]))
            self._waves.append((amplitude, across, along, float(rng.uniform(0, 2 * math.pi))))
        self._bend = (float(rng.normal(0, 3.0)), float(rng.normal(0, 3.0)))

    def heart_points(self, points: Points, base_shift_mm: float, length_mm: float) -> HeartPoints:
        """Coordinates of ``points`` when the base has moved towards the apex by ``base_shift_mm``."""
        x, y, z = points
        bow = z * (1.0 / self._length)
        bow *= bow
        (amplitude, across, along, phase), second = self._waves
        x = x + amplitude * np.sin(y * across + (z * along + phase)) + self._bend[0] * bow
        amplitude, across, along, phase = second
        y = y + amplitude * np.sin(x * across + (z * along + phase)) + self._bend[1] * bow
        z = z - base_shift_mm
        stretch_below = self._length / length_mm
        stretch_above = _ATRIAL_LENGTH_MM / (_ATRIAL_LENGTH_MM + base_shift_mm)
        material_z = np.maximum(z, 0) * stretch_below
        material_z += np.minimum(z, 0) * stretch_above
        cosine, sine = _TOWARDS_AORTA
        return HeartPoints(
            x=x, y=y, z=z, material_z=material_z, towards_aorta=x * cosine + y * sine, across=x * sine - y * cosine
        )
