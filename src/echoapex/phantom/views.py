"""The scan plane of each view: position, direction and depth of the probe in the heart frame, with operator variation.

Every plane is checked by geometry to show the view of its label, and drawn again until it does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from echoapex.phantom.anatomy import Heart
from echoapex.phantom.anatomy.geometry import SUPERIOR, Points, Vector, rotate, short_axis_direction, unit
from echoapex.phantom.patient import Stream, random_stream
from echoapex.vocabulary import View

_APEX: Vector = np.array([0.0, 0.0, 1.0])

_GRID = 48
_ATTEMPTS = 600
_STRICT_ATTEMPTS = 400
"""After this many attempts, excluded structures may have 1.5 times their area: a very dilated RV cannot be avoided."""
_CALM_ATTEMPTS, _WIDENING_ATTEMPTS = 12, 60
_CALM, _SEARCH, _WIDEST = 0.93, 1.12, 2.5
"""Factors of the jitter: after failures it is first reduced, then increased for a wider search."""

_MUCH = math.inf
_DEFINITIONS: Mapping[View, Mapping[str, tuple[float, float]]] = {
    View.A4C: {
        "lv": (10, _MUCH),
        "rv": (3, _MUCH),
        "la": (3, _MUCH),
        "ra": (3, _MUCH),
        "mitral": (0.2, _MUCH),
        "aorta": (0, 1.3),
    },
    View.A5C: {"lv": (10, _MUCH), "rv": (3, _MUCH), "aorta": (4, _MUCH)},
    View.A2C: {
        "lv": (10, _MUCH),
        "la": (3, _MUCH),
        "mitral": (0.2, _MUCH),
        "rv": (0, 6),
        "ra": (0, 1),
        "aorta": (0, 3),
    },
    View.A3C: {"lv": (10, _MUCH), "la": (2, _MUCH), "aorta": (3, _MUCH), "mitral": (0.2, _MUCH), "ra": (0, 1)},
    View.PLAX: {"lv": (8, _MUCH), "la": (3, _MUCH), "aorta": (2.5, _MUCH), "mitral": (0.2, _MUCH), "ra": (0, 1)},
    View.RV_INFLOW: {"rv": (6, _MUCH), "ra": (5, _MUCH), "tricuspid": (0.3, _MUCH), "lv": (0, 3), "aorta": (0, 1)},
    View.PSAX_AV: {"aorta": (3, _MUCH), "la": (2, _MUCH), "lv": (0, 2)},
    View.PSAX_MV: {"lv": (5, _MUCH), "la": (0, 0.5), "aorta": (0, 1), "papillary": (0, 0.2)},
    View.PSAX_PM: {"lv": (5, _MUCH), "la": (0, 0.5), "aorta": (0, 1), "papillary": (0.6, _MUCH)},
    View.PSAX_APEX: {"lv": (1.5, _MUCH), "la": (0, 0.5), "aorta": (0, 1), "papillary": (0, 0.25)},
    View.SUBCOSTAL_4C: {"lv": (8, _MUCH), "rv": (3, _MUCH), "la": (2, _MUCH), "ra": (3, _MUCH), "aorta": (0, 5)},
    View.TEE_4C: {"lv": (10, _MUCH), "rv": (3, _MUCH), "la": (4, _MUCH), "ra": (2, _MUCH), "aorta": (0, 2)},
    View.TEE_LAX: {"lv": (10, _MUCH), "la": (4, _MUCH), "aorta": (4, _MUCH), "ra": (0, 1)},
    View.TEE_BICAVAL: {"la": (3, _MUCH), "ra": (5, _MUCH), "svc": (1, _MUCH), "ivc": (0.5, _MUCH), "rv": (0, 4)},
    View.ICE_HOME: {"rv": (6, _MUCH), "ra": (2, _MUCH), "tricuspid": (0.3, _MUCH), "lv": (0, 4)},
    View.ICE_LA: {"la": (4, _MUCH), "ra": (2, _MUCH), "rv": (0, 4), "lv": (0, 4)},
}
"""Area limits in cm2 of each structure: at least the first, less than the second."""


class PhantomError(ValueError):
    """The phantom cannot be made as requested; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Pose:
    """A scan plane: transducer position in mm, and unit vectors of the depth and of the right side of the image."""

    position: Vector
    depth_axis: Vector
    right_axis: Vector
    depth_mm: float
    field_of_view_deg: float

    @property
    def normal(self) -> Vector:
        """Unit vector out of the plane."""
        normal: Vector = np.cross(self.depth_axis, self.right_axis)
        return normal

    def heart_points(self, x: np.ndarray, y: np.ndarray) -> Points:
        """Convert positions in the plane (mm; ``x`` to the right, ``y`` in depth) to points in the heart frame."""
        px, py, pz = (
            (self.position[k] + y * self.depth_axis[k] + x * self.right_axis[k]).astype(np.float32) for k in range(3)
        )
        return px, py, pz


