"""Style of real frames on simulated ones: their grey levels and their coarse spectrum, never their shapes.

Sources: Yang and Soatto, "FDA: Fourier domain adaptation for semantic segmentation", 2020 (amplitudes of low
frequencies); Gonzalez and Woods, "Digital image processing" (histogram specification).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from echoapex.config import Config
from echoapex.data.clip_store import ClipSource

_LEVELS = np.arange(256)


class StyleConfig(Config):
    """How often and how strongly a frame takes on the style of another."""

    histogram_probability: float = 0.5
    """How often grey levels follow the histogram of a real frame; the strength is drawn from a third to all of it."""
    spectrum_probability: float = 0.3
    """How often the amplitudes of low frequencies are those of a real frame."""
    largest_radius: float = 0.05
    """Largest radius of the frequencies that are taken over, as a fraction of the sampling frequency."""


class StyleBank:
    """Gives a frame the style of a random frame of some stores.

    Args:
        stores: of real frames; their labels are not read.
        config: how often and how strongly.
    """

    def __init__(self, stores: Sequence[ClipSource], config: StyleConfig) -> None:
        self._config = config
        self._clips = [(store, clip) for store in stores for clip in range(len(store))]

    def __call__(self, image: UInt8[np.ndarray, "s s"], rng: np.random.Generator) -> UInt8[np.ndarray, "s s"]:
        """The frame with other grey levels; what is black stays black, what is not black stays so."""
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
    """Grey levels of ``image`` moved towards those of ``other`` by a rising curve; black is left out of both.

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
    """``image`` with the amplitudes of ``other`` at low frequencies, and its own phases everywhere.

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
