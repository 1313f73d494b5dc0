"""Multi-crop for ultrasound: large and small windows of a frame, each seen through a scanner of its own.

Grey from first to last, so there are no colour tricks; no flip by default, since orientation carries meaning.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8
from pydantic import Field, model_validator

from echoapex.config import Config
from echoapex.data.augment import Appearance, AugmentConfig
from echoapex.data.speckle_blur import speckle_blur

_WINDOWS_TRIED = 10
_FAN_REACH = 9

CROP_APPEARANCE = AugmentConfig(
    scale=0, shift=0, rotation_degrees=0, aspect=0, sector_probability=0, resample_probability=0.2, blur_px=0,
    gamma=0.5, gain=0.25, contrast=0.35, depth_gain=0.4, lateral_gain=0.4, noise=0.05, haze=0.2, shadow_probability=0.2,
)  # fmt: skip
"""Grey curve, gain, depth gain, shadow, haze and receiver noise; geometry is the window's, blur is ``speckle_blur``."""


class CropKind(Config):
    """Windows of one size."""

    count: int = Field(ge=0)
    side: int = Field(ge=14)
    """Side of the crop as the encoder sees it, in pixels."""
    scale: tuple[float, float]
    """Smallest and largest share of the frame's area that a window has."""

    @model_validator(mode="after")
    def _scale_rises(self) -> CropKind:
        low, high = self.scale
        if not 0 < low <= high <= 1:
            raise ValueError(f"scale {list(self.scale)} must rise within 0 and 1, as in [0.05, 0.32]")
        return self


class CropConfig(Config):
    """How the crops of a frame are drawn; the windows of DINOv2, the rest made for ultrasound."""

    global_crops: CropKind = CropKind(count=2, side=224, scale=(0.32, 1.0))
    local_crops: CropKind = CropKind(count=8, side=96, scale=(0.05, 0.32))
    aspect: float = Field(default=0.75, gt=0, le=1)
    """Smallest width over height of a window; the largest is its inverse."""
    sector_share: float = Field(default=0.5, ge=0, le=1)
    """Least share of a crop's pixels that lies inside the fan; of ten windows without it, the fullest is taken."""
    flip_probability: float = Field(default=0.0, ge=0, le=1)
    """How often a crop is mirrored, left to right."""
    beam_px: float = Field(default=1.2, ge=0)
    """Largest lateral standard deviation of the beam that widens the speckle, in crop pixels; axially up to half."""
    beam_probability: float = Field(default=0.4, ge=0, le=1)
    appearance: AugmentConfig = CROP_APPEARANCE

    @model_validator(mode="after")
    def _two_views(self) -> CropConfig:
        if self.global_crops.count != 2:
            raise ValueError(f"global_crops.count is {self.global_crops.count}; the teacher compares exactly 2")
        return self


class Window(NamedTuple):
    """A rectangle of whole pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, image: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h2 w2"]:
        """The pixels inside."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


def inside_sector(image: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """1 where the frame shows the fan, 0 in the black around it: a fifth of the 9 x 9 pixels around is grey."""
    near = cv2.blur((image > 0).astype(np.float32), (_FAN_REACH, _FAN_REACH))
    return (near > 0.2).astype(np.uint8)


class FrameCropper:
    """Draws crops of one frame.

    Args:
        image: grey frame, black outside the fan.
        config: how crops are drawn.
    """

    def __init__(self, image: UInt8[np.ndarray, "h w"], config: CropConfig) -> None:
        self._image = np.ascontiguousarray(image)
        self._config = config
        self._sum = cv2.integral(inside_sector(self._image))

    def draw(self, rng: np.random.Generator, kind: CropKind) -> UInt8[np.ndarray, "count side side"]:
        """All crops of a kind."""
        crops = [self._crop(rng, kind) for _ in range(kind.count)]
        return np.stack(crops) if crops else np.zeros((0, kind.side, kind.side), np.uint8)

    def window(self, rng: np.random.Generator, kind: CropKind) -> Window:
        """A window with enough of the fan in it; of ten without, the one with the most."""
        best, most = self._any_window(rng, kind), -1.0
        for attempt in range(_WINDOWS_TRIED):
            tried = best if attempt == 0 else self._any_window(rng, kind)
            share = self.sector_share(tried)
            if share > most:
                best, most = tried, share
            if share >= self._config.sector_share:
                break
        return best

    def sector_share(self, window: Window) -> float:
        """Which part of a window's pixels lies inside the fan."""
        top, left, height, width = window
        bottom, right = top + height, left + width
        total = self._sum
        inside = total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]
        return float(inside) / (height * width)

    def _any_window(self, rng: np.random.Generator, kind: CropKind) -> Window:
        rows, columns = self._image.shape
        area = rng.uniform(*kind.scale) * rows * columns
        aspect = np.exp(rng.uniform(np.log(self._config.aspect), np.log(1 / self._config.aspect)))
        height = min(rows, max(1, round(float(np.sqrt(area / aspect)))))
        width = min(columns, max(1, round(float(np.sqrt(area * aspect)))))
        return Window(int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1)), height, width)

    def _crop(self, rng: np.random.Generator, kind: CropKind) -> UInt8[np.ndarray, "side side"]:
        config = self._config
        pixels = self.window(rng, kind).of(self._image)
        shrinks = min(pixels.shape) > kind.side
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        crop = cv2.resize(pixels, (kind.side, kind.side), interpolation=interpolation)
        if rng.random() < config.flip_probability:
            crop = np.ascontiguousarray(crop[:, ::-1])
        if rng.random() < config.beam_probability:
            crop = speckle_blur(crop, *(config.beam_px * rng.uniform(0, (1.0, 0.5))))
        return Appearance(rng, kind.side, config.appearance)(crop, rng)