class Framing(NamedTuple):
    """Depth and width of the fan, relative to the usual values of the view, and how much farther the probe is away."""

    depth_factor: float = 1.0
    fan_factor: float = 1.0
    standoff_mm: float = 0.0

    def applied_to(self, pose: Pose) -> Pose:
        """The same plane seen with this framing; the fan is at most 110 degrees wide."""
        fan = min(pose.field_of_view_deg * self.fan_factor, max(pose.field_of_view_deg, 110.0))
        return replace(
            pose,
            position=pose.position - pose.depth_axis * self.standoff_mm,
            depth_mm=(pose.depth_mm + self.standoff_mm) * self.depth_factor,
            field_of_view_deg=fan,
        )


def verified_pose(
    view: View,
    heart: Heart,
    seed: int,
    jitter: float,
    accept: Callable[[Pose], bool],
    framing: Framing = Framing(),  # noqa: B008  (immutable)
) -> Pose:
    """Find a pose whose plane shows the view with the given framing, and which ``accept`` accepts.

    Raises:
        PhantomError: no plane of this patient's heart was found to show the view.
    """
    rng = random_stream(seed, Stream.POSE, list(View).index(view))
    for attempt in range(_ATTEMPTS):
        pose = framing.applied_to(draw_pose(view, heart, rng, _jitter_of_attempt(attempt, jitter)))
        tolerance = 1.0 if attempt < _STRICT_ATTEMPTS else 1.5
        if shows_view(view, heart, pose, tolerance) and accept(pose):
            return pose
    raise PhantomError(
        f"{view}: no plane of patient {heart.patient.seed} shows this view after {_ATTEMPTS} attempts; "
        "take another seed or patient"
    )


def draw_pose(view: View, heart: Heart, rng: np.random.Generator, jitter: float = 1.0) -> Pose:
    """Draw one attempt at a view; :func:`verified_pose` checks whether it shows the view.

    Raises:
        KeyError: the view is a schematic scene without a plane through the heart.
    """
    operator = _Operator(heart, rng, jitter)
    aim = _AIMS[view](operator, view)
    depth = unit(aim.target - aim.position)
    right = unit(aim.right - np.dot(aim.right, depth) * depth)
    normal = np.cross(depth, right)
    angulation = operator.spread(3.0)
    depth, right = rotate(depth, normal, angulation), rotate(right, normal, angulation)
    if view is not View.A5C:
        depth = unit(rotate(depth, right, operator.spread(1.8)))
    return Pose(aim.position, depth, unit(right), float(aim.depth_mm), float(aim.field_of_view_deg))


def shows_view(view: View, heart: Heart, pose: Pose, tolerance: float = 1.0) -> bool:
    """Whether the plane shows at end-diastole the structures that define the view, and none that exclude it.

    ``tolerance`` multiplies the allowed area of excluded structures.
    """
    areas = visible_areas_cm2(heart, pose)
    return all(low <= areas.get(name, 0.0) < high * tolerance for name, (low, high) in _DEFINITIONS[view].items())


def visible_areas_cm2(heart: Heart, pose: Pose, phase: float = 0.0) -> dict[str, float]:
    """Area of each structure inside the sector, on a coarse grid."""
    fov = math.radians(pose.field_of_view_deg)
    steps = (np.arange(_GRID) + 0.5) / _GRID
    distance, angle = np.meshgrid(steps * pose.depth_mm, (steps - 0.5) * fov, indexing="ij")
    points = pose.heart_points(distance * np.sin(angle), distance * np.cos(angle))
    cell = distance * (pose.depth_mm / _GRID) * (fov / _GRID) / 100
    return heart.areas_cm2(points, cell, phase)


