"""Augmentation for ultrasound: varies what differs between machines, operators and patients, and nothing else.

There is no horizontal flip: orientation carries meaning in echocardiography. Geometry and appearance are drawn once per
clip, so that all frames of a clip come from the same simulated scanner; only receiver noise is drawn for every frame.

``speckle_blur`` simulates a coarser beam: speckle grains grow, as at a lower frequency or a smaller aperture, but keep
their contrast.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from echoapex.config import Config
from echoapex.data.style import draw_furniture

_MOMENT_WINDOW_PX = 11
_LARGEST_CONTRAST_GAIN = 3.0


class AugmentConfig(Config):
    """Strengths of the augmentations; zero switches one off."""

    scale: float = 0.15
    """Largest relative change of size, up or down."""
    shift: float = 0.06
    """Largest shift, as a fraction of the image side."""
    rotation_degrees: float = 10.0
    aspect: float = 0.08
    """Largest relative change of the width-to-height ratio."""
    shallow: float = 0.0
    """Largest enlargement about the middle of the top edge, where the probe is, in half of the clips: less depth, which
    cuts off what lies deep. 0.5 shows two thirds of the depth."""
    gamma: float = 0.5
    """Largest absolute logarithm of the grey-curve exponent."""
    gain: float = 0.25
    """Largest change of brightness, as a fraction of full scale."""
    contrast: float = 0.35
    depth_gain: float = 0.4
    """Largest relative change of gain from the top to the bottom (time-gain compensation)."""
    lateral_gain: float = 0.5
    """Largest relative loss in a smooth lateral pattern (contact, ribs)."""
    blur_px: float = 1.4
    noise: float = 0.06
    haze: float = 0.25
    """Largest brightness of smooth haze (reverberation, obesity)."""
    clutter: float = 0.0
    """Largest strength of speckled clutter (side lobes, reverberation), which greys the cavities; as a fraction of full
    scale, added in power."""
    clutter_probability: float = 0.6
    shadow_probability: float = 0.2
    sector_probability: float = 0.5
    """Probability that the fan is narrowed or cut, so that its shape does not reveal the view."""
    resample_probability: float = 0.3
    """Probability that the image is downsampled and enlarged again."""
    texture_probability: float = 0.0
    """Probability of a small random filter that changes the texture but not the shapes."""
    furniture_probability: float = 0.0
    """Probability of each kind of screen graphics (words, ruler, grey bar, ECG) on a frame."""


@dataclass(frozen=True, eq=False)
class Warp:
    """An affine map from store pixels to model pixels (pixel centres), 2 x 3."""

    matrix: Float[np.ndarray, "2 3"]
    size: int

    def image(self, image: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "s s"]:
        """Resample an image (bilinear)."""
        warped: UInt8[np.ndarray, "s s"] = cv2.warpAffine(
            image, self.matrix, (self.size, self.size), flags=cv2.INTER_LINEAR, borderValue=0
        )
        return warped

    def labels(self, labels: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "s s"]:
        """Resample a label map (nearest neighbour)."""
        warped: UInt8[np.ndarray, "s s"] = cv2.warpAffine(
            labels, self.matrix, (self.size, self.size), flags=cv2.INTER_NEAREST, borderValue=0
        )
        return warped

    def points(self, points_xy: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Map points from store pixels to model pixels."""
        mapped: Float[np.ndarray, "n 2"] = points_xy @ self.matrix[:, :2].T + self.matrix[:, 2]
        return mapped


def plain_warp(source: int, target: int) -> Warp:
    """The resize from a square of ``source`` pixels to ``target`` pixels."""
    ratio = target / source
    offset = 0.5 * ratio - 0.5
    return Warp(np.array([[ratio, 0, offset], [0, ratio, offset]], np.float64), target)


