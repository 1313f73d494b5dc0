"""Gives simulated frames the style of real ones: grey levels, coarse spectrum, and the graphics of a screen.

Shapes never change. Words, rulers, grey bars and ECG traces are drawn at random places, so they carry no information.

Sources: Yang and Soatto, "FDA: Fourier domain adaptation for semantic segmentation", 2020 (amplitudes of low
frequencies); Gonzalez and Woods, "Digital image processing" (histogram specification).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from echoapex.config import Config
from echoapex.data.stores.clip_store import PreparedClipSource

_LEVELS = np.arange(256)
_LETTERS = list("ABCDEFGHKLMNPRSTVXYZ0123456789./:%")


class StyleConfig(Config):
    """Probabilities and strengths of the transfer of style."""

    histogram_probability: float = 0.5
    """Probability of histogram matching to a real frame; the strength is drawn from one third to all of it."""
    spectrum_probability: float = 0.3
    """Probability that low-frequency amplitudes are replaced by those of a real frame."""
    largest_radius: float = 0.05
    """Largest radius of the replaced frequencies, as a fraction of the sampling frequency."""


class StyleBank:
    """Gives a frame the style of a random frame of some stores.

    Args:
        stores: of real frames; their labels are not read.
        config: how often and how strongly.
    """

    def __init__(self, stores: Sequence[PreparedClipSource], config: StyleConfig) -> None:
        self._config = config
        self._clips = [(store, clip) for store in stores for clip in range(len(store))]

    def __call__(self, image: UInt8[np.ndarray, "s s"], rng: np.random.Generator) -> UInt8[np.ndarray, "s s"]:
        """The frame with other grey levels; black pixels stay black and no other pixel becomes black."""
        config = self._config
        store, clip = self._clips[int(rng.integers(len(self._clips)))]
        frames = store.frames(clip)
        other = np.ascontiguousarray(frames[int(rng.integers(len(frames)))])
        changed = image
        if rng.random() < config.spectrum_probability:
            changed = swap_low_frequencies(changed, other, float(rng.uniform(0.005, config.largest_radius)))
        if rng.random() < config.histogram_probability:
            changed = match_histogram(changed, other, float(rng.uniform(1 / 3, 1)))
        return changed


def match_histogram(
    image: UInt8[np.ndarray, "s s"], other: UInt8[np.ndarray, "t t"], strength: float
) -> UInt8[np.ndarray, "s s"]:
    """Move the grey levels of ``image`` towards those of ``other`` by a monotonic curve; black is ignored in both.

    Args:
        image: the frame to change.
        other: the frame whose grey levels are taken.
        strength: 0 changes nothing, 1 takes the whole histogram.
    """
    own, given = (np.bincount(frame[frame > 0], minlength=256).astype(np.float64) for frame in (image, other))
    if not own.any() or not given.any():
        return image
    target = np.interp(np.cumsum(own) / own.sum(), np.cumsum(given) / given.sum(), _LEVELS)
    curve = np.clip((1 - strength) * _LEVELS + strength * target, 1, 255)
    curve[0] = 0
    return np.asarray(cv2.LUT(image, np.rint(curve).astype(np.uint8)), np.uint8)


def swap_low_frequencies(
    image: UInt8[np.ndarray, "s s"], other: UInt8[np.ndarray, "t t"], radius: float
) -> UInt8[np.ndarray, "s s"]:
    """``image`` with the amplitudes of ``other`` at low frequencies, keeping its own phases.

    Args:
        image: the frame to change.
        other: the frame whose amplitudes are taken, resized to the same size.
        radius: of the frequencies that are taken over, in cycles per pixel; the mean is among them.
    """
    size = image.shape[0]
    resized = cv2.resize(other, (size, size), interpolation=cv2.INTER_AREA)
    own, given = np.fft.rfft2(image.astype(np.float32)), np.fft.rfft2(resized.astype(np.float32))
    low = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]) <= radius
    own[low] = np.abs(given[low]) * np.exp(1j * np.angle(own[low]))
    changed = np.clip(np.fft.irfft2(own, s=image.shape), 1, 255)
    return np.asarray(np.rint(changed) * (image > 0), np.uint8)


def draw_furniture(
    image: UInt8[np.ndarray, "s s"], rng: np.random.Generator, probability: float
) -> UInt8[np.ndarray, "s s"]:
    """A copy of the frame with random screen graphics, each kind with the given probability."""
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