def _jitter_of_attempt(attempt: int, jitter: float) -> float:
    """The jitter of an attempt; after many failures a range of values is tried in turn."""
    if attempt >= _WIDENING_ATTEMPTS:
        return 0.5 + 0.28 * (attempt % 10)
    calm = jitter * _CALM ** min(attempt, _CALM_ATTEMPTS)
    return min(calm * _SEARCH ** max(0, attempt - _CALM_ATTEMPTS), _WIDEST)


class _Operator:
    """An operator in one attempt: landmarks of the patient, and random variation."""

    def __init__(self, heart: Heart, rng: np.random.Generator, jitter: float) -> None:
        self._rng, self._jitter = rng, jitter
        self.patient = heart.patient
        self.length = heart.ventricle.length_mm
        self.radius = heart.ventricle.equatorial_radius_mm
        self.base_radius = heart.ventricle.base_radius_mm
        self.right_atrium = heart.vessels.right_atrium_centre
        self.left_atrium = heart.vessels.left_atrium_centre
        rv_extent = (self.radius + self.patient.septum_mm * 0.5 + 14.5) * self.patient.rv_size
        self.rv_surface = rv_extent * 0.93 + 0.6 * self.radius
        self.chest_wall = self.between(16, 30)
        self.transthoracic_fov = self.between(68, 90)

    def spread(self, standard_deviation: float) -> float:
        """A normally distributed deviation."""
        return float(self._rng.normal(0, standard_deviation)) * self._jitter

    def between(self, low: float, high: float) -> float:
        """A uniformly distributed value; the middle of the range without jitter."""
        return low + (high - low) * (0.5 + (float(self._rng.random()) - 0.5) * min(1.0, self._jitter))


@dataclass(frozen=True, eq=False)
class _Aim:
    """Aim of an operator: probe position, target point, direction of image right, and depth."""

    position: Vector
    target: Vector
    right: Vector
    depth_mm: float
    field_of_view_deg: float


def _apical(operator: _Operator, view: View) -> _Aim:
    angle, offset = {View.A4C: (30.0, -13), View.A5C: (30.0, -12), View.A2C: (90.0, 0), View.A3C: (150.0, 4)}[view]
    if view is View.A2C:  # turned away from a dilated right ventricle
        angle += 50 * max(0.0, operator.patient.rv_size - 1.05)
    right = short_axis_direction(angle + operator.spread(5))
    out_of_plane = np.cross(right, _APEX)
    above_apex = operator.length + operator.patient.apical_wall_mm + operator.between(11, 20)
    # the sideways variation of the position foreshortens the ventricle
    position = _APEX * above_apex + right * (offset * 0.45 + operator.spread(5)) + out_of_plane * operator.spread(2.5)
    target = _APEX * -12.0 + right * (offset + operator.spread(6)) + out_of_plane * operator.spread(3)
    anterior = short_axis_direction(120)
    if view is View.A5C:  # tilted forwards, through the aortic root
        target = _APEX * -14.0 + right * (offset + 2 + operator.spread(4)) + anterior * (13.5 + operator.spread(2.0))
        position = position - anterior * 3
    if view is View.A2C:  # on the far side of the axis from the aortic root
        target = target + out_of_plane * 4.0
    if view is View.A4C:  # just behind the aortic root
        target = target + anterior * (-5.5 + operator.spread(1.5))
    depth = operator.between(1.0, 1.18) * (operator.length + 76)
    return _Aim(position, target, right, depth, operator.transthoracic_fov)


def _parasternal_long(operator: _Operator, view: View) -> _Aim:
    away = short_axis_direction(150 + operator.spread(5)) * (operator.rv_surface * 0.92 + operator.chest_wall)
    position = away + _APEX * operator.between(-8, 8) + short_axis_direction(60) * operator.spread(3)
    level = float(position[2]) + operator.between(-4, 10)
    target = short_axis_direction(330) * 20 + _APEX * level + short_axis_direction(60) * operator.spread(2.5)
    depth = operator.between(135, 175) * math.sqrt(operator.length / 88)
    return _Aim(position, target, -_APEX, depth, operator.transthoracic_fov)


def _rv_inflow(operator: _Operator, view: View) -> _Aim:
    away = short_axis_direction(148 + operator.spread(5)) * (operator.rv_surface * 0.92 + operator.chest_wall)
    position = away + _APEX * operator.between(2, 20)
    target = short_axis_direction(212) * (0.9 * operator.base_radius + 26) + _APEX * (operator.spread(4) + 2)
    return _Aim(position, target, -_APEX, operator.between(125, 155), operator.transthoracic_fov)


