"""Fit a fan to an area of an image, and say how well it and the grain of the image fit.

A fan has two straight sides that meet in an apex above and is closed by an arc below.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Bool, Float

Mask = Bool[np.ndarray, "height width"]
Points = Float[np.ndarray, "points 2"]
Plane = Float[np.ndarray, "height width"]

_FAN_COVERED = 0.4
_FAN_ENCLOSING = 0.97
_LEAST_OPENING_RAD = np.deg2rad(15)
_MOST_TILT_RAD = np.deg2rad(15)
_LEAST_SHARE_OF_ARC = 0.1
_HALF_ANGLES_DEG = np.arange(-15.0, 80.0, 0.5)
FEWEST_PIXELS = 200
"""From fewer pixels no grain is measured."""


@dataclass(frozen=True, eq=False)
class Fan:
    """A fan fitted to an area, in pixel centres of the image that was searched.

    Attributes:
        apex_xy: where the sides meet.
        sweep_rad: angles of the left and the right side; 0 is straight down, positive is towards larger x.
        radii_px: distances from the apex at which the fan begins and ends.
        covered: share of the fan that the area covers.
        enclosing: share of the area that lies in the fan.
        score: how well the fan explains the area; only comparable within one image.
    """

    apex_xy: Points
    sweep_rad: tuple[float, float]
    radii_px: tuple[float, float]
    covered: float
    enclosing: float
    score: float

    @property
    def outline(self) -> Points:
        """Corner points."""
        return _fan_outline(self.apex_xy, self.sweep_rad, self.radii_px)

    @property
    def opening_deg(self) -> float:
        """The angle between its sides in degrees."""
        return float(np.rad2deg(self.sweep_rad[1] - self.sweep_rad[0]))

    @property
    def is_good(self) -> bool:
        """Whether the area fills a fair part of the fan and hardly extends beyond it."""
        return self.covered > _FAN_COVERED and self.enclosing > _FAN_ENCLOSING


@dataclass(frozen=True)
class _Side:
    """A line ``normal . point = offset`` that bounds the area on one side; ``touching_px`` of the edge lie on it."""

    normal: Points
    offset: float
    touching_px: int


def best_fan(areas: list[Mask], lit: Mask) -> Fan | None:
    """The fan that explains the areas best, with its apex above and its sides along the edge of an area.

    A chamber or a shadow can cut a fan in two. Of several good fans, the one that contains most of the last area (which
    includes all parts) is chosen.
    """
    whole = areas[-1]
    fans = [_fit_fan(area, hull_of(area), lit) for area in areas]
    good = [replace(fan, score=fan.score + _held(fan, whole)) for fan in fans if fan is not None and fan.is_good]
    return max(good, key=lambda fan: fan.score, default=None)


def _held(fan: Fan, whole: Mask) -> float:
    return float((filled(fan.outline, whole.shape) & whole).sum()) / max(1, int(whole.sum()))


def hull_of(area: Mask) -> Points:
    """Corner points of the convex hull of an area, pixel centres."""
    return np.asarray(cv2.convexHull(_edge_points(area).astype(np.int32))[:, 0], np.float64)


def filled(outline: Points, size: tuple[int, ...]) -> Mask:
    """The inside of an outline in pixel centres, as a boolean image of ``size``."""
    mask = np.zeros(size, np.uint8)
    # coordinates in sixteenths of a pixel, so that rounding does not bias the edge
    cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 1, lineType=cv2.LINE_8, shift=4)
    return mask.astype(bool)


def grown(mask: Mask, radius: int) -> Mask:
    """A mask with a margin of ``radius`` pixels."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disc), bool)


