"""Does a plane show what its label says? Every pose is checked by geometry and drawn again until it does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from echoapex.phantom.anatomy import Heart
from echoapex.phantom.random_streams import Stream, random_stream
from echoapex.phantom.view_planes import Framing, Pose, draw_pose
from echoapex.vocabulary import View

_GRID = 48
_ATTEMPTS = 600
_STRICT_ATTEMPTS = 400
"""After so many, half as much again is allowed of what the view should not show: a very dilated RV cannot be hidden."""
_CALM_ATTEMPTS, _WIDENING_ATTEMPTS = 12, 60
_CALM, _SEARCH, _WIDEST = 0.93, 1.12, 2.5
"""Factors of the jitter: failures are first answered by a steadier hand, then by a wider search."""


class PhantomError(ValueError):
    """A phantom that cannot be made as asked for; the message names the remedy."""


def verified_pose(
    view: View,
    heart: Heart,
    seed: int,
    jitter: float,
    accept: Callable[[Pose], bool],
    framing: Framing = Framing(),  # noqa: B008  (immutable)
) -> Pose:
    """A pose whose plane truly is the view as it is framed, and that ``accept`` takes as well.

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


def _jitter_of_attempt(attempt: int, jitter: float) -> float:
    """How far an attempt may stray; a heart that has resisted long is searched at every width in turn."""
    if attempt >= _WIDENING_ATTEMPTS:
        return 0.5 + 0.28 * (attempt % 10)
    calm = jitter * _CALM ** min(attempt, _CALM_ATTEMPTS)
    return min(calm * _SEARCH ** max(0, attempt - _CALM_ATTEMPTS), _WIDEST)


def shows_view(view: View, heart: Heart, pose: Pose, tolerance: float = 1.0) -> bool:
    """Whether the plane shows the structures that define the view at end-diastole, and not those that exclude it.

    ``tolerance`` multiplies the area allowed of the excluding ones.
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
"""Limits in cm2: at least the first, less than the second."""