def _parasternal_short(operator: _Operator, view: View) -> _Aim:
    fraction = {View.PSAX_AV: -0.11, View.PSAX_MV: 0.24, View.PSAX_PM: 0.50, View.PSAX_APEX: 0.78}[view]
    level = fraction * operator.length + operator.spread(2.0)
    apical, valvular = view is View.PSAX_APEX, view is View.PSAX_AV
    away = operator.rv_surface * (0.80 if apical else 0.95) + operator.chest_wall
    above = level + (9 if valvular else 3) + operator.spread(4)
    position = short_axis_direction(122 + operator.spread(6)) * away + _APEX * above
    target = _APEX * (level - (2 if valvular else 0)) + short_axis_direction(30) * operator.spread(5)
    depth = operator.between(115, 150) * (0.93 if apical else 1.0)
    return _Aim(position, target, short_axis_direction(30), depth, operator.transthoracic_fov)


def _subcostal(operator: _Operator, view: View) -> _Aim:
    away = operator.rv_surface + operator.between(38, 55)
    position = short_axis_direction(212 + operator.spread(6)) * away + _APEX * operator.between(30, 50)
    target = _APEX * operator.between(2, 16)
    return _Aim(position, target, _APEX, operator.between(165, 200), operator.transthoracic_fov)


def _oesophageal(operator: _Operator, view: View) -> _Aim:
    """Behind the left atrium, looking towards the apex."""
    behind = _APEX * (-27.5 - 28 - operator.between(7, 12))
    if view is View.TEE_4C:
        right = short_axis_direction(30 + operator.spread(6))
        position = behind + short_axis_direction(330) * 8 - right * operator.between(2, 10)
        position = position + short_axis_direction(120) * operator.spread(2)
        target = _APEX * 0.8 * operator.length + right * (operator.spread(6) - 8)
        return _Aim(position, target, right, operator.between(120, 165), 90)
    right = short_axis_direction(150 + operator.spread(6))
    position = behind + short_axis_direction(330) * 14 + short_axis_direction(60) * operator.spread(2)
    target = _APEX * 0.75 * operator.length + right * operator.between(2, 14)
    return _Aim(position, target, right, operator.between(115, 155), 90)


def _bicaval(operator: _Operator, view: View) -> _Aim:
    """From the oesophagus through the left atrium, along both caval veins."""
    backwards = unit(operator.left_atrium - operator.right_atrium)
    position = operator.left_atrium + backwards * (22 + operator.between(4, 8)) + SUPERIOR * operator.spread(3)
    target = operator.right_atrium + SUPERIOR * operator.spread(4)
    return _Aim(position, target, SUPERIOR, operator.between(85, 110), 90)


def _intracardiac(operator: _Operator, view: View) -> _Aim:
    """From the right atrium to the tricuspid valve (home view), or through the septum to the left atrium."""
    to_left = unit(operator.left_atrium - operator.right_atrium)
    if view is View.ICE_HOME:
        position = operator.right_atrium - to_left * operator.between(6, 13) - _APEX * 8 + SUPERIOR * operator.spread(3)
        target = short_axis_direction(195) * (operator.radius + 20) + _APEX * operator.between(25, 38)
        return _Aim(position, target, short_axis_direction(110), operator.between(80, 115), 90)
    position = operator.right_atrium - to_left * operator.between(3, 11) + SUPERIOR * operator.spread(4)
    target = operator.left_atrium + SUPERIOR * operator.spread(6)
    return _Aim(position, target, SUPERIOR - _APEX * 0.3, operator.between(75, 105), 90)


_AIMS: dict[View, Callable[[_Operator, View], _Aim]] = {
    View.A4C: _apical,
    View.A2C: _apical,
    View.A3C: _apical,
    View.A5C: _apical,
    View.PLAX: _parasternal_long,
    View.RV_INFLOW: _rv_inflow,
    View.PSAX_AV: _parasternal_short,
    View.PSAX_MV: _parasternal_short,
    View.PSAX_PM: _parasternal_short,
    View.PSAX_APEX: _parasternal_short,
    View.SUBCOSTAL_4C: _subcostal,
    View.TEE_4C: _oesophageal,
    View.TEE_LAX: _oesophageal,
    View.TEE_BICAVAL: _bicaval,
    View.ICE_HOME: _intracardiac,
    View.ICE_LA: _intracardiac,
}
