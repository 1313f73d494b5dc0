"""Clips as augmented frames, for an encoder that learns together with the decoder of the ejection fraction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8

from echoapex.data.augment import Appearance, random_warp
from echoapex.data.batch import PixelClipBatch
from echoapex.data.clip_store import ClipSource
from echoapex.data.frame_source import whole_frames
from echoapex.data.sampler import balanced_example, own_places
from echoapex.tasks.frozen_features import FrozenFeatureConfig, ef_level_groups

Drawn = tuple[ClipSource, int, np.ndarray, UInt8[np.ndarray, "picked size size"]]
"""Store, clip, frame numbers, and those frames as a scanner shows them."""


class PixelClips:
    """Training batches from stores: ``batch(step)`` is the same for the same step; ``variants`` plays no part.

    Args:
        stores: of prepared clips.
        config: how clips are drawn.
        places: which clips of every batch are given; by default all.
    """

    def __init__(self, stores: Sequence[ClipSource], config: FrozenFeatureConfig, places: range | None = None) -> None:
        self._config = config
        self._stores = stores
        self._places = range(config.batch_size) if places is None else places
        self._clips = [(store, clip) for store in stores for clip in range(len(store))]
        self._groups = ef_level_groups(
            np.concatenate([store.truth["ef_percent"] for store in stores]), config.ef_levels
        )

    def __len__(self) -> int:
        return len(self._clips)

    def share(self, rank: int, count: int) -> PixelClips:
        """The clips of every batch that belong to process ``rank`` of ``count``.

        Raises:
            ValueError: the batch cannot be divided evenly.
        """
        places = own_places(self._config.batch_size, rank, count, "task.features.batch_size")
        return PixelClips(self._stores, self._config, places)

    def batch(self, step: int) -> PixelClipBatch:
        """Random clips, each with the same random number of its frames in order, each through its own scanner."""
        config = self._config
        rng = np.random.default_rng([config.seed, 223, step])
        shortest = min(store.truth["times_s"].shape[1] for store, _ in self._clips)
        fewest, most = (min(bound, shortest) for bound in config.frames)
        count = int(rng.integers(fewest, most + 1))
        return _collect([self._draw(step * config.batch_size + place, count) for place in self._places])

    def _draw(self, position: int, count: int) -> Drawn:
        rng = np.random.default_rng([self._config.seed, 227, position])
        store, clip = self._clips[balanced_example(self._config.seed, position, self._groups)]
        frames = store.frames(clip)
        picked = np.sort(rng.choice(len(frames), count, replace=False))
        warp = random_warp(rng, frames.shape[-1], self._config.size, self._config.augment)
        scanner = Appearance(rng, self._config.size, self._config.augment)
        shown = [scanner(warp.image(np.ascontiguousarray(frames[frame])), rng) for frame in picked]
        return store, clip, picked, np.stack(shown)


class WholePixelClips:
    """Validation batches: every clip once, with all its frames, as they are."""

    def __init__(self, store: ClipSource, size: int) -> None:
        self._store, self._size = store, size

    def __len__(self) -> int:
        return len(self._store)

    def batch(self, step: int) -> PixelClipBatch:
        """Clip number ``step``."""
        clip = step % len(self)
        frames = whole_frames(self._store, clip, self._size)
        return _collect([(self._store, clip, np.arange(len(frames)), frames)])


def _collect(drawn: Sequence[Drawn]) -> PixelClipBatch:
    times = [store.truth["times_s"][clip][picked] for store, clip, picked, _ in drawn]
    volumes = [store.truth["relative_volume"][clip][picked] for store, clip, picked, _ in drawn]
    times_s = torch.from_numpy(np.stack([each - each[0] for each in times])).float()
    return PixelClipBatch(
        pixels=torch.from_numpy(np.stack([frames for *_, frames in drawn])),
        times_s=times_s,
        frame_mask=torch.ones(times_s.shape, dtype=torch.bool),
        ef_percent=torch.tensor([float(store.truth["ef_percent"][clip]) for store, clip, _, _ in drawn]),
        relative_volume=torch.from_numpy(np.stack(volumes)).float(),
    )
