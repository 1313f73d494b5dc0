"""Segmentation metrics of two masks of one frame: overlap, and distances between their outlines in mm.

Outline distances require a calibrated ``Spacing`` (pixels may be anisotropic). There is deliberately no variant in
pixels.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

from echoapex.domain import Spacing
from echoapex.metrics.agreement import paired_masks


def dice(a: ArrayLike, b: ArrayLike) -> float:
    """Dice coefficient ``2 |A and B| / (|A| + |B|)`` of two masks of one shape; 1.0 for two empty masks.

    Source: Dice, Ecology 1945, doi 10.2307/1932409.

    >>> dice([[1, 1, 0]], [[0, 1, 1]])
    0.5
    """
    first, second = paired_masks(a, b)
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0


def iou(a: ArrayLike, b: ArrayLike) -> float:
    """Intersection over union (Jaccard index) of two masks of one shape; 1.0 for two empty masks.

    >>> round(iou([[1, 1, 0]], [[0, 1, 1]]), 4)
    0.3333
    """
    first, second = paired_masks(a, b)
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0


def hd95_mm(a: ArrayLike, b: ArrayLike, spacing: Spacing) -> float:
    """The 95th percentile Hausdorff distance between two outlines, in mm.

    This is the greater of the two directed percentiles (MONAI's definition). If both masks are empty it is 0. If one is
    empty it is infinite, so that a missed structure cannot improve a mean.

    >>> import numpy as np
    >>> a, b = np.zeros((9, 9)), np.zeros((9, 9))
    >>> a[4, 2], b[4, 5] = 1, 1
    >>> hd95_mm(a, b, Spacing(row_mm=1.0, column_mm=0.5))
    1.5
    """
    directed = _outline_distances_mm(a, b, spacing)
    if directed is None:
        return _distance_of_empty(a, b)
    return float(max(np.percentile(directed[0], 95), np.percentile(directed[1], 95)))


def mean_surface_distance_mm(a: ArrayLike, b: ArrayLike, spacing: Spacing) -> float:
    """Average symmetric surface distance in mm: the mean over the outline pixels of both masks.

    If both masks are empty it is 0; if one is empty it is infinite.

    >>> import numpy as np
    >>> square = np.zeros((9, 9)); square[2:6, 2:6] = 1
    >>> mean_surface_distance_mm(square, square, Spacing(row_mm=0.3, column_mm=0.3))
    0.0
    """
    directed = _outline_distances_mm(a, b, spacing)
    if directed is None:
        return _distance_of_empty(a, b)
    return float(np.concatenate(directed).mean())


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of the mask that touch the outside or the edge of the image."""
    edge: NDArray[np.bool_] = mask & ~binary_erosion(mask)
    return edge


def _outline_distances_mm(
    a: ArrayLike, b: ArrayLike, spacing: Spacing
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Distances from the outline of A to that of B, and from B to A; None if a mask is empty."""
    first, second = paired_masks(a, b)
    if not first.any() or not second.any():
        return None
    pixel_mm = (spacing.row_mm, spacing.column_mm)
    outline_a, outline_b = _outline(first), _outline(second)
    to_b = distance_transform_edt(~outline_b, sampling=pixel_mm)
    to_a = distance_transform_edt(~outline_a, sampling=pixel_mm)
    return to_b[outline_a], to_a[outline_b]


def _distance_of_empty(a: ArrayLike, b: ArrayLike) -> float:
    first, second = paired_masks(a, b)
    return math.inf if first.any() or second.any() else 0.0
