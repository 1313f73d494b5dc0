"""Numbers that describe a picture with a fan: geometry, surroundings, texture.

Ultrasound is sharper along the beam than across it. Its beams diverge from the apex, its speckle connects neighbouring
pixels, and around the fan there is only the screen. Noise, drawings, photographs, and the strips of M-mode and spectral
Doppler each lack at least one of these properties.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from echoapex.io.fan import Fan, filled
from echoapex.io.sector import Search

Mask = Bool[np.ndarray, "height width"]
Plane = Float[np.ndarray, "height width"]

COLOURED = 48
"""Difference between the largest and the smallest of R, G and B from which a pixel counts as coloured."""

_VISIBLE = 32
_RIM = 0.02  # of the longer side of the image
_TEXTURE_PX = 4.0  # finer than this is texture
_TEXTURED = 1.5  # grey levels a pixel
_EVEN_RANGE = 2
_SATURATED = 250
_LINE_OF_TEXT = 0.035  # of the shorter side of the image
_LEAST_DEPTH_PX = 130  # in a smaller picture the speckle grain is lost
_USUAL_AXIAL = 0.45
_FEWEST_PIXELS = 200


@dataclass(frozen=True)
class PictureTraits:
    """A fan and its surroundings in numbers.

    Attributes:
        opening_deg: angle between the sides of the fan.
        near: radius at which the fan begins, divided by the radius at which it ends; large for a curved array.
        share: area of the fan, divided by the area of the image (or of the region that was searched).
        sides: share of the two sides (inside the image) that lit pixels touch.
        rim_dark: share of a narrow band around the fan that is dark screen.
        beside: the largest textured area outside the fan, divided by the area of the fan.
        bound: correlation of the fine texture between neighbouring pixels; 0 for noise.
        even: share of the lit pixels without texture; large in a drawing.
        axial: logarithm of the mean gradient along the beams divided by that across them; the usual value if the
            picture is too small to measure it.
        turning: how far the grain of the picture turns with the beams; 1 in a fan (and if the picture is too small
            to measure it), 0 in a strip or a photograph.
        coloured: share of the visible pixels in the fan that have colour.
    """

    opening_deg: float
    near: float
    share: float
    sides: float
    rim_dark: float
    beside: float
    bound: float
    even: float
    axial: float
    turning: float
    coloured: float


def measure_traits(search: Search, colour: UInt8[np.ndarray, "height width 3"] | None) -> PictureTraits:
    """Measure the traits of a picture in which a fan was found.

    Args:
        search: the search that found the fan.
        colour: one of the frames in colour, of any size; None for grey clips.

    Raises:
        ValueError: the search found no fan.
    """
    fan = search.fan
    if fan is None:
        raise ValueError("only a picture with a fan has traits")
    size = search.lit.shape
    inside = filled(fan.outline, size)
    reach = max(2, round(_RIM * max(size)))
    grown = _grown(inside, reach)
    beside = largest_textured_area(search)
    rim = grown & ~_grown(inside, max(1, reach // 3)) & search.window
    core = cv2.erode(inside.astype(np.uint8), _disc(max(1, reach // 2))).astype(bool)
    frame = search.frames[len(search.frames) // 2]
    gradient_x, gradient_y = (cv2.Sobel(frame, cv2.CV_32F, *order, ksize=3) / 8 for order in ((1, 0), (0, 1)))
    tissue = core & search.lit & (frame < _SATURATED)
    is_fine = fan.radii_px[1] - fan.radii_px[0] >= _LEAST_DEPTH_PX
    along, across = _along_and_across(fan, gradient_x, gradient_y)
    return PictureTraits(
        opening_deg=fan.opening_deg,
        near=fan.radii_px[0] / fan.radii_px[1],
        share=float((inside & search.window).sum()) / max(1, int(search.window.sum())),
        sides=_side_support(fan, search.lit),
        rim_dark=float(1 - search.lit[rim].mean()) if rim.any() else 1.0,
        beside=0.0 if beside is None else float(beside.sum()) / max(1, int(inside.sum())),
        bound=_neighbour_correlation(frame, tissue),
        even=_even_share(frame, tissue),
        axial=_axial(along, across, tissue) if is_fine else _USUAL_AXIAL,
        turning=_turning(fan, gradient_x, gradient_y, tissue) if is_fine else 1.0,
        coloured=_coloured_share(colour, core),
    )


def _disc(radius: int) -> np.ndarray:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2))


def _grown(mask: Mask, radius: int) -> Mask:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), _disc(radius)), bool)


def largest_textured_area(search: Search) -> Mask | None:
    """The largest area outside the fan that is textured at the scale of a line of text, or None."""
    size = search.lit.shape
    frame = search.frames[len(search.frames) // 2]
    slope = sum(np.abs(cv2.Sobel(frame, cv2.CV_32F, *order, ksize=3)) / 8 for order in ((1, 0), (0, 1)))
    textured = (slope > _TEXTURED) & search.window
    if search.fan is not None:
        textured &= ~_grown(filled(search.fan.outline, size), max(2, round(_RIM * max(size))))
    window = max(3, round(_LINE_OF_TEXT * min(size))) | 1
    dense = cv2.boxFilter(textured.astype(np.float32), -1, (window, window)) > 0.5
    opened = cv2.morphologyEx(dense.astype(np.uint8), cv2.MORPH_OPEN, _disc(window // 2))
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(opened)
    sizes = statistics[:, cv2.CC_STAT_AREA].copy()
    sizes[0] = 0
    best = int(sizes.argmax())
    return labels == best if sizes[best] else None


def _side_support(fan: Fan, lit: Mask) -> float:
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


def _along_and_across(fan: Fan, gradient_x: Plane, gradient_y: Plane) -> tuple[Plane, Plane]:
    """Absolute gradients along and across the beam through each pixel."""
    angle = _beam_angles(fan, gradient_x.shape)
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.abs(gradient_x * sine + gradient_y * cosine), np.abs(gradient_x * cosine - gradient_y * sine)


def _beam_angles(fan: Fan, size: tuple[int, ...]) -> Plane:
    rows, columns = np.indices(size)
    angles: Plane = np.arctan2(columns - fan.apex_xy[0], rows - fan.apex_xy[1])
    return angles


def _axial(along: Plane, across: Plane, tissue: Mask) -> float:
    if tissue.sum() < _FEWEST_PIXELS:
        return 0.0
    return float(np.log((along[tissue].mean() + 1e-3) / (across[tissue].mean() + 1e-3)))


def _turning(fan: Fan, gradient_x: Plane, gradient_y: Plane, tissue: Mask) -> float:
    """Slope of the gradient direction against the beam angle.

    Directions have no sign, so their doubled angles are averaged, weighted by the square root of the gradient, in eight
    groups of beams.
    """
    angle = _beam_angles(fan, tissue.shape)
    edges = np.linspace(*fan.sweep_rad, 9)
    beams, turns, weights = [], [], []
    for low, high in pairwise(edges):
        here = tissue & (angle >= low) & (angle < high)
        if here.sum() < _FEWEST_PIXELS:
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


def _neighbour_correlation(frame: UInt8[np.ndarray, "height width"], tissue: Mask) -> float:
    """Correlation of the fine texture between horizontal neighbours; 1 if there are too few pixels."""
    fine = frame.astype(np.float32) - cv2.GaussianBlur(frame.astype(np.float32), (0, 0), _TEXTURE_PX)
    both = tissue[:, 1:] & tissue[:, :-1]
    power = float(np.square(fine[tissue]).mean()) if tissue.sum() >= _FEWEST_PIXELS else 0.0
    return float((fine[:, 1:] * fine[:, :-1])[both].mean() / power) if power > 0 and both.any() else 1.0


def _even_share(frame: UInt8[np.ndarray, "height width"], tissue: Mask) -> float:
    kernel = np.ones((3, 3), np.uint8)
    span = cv2.dilate(frame, kernel) - cv2.erode(frame, kernel)
    return float((span[tissue] <= _EVEN_RANGE).mean()) if tissue.any() else 1.0


def _coloured_share(colour: UInt8[np.ndarray, "height width 3"] | None, core: Mask) -> float:
    if colour is None:
        return 0.0
    small = cv2.resize(colour, (core.shape[1], core.shape[0]), interpolation=cv2.INTER_AREA)
    brightest, darkest = small.max(axis=2), small.min(axis=2)
    visible = core & (brightest >= _VISIBLE)
    return float((brightest - darkest >= COLOURED)[visible].mean()) if visible.any() else 0.0
