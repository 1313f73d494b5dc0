"""The heart frame, its coordinates, and signed distances of simple solids.

The origin is the centre of the LV base at end-diastole, in mm: +z to the apex, +x to the lateral wall (0 degrees), +y
to the anterior wall (90 degrees); the septum is at 180 degrees and the inferior wall at 270 (AHA convention).

Signed distances are in mm and negative inside. Arrays are float32 and keep their shape; scalars are Python floats, so
that NumPy does not convert arrays to float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from echoapex.phantom.patient import Patient, Stream, random_stream

Field: TypeAlias = Float[np.ndarray, "..."]
"""A float32 value at every sample point."""
Points: TypeAlias = tuple[Field, Field, Field]
"""Coordinates of the sample points."""
Vector: TypeAlias = Float[np.ndarray, "3"]
"""A position or direction (3,)."""

FAR_MM = 30.0
"""Distance used where a thin structure does not exist."""

AORTIC_ANGLE_DEG = 150.0
"""Direction of the aortic root, seen from the LV axis; the mitral valve opens along it."""
_TOWARDS_AORTA = (math.cos(math.radians(AORTIC_ANGLE_DEG)), math.sin(math.radians(AORTIC_ANGLE_DEG)))
_ATRIAL_LENGTH_MM = 62.0
"""Distance above the base beyond which the atria do not follow the mitral plane."""


def segment_distance(
    u: Field, z: Field, start: tuple[Field | float, Field | float], end: tuple[Field | float, Field | float]
) -> Field:
    """Distance in the (u, z) plane to a line segment; its ends may differ from point to point."""
    along_u, along_z = end[0] - start[0], end[1] - start[1]
    from_start_u, from_start_z = u - start[0], z - start[1]
    fraction = (from_start_u * along_u + from_start_z * along_z) / (along_u * along_u + along_z * along_z + 1e-3)
    np.clip(fraction, 0, 1, out=fraction)
    from_start_u -= fraction * along_u
    from_start_z -= fraction * along_z
    result: Field = np.sqrt(from_start_u * from_start_u + from_start_z * from_start_z)
    return result


def capsule(
    points: Points, start: Sequence[float], end: Sequence[float], radius: float, end_radius: float | None = None
) -> Field:
    """Distance to a tube with round ends, tapered from ``radius`` at ``start`` to ``end_radius`` at ``end``."""
    along = [float(e) - float(s) for s, e in zip(start, end, strict=True)]
    squared_length = sum(a * a for a in along)
    x, y, z = (p - float(s) for p, s in zip(points, start, strict=True))
    fraction = x * (along[0] / squared_length)
    fraction += y * (along[1] / squared_length)
    fraction += z * (along[2] / squared_length)
    np.clip(fraction, 0, 1, out=fraction)
    x -= fraction * along[0]
    y -= fraction * along[1]
    z -= fraction * along[2]
    distance = np.sqrt(x * x + y * y + z * z)
    distance -= radius
    if end_radius is not None and end_radius != radius:
        distance -= fraction * (end_radius - radius)
    return distance


def ellipsoid(points: Points, centre: Sequence[float], radii: Sequence[float]) -> Field:
    """First-order distance to an axis-aligned ellipsoid: exact on the surface, where its gradient is one."""
    scaled = [(p - float(c)) * (1.0 / float(r)) for p, c, r in zip(points, centre, radii, strict=True)]
    norm = np.sqrt(scaled[0] * scaled[0] + scaled[1] * scaled[1] + scaled[2] * scaled[2])
    for axis, r in zip(scaled, radii, strict=True):
        axis *= 1.0 / float(r)
    slope = np.sqrt(scaled[0] * scaled[0] + scaled[1] * scaled[1] + scaled[2] * scaled[2])
    slope += 1e-6
    result: Field = norm * (norm - 1) / slope
    return result


def smooth_minimum(a: Field, b: Field, radius_mm: float) -> Field:
    """Union of two solids with a fillet of about ``radius_mm`` (polynomial smooth minimum)."""
    blend = np.clip(0.5 + (0.5 / radius_mm) * (b - a), 0, 1)
    result: Field = b + (a - b) * blend - radius_mm * blend * (1 - blend)
    return result


def intersection(*solids: Field) -> Field:
    """Intersection of solids."""
    result = solids[0]
    for solid in solids[1:]:
        result = np.maximum(result, solid)
    return result


def union(*solids: Field) -> Field:
    """Union of solids."""
    result = solids[0]
    for solid in solids[1:]:
        result = np.minimum(result, solid)
    return result


def unit(vector: Vector) -> Vector:
    """The vector scaled to length one."""
    result: Vector = np.asarray(vector, dtype=float) / np.linalg.norm(vector)
    return result


SUPERIOR: Vector = unit(np.array([0.80 * math.cos(math.radians(108)), 0.80 * math.sin(math.radians(108)), -0.60]))
"""Towards the patient's head."""


def short_axis_direction(angle_deg: float) -> Vector:
    """Unit vector in the short axis: 0 lateral, 90 anterior, 180 septal, 270 inferior wall."""
    angle = math.radians(angle_deg)
    return np.array([math.cos(angle), math.sin(angle), 0.0])


def rotate(vector: Vector, axis: Vector, angle_deg: float) -> Vector:
    """``vector`` rotated about ``axis`` (Rodrigues' formula)."""
    angle, axis = math.radians(angle_deg), unit(axis)
    cosine, sine = math.cos(angle), math.sin(angle)
    turned: Vector = vector * cosine + np.cross(axis, vector) * sine + axis * np.dot(axis, vector) * (1 - cosine)
    return turned


@dataclass(frozen=True, eq=False)
class HeartPoints:
    """Sample points at one instant, in the coordinates that the structures use."""

    x: Field
    y: Field
    z: Field
    """Distance below the base plane of this instant, positive towards the apex."""
    material_z: Field
    """End-diastolic position along the axis of the tissue that is at this point."""
    towards_aorta: Field
    across: Field
    """Horizontal coordinate at right angles to ``towards_aorta`` (60 degrees)."""

    @property
    def material(self) -> Points:
        """Coordinates that move with the base; valves, atria and vessels are fixed in them."""
        return self.x, self.y, self.material_z

    @property
    def instant(self) -> Points:
        """Coordinates relative to the base plane at this instant."""
        return self.x, self.y, self.z

    def along(self, angle_deg: float) -> tuple[Field, Field]:
        """Horizontal coordinates along and across a direction."""
        cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
        return self.x * cosine + self.y * sine, self.y * cosine - self.x * sine


def aortic_to_heart(towards_aorta: float, across: float, z: float) -> tuple[float, float, float]:
    """Convert a point given along and across the aortic direction to the heart frame."""
    cosine, sine = _TOWARDS_AORTA
    return towards_aorta * cosine + across * sine, towards_aorta * sine - across * cosine, z


class BodyHabitus:
    """Smooth irregularity of one patient's heart: two shears in the short axis.

    A shear has a Jacobian of one, so volumes stay exact.
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
        """Coordinates of ``points`` after the base has moved by ``base_shift_mm`` towards the apex."""
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
