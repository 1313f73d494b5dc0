"""Batches of crops for pretraining: a pure function of the seed and the step, whatever was drawn before."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field

from echoapex.config import Config
from echoapex.data.batch import CropBatch
from echoapex.data.block_masks import BlockMaskConfig, sample_block_masks
from echoapex.data.crops import CropConfig, FrameCropper
from echoapex.data.frame_reader import FrameReader
from echoapex.data.sampler import own_places, scattered_index


class CropSourceConfig(Config):
    """How frames become batches of crops."""

    batch_size: int = Field(default=64, ge=1)
    """Frames of a step."""
    seed: int = 0
    crops: CropConfig = CropConfig()
    masks: BlockMaskConfig = BlockMaskConfig()


class CropSource:
    """``batch(step)`` gives the crops of a step.

    Args:
        reader: the frames; every epoch visits each once, in a new order.
        config: sizes and chance.
        patch_size: side in pixels of the patches that are hidden.
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
        large, small, hidden = (np.stack(parts, axis=1) for parts in zip(*samples, strict=True))
        return CropBatch(
            torch.from_numpy(large), torch.from_numpy(small), torch.from_numpy(hidden), torch.tensor(numbers)
        )

    def _sample(self, frame: np.ndarray, position: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Global crops, local crops and hidden patches of the frame at a position of the endless sequence."""
        config = self._config
        rng = np.random.default_rng([config.seed, 211, position])
        cropper = FrameCropper(frame, config.crops)
        large = cropper.draw(rng, config.crops.global_crops)
        small = cropper.draw(rng, config.crops.local_crops)
        hidden = sample_block_masks(rng, self._grid, len(large), config.masks)
        return large, small, hidden.reshape(len(large), -1)