def _edge_points(area: Mask) -> Points:
    contours, _ = cv2.findContours(area.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.concatenate([contour[:, 0] for contour in contours]).astype(np.float64)


def _fit_fan(area: Mask, hull: Points, lit: Mask) -> Fan | None:
    """The fan whose sides follow the edge of the area longest and which the area fills best."""
    edge = _edge_points(area)
    height, width = area.shape
    # where the image cuts the fan, the edge is the image border and says nothing about the fan
    inside = (edge > 0.5).all(axis=1) & (edge[:, 0] < width - 1.5) & (edge[:, 1] < height - 1.5)
    if inside.sum() < 20:
        return None
    lefts, rights = (_candidate_sides(edge[inside], hull, outward) for outward in (-1.0, 1.0))
    fans = [_fan_between(left, right, area, lit) for left in lefts for right in rights]
    return max((fan for fan in fans if fan is not None), key=lambda fan: fan.score, default=None)


def _candidate_sides(edge: Points, hull: Points, outward: float) -> list[_Side]:
    """At most four bounding lines on one side (outward: -1 left, +1 right) that touch the edge longest."""
    half_angles = np.deg2rad(_HALF_ANGLES_DEG)
    normals = np.stack([outward * np.cos(half_angles), -np.sin(half_angles)], axis=1)
    support = (hull @ normals.T).max(axis=0)
    tolerance = 0.008 * float(np.ptp(hull, axis=0).max()) + 0.5
    touching = (support - edge @ normals.T < tolerance).sum(axis=0)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(touching, 8, constant_values=0), 17)
    peaks = np.flatnonzero((touching == around.max(axis=1)) & (touching > 0.2 * touching.max()))
    best = peaks[np.argsort(-touching[peaks], kind="stable")][:4]
    return [_Side(normals[k], float(support[k]), int(touching[k])) for k in best]


def _fan_between(left: _Side, right: _Side, area: Mask, lit: Mask) -> Fan | None:
    """The fan between two sides, or None if they do not meet at a possible transducer position."""
    sweep = (-float(np.arcsin(-left.normal[1])), float(np.arcsin(-right.normal[1])))
    if sweep[1] - sweep[0] < _LEAST_OPENING_RAD or abs(sweep[0] + sweep[1]) > 2 * _MOST_TILT_RAD:
        return None
    apex = np.linalg.solve(np.array([left.normal, right.normal]), np.array([left.offset, right.offset]))
    rows, columns = np.nonzero(area)
    height, top = area.shape[0], rows.min()
    if not top - 2.0 * height < apex[1] < top + 0.1 * height:
        return None
    distances = np.hypot(columns - apex[0], rows - apex[1])
    farthest = float(np.percentile(distances, 99.9))
    nearest = _nearest_radius(lit, apex, sweep, (float(distances.min()), farthest))
    fan = filled(_fan_outline(apex, sweep, (nearest, farthest)), area.shape)
    both = float((fan & area).sum())
    # scored up to the apex: if a black vessel cuts a fan, its lower half alone is not a fan
    wedge = filled(_fan_outline(apex, sweep, (0.0, farthest)), area.shape)
    touching = (left.touching_px + right.touching_px) / farthest
    score = float((wedge & area).sum()) / max(1, int(wedge.sum())) + 0.25 * touching
    covered, enclosing = both / max(1, int(fan.sum())), both / float(area.sum())
    return Fan(apex, sweep, (nearest, farthest), covered, enclosing, score)


def without_marks(lit: Mask) -> Mask:
    """Lit pixels without dots and strokes, such as the mark beside the transducer."""
    stroke = max(3, round(0.018 * min(lit.shape))) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (stroke, stroke))
    return np.asarray(cv2.morphologyEx(lit.astype(np.uint8), cv2.MORPH_OPEN, kernel), bool)


