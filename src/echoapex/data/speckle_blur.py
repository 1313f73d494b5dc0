"""A coarser beam: speckle grows wider, as at a lower frequency or a smaller aperture, but keeps its contrast."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8

_WINDOW = 11
_LARGEST_BOOST = 3.0


def speckle_blur(image: UInt8[np.ndarray, "h w"], lateral_px: float, axial_px: float) -> UInt8[np.ndarray, "h w"]:
    """Blur by a beam of that width, then give the local contrast back that blurring took.

    A plain blur turns speckle, which every scanner shows, into smoothness, which none does; here the local mean and the
    local standard deviation (11 x 11 pixels) stay about as they were and only the grains grow. Black stays black.

    Args:
        image: grey frame.
        lateral_px: standard deviation of the beam across, in pixels; below 0.2 nothing is done.
        axial_px: the same along the beam (downwards).
    """
    if max(lateral_px, axial_px) < 0.2:
        return image
    grey = image.astype(np.float32)
    blurred = cv2.GaussianBlur(grey, (0, 0), max(lateral_px, 0.01), sigmaY=max(axial_px, 0.01))
    mean, before = _local_moments(grey)
    blurred_mean, after = _local_moments(blurred)
    boost = np.minimum(before / np.maximum(after, 1e-3), _LARGEST_BOOST)
    result = mean + (blurred - blurred_mean) * boost
    result[image == 0] = 0
    return np.asarray(np.clip(np.rint(result), 0, 255), np.uint8)


def _local_moments(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation in a window around each pixel."""
    mean = cv2.blur(grey, (_WINDOW, _WINDOW))
    variance = cv2.blur(grey * grey, (_WINDOW, _WINDOW)) - mean * mean
    return mean, np.sqrt(np.maximum(variance, 0))
