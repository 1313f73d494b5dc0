"""Small islands of a mask that lie apart from the structure: noise, taken out before anything is measured."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float

LEAST_SHARE = 0.15
"""Of the largest part; a structure that the sector cuts in two keeps both parts."""


def remove_islands(
    probabilities: Float[np.ndarray, "structures size size"],
) -> Float[np.ndarray, "structures size size"]:
    """The same maps with every small separate part of a mask (probability above one half) set to zero."""
    cleaned = np.array(probabilities, np.float32)
    for structure in cleaned:
        count, parts, stats, _ = cv2.connectedComponentsWithStats((structure > 0.5).astype(np.uint8), connectivity=4)
        if count <= 2:  # background and at most one part
            continue
        areas = stats[1:, cv2.CC_STAT_AREA]
        small = 1 + np.flatnonzero(areas < LEAST_SHARE * areas.max())
        structure[np.isin(parts, small)] = 0.0
    return cleaned
