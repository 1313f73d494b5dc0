"""Batches of clips for the ejection fraction: encoded once and cached on disk, or as augmented frames.

With a frozen encoder, clips are encoded once, so the temporal decoder trains in minutes. For an encoder that learns
together with the decoder, clips are given as augmented frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from pydantic import Field

from echoapex.config import Config
from echoapex.data.augment import Appearance, AugmentConfig, random_warp
from echoapex.data.batch import EncodedClipBatch, PixelClipBatch, balanced_example, own_places
from echoapex.data.frame_source import whole_frames
from echoapex.data.stores.clip_store import PreparedClipSource
from echoapex.models.encoder import VisionTransformer, encode_clip
from echoapex.models.precision import Precision, choose_precision

Drawn = tuple[PreparedClipSource, int, np.ndarray, UInt8[np.ndarray, "picked size size"]]
"""Store, clip, frame numbers, and these frames after augmentation."""


class FrozenFeatureConfig(Config):
    """How clips are encoded and drawn."""

    size: int = 160
    variants: int = Field(default=2, ge=1)
    """Encoded copies of each clip; the first is not augmented, the others are."""
    batch_size: int = Field(default=16, ge=1)
    frames: tuple[int, int] = (12, 32)
    """Smallest and largest number of frames of a training clip."""
    ef_levels: int = Field(default=1, ge=1)
    """Number of equal ranges of the ejection fraction that are drawn equally often; 1: no balancing."""
    seed: int = 0
    precision: Precision = "auto"
    """Precision of the encoder: ``auto``, or one of the two."""
    augment: AugmentConfig = AugmentConfig()


class FrozenFeatures:
    """Patch features of every clip of a store, ``(clips * variants, frames, patches, width)`` half precision."""

    def __init__(self, store: PreparedClipSource, path: Path, config: FrozenFeatureConfig) -> None:
        self.store = store
        self.config = config
        self._path = path
        self._features = np.load(path, mmap_mode="r")

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenFeatures, (self.store, self._path, self.config)  # another process opens its own memory map

    def __len__(self) -> int:
        return len(self._features)

    @property
    def frame_count(self) -> int:
        """Frames of a clip."""
        return int(self._features.shape[1])

    @property
    def ef_percent(self) -> Float[np.ndarray, "rows"]:
        """Ejection fraction of every row."""
        return np.repeat(self.store.truth["ef_percent"], self.config.variants)

    def clip(self, row: int) -> EncodedClipBatch:
        """One clip with all its frames."""
        return _collect_features([(self, row, np.arange(self.frame_count))])

    def example(self, row: int, frames: Int[np.ndarray, "picked"]) -> dict[str, np.ndarray]:
        """Some frames of a clip with their labels; times start at the first of them."""
        truth, clip = self.store.truth, row // self.config.variants
        times_s = truth["times_s"][clip][frames]
        return {
            "patches": self._features[row][frames].astype(np.float32),
            "times_s": (times_s - times_s[0]).astype(np.float32),
            "frame_mask": np.ones(len(frames), bool),
            "ef_percent": np.float32(truth["ef_percent"][clip]),
            "relative_volume": truth["relative_volume"][clip][frames].astype(np.float32),
        }


class ClipBatches:
    """Training batches from the features of one or several stores; ``places``: which clips of every batch, or all."""

    def __init__(
        self, parts: Sequence[FrozenFeatures], config: FrozenFeatureConfig, places: range | None = None
    ) -> None:
        self._config = config
        self._parts = parts
        self._places = range(config.batch_size) if places is None else places
        self._rows = [(part, row) for part in parts for row in range(len(part))]
        self._frames = min(part.frame_count for part in parts)
        self._groups = ef_level_groups(np.concatenate([part.ef_percent for part in parts]), config.ef_levels)

    def __len__(self) -> int:
        return len(self._rows)

    def share(self, rank: int, count: int) -> ClipBatches:
        """The clips of every batch that belong to process ``rank`` of ``count``.

        Raises:
            ValueError: the batch cannot be divided evenly.
        """
        places = own_places(self._config.batch_size, rank, count, "task.features.batch_size")
        return ClipBatches(self._parts, self._config, places)

    def batch(self, step: int) -> EncodedClipBatch:
        """Random clips, each with the same random number of its frames in order."""
        config = self._config
        rng = np.random.default_rng([config.seed, 211, step])
        fewest, most = (min(bound, self._frames) for bound in config.frames)
        count = int(rng.integers(fewest, most + 1))
        picked = []
        for number in range(config.batch_size):
            part, row = self._rows[balanced_example(config.seed, step * config.batch_size + number, self._groups)]
            picked.append((part, row, np.sort(rng.choice(part.frame_count, count, replace=False))))
        return _collect_features([picked[place] for place in self._places])


def ef_level_groups(ef_percent: Float[np.ndarray, "rows"], levels: int) -> list[list[int]]:
    """Rows grouped by ``levels`` equal ranges of the ejection fraction; empty ranges are left out.

    Clips of unknown ejection fraction train only the volume curve and are a group of their own.
    """
    known = np.isfinite(ef_percent)
    groups = [np.flatnonzero(~known)]
    if known.any():
        low, high = ef_percent[known].min(), ef_percent[known].max()
        level = np.clip((np.where(known, ef_percent, low) - low) / max(high - low, 1e-6) * levels, 0, levels - 1)
        groups += [np.flatnonzero(known & (level.astype(int) == number)) for number in range(levels)]
    return [group.tolist() for group in groups if group.size]


def _collect_features(picked: Sequence[tuple[FrozenFeatures, int, np.ndarray]]) -> EncodedClipBatch:
    rows = [part.example(row, frames) for part, row, frames in picked]
    return EncodedClipBatch(**{name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]})


class WholeClips:
    """Validation batches: every clip once, with all its frames, plain variant only."""

    def __init__(self, features: FrozenFeatures) -> None:
        self._features = features

    def __len__(self) -> int:
        return len(self._features) // self._features.config.variants

    def batch(self, step: int) -> EncodedClipBatch:
        """Clip number ``step``."""
        return self._features.clip((step % len(self)) * self._features.config.variants)


def write_features(
    encoder: VisionTransformer,
    store: PreparedClipSource,
    path: Path,
    config: FrozenFeatureConfig,
    on_clip: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Encode every clip ``variants`` times into ``path`` (npy), resumable: ``path`` appears when it is complete."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    last = (len(encoder.blocks) - 1,)
    device = next(encoder.parameters()).device
    autocast = choose_precision(config.precision, device).autocast(device)
    frames = store.truth["times_s"].shape[1]
    patches = (config.size // encoder.config.patch_size) ** 2
    shape = (len(store) * config.variants, frames, patches, encoder.config.width)
    partial = path.with_suffix(".partial.npy")
    progress = path.with_suffix(".progress")
    first = int(progress.read_text()) if progress.exists() and partial.exists() else 0
    features = np.lib.format.open_memmap(partial, "r+" if first else "w+", np.float16, None if first else shape)
    for clip in range(first, len(store)):
        for variant in range(config.variants):
            pixels = _variant(store, clip, variant, config)
            encoded = encode_clip(encoder, last, pixels, store.truth["times_s"][clip], autocast=autocast)
            features[clip * config.variants + variant] = encoded.tokens[0].patches.cpu().numpy()
        if clip % 50 == 49:
            features.flush()
            progress.write_text(str(clip + 1))
        on_clip(clip + 1, len(store))
    features.flush()
    partial.rename(path)
    progress.unlink(missing_ok=True)


def _variant(store: PreparedClipSource, clip: int, variant: int, config: FrozenFeatureConfig) -> np.ndarray:
    """The frames of a clip, augmented as by one scanner."""
    if variant == 0:
        return whole_frames(store, clip, config.size)
    rng = np.random.default_rng([config.seed, 307, clip, variant])
    frames = store.frames(clip)
    warp = random_warp(rng, frames.shape[-1], config.size, config.augment)
    scanner = Appearance(rng, config.size, config.augment)
    return np.stack([scanner(warp.image(np.ascontiguousarray(frame)), rng) for frame in frames])


class PixelClips:
    """Training batches from stores: ``batch(step)`` is the same for the same step; ``variants`` plays no part.

    Args:
        stores: of prepared clips.
        config: how clips are drawn.
        places: which clips of every batch are given; by default all.
    """

    def __init__(
        self, stores: Sequence[PreparedClipSource], config: FrozenFeatureConfig, places: range | None = None
    ) -> None:
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
        """Random clips with the same random number of frames, in order, each augmented on its own."""
        config = self._config
        rng = np.random.default_rng([config.seed, 223, step])
        shortest = min(store.truth["times_s"].shape[1] for store, _ in self._clips)
        fewest, most = (min(bound, shortest) for bound in config.frames)
        count = int(rng.integers(fewest, most + 1))
        return _collect_pixels([self._draw(step * config.batch_size + place, count) for place in self._places])

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
    """Validation batches: every clip once, with all its frames, without augmentation."""

    def __init__(self, store: PreparedClipSource, size: int) -> None:
        self._store, self._size = store, size

    def __len__(self) -> int:
        return len(self._store)

    def batch(self, step: int) -> PixelClipBatch:
        """Clip number ``step``."""
        clip = step % len(self)
        frames = whole_frames(self._store, clip, self._size)
        return _collect_pixels([(self._store, clip, np.arange(len(frames)), frames)])


def _collect_pixels(drawn: Sequence[Drawn]) -> PixelClipBatch:
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
