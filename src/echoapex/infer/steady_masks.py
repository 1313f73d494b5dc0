"""Masks of neighbouring frames hold each other steady: a chamber does not vanish, or change its name, for one frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

REACH_S = 0.03
"""Standard deviation in time of the weights of neighbours; the fastest wall moves by about a millimetre meanwhile."""
LEAST_AREA_SHARE = 0.1
"""Of a structure's median area in the clip; a frame with less is one on which it was lost."""
LEAST_PEAK = 0.2
"""Highest probability on a frame below which a lost structure stays lost."""
_RELATIVE_THRESHOLD = 0.6
_HALF = 0.5

Maps = Float[np.ndarray, "frames structures size size"]


def steady_masks(probabilities: Maps, times_s: Sequence[float]) -> Maps:
    """Probabilities averaged with those of neighbours in time; a lost structure is taken at a relative threshold.

    A frame whose neighbours are far away, as in a still, keeps its own probabilities. A structure that is lost on a
    frame (see ``LEAST_AREA_SHARE``), or on all of them, but not without any sign is scaled such that its mask is where
    its probability is at least six tenths of its highest.

    Args:
        probabilities: of each structure that the view shows, frames in order of time.
        times_s: of the frames, rising.
    """
    steadied = _averaged(np.asarray(probabilities, np.float32), np.asarray(times_s, float))
    areas = (steadied > _HALF).sum(axis=(2, 3))
    median = np.median(areas, axis=0)
    peaks = steadied.max(axis=(2, 3), initial=0.0)
    sought = (median > 0) | ~(np.asarray(probabilities) > _HALF).any(axis=(0, 2, 3))
    lost = sought & (areas <= LEAST_AREA_SHARE * median) & (peaks >= LEAST_PEAK)
    for frame, structure in np.argwhere(lost):
        found = steadied[frame, structure]
        found *= np.maximum(1.0, _HALF / (_RELATIVE_THRESHOLD * peaks[frame, structure]))
    return np.asarray(np.minimum(steadied, 1.0))


def _averaged(probabilities: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """Gaussian weights in time, one row of weights per frame."""
    weights = np.exp(-0.5 * ((times_s[:, None] - times_s[None]) / REACH_S) ** 2)
    weights[weights < 0.01] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    averaged = np.empty_like(probabilities)
    for frame, row in enumerate(weights):
        near = np.flatnonzero(row)
        averaged[frame] = np.tensordot(row[near].astype(np.float32), probabilities[near], axes=1)
    return averaged
