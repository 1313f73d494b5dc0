"""What machines draw beside the echo: words, rulers, grey bars, an ECG. Drawn at random, it tells nothing."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8

_LETTERS = list("ABCDEFGHKLMNPRSTVXYZ0123456789./:%")


def draw_furniture(
    image: UInt8[np.ndarray, "s s"], rng: np.random.Generator, probability: float
) -> UInt8[np.ndarray, "s s"]:
    """A copy of the frame with some of a screen's furniture, each piece with this probability."""
    drawn = image.copy()
    for piece in (_words, _ruler, _grey_bar, _electrocardiogram):
        if rng.random() < probability:
            piece(drawn, rng)
    return drawn


def _words(image: np.ndarray, rng: np.random.Generator) -> None:
    """One to five lines of letters and digits near an edge."""
    size = image.shape[0]
    scale = float(rng.uniform(0.2, 0.45)) * size / 168
    left = int(rng.choice([rng.uniform(0, 0.15), rng.uniform(0.6, 0.85)]) * size)
    top = int(rng.choice([rng.uniform(0.03, 0.2), rng.uniform(0.7, 0.9)]) * size)
    for line in range(int(rng.integers(1, 6))):
        text = "".join(rng.choice(_LETTERS, int(rng.integers(2, 10))))
        place = (left, top + int(line * 30 * scale))
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, int(rng.integers(90, 256)), 1, cv2.LINE_AA)


def _ruler(image: np.ndarray, rng: np.random.Generator) -> None:
    """Marks at even distances along an edge, every fifth longer."""
    size = image.shape[0]
    step, column, grey = (
        float(rng.uniform(0.03, 0.1)) * size,
        int(rng.uniform(0, 1) * (size - 6)),
        int(rng.integers(90, 256)),
    )
    upright = rng.random() < 0.75
    for number, along in enumerate(np.arange(rng.uniform(0, step), size, step).astype(int)):
        length = 4 if number % 5 == 0 else 1
        first, last = (column, int(along)), (column + length, int(along))
        cv2.line(image, first if upright else first[::-1], last if upright else last[::-1], grey, 1)


def _grey_bar(image: np.ndarray, rng: np.random.Generator) -> None:
    """The bar of grey levels that stands beside most sectors."""
    size = image.shape[0]
    height, width = int(rng.uniform(0.15, 0.5) * size), max(2, int(rng.uniform(0.015, 0.04) * size))
    top, left = int(rng.uniform(0, 0.4) * size), int(rng.choice([rng.uniform(0, 0.05), rng.uniform(0.92, 0.96)]) * size)
    image[top : top + height, left : left + width] = np.linspace(255, 0, height).astype(np.uint8)[:, None]


def _electrocardiogram(image: np.ndarray, rng: np.random.Generator) -> None:
    """A trace with one to three beats along the lower edge."""
    size = image.shape[0]
    phase = np.linspace(0, rng.uniform(1, 3), size) + rng.random()
    within = phase % 1
    spike = np.exp(-(((within - 0.3) / 0.015) ** 2)) - 0.3 * np.exp(-(((within - 0.34) / 0.015) ** 2))
    trace = spike + 0.15 * np.exp(-(((within - 0.2) / 0.03) ** 2)) + 0.25 * np.exp(-(((within - 0.6) / 0.06) ** 2))
    rows = rng.uniform(0.85, 0.97) * size - trace * rng.uniform(0.04, 0.12) * size
    points = np.column_stack((np.arange(size), rows)).round().astype(np.int32)
    cv2.polylines(image, [points], False, int(rng.integers(110, 256)), 1, cv2.LINE_AA)
