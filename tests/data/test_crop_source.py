"""A batch of crops depends on its step alone, and an epoch shows every frame once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_clips import draw_store

from echoapex.data.crops import BlockMaskConfig, CropConfig, CropKind, CropSource, CropSourceConfig
from echoapex.data.stores.frame_reader import ClipStoreReader

CROPS = CropConfig(
    global_crops=CropKind(count=2, side=48, scale=(0.4, 1.0)),
    local_crops=CropKind(count=3, side=32, scale=(0.1, 0.4)),
)
CONFIG = CropSourceConfig(batch_size=4, crops=CROPS, masks=BlockMaskConfig(probability=0.8))


class Recorder:
    """A reader that remembers what it was asked for."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.frames

    def take(self, rows: Sequence[int]) -> list[np.ndarray]:
        self.asked += rows
        return [np.full((64, 64), 100, np.uint8) for _ in rows]


@pytest.fixture
def reader(tmp_path: Path) -> ClipStoreReader:
    return ClipStoreReader([draw_store(tmp_path / "store", clips=3)])


def test_a_batch_has_the_shapes_that_were_asked_for(reader: ClipStoreReader) -> None:
    batch = CropSource(reader, CONFIG, patch_size=16).batch(0)
    assert batch.global_crops.shape == (2, 4, 48, 48)
    assert batch.local_crops.shape == (3, 4, 32, 32)
    assert batch.masked.shape == (2, 4, 9)
    assert batch.masked.any()
    assert batch.global_crops.dtype == torch.uint8


def test_the_same_step_gives_the_same_batch_and_another_seed_another(reader: ClipStoreReader) -> None:
    source = CropSource(reader, CONFIG, patch_size=16)
    source.batch(0)
    later, alone = source.batch(3), CropSource(reader, CONFIG, patch_size=16).batch(3)
    other = CropSource(reader, CONFIG.model_copy(update={"seed": 1}), patch_size=16).batch(3)
    for name in ("global_crops", "local_crops", "masked"):
        assert torch.equal(getattr(later, name), getattr(alone, name))
        assert not torch.equal(getattr(later, name), getattr(other, name))


def test_crops_of_a_frame_differ_and_stay_beside_each_other(reader: ClipStoreReader) -> None:
    batch = CropSource(reader, CONFIG, patch_size=16).batch(0)
    assert not torch.equal(batch.global_crops[0], batch.global_crops[1])
    assert not torch.equal(batch.local_crops[0], batch.local_crops[1])


def test_an_epoch_visits_every_frame_once() -> None:
    reader = Recorder(frames=10)
    source = CropSource(reader, CONFIG, patch_size=16)
    for step in range(5):
        source.batch(step)
    assert sorted(reader.asked[:10]) == list(range(10))
    assert sorted(reader.asked[10:]) == list(range(10))
    assert reader.asked[:10] != reader.asked[10:]