def random_warp(rng: np.random.Generator, source: int, target: int, config: AugmentConfig) -> Warp:
    """A random similarity with a slight change of aspect about the image centre, and sometimes less depth."""
    ratio = target / source * float(np.exp(rng.uniform(-1, 1) * np.log1p(config.scale)))
    stretch = float(np.exp(rng.uniform(-1, 1) * np.log1p(config.aspect)))
    angle = np.deg2rad(rng.uniform(-1, 1) * config.rotation_degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = rotation @ np.diag([ratio * stretch, ratio / stretch])
    source_centre, target_centre = np.full(2, (source - 1) / 2), np.full(2, (target - 1) / 2)
    shift = rng.uniform(-1, 1, 2) * config.shift * target
    offset = target_centre + shift - linear @ source_centre
    if config.shallow > 0 and rng.random() < 0.5:
        probe, zoom = np.array([target_centre[0], 0.0]), float(np.exp(rng.random() * np.log1p(config.shallow)))
        linear, offset = zoom * linear, probe + zoom * (offset - probe)
    return Warp(np.column_stack([linear, offset]), target)


class Appearance:
    """A random simulated scanner, the same for every frame: grey curve, gains, shadow, sector cut, blur, noise."""

    def __init__(self, rng: np.random.Generator, size: int, config: AugmentConfig) -> None:
        self._config = config
        self._texture = _texture_filter(rng, config)
        self._curve = _grey_curve(rng, config)
        self._gain = _gain_field(rng, size, config)
        self._haze = smooth_field(rng, size, cells=4) * rng.uniform(0, config.haze) * 255 * (rng.random() < 0.5)
        self._clutter = _clutter_field(rng, size, config)
        self._blur_px = float(rng.uniform(0, config.blur_px)) if rng.random() < 0.5 else 0.0
        self._coarser = float(rng.uniform(0.45, 0.9)) if rng.random() < config.resample_probability else 1.0
        self._noise = float(rng.uniform(0, config.noise)) * (rng.random() < 0.6)
        self._keep = _sector_cut(rng, size) if rng.random() < config.sector_probability else None

    def __call__(self, image: UInt8[np.ndarray, "s s"], rng: np.random.Generator) -> UInt8[np.ndarray, "s s"]:
        """The image as this scanner shows it; black outside the fan stays black."""
        size = image.shape[0]
        if self._texture is not None:
            image = _filtered(image, self._texture)
        grey = cv2.LUT(image, self._curve).astype(np.float32)
        inside = cv2.blur((image > 0).astype(np.float32), (9, 9)) > 0.2
        grey = grey * self._gain + self._haze
        if self._clutter is not None:
            grey = np.hypot(grey, self._clutter * speckle(rng, size))
        if self._coarser < 1:
            small = max(16, int(size * self._coarser))
            grey = cv2.resize(
                cv2.resize(grey, (small, small), interpolation=cv2.INTER_AREA),
                (size, size),
                interpolation=cv2.INTER_LINEAR,
            )
        if self._blur_px > 0.2:
            grey = cv2.GaussianBlur(grey, (0, 0), self._blur_px)
        if self._noise > 0:
            grain = rng.standard_normal((size, size), dtype=np.float32)
            grey = grey * (1 + 2 * self._noise * grain) + 255 * self._noise * 0.3 * np.abs(grain)
        if self._keep is not None:
            inside &= self._keep
        result: UInt8[np.ndarray, "s s"] = (np.clip(grey, 0, 255) * inside).astype(np.uint8)
        if self._config.furniture_probability > 0:
            result = draw_furniture(result, rng, self._config.furniture_probability)
        return result


def _grey_curve(rng: np.random.Generator, config: AugmentConfig) -> UInt8[np.ndarray, "256"]:
    """A random grey map: exponent, contrast about mid-grey, brightness; zero stays zero.

    It rises monotonically, except for a dip of a few levels in the darkest greys if contrast and brightness are both
    low.
    """
    level = np.arange(256) / 255
    curve = level ** np.exp(rng.uniform(-1, 1) * config.gamma)
    curve = (curve - 0.4) * (1 + rng.uniform(-1, 1) * config.contrast) + 0.4 + rng.uniform(-1, 1) * config.gain * level
    curve = np.clip(curve, 0, 1)
    curve[0] = 0
    return np.asarray(np.rint(curve * 255), np.uint8)


def _texture_filter(rng: np.random.Generator, config: AugmentConfig) -> Float[np.ndarray, "k k"] | None:
    """A random filter of 3 to 7 pixels, mixed with the identity; None if none is drawn.

    Source: Xu et al., "Robust and generalizable visual representation learning via random convolutions", 2021. Bright
    stays brighter than dark: the weights add up to a positive number.
    """
    if config.texture_probability <= 0 or rng.random() >= config.texture_probability:
        return None
    side = int(rng.choice([3, 5, 7]))
    weights = rng.standard_normal((side, side)) / side
    weights *= 1 if weights.sum() > 0 else -1
    mixed = rng.random() * weights
    mixed[side // 2, side // 2] += 1 - rng.random() * 0.8
    return np.asarray(mixed, np.float32)


def _filtered(image: UInt8[np.ndarray, "s s"], weights: Float[np.ndarray, "k k"]) -> UInt8[np.ndarray, "s s"]:
    """The filtered image with mean and deviation as before; black stays black."""
    inside = image > 0
    if not inside.any():
        return image
    grey = cv2.filter2D(image.astype(np.float32), -1, weights)
    before, after = image[inside], grey[inside]
    grey = (grey - after.mean()) * (before.std() / max(float(after.std()), 1e-3)) + before.mean()
    result: UInt8[np.ndarray, "s s"] = (np.clip(grey, 1, 255) * inside).astype(np.uint8)
    return result


def smooth_field(rng: np.random.Generator, size: int, cells: int) -> Float[np.ndarray, "s s"]:
    """Smooth random values from 0 to 1."""
    coarse = rng.random((cells, cells)).astype(np.float32)
    return np.asarray(np.clip(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), 0, 1), np.float32)


def _gain_field(rng: np.random.Generator, size: int, config: AugmentConfig) -> Float[np.ndarray, "s s"]:
    """Depth gain, lateral loss and sometimes one acoustic shadow, as a factor per pixel."""
    depth = np.linspace(-0.5, 0.5, size, dtype=np.float32)[:, None] * 2 * rng.uniform(-1, 1) * config.depth_gain
    lateral = smooth_field(rng, size, cells=5)[size // 2][None, :] * rng.uniform(0, config.lateral_gain)
    gain = (1 + depth) * (1 - lateral)
    if rng.random() < config.shadow_probability:
        angle = (np.arange(size)[None, :] - size / 2) / (np.arange(size)[:, None] + size * 0.1)
        centre, width = rng.uniform(-0.7, 0.7), rng.uniform(0.03, 0.15)
        shadow = np.exp(-(((angle - centre) / width) ** 2)) * rng.uniform(0.4, 0.95)
        gain = gain * (1 - shadow)
    return np.asarray(np.clip(gain, 0.02, 2.5), np.float32)


def _clutter_field(rng: np.random.Generator, size: int, config: AugmentConfig) -> Float[np.ndarray, "s s"] | None:
    """Mean grey level of the clutter: a smooth pattern, often stronger near the transducer; None without clutter."""
    if config.clutter <= 0 or rng.random() >= config.clutter_probability:
        return None
    depth = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    near = 1 + rng.uniform(0, 1.5) * np.exp(-depth / rng.uniform(0.1, 0.4))
    pattern = 0.4 + 0.6 * smooth_field(rng, size, cells=int(rng.integers(2, 6)))
    return np.asarray(255 * rng.uniform(0.05, config.clutter) * near * pattern, np.float32)


def speckle(rng: np.random.Generator, size: int) -> Float[np.ndarray, "s s"]:
    """Speckle with mean one: the smoothed envelope of complex noise; log compression makes it flatter than Rayleigh."""
    grain = (0.6 + 1.2 * rng.random(), 0.5 + 0.5 * rng.random())
    noise = cv2.GaussianBlur(rng.standard_normal((size, size, 2), dtype=np.float32), (0, 0), grain[0], sigmaY=grain[1])
    envelope = np.sqrt(np.hypot(noise[..., 0], noise[..., 1]))
    return np.asarray(envelope / envelope.mean(), np.float32)


def _sector_cut(rng: np.random.Generator, size: int) -> np.ndarray:
    """Keep a narrower fan: two lines from near the top centre, and sometimes a shorter depth."""
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    apex_x, apex_y = size / 2 + rng.uniform(-0.04, 0.04) * size, rng.uniform(-0.25, 0.02) * size
    left, right = np.tan(np.deg2rad(rng.uniform(26, 50, 2)))
    offset = (columns - apex_x) / np.maximum(rows - apex_y, 1)
    keep = (offset > -left) & (offset < right)
    if rng.random() < 0.5:
        keep &= np.hypot(columns - apex_x, rows - apex_y) < rng.uniform(0.85, 1.2) * size - apex_y
    return np.asarray(keep)


def speckle_blur(image: UInt8[np.ndarray, "h w"], lateral_px: float, axial_px: float) -> UInt8[np.ndarray, "h w"]:
    """Blur by a beam of the given width, then restore the local contrast.

    A plain blur removes speckle, but every real scanner shows speckle. Here the local mean and standard deviation (11 x
    11 pixels) stay about the same and only the grains grow. Black stays black.

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
    boost = np.minimum(before / np.maximum(after, 1e-3), _LARGEST_CONTRAST_GAIN)
    result = mean + (blurred - blurred_mean) * boost
    result[image == 0] = 0
    return np.asarray(np.clip(np.rint(result), 0, 255), np.uint8)


def _local_moments(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation in a window around each pixel."""
    mean = cv2.blur(grey, (_MOMENT_WINDOW_PX, _MOMENT_WINDOW_PX))
    variance = cv2.blur(grey * grey, (_MOMENT_WINDOW_PX, _MOMENT_WINDOW_PX)) - mean * mean
    return mean, np.sqrt(np.maximum(variance, 0))
