"""Multi-crop for ultrasound: the global crops, local crops and patch masks of self-supervised pretraining.

Each crop is a window of a frame, seen by a simulated scanner of its own (grey curve, gain, beam, noise). Everything is
grey, so there is no colour augmentation. There is no flip by default, since orientation carries meaning.

The student's patches are masked in blocks, because a single masked patch could be guessed from its neighbours.

A batch is a pure function of the seed and the step.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, UInt8
from pydantic import Field, model_validator

from echoapex.config import Config
from echoapex.data.augment import Appearance, AugmentConfig, speckle_blur
from echoapex.data.batch import CropBatch, own_places, scattered_index
from echoapex.data.stores.frame_reader import FrameReader

_WINDOWS_TRIED = 10
_FAN_REACH = 9

CROP_APPEARANCE = AugmentConfig(
    scale=0, shift=0, rotation_degrees=0, aspect=0, sector_probability=0, resample_probability=0.2, blur_px=0,
    gamma=0.5, gain=0.25, contrast=0.35, depth_gain=0.4, lateral_gain=0.4, noise=0.05, haze=0.2, shadow_probability=0.2,
)  # fmt: skip
"""Grey curve, gain, depth gain, shadow, haze and noise; the window sets the geometry, ``speckle_blur`` the blur."""
_TRIES_PER_BLOCK = 10


class CropKind(Config):
    """Windows of one size."""

    count: int = Field(ge=0)
    side: int = Field(ge=14)
    """Side of the crop as the encoder sees it, in pixels."""
    scale: tuple[float, float]
    """Smallest and largest area of a window, as a share of the frame's area."""

    @model_validator(mode="after")
    def _scale_rises(self) -> CropKind:
        low, high = self.scale
        if not 0 < low <= high <= 1:
            raise ValueError(f"scale {list(self.scale)} must rise within 0 and 1, as in [0.05, 0.32]")
        return self


class CropConfig(Config):
    """How the crops of a frame are drawn: the window sizes of DINOv2, everything else made for ultrasound."""

    global_crops: CropKind = CropKind(count=2, side=224, scale=(0.32, 1.0))
    local_crops: CropKind = CropKind(count=8, side=96, scale=(0.05, 0.32))
    aspect: float = Field(default=0.75, gt=0, le=1)
    """Smallest width over height of a window; the largest is its inverse."""
    sector_share: float = Field(default=0.5, ge=0, le=1)
    """Smallest share of a window inside the fan; if ten windows have less, the best of them is used."""
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
    """1 inside the fan, 0 in the black around it.

    A pixel is inside if more than a fifth of the 9 x 9 pixels around it is not black.
    """
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
        """All crops of one kind."""
        crops = [self._crop(rng, kind) for _ in range(kind.count)]
        return np.stack(crops) if crops else np.zeros((0, kind.side, kind.side), np.uint8)

    def window(self, rng: np.random.Generator, kind: CropKind) -> Window:
        """A random window with enough of the fan; after ten tries, the best of them."""
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
        """Share of a window's pixels inside the fan."""
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


class BlockMaskConfig(Config):
    """How many patches are masked; the values of DINOv2."""

    probability: float = Field(default=0.5, ge=0, le=1)
    """Probability that an image has masked patches."""
    ratio: tuple[float, float] = (0.1, 0.5)
    """Smallest and largest share of masked patches in such an image."""
    smallest_block: int = Field(default=4, ge=1)
    """Smallest number of patches in a block, unless fewer are left to mask."""
    aspect: float = Field(default=0.3, gt=0, le=1)
    """Smallest height over width of a block; the largest is its inverse."""

    @model_validator(mode="after")
    def _ratio_rises(self) -> BlockMaskConfig:
        low, high = self.ratio
        if not 0 < low <= high <= 1:
            raise ValueError(f"ratio {list(self.ratio)} must rise within 0 and 1, as in [0.1, 0.5]")
        return self


def sample_block_masks(
    rng: np.random.Generator, grid: tuple[int, int], crops: int, config: BlockMaskConfig
) -> Bool[np.ndarray, "crops height width"]:
    """Masks of the crops of one frame, True where masked; a crop has masked patches with ``config.probability``.

    The crops of a frame are not independent: with two crops and a probability of one half, exactly one of them has
    masked patches. This reduces the variance of the loss of small batches.

    Args:
        rng: the only source of randomness.
        grid: patches per column and row.
        crops: number of crops.
        config: how many patches to mask.
    """
    turns = (rng.random() + np.arange(crops) / max(1, crops)) % 1 < config.probability
    masks = np.zeros((crops, *grid), bool)
    for crop in np.flatnonzero(turns):
        count = max(1, round(float(rng.uniform(*config.ratio)) * grid[0] * grid[1]))
        masks[crop] = block_mask(rng, grid, count, config)
    return masks