def _nearest_radius(lit: Mask, apex: Points, sweep: tuple[float, float], radii: tuple[float, float]) -> float:
    """Radius at which the fan begins: from the dense area upwards as long as a fair share of every arc is lit.

    ``radii`` are the nearest and the farthest radius of the dense area. Marks beside the transducer are dots and
    strokes with a gap to the fan. The search therefore first ignores dots and strokes and crosses small gaps;
    then it continues with all lit pixels through a dim near field, but crosses no gap.
    """
    farthest = radii[1]
    rows, columns = np.indices(lit.shape)
    radius = np.hypot(columns - apex[0], rows - apex[1])
    angle = np.arctan2(columns - apex[0], rows - apex[1])
    margin = 0.1 * (sweep[1] - sweep[0])
    within = (angle > sweep[0] + margin) & (angle < sweep[1] - margin) & (radius < farthest)
    bins = radius[within].astype(int)
    total = np.maximum(np.bincount(bins, minlength=int(farthest) + 1), 1)
    empty = np.bincount(bins, without_marks(lit)[within], minlength=len(total)) / total < _LEAST_SHARE_OF_ARC
    dark = np.bincount(bins, lit[within], minlength=len(total)) / total < _LEAST_SHARE_OF_ARC
    middle = min(len(total) // 2, int(radii[0]) + 1)
    gap = max(2, round(0.03 * farthest))
    runs = np.convolve(empty, np.ones(gap))[:middle] >= gap
    begin = int(np.flatnonzero(runs)[-1]) + 1 if runs.any() else 0
    gaps = np.flatnonzero(dark[:begin])
    return float(gaps[-1] + 1) if len(gaps) else 0.0


def _fan_outline(apex: Points, angles: tuple[float, float], radii: tuple[float, float]) -> Points:
    """Corner points of a fan; ``angles`` as in ``Fan.sweep_rad``."""
    sweep = np.linspace(angles[0], angles[1], 48)
    directions = np.stack([np.sin(sweep), np.cos(sweep)], axis=1)
    far = apex + radii[1] * directions
    near = apex + max(0.0, radii[0]) * directions[::-1]
    return np.concatenate([far, near])


def side_support(fan: Fan, lit: Mask) -> float:
    """Share of lit points along both sides, from the near to the far arc and inside the image."""
    height, width = lit.shape
    radii = np.linspace(*fan.radii_px, 160)[8:-8]
    step = 0.02 * fan.radii_px[1]
    touched = []
    for angle, inward in zip(fan.sweep_rad, (1.0, -1.0), strict=True):
        x = fan.apex_xy[0] + radii * np.sin(angle)
        y = fan.apex_xy[1] + radii * np.cos(angle)
        seen = (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2)
        hit = np.zeros(len(radii), bool)
        for depth in np.linspace(0.0, step, 5):
            columns = np.clip((x + inward * depth * np.cos(angle)).round().astype(int), 0, width - 1)
            rows = np.clip((y - inward * depth * np.sin(angle)).round().astype(int), 0, height - 1)
            hit |= lit[rows, columns]
        touched.append(hit[seen])
    both = np.concatenate(touched)
    return float(both.mean()) if len(both) else 0.0


def along_and_across(fan: Fan, gradient_x: Plane, gradient_y: Plane) -> tuple[Plane, Plane]:
    """Absolute gradients along and across the beam through each pixel."""
    angle = _beam_angles(fan, gradient_x.shape)
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.abs(gradient_x * sine + gradient_y * cosine), np.abs(gradient_x * cosine - gradient_y * sine)


def _beam_angles(fan: Fan, size: tuple[int, ...]) -> Plane:
    rows, columns = np.indices(size)
    angles: Plane = np.arctan2(columns - fan.apex_xy[0], rows - fan.apex_xy[1])
    return angles


def turning(fan: Fan, gradient_x: Plane, gradient_y: Plane, tissue: Mask) -> float:
    """Slope of the gradient direction against the beam angle.

    Directions have no sign, so their doubled angles are averaged, weighted by the square root of the gradient, in eight
    groups of beams.
    """
    angle = _beam_angles(fan, tissue.shape)
    edges = np.linspace(*fan.sweep_rad, 9)
    beams, turns, weights = [], [], []
    for low, high in pairwise(edges):
        here = tissue & (angle >= low) & (angle < high)
        if here.sum() < FEWEST_PIXELS:
            continue
        direction = np.arctan2(gradient_x[here], gradient_y[here])
        size = np.sqrt(np.hypot(gradient_x[here], gradient_y[here]))
        mean = complex((size * np.exp(2j * direction)).sum() / max(1e-6, size.sum()))
        beams.append((low + high) / 2)
        turns.append(np.angle(mean) / 2)
        weights.append(abs(mean) * here.sum())
    x, y, w = np.array(beams), np.array(turns), np.array(weights)
    if len(beams) < 3 or w.sum() <= 0:
        return 0.0
    x = x - np.average(x, weights=w)
    return float((w * x * y).sum() / max(1e-9, (w * x * x).sum()))
