"""Clips encoded once by a frozen encoder and kept on disk, so that a temporal decoder trains in minutes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pydantic import Field

from echoapex.config import Config
from echoapex.data.augment import Appearance, AugmentConfig, random_warp
from echoapex.data.batch import EncodedClipBatch
from echoapex.data.clip_store import ClipStore
from echoapex.data.frame_source import whole_frames
from echoapex.data.sampler import shuffled_index
from echoapex.models.encoder import VisionTransformer
from echoapex.tasks.encoded_clip import encode_clip


class FrozenFeatureConfig(Config):
    """How clips are encoded and drawn."""

    size: int = 160
    variants: int = Field(default=2, ge=1)
    """Encoded copies of each clip: the first plain, the others augmented."""
    batch_size: int = Field(default=16, ge=1)
    frames: tuple[int, int] = (12, 32)
    """Fewest and most frames of a training clip."""
    seed: int = 0
    augment: AugmentConfig = AugmentConfig()


class FrozenFeatures:
    """Patch features of every clip of a store, ``(clips * variants, frames, patches, width)`` half precision."""

    def __init__(self, store: ClipStore, path: Path, config: FrozenFeatureConfig) -> None:
        self.store = store
        self.config = config
        self._features = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self._features)

    def batch(self, step: int) -> EncodedClipBatch:
        """A training batch: random clips, each with a random number of its frames in order."""
        rng = np.random.default_rng([self.config.seed, 211, step])
        size = self.config.batch_size
        rows = [shuffled_index(self.config.seed, step * size + number, len(self)) for number in range(size)]
        available = self._features.shape[1]
        count = int(rng.integers(min(self.config.frames[0], available), min(self.config.frames[1], available) + 1))
        picks = [np.sort(rng.choice(available, count, replace=False)) for _ in rows]
        return self._collect(rows, picks)

    def clip(self, row: int) -> EncodedClipBatch:
        """One clip with all its frames."""
        return self._collect([row], [np.arange(self._features.shape[1])])

    def _collect(self, rows: list[int], picks: list[np.ndarray]) -> EncodedClipBatch:
        truth = self.store.truth
        clips = [row // self.config.variants for row in rows]
        pairs = list(zip(clips, picks, strict=True))
        times = np.stack([truth["times_s"][clip][pick] - truth["times_s"][clip][pick[0]] for clip, pick in pairs])
        patches = np.stack([self._features[row][pick] for row, pick in zip(rows, picks, strict=True)])
        volumes = np.stack([truth["relative_volume"][clip][pick] for clip, pick in pairs])
        return EncodedClipBatch(
            patches=torch.from_numpy(patches).float(),
            times_s=torch.from_numpy(times).float(),
            frame_mask=torch.ones(times.shape, dtype=torch.bool),
            ef_percent=torch.from_numpy(truth["ef_percent"][clips]).float(),
            relative_volume=torch.from_numpy(volumes).float(),
        )


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
    store: ClipStore,
    path: Path,
    config: FrozenFeatureConfig,
    on_clip: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Encode every clip ``variants`` times into ``path`` (npy), resumable: ``path`` appears when it is complete."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    last = (len(encoder.blocks) - 1,)
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
            encoded = encode_clip(encoder, last, pixels, store.truth["times_s"][clip], bf16=True)
            features[clip * config.variants + variant] = encoded.tokens[0].patches.cpu().numpy()
        if clip % 50 == 49:
            features.flush()
            progress.write_text(str(clip + 1))
        on_clip(clip + 1, len(store))
    features.flush()
    partial.rename(path)
    progress.unlink(missing_ok=True)


def _variant(store: ClipStore, clip: int, variant: int, config: FrozenFeatureConfig) -> np.ndarray:
    """The frames of a clip as one scanner shows them."""
    if variant == 0:
        return whole_frames(store, clip, config.size)
    rng = np.random.default_rng([config.seed, 307, clip, variant])
    frames = store.frames(clip)
    warp = random_warp(rng, frames.shape[-1], config.size, config.augment)
    scanner = Appearance(rng, config.size, config.augment)
    return np.stack([scanner(warp.image(np.ascontiguousarray(frame)), rng) for frame in frames])
