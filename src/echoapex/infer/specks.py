"""Specks: small islands of a structure far from its body, which no heart has."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8

SMALLEST_SHARE = 0.15
"""An island smaller than this share of the structure's largest part is removed; the outflow tract in a short axis, a
true second part, is larger."""


def without_specks(labels: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
    """The label map with every structure's small islands turned to background."""
    kept = labels.copy()
    for value in np.unique(labels[labels > 0]):
        count, parts, statistics, _ = cv2.connectedComponentsWithStats((labels == value).astype(np.uint8))
        if count <= 2:
            continue
        areas = statistics[:, cv2.CC_STAT_AREA]
        small = areas < SMALLEST_SHARE * areas[1:].max()
        small[0] = False
        kept[small[parts]] = 0
    return kept
