"""The beam grows, the contrast of the speckle stays."""

from __future__ import annotations

import cv2
import numpy as np

from echoapex.data.augment import speckle_blur


def speckle(size: int = 128) -> np.ndarray:
    rng = np.random.default_rng(0)
    envelope = np.hypot(*cv2.split(cv2.GaussianBlur(rng.standard_normal((size, size, 2), np.float32), (0, 0), 0.8)))
    return np.clip(70 * np.sqrt(envelope / envelope.mean()) + 20, 1, 255).astype(np.uint8)


def neighbour_correlation(image: np.ndarray, axis: int) -> float:
    grey = image.astype(float) - image.mean()
    return float((grey * np.roll(grey, 2, axis)).mean() / (grey * grey).mean())


def test_grains_grow_laterally_and_contrast_is_kept() -> None:
    image = speckle()
    result = speckle_blur(image, lateral_px=1.5, axial_px=0.0)
    plain = cv2.GaussianBlur(image, (0, 0), 1.5, sigmaY=0.01)
    assert neighbour_correlation(result, 1) > neighbour_correlation(image, 1) + 0.3
    assert abs(neighbour_correlation(result, 0) - neighbour_correlation(image, 0)) < 0.1
    assert plain.std() < 0.75 * image.std(), "a plain blur loses it"
    assert abs(result.std() / image.std() - 1) < 0.12
    assert abs(result.mean() - image.mean()) < 2


def test_black_stays_black_and_no_beam_changes_nothing() -> None:
    image = speckle()
    image[:, :40] = 0
    assert speckle_blur(image, 1.5, 1.0)[:, :40].max() == 0
    np.testing.assert_array_equal(speckle_blur(image, 0.1, 0.1), image)