def block_mask(
    rng: np.random.Generator, grid: tuple[int, int], count: int, config: BlockMaskConfig
) -> Bool[np.ndarray, "height width"]:
    """A mask of exactly ``count`` patches: blocks as long as they fit, then single patches beside masked ones.

    Source: Bao et al., "BEiT", 2022, algorithm 1.

    Raises:
        ValueError: the grid has fewer patches than that.
    """
    if not 0 <= count <= grid[0] * grid[1]:
        raise ValueError(f"cannot hide {count} patches of a grid of {grid[0]} x {grid[1]}")
    masked = np.zeros(grid, bool)
    failures = 0
    while failures < _TRIES_PER_BLOCK and (left := count - int(masked.sum())) > 0:
        rows, columns = _block_size(rng, grid, left, config)
        top, first = int(rng.integers(grid[0] - rows + 1)), int(rng.integers(grid[1] - columns + 1))
        block = masked[top : top + rows, first : first + columns]
        new = block.size - int(block.sum())
        if 0 < new <= left:
            block[:] = True
        else:
            failures += 1
    return _filled_up(rng, masked, count)


def _block_size(rng: np.random.Generator, grid: tuple[int, int], left: int, config: BlockMaskConfig) -> tuple[int, int]:
    """Rows and columns of a block of at most about ``left`` patches, with log-uniform aspect."""
    area = rng.uniform(min(config.smallest_block, left), left)
    aspect = np.exp(rng.uniform(np.log(config.aspect), np.log(1 / config.aspect)))
    rows, columns = round(float(np.sqrt(area * aspect))), round(float(np.sqrt(area / aspect)))
    return min(max(1, rows), grid[0]), min(max(1, columns), grid[1])


def _filled_up(
    rng: np.random.Generator, masked: Bool[np.ndarray, "height width"], count: int
) -> Bool[np.ndarray, "height width"]:
    """Mask single patches until ``count`` are masked, preferably next to masked ones."""
    while masked.sum() < count:
        padded = np.pad(masked, 1)
        beside = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
        free = np.flatnonzero(~masked & beside) if (~masked & beside).any() else np.flatnonzero(~masked)
        masked.flat[rng.choice(free)] = True
    return masked


class CropSourceConfig(Config):
    """How frames become batches of crops."""

    batch_size: int = Field(default=64, ge=1)
    """Frames per step, over all processes."""
    seed: int = 0
    crops: CropConfig = CropConfig()
    masks: BlockMaskConfig = BlockMaskConfig()


class CropSource:
    """Batches of crops for pretraining; ``batch(step)`` depends on the seed and the step only.

    Args:
        reader: the frames; every epoch visits each once, in a new order.
        config: batch size, seed, crops and masks.
        patch_size: side in pixels of the patches that are masked.
        places: which frames of every batch are given; by default all.
    """

    def __init__(
        self, reader: FrameReader, config: CropSourceConfig, patch_size: int, places: range | None = None
    ) -> None:
        self._reader = reader
        self._config = config
        self._patch_size = patch_size
        side = config.crops.global_crops.side // patch_size
        self._grid = (side, side)
        self._places = range(config.batch_size) if places is None else places

    def share(self, rank: int, count: int) -> CropSource:
        """The part of every batch that belongs to process ``rank`` of ``count``.

        Raises:
            ValueError: the batch cannot be divided evenly.
        """
        places = own_places(self._config.batch_size, rank, count, "task.frames.batch_size")
        return CropSource(self._reader, self._config, self._patch_size, places)

    def batch(self, step: int) -> CropBatch:
        """The batch of a step."""
        config = self._config
        positions = [step * config.batch_size + place for place in self._places]
        numbers = [scattered_index(config.seed, position, len(self._reader)) for position in positions]
        frames = self._reader.take(numbers)
        samples = [self._sample(frame, position) for frame, position in zip(frames, positions, strict=True)]
        large, small, masked = (np.stack(parts, axis=1) for parts in zip(*samples, strict=True))
        return CropBatch(
            torch.from_numpy(large), torch.from_numpy(small), torch.from_numpy(masked), torch.tensor(numbers)
        )

    def _sample(self, frame: np.ndarray, position: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Global crops, local crops and patch masks of a frame; ``position`` counts over all epochs."""
        config = self._config
        rng = np.random.default_rng([config.seed, 211, position])
        cropper = FrameCropper(frame, config.crops)
        large = cropper.draw(rng, config.crops.global_crops)
        small = cropper.draw(rng, config.crops.local_crops)
        masked = sample_block_masks(rng, self._grid, len(large), config.masks)
        return large, small, masked.reshape(len(large), -1)
