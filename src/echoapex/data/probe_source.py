"""Whole frames of known views, to look at an encoder while it learns without labels."""

from __future__ import annotations

import numpy as np
import torch

from echoapex.data.augment import plain_warp
from echoapex.data.batch import ProbeBatch
from echoapex.data.frame_reader import ClipStoreReader


class ProbeSource:
    """``batch(step)`` gives frames ``step * batch_size`` and on, at model size and as they are.

    The frames are dealt out evenly, so that every batch holds every view that the clips have.

    Args:
        reader: frames with their views and clips.
        batch_size: frames of a batch; the last batch may have fewer.
        side: side of the frames as the encoder sees them, in pixels.
    """

    def __init__(self, reader: ClipStoreReader, batch_size: int, side: int) -> None:
        self._reader = reader
        self._side = side
        self.batches = -(-len(reader) // batch_size)

    def batch(self, step: int) -> ProbeBatch:
        """The batch of a number from 0 to ``batches`` - 1."""
        reader = self._reader
        rows = np.arange(step, len(reader), self.batches)
        frames = reader.take(rows.tolist())
        warped = [plain_warp(frame.shape[-1], self._side).image(np.ascontiguousarray(frame)) for frame in frames]
        return ProbeBatch(
            pixels=torch.from_numpy(np.stack(warped)),
            view=torch.from_numpy(reader.view[rows]),
            clip=torch.from_numpy(reader.clip[rows]),
        )
