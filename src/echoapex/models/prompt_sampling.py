"""Simulated prompts of a person, drawn from the truth and from the errors of a prediction.

They train the promptable decoder and measure how many clicks it needs. Points are ``(x, y)`` in pixels of the masks, on
pixel centres; the same generator gives the same prompts.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

Point = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Click:
    """A point that is inside (``positive``) or outside the structure."""

    x: float
    y: float
    positive: bool


def centre_point(region: Bool[np.ndarray, "height width"], rng: np.random.Generator | None = None) -> Point:
    """The point of a region that is farthest from its border, where a careful person would click.

    Args:
        region: at least one pixel.
        rng: where given, a random point at least half as far from the border as the farthest, as hasty people click.

    Raises:
        ValueError: the region is empty.
    """
    if not region.any():
        raise ValueError("an empty region has no centre; check it before asking for a click")
    depth = _depth(region)
    deep_enough = depth == depth.max() if rng is None else depth >= 0.5 * depth.max()
    rows, columns = np.nonzero(deep_enough)
    chosen = 0 if rng is None else int(rng.integers(len(rows)))
    return float(columns[chosen]), float(rows[chosen])


def correction_click(
    truth: Bool[np.ndarray, "height width"],
    predicted: Bool[np.ndarray, "height width"],
    rng: np.random.Generator | None = None,
) -> Click | None:
    """The click that corrects the largest connected error of a prediction; ``None`` where there is no error.

    The click is positive where the structure was missed and negative where something else was taken for it. With an
    empty prediction it is the first click.

    Source: Xu et al., "Deep interactive object selection", 2016; Kirillov et al., "Segment anything", 2023, appendix A.

    Args:
        truth: the structure.
        predicted: what was found.
        rng: see ``centre_point``.
    """
    missed, wrong = truth & ~predicted, predicted & ~truth
    largest_missed, missed_pixels = _largest_part(missed)
    largest_wrong, wrong_pixels = _largest_part(wrong)
    if not missed_pixels and not wrong_pixels:
        return None
    positive = missed_pixels >= wrong_pixels
    x, y = centre_point(largest_missed if positive else largest_wrong, rng)
    return Click(x, y, positive)


def negative_click(
    truth: Bool[np.ndarray, "height width"],
    rng: np.random.Generator,
    nearest_px: float = 3.0,
    farthest_px: float = 20.0,
) -> Click | None:
    """A random point outside the structure, not far from it; ``None`` where there is no such point.

    Args:
        truth: the structure; if it is empty, any point will do.
        rng: source of randomness.
        nearest_px: smallest distance from the structure.
        farthest_px: largest distance from the structure.
    """
    candidates = np.ones_like(truth)
    if truth.any():
        distance = cv2.distanceTransform((~truth).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        candidates = (distance >= nearest_px) & (distance <= farthest_px)
    rows, columns = np.nonzero(candidates)
    if len(rows) == 0:
        return None
    chosen = int(rng.integers(len(rows)))
    return Click(float(columns[chosen]), float(rows[chosen]), positive=False)


def jittered_box(truth: Bool[np.ndarray, "height width"], rng: np.random.Generator, jitter: float = 0.08) -> Box:
    """The box around a structure as a person draws it: every side is off by some percent of the box.

    Args:
        truth: at least one pixel.
        rng: source of randomness.
        jitter: standard deviation of a side's error relative to the extent of the box; at most twice that happens.

    Returns:
        ``(x0, y0, x1, y1)`` inside the image, the centres of the outermost pixels if ``jitter`` is 0.

    Raises:
        ValueError: the structure is empty.
    """
    if not truth.any():
        raise ValueError("an empty structure has no box; check it before asking for one")
    columns, rows = np.flatnonzero(truth.any(axis=0)), np.flatnonzero(truth.any(axis=1))
    corners = np.array([columns[0], rows[0], columns[-1], rows[-1]], dtype=float)
    extent = np.maximum(corners[2:] - corners[:2], 1.0)
    error = np.clip(rng.normal(size=4), -2, 2) * jitter * np.tile(extent, 2)
    height, width = truth.shape
    x0, y0, x1, y1 = np.clip(corners + error, 0, np.array([width, height, width, height]) - 1.0).tolist()
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _depth(region: Bool[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Distance of each pixel of a region from what lies outside it; the edge of the image is outside too."""
    padded = np.pad(region, 1).astype(np.uint8)
    depth: Float[np.ndarray, "height width"] = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return depth[1:-1, 1:-1]


def _largest_part(region: Bool[np.ndarray, "height width"]) -> tuple[Bool[np.ndarray, "height width"], int]:
    """The largest connected part of a region (neighbours share a side) and its number of pixels."""
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=4)
    if count < 2:
        return region, 0
    largest = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    return labels == largest, int(statistics[largest, cv2.CC_STAT_AREA])
